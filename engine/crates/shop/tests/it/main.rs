//! The telemetry of the shop as a reader of the topics sees it.

mod faults;
mod read;
mod telemetry;
