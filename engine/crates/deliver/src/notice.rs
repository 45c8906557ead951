//! An alert on its way to a receiver.

use model::{Alert, Labels, Severity};

/// One alert as it is to be told, and under which severities it was told before.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub alert: Alert,
    /// Severities other than that of now; Alertmanager knows an alert by its labels, `severity` among them.
    pub former: Vec<Severity>,
}

impl Notice {
    /// The same each time that this state of the alert is delivered.
    pub fn id(&self) -> String {
        format!("{}/{}", self.alert.fingerprint, self.alert.incident_version)
    }
}

/// The labels of an alert with the severity of now.
pub fn labels_of_now(alert: &Alert) -> Labels {
    Labels::from(alert.labels.clone()).with("severity", alert.severity.as_str())
}
