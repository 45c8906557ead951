//! One surprising observation.

use serde::{Deserialize, Serialize};

use crate::Labels;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What a detector found surprising about one point of one series, or about there being none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Stable: hash of series, detector and time, in hexadecimal.
    pub id: String,
    /// The labels of the series as a map; `__name__` is the metric.
    pub labels: Labels,
    pub service: String,
    pub metric: String,
    /// Name of the detector as configured.
    pub detector: String,
    /// Event time of the point, ms since the epoch.
    pub time_ms: i64,
    /// Of a series that is gone: the silence in s, where an interval between points was expected.
    pub value: f64,
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
    /// 0..1, as in the public score: above 0.5 is an anomaly.
    pub anomaly_score: f64,
    pub severity: Severity,
    /// What is odd about it, in words.
    pub summary: String,
    /// Data that came late changed the point: this takes the place of what was said of it before, if anything was. With a score of at
    /// most 0.5 nothing is odd about it any more.
    #[serde(default)]
    pub amended: bool,
    /// Traces that show it, in hexadecimal, the most telling first: of a duration or a rate the slowest, of errors those that failed, of log
    /// lines the newest. Empty where the series knows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exemplar_trace_ids: Vec<String>,
}
