//! Why a request is not accepted, and what its sender is told.

use hyper::StatusCode;
use tonic::Code;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("send the token as `authorization: Bearer TOKEN`")]
    Unauthenticated,
    #[error("no source of the configuration reads {signal} as {encoding}; add one to `sources`")]
    NoSource { signal: &'static str, encoding: &'static str },
    #[error(
        "there is nothing here; OTLP is taken at /v1/metrics, /v1/logs and /v1/traces, remote write at /api/v1/write"
    )]
    NoSuchPath,
    #[error("only POST is taken here")]
    Method,
    #[error("the content type is {0:?}; {1}")]
    ContentType(String, &'static str),
    #[error("the content encoding is {0:?}; {1}")]
    ContentEncoding(String, &'static str),
    #[error("the body has more than {limit} bytes ({what}); send smaller batches")]
    TooLarge { limit: usize, what: &'static str },
    #[error("{0}")]
    Malformed(String),
    #[error("the body did not arrive in time")]
    Slow,
    #[error("too many bytes are under way; send again later")]
    Busy,
    #[error("the records could not be written ({0}); send again later")]
    Undelivered(String),
    #[error("the records cannot be written: {0}")]
    Undeliverable(String),
}

impl Refusal {
    pub(crate) fn http_status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NoSource { .. } | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType(..) | Self::ContentEncoding(..) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::Undelivered(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Undeliverable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// OTLP has its senders retry `OUT_OF_RANGE` and others that mean something else elsewhere, so what is not to be retried is one
    /// of those that it lists as such. `RESOURCE_EXHAUSTED` is retried only with a delay, see [`Refusal::is_for_later`].
    pub(crate) fn grpc_code(&self) -> Code {
        match self {
            Self::Unauthenticated => Code::Unauthenticated,
            Self::NoSource { .. } | Self::NoSuchPath | Self::Method | Self::ContentEncoding(..) => {
                Code::Unimplemented
            }
            Self::TooLarge { .. } | Self::Busy => Code::ResourceExhausted,
            Self::ContentType(..) | Self::Malformed(_) => Code::InvalidArgument,
            Self::Slow => Code::DeadlineExceeded,
            Self::Undelivered(_) => Code::Unavailable,
            Self::Undeliverable(_) => Code::Internal,
        }
    }

    /// Whether the sender is to send the same again.
    pub(crate) fn is_for_later(&self) -> bool {
        matches!(self, Self::Busy | Self::Undelivered(_))
    }
}
