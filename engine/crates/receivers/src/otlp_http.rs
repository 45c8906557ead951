//! OTLP over HTTP, in protobuf and in JSON.

use hyper::body::Incoming;
use hyper::{HeaderMap, Request, StatusCode};
use prost::Message;
use serde_json::json;

use crate::answer::{self, Answer, answer};
use crate::export::{Accepted, Exporter, Format, Signal};
use crate::refusal::Refusal;
use crate::request;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

pub(crate) fn signal(path: &str) -> Option<Signal> {
    match path {
        "/v1/metrics" => Some(Signal::Metrics),
        "/v1/logs" => Some(Signal::Logs),
        "/v1/traces" => Some(Signal::Spans),
        _ => None,
    }
}

pub(crate) async fn handle(exporter: &Exporter, signal: Signal, request: Request<Incoming>) -> Answer {
    let format = format(request.headers());
    let result = export(exporter, signal, format.clone(), request).await;
    // What cannot be told is answered in protobuf, as the specification has it.
    let format = format.unwrap_or(Format::Protobuf);
    match result {
        Ok(accepted) => {
            exporter.otlp_http.accepted(accepted.items, accepted.rejected);
            match format {
                Format::Protobuf => {
                    answer(StatusCode::OK, Some(PROTOBUF), answer::export_response(&accepted))
                }
                Format::Json => answer(StatusCode::OK, Some(JSON), in_json(signal, &accepted)),
            }
        }
        Err(refusal) => {
            exporter.otlp_http.refused(&refusal);
            let (code, message) = (refusal.grpc_code() as i32, refusal.to_string());
            let retry_after = exporter.settings.retry_after;
            match format {
                Format::Protobuf => {
                    let status = tonic_types::Status { code, message, details: Vec::new() };
                    answer::refused(&refusal, retry_after, PROTOBUF, status.encode_to_vec())
                }
                Format::Json => {
                    let status = json!({ "code": code, "message": message }).to_string();
                    answer::refused(&refusal, retry_after, JSON, status)
                }
            }
        }
    }
}

fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    match request::content_type(headers) {
        (kind, _) if kind == PROTOBUF || kind == "application/protobuf" => Ok(Format::Protobuf),
        (kind, _) if kind == JSON => Ok(Format::Json),
        (_, whole) => {
            Err(Refusal::ContentType(whole, "application/x-protobuf and application/json are taken"))
        }
    }
}

async fn export(
    exporter: &Exporter,
    signal: Signal,
    format: Result<Format, Refusal>,
    request: Request<Incoming>,
) -> Result<Accepted, Refusal> {
    request::check_token(&exporter.settings, request.headers())?;
    request::check_method(&request)?;
    let format = format?;
    exporter.topic(signal)?;
    let encoding = request::content_encoding(request.headers());
    request::check_encoding(encoding.as_deref(), &["gzip", "deflate", "zstd", "snappy"])?;
    let received = request::read(request, &exporter.settings, exporter.budget.reserve()).await?;
    exporter.export(signal, format, encoding, received).await
}

fn in_json(signal: Signal, accepted: &Accepted) -> String {
    let Some(reason) = &accepted.reason else { return "{}".to_owned() };
    let rejected = match signal {
        Signal::Logs => "rejectedLogRecords",
        Signal::Spans => "rejectedSpans",
        Signal::Metrics | Signal::RemoteWrite => "rejectedDataPoints",
    };
    // Integers of 64 bits are text in protobuf's JSON.
    json!({ "partialSuccess": { rejected: accepted.rejected.to_string(), "errorMessage": reason } })
        .to_string()
}
