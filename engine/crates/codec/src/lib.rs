//! Bytes to telemetry batches and back: OTLP, CloudEvents, Arrow IPC.
//!
//! A record either decodes or is [`Rejected`] as a whole; what is rejected goes to the dead-letter topic
//! ([`dead_letter`]). Single points that mean nothing are left out of their record and counted in [`Dropped`].

#![forbid(unsafe_code)]

pub mod cloud_events;
mod compression;
pub mod dead_letter;
pub mod decoder;
pub mod encode;
mod exponential;
pub mod ipc;
pub mod json;
mod naming;
pub mod otlp;
pub mod prometheus;
mod series;
mod severity;
mod time;
mod wire;

pub use dead_letter::dead_letter;
pub use decoder::{DECODERS, Decoder, DecoderSpec, Dropped, Limits, Rejected, decoder};
