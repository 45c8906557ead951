//! OTLP over gRPC: three unary calls, whose messages are written on as they came.
//!
//! The frame around a message is read here rather than by a server that is generated, because its bytes must be reserved
//! before they are unpacked, and because one of those answers a message that is too large with `OUT_OF_RANGE`, which OTLP has
//! its senders repeat.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::answer::{self, Answer};
use crate::export::{Accepted, Exporter, Format, Signal};
use crate::refusal::Refusal;
use crate::request;

/// A flag, and the length of the message.
const FRAME_BYTES: usize = 5;

pub(crate) fn signal(path: &str) -> Option<Signal> {
    match path {
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Spans),
        _ => None,
    }
}

pub(crate) async fn handle(exporter: &Exporter, request: Request<Incoming>) -> Answer {
    let result = export(exporter, request).await;
    let mut response = match result {
        Ok(accepted) => {
            exporter.otlp_grpc.accepted(accepted.items, accepted.rejected);
            exported(&accepted)
        }
        Err(refusal) => {
            exporter.otlp_grpc.refused(&refusal);
            refused(exporter, &refusal)
        }
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip"));
    response
}

async fn export(exporter: &Exporter, request: Request<Incoming>) -> Result<Accepted, Refusal> {
    let signal = signal(request.uri().path()).ok_or(Refusal::NoSuchPath)?;
    request::check_token(&exporter.settings, request.headers())?;
    request::check_method(&request)?;
    let (kind, whole) = request::content_type(request.headers());
    if kind != "application/grpc" && kind != "application/grpc+proto" {
        return Err(Refusal::ContentType(whole, "application/grpc is taken"));
    }
    exporter.topic(signal)?;
    let encoding = request.headers().get("grpc-encoding").and_then(|value| value.to_str().ok());
    let encoding = encoding.map(str::to_ascii_lowercase).filter(|encoding| encoding != "identity");
    if let Some(encoding) = encoding.clone().filter(|encoding| encoding != "gzip") {
        return Err(Refusal::ContentEncoding(encoding, "gzip is taken"));
    }
    let mut received = request::read(request, &exporter.settings, exporter.budget.reserve()).await?;
    let is_compressed = is_compressed(&received.body)?;
    if is_compressed && encoding.is_none() {
        let reason = "the message is compressed, but grpc-encoding does not say how";
        return Err(Refusal::Malformed(reason.to_owned()));
    }
    received.body.drain(..FRAME_BYTES);
    exporter.export(signal, Format::Protobuf, encoding.filter(|_| is_compressed), received).await
}

/// Whether the one message in the body is.
fn is_compressed(body: &[u8]) -> Result<bool, Refusal> {
    let malformed = |reason: &str| Err(Refusal::Malformed(reason.to_owned()));
    let Some(([flag, length @ ..], message)) = body.split_first_chunk::<FRAME_BYTES>() else {
        return malformed("the body holds no message");
    };
    if *flag > 1 {
        return malformed("the flag of the message is neither 0 nor 1");
    }
    if u32::from_be_bytes(*length) as usize != message.len() {
        return malformed("the body holds more or less than one message");
    }
    Ok(*flag == 1)
}

fn exported(accepted: &Accepted) -> Answer {
    let message = answer::export_response(accepted);
    let mut framed = Vec::with_capacity(FRAME_BYTES + message.len());
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let trailers = std::future::ready(Some(Ok::<_, Infallible>(trailers)));
    Response::new(Full::new(Bytes::from(framed)).with_trailers(trailers).boxed_unsync())
}

/// With the time after which to come back, without which `RESOURCE_EXHAUSTED` is final.
fn refused(exporter: &Exporter, refusal: &Refusal) -> Answer {
    let (code, message) = (refusal.grpc_code(), refusal.to_string());
    let status = if refusal.is_for_later() {
        let delay = ErrorDetails::with_retry_info(Some(exporter.settings.retry_after));
        Status::with_error_details(code, message, delay)
    } else {
        Status::new(code, message)
    };
    let mut response = answer::answer(hyper::StatusCode::OK, None, "");
    if status.add_header(response.headers_mut()).is_err() {
        response.headers_mut().insert("grpc-status", HeaderValue::from(Code::Internal as i32));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_message() {
        assert_eq!(is_compressed(b"\0\0\0\0\x01a"), Ok(false));
        assert_eq!(is_compressed(b"\x01\0\0\0\0"), Ok(true));
        for wrong in [
            &b""[..],
            b"\0\0\0\0",
            b"\x02\0\0\0\0",
            b"\0\0\0\0\x02a",
            b"\0\0\0\0\x01ab",
            b"\0\xff\xff\xff\xffa",
        ] {
            assert!(is_compressed(wrong).is_err(), "{wrong:?}");
        }
    }
}
