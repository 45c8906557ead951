//! Prometheus remote write, 1.0 and 2.0.

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};

use crate::answer::{self, Answer, answer};
use crate::export::{Accepted, Exporter, Format, Signal};
use crate::refusal::Refusal;
use crate::request;

pub(crate) const PATH: &str = "/api/v1/write";
const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) async fn handle(exporter: &Exporter, request: Request<Incoming>) -> Answer {
    let mut response = match export(exporter, request).await {
        Ok(accepted) => {
            exporter.remote_write.accepted(accepted.items, accepted.rejected);
            let mut response = match &accepted.reason {
                None => answer(StatusCode::NO_CONTENT, None, ""),
                // What could be written is; the rest is not to be sent again.
                Some(reason) => {
                    let text = format!("{} of the samples are refused: {reason}\n", accepted.rejected);
                    answer(StatusCode::BAD_REQUEST, Some(TEXT), text)
                }
            };
            written(&mut response, accepted.items - accepted.histograms, accepted.histograms);
            return response;
        }
        Err(refusal) => {
            exporter.remote_write.refused(&refusal);
            answer::refused(&refusal, exporter.settings.retry_after, TEXT, format!("{refusal}\n"))
        }
    };
    written(&mut response, 0, 0);
    response
}

/// What 2.0 wants to be told. Exemplars are not read.
fn written(response: &mut Answer, samples: u64, histograms: u64) {
    let headers = response.headers_mut();
    headers.insert("x-prometheus-remote-write-samples-written", HeaderValue::from(samples));
    headers.insert("x-prometheus-remote-write-histograms-written", HeaderValue::from(histograms));
    headers.insert("x-prometheus-remote-write-exemplars-written", HeaderValue::from(0));
}

async fn export(exporter: &Exporter, request: Request<Incoming>) -> Result<Accepted, Refusal> {
    const TYPES: &str = "application/x-protobuf is taken, with proto=prometheus.WriteRequest or \
                         proto=io.prometheus.write.v2.Request";
    let headers = request.headers();
    request::check_token(&exporter.settings, headers)?;
    request::check_method(&request)?;
    let (kind, whole) = request::content_type(headers);
    let message = whole.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("proto="));
    let is_known =
        matches!(message, None | Some("prometheus.writerequest" | "io.prometheus.write.v2.request"));
    if kind != "application/x-protobuf" || !is_known {
        return Err(Refusal::ContentType(whole, TYPES));
    }
    let encoding = request::content_encoding(headers);
    if encoding.as_deref() != Some("snappy") {
        return Err(Refusal::ContentEncoding(encoding.unwrap_or_default(), "snappy is taken"));
    }
    exporter.topic(Signal::RemoteWrite)?;
    let received = request::read(request, &exporter.settings, exporter.budget.reserve()).await?;
    // The decoder behind undoes it.
    exporter.export(Signal::RemoteWrite, Format::Protobuf, None, received).await
}
