//! What is told to people about an incident.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Severity;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    Firing,
    Resolved,
}

impl AlertState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One alert, in the shape of Alertmanager's. Sent again with the same fingerprint it means the same alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Stable hash of `labels`, in hexadecimal.
    pub fingerprint: String,
    pub state: AlertState,
    /// As it is now; the label stays at what it was when the alert first fired, since labels are what an alert is known by.
    #[serde(default = "severity_of_old")]
    pub severity: Severity,
    /// `alertname`, `incident`, `severity`, `service` (the first-ranked cause when the alert first fired).
    pub labels: BTreeMap<String, String>,
    /// `summary`, `description`.
    pub annotations: BTreeMap<String, String>,
    pub starts_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<i64>,
    pub incident: String,
    pub incident_version: u32,
}

/// Records of earlier versions do not say how severe an alert is now.
fn severity_of_old() -> Severity {
    Severity::Warning
}
