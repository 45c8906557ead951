use codec::{Decoder, Dropped, Rejected};
use model::{Labels, MetricKind, SampleBatchBuilder, SampleRow, SpanBatchBuilder, SpanRow, Telemetry};

use super::*;
use crate::ingest::IngestTask;

struct Given(Vec<Telemetry>);

impl Decoder for Given {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        out.push(self.0[record.offset as usize].clone());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        Dropped::default()
    }
}

fn ran(telemetry: Vec<Telemetry>, partitions: Partitions, restart_every: Option<usize>) -> Vec<Output> {
    let detectors: Vec<DetectorSettings> = serde_json::from_str(r#"[{"kind": "ewma"}]"#).unwrap();
    let settings = AnalysisSettings::default();
    let mut engine = InProcess::new("acme", partitions, &["in/0".to_owned()], &settings, &detectors).unwrap();
    let (records, router) = (telemetry.len(), engine.router().clone());
    let mut ingest = IngestTask::new(Some("in/0"), Box::new(Given(telemetry)), router, &settings);
    let (mut routed, mut out) = (Vec::new(), Vec::new());
    for offset in 0..records {
        let offset = offset as i64;
        let record = SourceRecord {
            timestamp_ms: None,
            topic: "in",
            partition: 0,
            offset,
            key: None,
            headers: &[],
            payload: b"",
        };
        ingest.on_record(record, &mut routed);
        ingest.flush(&mut routed);
        engine.take(routed.drain(..), &mut out);
        if restart_every.is_some_and(|every| (offset as usize + 1).is_multiple_of(every)) {
            engine.restart().unwrap();
        }
    }
    out
}

/// One record for every `per_record` points of two services' series, all of which jump at point 100.
fn jump(per_record: usize) -> Vec<Telemetry> {
    let rows: Vec<(String, i64, f64)> = (0..200)
        .flat_map(|i: i64| ["cpu", "queue"].map(|metric| (metric, i)))
        .map(|(metric, i)| {
            let noise = [9.0, 10.5, 11.0, 9.5][i as usize % 4];
            let value = if (100..110).contains(&i) { 900.0 } else { noise };
            (Labels::of("cart", metric).canonical(), 1_700_000_000_000 + i * 10_000, value)
        })
        .collect();
    let batch = |rows: &[(String, i64, f64)]| {
        let mut builder = SampleBatchBuilder::default();
        for (labels, time_ms, value) in rows {
            let (kind, start_ms) = (MetricKind::Gauge, None);
            builder.push(&SampleRow { labels, kind, time_ms: *time_ms, start_ms, value: *value });
        }
        Telemetry::Samples(builder.finish())
    };
    rows.chunks(per_record).map(batch).collect()
}

/// Requests from web to cart for half an hour; near the end cart fails and is slow.
fn requests() -> Vec<Telemetry> {
    let mut records = Vec::new();
    for second in 0..1_800_u64 {
        let mut builder = SpanBatchBuilder::default();
        let is_broken = second > 1_500;
        for i in 0..4 {
            let (trace_id, ids) = (u128::from(second * 4 + i + 1), second * 8 + i * 2);
            let start_us = 1_700_000_000_000_000 + second as i64 * 1_000_000 + i as i64 * 200_000;
            let duration_us = if is_broken { 400_000 } else { 10_000 + (second % 7) as i64 * 300 };
            let (kind, error) = (0, is_broken);
            let (span_id, parent, service, operation) = (ids + 1, None, "web", "page");
            let whole_us = duration_us + 3_000;
            let page = SpanRow {
                start_us,
                duration_us: whole_us,
                trace_id,
                span_id,
                parent,
                service,
                operation,
                kind,
                error,
            };
            builder.push(&page);
            let (span_id, parent, service, operation) = (ids + 2, Some(ids + 1), "cart", "buy");
            let start_us = start_us + 1_000;
            builder.push(&SpanRow {
                start_us,
                duration_us,
                trace_id,
                span_id,
                parent,
                service,
                operation,
                kind,
                error,
            });
        }
        records.push(Telemetry::Spans(builder.finish()));
    }
    records
}

fn of(out: &[Output], topic: OutputTopic) -> Vec<&Output> {
    out.iter().filter(|output| output.topic == topic).collect()
}

#[test]
fn a_jump_becomes_anomalies_an_incident_and_an_alert() {
    let out = ran(jump(64), Partitions::ONE, None);
    assert!(of(&out, OutputTopic::Anomalies).len() >= 2);
    let incidents: Vec<model::Incident> = of(&out, OutputTopic::Incidents)
        .iter()
        .map(|output| serde_json::from_slice(&output.payload).unwrap())
        .collect();
    assert_eq!(incidents.first().map(|incident| incident.services.clone()), Some(vec!["cart".to_owned()]));
    assert_eq!(incidents.last().map(|incident| incident.state), Some(model::IncidentState::Resolved));
    let alerts = of(&out, OutputTopic::Alerts);
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
    let said = |per_record| {
        let mut out = ran(jump(per_record), Partitions::ONE, None);
        // Topics have an order each, and none between them.
        out.sort_by_key(|output| output.topic);
        out
    };
    let whole = said(150);
    for per_record in [1, 2, 7, 64] {
        assert_eq!(said(per_record), whole, "{per_record} rows a record");
    }
}

#[test]
fn how_many_partitions_there_are_changes_no_anomaly_incident_or_alert() {
    let said = |partitions| {
        let out = ran(requests(), partitions, None);
        let mut anomalies: Vec<Output> = of(&out, OutputTopic::Anomalies).into_iter().cloned().collect();
        anomalies.sort_by(|a, b| a.headers.cmp(&b.headers));
        let incidents = of(&out, OutputTopic::Incidents).into_iter().cloned().collect::<Vec<_>>();
        let alerts = of(&out, OutputTopic::Alerts).into_iter().cloned().collect::<Vec<_>>();
        (anomalies, incidents, alerts)
    };
    let one = said(Partitions::ONE);
    let metrics =
        one.0.iter().map(|output| serde_json::from_slice::<model::Anomaly>(&output.payload).unwrap());
    let metrics: std::collections::BTreeSet<String> = metrics.map(|anomaly| anomaly.metric).collect();
    assert!(metrics.iter().any(|metric| metric.starts_with("calls.")), "{metrics:?}");
    let last: model::Incident = serde_json::from_slice(&one.1.last().unwrap().payload).unwrap();
    assert_eq!(last.root_causes.first().map(|cause| cause.service.as_str()), Some("cart"), "{last:#?}");
    for (samples, spans) in [(3, 1), (1, 3), (8, 5)] {
        let several = said(Partitions { samples, spans, findings: 1 });
        assert_eq!(several.0, one.0, "{samples} and {spans} partitions");
        let ids = |said: &[Output]| -> std::collections::BTreeSet<String> {
            let read = |output: &Output| serde_json::from_slice::<model::Incident>(&output.payload).unwrap();
            said.iter().map(|output| read(output).incident).collect()
        };
        assert_eq!(ids(&several.1), ids(&one.1), "{samples} and {spans} partitions");
        let alerts = |said: &[Output]| -> Vec<(String, String, i64, Option<i64>)> {
            let read = |output: &Output| serde_json::from_slice::<model::Alert>(&output.payload).unwrap();
            let of = |alert: model::Alert| {
                (alert.fingerprint, alert.state.as_str().to_owned(), alert.starts_ms, alert.ends_ms)
            };
            said.iter().map(|output| of(read(output))).collect()
        };
        assert_eq!(alerts(&several.2), alerts(&one.2), "{samples} and {spans} partitions");
    }
}

#[test]
fn a_restart_changes_nothing() {
    let partitions = Partitions { samples: 3, spans: 2, findings: 1 };
    let whole = ran(requests(), partitions, None);
    assert!(!of(&whole, OutputTopic::Alerts).is_empty());
    assert_eq!(ran(requests(), partitions, Some(97)), whole);
}

#[test]
fn an_unreadable_record_is_a_dead_letter() {
    let settings = AnalysisSettings::default();
    for topic in [OutputTopic::Samples, OutputTopic::Spans, OutputTopic::Findings] {
        let mut engine = InProcess::new("acme", Partitions::ONE, &[], &settings, &[]).unwrap();
        let mut out = Vec::new();
        for kind in ["samples", "watermark", "calls", "findings", ""] {
            let headers = vec![(codec::ipc::KIND_HEADER.to_owned(), kind.as_bytes().to_vec())];
            let record = Output { topic, partition: Some(0), key: vec![], headers, payload: b"x".to_vec() };
            engine.take([record], &mut out);
        }
        assert_eq!(of(&out, OutputTopic::DeadLetter).len(), 5, "{topic:?}");
    }
}
