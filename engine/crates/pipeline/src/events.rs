//! What the engine says, as records with CloudEvents headers: JSON, alerts as they are configured.

use alerts::{CONTENT_TYPE, Encoding};
use model::{Output, OutputTopic, ServiceCoverage};
use serde::Serialize;

use crate::incident::Conclusion;

/// The key keeps the versions of one thing in their order.
pub fn output(conclusion: &Conclusion, alerts: Encoding) -> Output {
    match conclusion {
        Conclusion::Anomaly(anomaly) => cloud_event(
            OutputTopic::Anomalies,
            "anomaly",
            &anomaly.service,
            &anomaly.id,
            anomaly.time_ms,
            anomaly,
        ),
        Conclusion::Incident(incident) => {
            let id = format!("{}/{}", incident.incident, incident.version);
            let time_ms = incident.updated_ms;
            cloud_event(OutputTopic::Incidents, "incident", &incident.incident, &id, time_ms, incident)
        }
        Conclusion::Alert(alert) => {
            let id = format!("{}/{}", alert.fingerprint, alert.incident_version);
            let time_ms = alert.ends_ms.unwrap_or(alert.starts_ms);
            let payload = (alerts.content_type(), alerts.encode(alert));
            record(OutputTopic::Alerts, "alert", &alert.fingerprint, &id, time_ms, payload)
        }
    }
}

/// What is watched of a service. The key is that of the partition and the service, so that the newest is what holds.
pub fn coverage(coverage: &ServiceCoverage) -> Output {
    let key = format!("{}/{}", coverage.source, coverage.service);
    let id = format!("{key}/{}", coverage.time_ms);
    cloud_event(OutputTopic::Coverage, "coverage", &key, &id, coverage.time_ms, coverage)
}

fn cloud_event(
    topic: OutputTopic,
    noun: &str,
    key: &str,
    id: &str,
    time_ms: i64,
    value: &impl Serialize,
) -> Output {
    let payload = serde_json::to_vec(value).expect("the model is plain data with text keys");
    record(topic, noun, key, id, time_ms, (Encoding::Json.content_type(), payload))
}

/// A record in the binary mode of the CloudEvents binding for Kafka.
fn record(
    topic: OutputTopic,
    noun: &str,
    key: &str,
    id: &str,
    time_ms: i64,
    (content_type, payload): (&str, Vec<u8>),
) -> Output {
    let time = codec::cloud_events::time_text(time_ms);
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_type", format!("foreshock.{noun}.v1")),
        ("ce_source", "/foreshock".to_owned()),
        ("ce_id", id.to_owned()),
        ("ce_time", time),
        (CONTENT_TYPE, content_type.to_owned()),
    ];
    Output {
        topic,
        partition: None,
        key: key.as_bytes().to_vec(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect(),
        payload,
    }
}
