//! The nouns that every crate shares.
//!
//! Telemetry arrives as [`Telemetry`] batches (Arrow columns with the schemas documented in [`batch`]), detectors
//! turn it into [`Anomaly`]s, these are grouped into [`Incident`]s with ranked [`RootCause`]s, and incidents
//! are told to people as [`Alert`]s.

pub mod alert;
pub mod anomaly;
pub mod batch;
pub mod coverage;
pub mod incident;
pub mod labels;
pub mod matcher;
pub mod outputs;
pub mod secret;
pub mod units;

pub use alert::{Alert, AlertState};
pub use anomaly::{Anomaly, Severity};
pub use batch::{
    EventBatch, EventBatchBuilder, EventRow, HistogramBatch, HistogramBatchBuilder, HistogramRow, LogBatch,
    LogBatchBuilder, LogRow, MetricKind, SampleBatch, SampleBatchBuilder, SampleRow, SchemaMismatch,
    SpanBatch, SpanBatchBuilder, SpanRow, Telemetry,
};
pub use coverage::{
    ListedSeries, SeriesSignal, SeriesState, ServiceCoverage, SignalCoverage, Signals, StateCoverage,
};
pub use incident::{Change, Evidence, Incident, IncidentState, Level, Place, RootCause};
pub use labels::{Labels, SeriesId};
pub use matcher::{InvalidMatcher, Matcher};
pub use outputs::{Output, OutputTopic, SourceRecord, StateSection};
pub use secret::Secret;
pub use units::{Size, Span};
