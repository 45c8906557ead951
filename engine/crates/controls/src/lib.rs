//! What people tell the engine: silences and maintenance windows.
//!
//! They lie as records on a compacted topic, one key a silence, so that every process reads all of them. Pure: who calls gives the time,
//! and Kafka is elsewhere.

#![forbid(unsafe_code)]

mod silence;
mod silences;
mod window;

pub use silence::{Change, ChangeKind, InvalidSilence, NewSilence, Recurrence, Silence};
pub use silences::{Refused, SILENCES_MAX, Silences};
