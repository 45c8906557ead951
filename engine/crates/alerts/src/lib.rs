//! Alerts as records of their topic: JSON, or protobuf (`foreshock.v1.Alert` in `proto/foreshock/v1/alert.proto`).
//!
//! The header `content-type` says which, as in the CloudEvents binding for Kafka, so a topic may hold both, as it does after the
//! configuration was changed. Records without one are JSON, as those of all writers before were.

#![forbid(unsafe_code)]

use model::{Alert, AlertState, Severity};
use prost::Message;
use proto::foreshock::v1;
use serde::Deserialize;

/// The header that says how a record is written.
pub const CONTENT_TYPE: &str = "content-type";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

/// How alerts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    #[default]
    Json,
    Protobuf,
}

impl Encoding {
    /// The value of [`CONTENT_TYPE`].
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Protobuf => PROTOBUF,
        }
    }

    /// Equal alerts give equal bytes.
    pub fn encode(self, alert: &Alert) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(alert).expect("plain data with text keys"),
            Self::Protobuf => message(alert.clone()).encode_to_vec(),
        }
    }
}

/// The alert of a record with that content type, or none if it is no alert.
pub fn decode(content_type: Option<&str>, payload: &[u8]) -> Option<Alert> {
    // What follows a semicolon are parameters.
    let kind = content_type.and_then(|text| text.split(';').next()).map_or(JSON, str::trim);
    if [PROTOBUF, "application/x-protobuf"].iter().any(|protobuf| kind.eq_ignore_ascii_case(protobuf)) {
        return alert(v1::Alert::decode(payload).ok()?);
    }
    serde_json::from_slice(payload).ok()
}

/// As it is sent over gRPC and written; who holds it back only those know who know what people say.
pub fn message(alert: Alert) -> v1::Alert {
    let state = match alert.state {
        AlertState::Firing => v1::AlertState::Firing,
        AlertState::Resolved => v1::AlertState::Resolved,
    };
    let severity = match alert.severity {
        Severity::Info => v1::Severity::Info,
        Severity::Warning => v1::Severity::Warning,
        Severity::Critical => v1::Severity::Critical,
    };
    v1::Alert {
        fingerprint: alert.fingerprint,
        state: state.into(),
        labels: alert.labels,
        annotations: alert.annotations,
        starts_ms: alert.starts_ms,
        ends_ms: alert.ends_ms,
        incident: alert.incident,
        incident_version: alert.incident_version,
        severity: severity.into(),
        silenced_by: Vec::new(),
        inhibited_by: Vec::new(),
    }
}

/// None of what is no alert: protobuf itself takes almost anything for a message.
fn alert(message: v1::Alert) -> Option<Alert> {
    let state = match message.state() {
        v1::AlertState::Firing => AlertState::Firing,
        v1::AlertState::Resolved => AlertState::Resolved,
        v1::AlertState::Unspecified => return None,
    };
    let severity = match message.severity() {
        v1::Severity::Info => Severity::Info,
        v1::Severity::Warning => Severity::Warning,
        v1::Severity::Critical => Severity::Critical,
        v1::Severity::Unspecified => return None,
    };
    (!message.fingerprint.is_empty()).then_some(Alert {
        fingerprint: message.fingerprint,
        state,
        severity,
        labels: message.labels,
        annotations: message.annotations,
        starts_ms: message.starts_ms,
        ends_ms: message.ends_ms,
        incident: message.incident,
        incident_version: message.incident_version,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alerts() -> impl Strategy<Value = Alert> {
        let map = || prop::collection::btree_map("[a-z]{1,8}", ".{0,20}", 0..5);
        let severity = prop_oneof![Just(Severity::Info), Just(Severity::Warning), Just(Severity::Critical)];
        ("[0-9a-f]{16}", severity, map(), map(), any::<i64>(), any::<Option<i64>>(), ".{0,20}", any::<u32>())
            .prop_map(
                |(
                    fingerprint,
                    severity,
                    labels,
                    annotations,
                    starts_ms,
                    ends_ms,
                    incident,
                    incident_version,
                )| Alert {
                    fingerprint,
                    state: if ends_ms.is_some() { AlertState::Resolved } else { AlertState::Firing },
                    severity,
                    labels,
                    annotations,
                    starts_ms,
                    ends_ms,
                    incident,
                    incident_version,
                },
            )
    }

    proptest! {
        #[test]
        fn either_encoding_is_read_by_its_content_type(alert in alerts()) {
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                let payload = encoding.encode(&alert);
                prop_assert_eq!(decode(Some(encoding.content_type()), &payload), Some(alert.clone()));
                prop_assert_eq!(encoding.encode(&alert), payload);
            }
            let json = Encoding::Json.encode(&alert);
            prop_assert_eq!(decode(None, &json), Some(alert.clone()), "as it was before there was a choice");
            prop_assert_eq!(decode(Some("application/json; charset=utf-8"), &json), Some(alert));
        }

        #[test]
        fn what_is_no_alert_is_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for kind in [None, Some(JSON), Some(PROTOBUF), Some("text/plain")] {
                if let Some(alert) = decode(kind, &bytes) {
                    prop_assert!(!alert.fingerprint.is_empty());
                }
            }
            prop_assert_eq!(decode(Some(PROTOBUF), &[]), None);
        }
    }

    #[test]
    fn the_bytes_are_pinned() {
        let alert = Alert {
            fingerprint: "f".to_owned(),
            state: AlertState::Firing,
            severity: Severity::Critical,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            annotations: [].into(),
            starts_ms: 1,
            ends_ms: None,
            incident: "i".to_owned(),
            incident_version: 2,
        };
        let bytes = [
            &b"\x0a\x01f\x10\x01"[..],            // fingerprint, firing
            b"\x1a\x06\x0a\x01a\x12\x01b",        // labels
            b"\x28\x01\x3a\x01i\x40\x02\x48\x03", // starts_ms, incident, version, severity
        ];
        assert_eq!(Encoding::Protobuf.encode(&alert), bytes.concat());
    }
}
