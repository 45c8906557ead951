//! The task of a telemetry partition: telemetry in, anomalies, incidents and alerts out, as JSON with CloudEvents headers.

use codec::ipc;
use model::{Output, OutputTopic, SourceRecord, StateSection};
use serde::Serialize;

use crate::analysis::{Analysis, Finding};
use crate::state::InvalidState;
use crate::task::PartitionTask;

pub struct AnalyseTask {
    analysis: Analysis,
    findings: Vec<Finding>,
}

impl AnalyseTask {
    pub fn new(analysis: Analysis) -> Self {
        Self { analysis, findings: Vec::new() }
    }
}

impl PartitionTask for AnalyseTask {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        let kind = record.header(ipc::KIND_HEADER).unwrap_or("");
        match ipc::from_bytes(kind, record.payload) {
            Ok(telemetry) => {
                self.analysis.on_telemetry(&telemetry, &mut self.findings);
                out.extend(self.findings.drain(..).map(|finding| output(&finding)));
            }
            Err(error) => out.push(codec::dead_letter::unreadable(record, &error.to_string())),
        }
    }

    fn snapshot(&self) -> Vec<StateSection> {
        self.analysis.snapshot()
    }

    fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        self.analysis.restore(sections)
    }
}

/// A finding as a record: the key keeps the versions of one thing in their order.
fn output(finding: &Finding) -> Output {
    match finding {
        Finding::Anomaly(anomaly) => cloud_event(
            OutputTopic::Anomalies,
            "anomaly",
            &anomaly.service,
            &anomaly.id,
            anomaly.time_ms,
            anomaly,
        ),
        Finding::Incident(incident) => {
            let id = format!("{}/{}", incident.incident, incident.version);
            let time_ms = incident.updated_ms;
            cloud_event(OutputTopic::Incidents, "incident", &incident.incident, &id, time_ms, incident)
        }
        Finding::Alert(alert) => {
            let id = format!("{}/{}", alert.fingerprint, alert.incident_version);
            let time_ms = alert.ends_ms.unwrap_or(alert.starts_ms);
            cloud_event(OutputTopic::Alerts, "alert", &alert.fingerprint, &id, time_ms, alert)
        }
    }
}

/// A record in the binary mode of the CloudEvents binding for Kafka.
fn cloud_event(
    topic: OutputTopic,
    noun: &str,
    key: &str,
    id: &str,
    time_ms: i64,
    value: &impl Serialize,
) -> Output {
    let time = codec::cloud_events::time_text(time_ms);
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_type", format!("foreshock.{noun}.v1")),
        ("ce_source", "/foreshock".to_owned()),
        ("ce_id", id.to_owned()),
        ("ce_time", time),
        ("content-type", "application/json".to_owned()),
    ];
    Output {
        topic,
        key: key.as_bytes().to_vec(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect(),
        payload: serde_json::to_vec(value).expect("the model is plain data with text keys"),
    }
}

#[cfg(test)]
mod tests {
    use model::{MetricKind, SampleBatchBuilder, SampleRow, Telemetry};

    use super::*;
    use crate::settings::{AnalysisSettings, DetectorSettings};

    /// One record for every `per_record` points of two services' series, both of which jump at point 100.
    fn run(per_record: usize) -> Vec<Output> {
        let detectors: Vec<DetectorSettings> = serde_json::from_str(r#"[{"kind": "ewma"}]"#).unwrap();
        let analysis = Analysis::new(&AnalysisSettings::default(), &detectors).unwrap();
        let mut task = AnalyseTask::new(analysis);
        let rows: Vec<(String, i64, f64)> = (0..200)
            .flat_map(|i: i64| ["cpu", "queue"].map(|metric| (metric, i)))
            .map(|(metric, i)| {
                let noise = [9.0, 10.5, 11.0, 9.5][i as usize % 4];
                let value = if (100..110).contains(&i) { 900.0 } else { noise };
                (model::Labels::of("cart", metric).canonical(), 1_700_000_000_000 + i * 10_000, value)
            })
            .collect();
        let mut out = Vec::new();
        for (offset, rows) in rows.chunks(per_record).enumerate() {
            let mut builder = SampleBatchBuilder::default();
            for (labels, time_ms, value) in rows {
                let (kind, start_ms) = (MetricKind::Gauge, None);
                builder.push(&SampleRow { labels, kind, time_ms: *time_ms, start_ms, value: *value });
            }
            let telemetry = Telemetry::Samples(builder.finish());
            let kind = telemetry.kind();
            let headers: &[(&str, &[u8])] = &[(ipc::KIND_HEADER, kind.as_bytes())];
            let (topic, offset) = ("foreshock.telemetry", offset as i64);
            let payload = &ipc::to_bytes(&telemetry);
            task.on_record(
                SourceRecord { topic, partition: 0, offset, key: None, headers, payload },
                &mut out,
            );
        }
        out
    }

    #[test]
    fn a_jump_becomes_anomalies_an_incident_and_an_alert() {
        let out = run(64);
        let of = |topic| out.iter().filter(|output| output.topic == topic).collect::<Vec<_>>();
        assert!(of(OutputTopic::Anomalies).len() >= 2);
        let incidents: Vec<model::Incident> = of(OutputTopic::Incidents)
            .iter()
            .map(|output| serde_json::from_slice(&output.payload).unwrap())
            .collect();
        assert_eq!(
            incidents.first().map(|incident| incident.services.clone()),
            Some(vec!["cart".to_owned()])
        );
        assert_eq!(incidents.last().map(|incident| incident.state), Some(model::IncidentState::Resolved));
        let alerts = of(OutputTopic::Alerts);
        let header = |name: &str| {
            let found = alerts[0].headers.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(header("ce_type").as_deref(), Some("foreshock.alert.v1"));
        assert!(
            header("ce_time").is_some_and(|time| time.starts_with("2023-11-14T22:")),
            "event time, not a clock"
        );
    }

    #[test]
    fn where_records_end_does_not_matter() {
        let whole = run(10_000);
        for per_record in [1, 2, 7, 64] {
            assert_eq!(run(per_record), whole, "{per_record} rows a record");
        }
    }

    #[test]
    fn an_unreadable_record_is_a_dead_letter() {
        let analysis = Analysis::new(&AnalysisSettings::default(), &[]).unwrap();
        let headers: &[(&str, &[u8])] = &[(ipc::KIND_HEADER, b"samples")];
        let record = SourceRecord {
            topic: "foreshock.telemetry",
            partition: 0,
            offset: 7,
            key: None,
            headers,
            payload: b"x",
        };
        let mut out = Vec::new();
        AnalyseTask::new(analysis).on_record(record, &mut out);
        assert_eq!((out.len(), out[0].topic), (1, OutputTopic::DeadLetter));
    }
}
