//! A group of anomalies that is one problem, with its ranked causes.

use serde::{Deserialize, Serialize};

use crate::Severity;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    Open,
    Updated,
    Resolved,
}

impl IncidentState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
        }
    }
}

/// One reason to believe that a service is the cause, in words and in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// `gap`, `self_time`, `structure`, `resource`, `impact`, `latency` or `change`.
    pub kind: String,
    /// One sentence with the numbers in it.
    pub summary: String,
    /// Strength before fusion, >= 0; comparable only within a kind.
    pub score: f64,
    /// What the evidence is about: an operation, an edge, a metric, a template.
    pub subject: String,
    /// Usual level, in the unit that `summary` names; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// Level since the incident began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
}

/// What kind of thing within a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What it does itself in an operation.
    Operation,
    /// Between it and one that it calls or is called by.
    Call,
    /// One of its instances.
    Instance,
    Resource,
    /// A log template, within an operation.
    Template,
    Change,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::Call => "call",
            Self::Instance => "instance",
            Self::Resource => "resource",
            Self::Template => "template",
            Self::Change => "change",
        }
    }
}

/// Where within a service the strongest evidence points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub level: Level,
    pub name: String,
}

/// A candidate for where the incident started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootCause {
    pub service: String,
    /// Fused evidence, >= 0, ranked descending.
    pub score: f64,
    /// How likely it is the cause, 0 to 1. What is missing to 1 over all candidates is that it is none of them.
    #[serde(default)]
    pub confidence: f64,
    /// Absent where evidence speaks of the service as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    pub evidence: Vec<Evidence>,
    /// What speaks against it: what would have changed, was measured, and is as usual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counter_evidence: Vec<Evidence>,
}

/// A change on a service close in time: a deploy, a configuration change, a Kubernetes event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub service: String,
    pub kind: String,
    pub summary: String,
    pub time_ms: i64,
}

/// One version of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable id of the incident, the same in all its versions.
    pub incident: String,
    /// Counts from 1.
    pub version: u32,
    pub state: IncidentState,
    pub severity: Severity,
    pub title: String,
    /// Event times, ms since the epoch.
    pub opened_ms: i64,
    pub updated_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_ms: Option<i64>,
    /// Services with anomalies, sorted.
    pub services: Vec<String>,
    /// Ranked, best first.
    pub root_causes: Vec<RootCause>,
    pub changes: Vec<Change>,
    /// Number of anomalies so far.
    pub anomalies: u64,
    /// Traces that show it, in hexadecimal: those of its first cause, then of who suffers most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exemplar_trace_ids: Vec<String>,
    /// The incident that it was a part of until the evidence spoke of two causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_from: Option<String>,
    /// The older incident that it turned out to be a part of, which ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<String>,
    /// Data that came late has corrected what an earlier version said. One that is resolved with no anomalies was none.
    #[serde(default)]
    pub amended: bool,
}
