//! A direct door for those without Kafka in front of Foreshock: OTLP over gRPC and HTTP, and Prometheus remote write.
//!
//! What arrives is written to the source topics, in the encodings that their decoders read, and acknowledged once the
//! [`Destination`] has it safe. A sender that gets no answer sends again, so records may come twice.
//!
//! | door | takes |
//! |---|---|
//! | gRPC | `Export` of OTLP's metrics, logs and trace services, also gzip |
//! | HTTP `/v1/metrics`, `/v1/logs`, `/v1/traces` | OTLP in protobuf or JSON, as it is or with a `content-encoding` |
//! | HTTP `/api/v1/write` | Prometheus remote write 1.0 and 2.0 |
//!
//! A request is cut into records of [`Settings::record_bytes_max`], and each of them is decoded before it is written, so what is
//! accepted here can be read behind. What cannot is refused: all of it with an error that is not to be retried, a part as OTLP's
//! partial success or, in remote write, as 400 with the numbers of what was written.
//!
//! **Bounds.** Bytes are reserved before they are read or unpacked, and given back when the destination has the records. Where
//! nothing is left the sender is told to come back (503 with `retry-after`, `RESOURCE_EXHAUSTED` with `RetryInfo`). Connections,
//! streams, headers, and the time for a handshake, for headers and for a body are bounded as well.

#![forbid(unsafe_code)]

mod answer;
mod budget;
mod counters;
mod destination;
mod export;
mod otlp_grpc;
mod otlp_http;
mod refusal;
mod remote_write;
mod request;
mod server;
mod settings;
mod tls;

pub use counters::{Counters, DoorCounters, Refusals};
pub use destination::{Destination, Topics, Undelivered};
pub use server::{Error, Receivers, start};
pub use settings::{Settings, Token};
