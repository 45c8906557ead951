//! From telemetry to series: rates of counters, quantiles of histograms, rate/errors/duration of spans, counts of logs.

pub mod counter;
pub mod exemplar;
pub mod histogram;
pub mod step;

pub use counter::CounterState;
pub use histogram::HistogramState;
pub use step::StepAggregates;
