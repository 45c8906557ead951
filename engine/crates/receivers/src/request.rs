//! Reads the body of a request, within bounds.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{HeaderMap, Method, Request};

use crate::budget::Reservation;
use crate::refusal::Refusal;
use crate::settings::Settings;

/// What a body is allowed, with what of the budget it takes.
pub(crate) struct Received {
    pub(crate) body: Vec<u8>,
    pub(crate) reservation: Reservation,
}

/// Whether the sender may send.
pub(crate) fn check_token(settings: &Settings, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &settings.token else { return Ok(()) };
    let holds = headers.get(AUTHORIZATION).is_some_and(|given| token.is_held_by(given.as_bytes()));
    if holds { Ok(()) } else { Err(Refusal::Unauthenticated) }
}

/// The type without its parameters, in lower case, and the whole.
pub(crate) fn content_type(headers: &HeaderMap) -> (String, String) {
    let whole = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let whole = whole.trim().to_ascii_lowercase();
    let kind = whole.split(';').next().unwrap_or_default().trim().to_owned();
    (kind, whole)
}

/// How the body is compressed, if it is.
pub(crate) fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    (!encoding.is_empty() && encoding != "identity").then_some(encoding)
}

/// Reads a whole body. Its bytes are reserved as they come, so a length that is only claimed takes nothing.
pub(crate) async fn read(
    request: Request<Incoming>,
    settings: &Settings,
    mut reservation: Reservation,
) -> Result<Received, Refusal> {
    let mut body = request.into_body();
    let limit = settings.body_bytes_max;
    let too_large = || Refusal::TooLarge { limit, what: "as it was sent" };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let whole = async {
        let mut read: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::Malformed(format!("the body broke off: {error}")))?;
            let Ok(data): Result<Bytes, _> = frame.into_data() else { continue };
            if read.len() + data.len() > limit {
                return Err(too_large());
            }
            if !reservation.grow(data.len()) {
                return Err(Refusal::Busy);
            }
            read.extend_from_slice(&data);
        }
        Ok(read)
    };
    let body = tokio::time::timeout(settings.read_timeout, whole).await.map_err(|_| Refusal::Slow)??;
    Ok(Received { body, reservation })
}

pub(crate) fn check_method<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.method() == Method::POST { Ok(()) } else { Err(Refusal::Method) }
}

/// Refuses an encoding that nobody here undoes before its body is read.
pub(crate) fn check_encoding(encoding: Option<&str>, taken: &'static [&'static str]) -> Result<(), Refusal> {
    match encoding {
        Some(encoding) if !taken.contains(&encoding) => Err(Refusal::ContentEncoding(
            encoding.to_owned(),
            "it must be one of those that are taken: gzip, deflate, zstd, snappy",
        )),
        _ => Ok(()),
    }
}
