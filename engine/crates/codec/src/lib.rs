//! Bytes to telemetry batches and back: OTLP and the other formats that lie on topics ([`DECODERS`]), Arrow IPC.
//!
//! A record either decodes or is [`Rejected`] as a whole; what is rejected goes to the dead-letter topic
//! ([`dead_letter`]). Single points that mean nothing are left out of their record and counted in [`Dropped`].
//!
//! What one record may take is in [`Limits`]. From one record to the next, a decoder of metrics remembers at most 128 MiB of
//! series, past which it forgets them all, and any decoder keeps at most 1 MiB for each of its buffers.

#![forbid(unsafe_code)]

mod changes;
pub mod cloud_events;
mod compression;
pub mod dead_letter;
pub mod decoder;
pub mod detect;
pub mod encode;
pub mod entity;
mod exponential;
mod hex;
pub mod influx;
pub mod ipc;
pub mod jaeger;
pub mod json;
mod json_logs;
mod naming;
pub mod otlp;
mod otlp_json;
pub mod plain;
pub mod prometheus;
mod series;
pub mod settings;
mod severity;
pub mod split;
mod time;
mod wire;
mod zipkin;

pub use compression::decompress;
pub use dead_letter::dead_letter;
pub use decoder::{DECODERS, Decoder, DecoderSpec, Dropped, Limits, Rejected, decoder};
pub use entity::{EntityRules, TenantRule};
pub use otlp_json::otlp_json_to_protobuf;
pub use settings::{DecoderSettings, Mapping};
