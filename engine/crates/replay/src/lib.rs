//! Telemetry folders (Parquet, CSV) as rows in event-time order.

#![forbid(unsafe_code)]

pub mod history;

pub use history::{History, HistoryError, Row};
