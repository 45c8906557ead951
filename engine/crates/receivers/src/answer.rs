//! Responses, and what both kinds of them share.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use prost::Message;
use proto::opentelemetry::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};

use crate::export::Accepted;
use crate::refusal::Refusal;

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

pub(crate) fn answer(
    status: StatusCode,
    content_type: Option<&'static str>,
    body: impl Into<Bytes>,
) -> Answer {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

/// A refusal over HTTP, with what its status wants to stand beside it.
pub(crate) fn refused(
    refusal: &Refusal,
    retry_after: Duration,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut response = answer(refusal.http_status(), Some(content_type), body);
    if refusal.is_for_later() {
        let seconds = retry_after.as_secs().max(1);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if *refusal == Refusal::Unauthenticated {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// OTLP's response. Those of the three signals have the same fields under different names, so this is all of them.
pub(crate) fn export_response(accepted: &Accepted) -> Vec<u8> {
    let partial_success = accepted.reason.as_ref().map(|reason| ExportMetricsPartialSuccess {
        rejected_data_points: i64::try_from(accepted.rejected).unwrap_or(i64::MAX),
        error_message: reason.clone(),
    });
    ExportMetricsServiceResponse { partial_success }.encode_to_vec()
}
