use model::{EventBatchBuilder, EventRow, MetricKind, SampleRow};

use super::*;
use crate::routing::Partitions;
use crate::wire::Incoming;

const PARTITIONS: Partitions = Partitions { samples: 4, spans: 2, findings: 1 };

/// Gives the telemetry that it was made with.
struct Given(Vec<Telemetry>);

impl Decoder for Given {
    fn decode(&mut self, _record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), codec::Rejected> {
        out.append(&mut self.0);
        Ok(())
    }

    fn dropped(&self) -> codec::Dropped {
        codec::Dropped::default()
    }
}

fn record<'a>(payload: &'a [u8], headers: &'a [(&'a str, &'a [u8])]) -> SourceRecord<'a> {
    SourceRecord {
        timestamp_ms: None,
        topic: "otlp_metrics",
        partition: 3,
        offset: 42,
        key: Some(b"k"),
        headers,
        payload,
    }
}

fn task(decoder: Box<dyn Decoder>) -> IngestTask {
    let router = Router::new("acme", PARTITIONS);
    IngestTask::new(Some("otlp_metrics/3"), decoder, router, &AnalysisSettings::default())
}

/// What a task gives for one record in an epoch of its own.
fn give(task: &mut IngestTask, record: SourceRecord<'_>) -> Vec<Output> {
    let mut out = Vec::new();
    task.on_record(record, &mut out);
    task.flush(&mut out);
    out
}

/// What becomes of telemetry: topic, partition and content of each record.
fn routed(telemetry: Vec<Telemetry>) -> Vec<(OutputTopic, i32, Incoming)> {
    let out = give(&mut task(Box::new(Given(telemetry))), record(b"", &[]));
    let read = |output: Output| {
        assert_eq!(output.key, b"acme");
        let headers: Vec<(&str, &[u8])> =
            output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let incoming = wire::read(record(&output.payload, &headers)).expect("what a stage wrote");
        (output.topic, output.partition.expect("stages know partitions"), incoming)
    };
    out.into_iter().map(read).collect()
}

fn samples(rows: &[(&str, i64)]) -> Telemetry {
    let mut builder = SampleBatchBuilder::default();
    for (service, time_ms) in rows {
        let labels = model::Labels::of(service, "cpu").canonical();
        let kind = MetricKind::Gauge;
        builder.push(&SampleRow { labels: &labels, kind, time_ms: *time_ms, start_ms: None, value: 0.5 });
    }
    Telemetry::Samples(builder.finish())
}

#[test]
fn every_row_goes_to_its_entity_with_watermarks_between() {
    let services = ["cart", "email", "ads", "web", "store"];
    let rows: Vec<(&str, i64)> =
        [1_000, 2_000, 20_000].iter().flat_map(|ms| services.map(|service| (service, *ms))).collect();
    let router = Router::new("acme", PARTITIONS);
    let mut watermarks = [i64::MIN; 4];
    let mut seen = Vec::new();
    for (topic, partition, incoming) in routed(vec![samples(&rows)]) {
        match incoming {
            Incoming::Watermark(watermark) if topic == OutputTopic::Samples => {
                assert_eq!(watermark.source, "otlp_metrics/3");
                watermarks[partition as usize] = watermark.watermark_ms.expect("not idle");
            }
            Incoming::Telemetry(Telemetry::Samples(batch)) => batch.rows().for_each(|row| {
                assert_eq!(router.series(row.labels), partition);
                let due_ms = if row.time_ms < 20_000 { -10_000 } else { 10_000 };
                assert_eq!(watermarks[partition as usize], due_ms, "of what came before the row");
                seen.push((model::Labels::parse(row.labels).service().to_owned(), row.time_ms));
            }),
            other => assert!(matches!(other, Incoming::Watermark(_)) && topic == OutputTopic::Spans),
        }
    }
    let mut wanted: Vec<(String, i64)> =
        rows.iter().map(|(service, ms)| ((*service).to_owned(), *ms)).collect();
    seen.sort();
    wanted.sort();
    assert_eq!(seen, wanted);
}

#[test]
fn spans_go_to_their_trace_and_are_counted_at_their_entity() {
    let mut builder = SpanBatchBuilder::default();
    for trace_id in 1..=20 {
        let (span_id, parent, kind, error) = (7, Some(3), 0, false);
        let (start_us, duration_us, service, operation) = (5_000_000, 1_000, "cart", "buy");
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
    let router = Router::new("acme", PARTITIONS);
    let (mut by_trace, mut by_entity) = (0, 0);
    for (topic, partition, incoming) in routed(vec![Telemetry::Spans(builder.finish())]) {
        let Incoming::Telemetry(Telemetry::Spans(batch)) = incoming else { continue };
        for row in batch.rows() {
            if topic == OutputTopic::Spans {
                assert_eq!((router.trace(row.trace_id), row.span_id), (partition, 7));
                by_trace += 1;
            } else {
                assert_eq!((router.entity("cart"), row.span_id, row.duration_us), (partition, 0, 1_000));
                assert!((1..=20).contains(&row.trace_id), "as an exemplar");
                by_entity += 1;
            }
        }
    }
    assert_eq!((by_trace, by_entity), (20, 20));
}

#[test]
fn events_are_findings_that_nobody_waits_for() {
    let mut builder = EventBatchBuilder::default();
    let (service, kind, id, summary, source) = ("cart", "deploy", "1", "cart 1.2", "ci");
    builder.push(&EventRow { time_ms: 5, service, kind, id, summary, source });
    let out = routed(vec![Telemetry::Events(builder.finish())]);
    let [(OutputTopic::Findings, 0, Incoming::Findings(findings))] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert!(matches!(&findings.findings[..], [Finding::Change(change)] if change.summary == "cart 1.2"));
    assert_eq!(findings.watermark, None);
}

#[test]
fn a_record_in_which_time_runs_on_and_on_is_bounded() {
    let rows: Vec<(&str, i64)> = (0..10_000).map(|i| ("cart", i * 10_000)).collect();
    let out = routed(vec![samples(&rows)]);
    assert!(out.len() < MOVES_MAX * 8, "{}", out.len());
    let last = out.iter().rev().find_map(|(_, _, incoming)| match incoming {
        Incoming::Watermark(watermark) => watermark.watermark_ms,
        _ => None,
    });
    assert_eq!(last, Some(99_980_000), "the watermark arrives all the same");
}

#[test]
fn an_idle_partition_says_so_and_comes_back() {
    let mut task = task(Box::new(Given(vec![samples(&[("cart", 7_000)])])));
    give(&mut task, record(b"", &[]));
    let mut out = Vec::new();
    task.on_idle(&mut out);
    assert_eq!(out.len(), 6, "everybody hears of it");
    assert!(out.iter().all(|output| output.payload.ends_with(b"null}")));
    out.clear();
    task.on_record(record(b"", &[]), &mut out);
    assert_eq!(out.len(), 6);
    assert!(out.iter().all(|output| output.payload.ends_with(b":0}")));
}

#[test]
fn a_row_from_long_after_its_record_moves_nothing() {
    let rows = samples(&[("cart", 900_000_000), ("cart", 7_000)]);
    let written = SourceRecord { timestamp_ms: Some(8_000), ..record(b"", &[]) };
    let out = give(&mut task(Box::new(Given(vec![rows]))), written);
    let told = out.iter().filter(|output| output.payload.starts_with(b"{"));
    let told: Vec<bool> = told.map(|output| output.payload.ends_with(b":0}")).collect();
    assert_eq!(told, [true; 6], "only the time of the other");
}

#[test]
fn a_large_row_does_not_take_its_neighbours_along() {
    let mut logs = LogBatchBuilder::default();
    let large = "z".repeat(900_000);
    for body in ["small", &large, "small"] {
        let (time_ms, service, severity, trace_id, span_id) = (1_000, "cart", 9, None, None);
        logs.push(&LogRow { time_ms, service, severity, body, trace_id, span_id });
    }
    let rows: Vec<usize> = routed(vec![Telemetry::Logs(logs.finish())])
        .iter()
        .filter_map(|(_, _, incoming)| match incoming {
            Incoming::Telemetry(Telemetry::Logs(batch)) => Some(batch.len()),
            _ => None,
        })
        .collect();
    assert_eq!(rows, [1, 1, 1]);
}

#[test]
fn rows_of_several_records_go_on_together_until_time_moves_or_there_are_enough() {
    /// Gives a line at the time that is the payload.
    struct Line;
    impl Decoder for Line {
        fn decode(
            &mut self,
            record: SourceRecord<'_>,
            out: &mut Vec<Telemetry>,
        ) -> Result<(), codec::Rejected> {
            let time_ms = std::str::from_utf8(record.payload).unwrap().parse().unwrap();
            let mut logs = LogBatchBuilder::default();
            let (service, severity, body, trace_id, span_id) = ("cart", 9, "a line", None, None);
            logs.push(&LogRow { time_ms, service, severity, body, trace_id, span_id });
            out.push(Telemetry::Logs(logs.finish()));
            Ok(())
        }

        fn dropped(&self) -> codec::Dropped {
            codec::Dropped::default()
        }
    }
    let mut task = task(Box::new(Line));
    let rows = |out: &[Output]| -> Vec<usize> {
        let read = |output: &Output| {
            let headers: Vec<(&str, &[u8])> =
                output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            match wire::read(record(&output.payload, &headers)) {
                Ok(Incoming::Telemetry(telemetry)) => Some(telemetry.record_batch().num_rows()),
                _ => None,
            }
        };
        out.iter().filter_map(read).collect()
    };
    let mut out = Vec::new();
    for time_ms in [1_000, 1_001, 1_002] {
        task.on_record(record(time_ms.to_string().as_bytes(), &[]), &mut out);
    }
    assert_eq!(rows(&out), [0; 0], "nobody could read them before the epoch ends");
    out.clear();
    task.on_record(record(b"60000", &[]), &mut out);
    assert_eq!(rows(&out), [3], "what lies before a watermark goes before it");
    assert!(matches!(&out[0].headers[..], [(_, kind)] if kind == b"logs"), "{:?}", out[0]);
    out.clear();
    task.flush(&mut out);
    assert_eq!(rows(&out), [1]);
    out.clear();
    task.flush(&mut out);
    assert_eq!(rows(&out), [0; 0], "given once");
    for _ in 0..10_000 {
        task.on_record(record(b"60001", &[]), &mut out);
    }
    let given = rows(&out);
    assert!(given.len() > 5 && given.iter().all(|rows| (500..5_000).contains(rows)), "{given:?}");
    task.flush(&mut out);
    assert_eq!(rows(&out).iter().sum::<usize>(), 10_000);
}

#[test]
fn what_cannot_be_decoded_goes_to_the_dead_letters_with_its_place_and_reason() {
    let decoder = codec::decoder("metrics", "otlp_proto", codec::Limits::default()).unwrap();
    let mut out = Vec::new();
    task(decoder).on_record(record(b"\xff not protobuf", &[("trace", b"1")]), &mut out);
    assert_eq!((out.len(), out[0].topic), (1, OutputTopic::DeadLetter));
    assert_eq!(out[0].payload, b"\xff not protobuf");
    let header =
        |name: &str| out[0].headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice());
    assert_eq!(header("foreshock-topic"), Some(&b"otlp_metrics"[..]));
    assert_eq!(header("foreshock-partition"), Some(&b"3"[..]));
    assert_eq!(header("foreshock-offset"), Some(&b"42"[..]));
    assert_eq!(header("trace"), Some(&b"1"[..]));
    assert!(header("foreshock-reason").is_some_and(|reason| !reason.is_empty()));
}

#[test]
fn what_is_too_much_for_a_record_goes_in_several() {
    let mut rows = SampleBatchBuilder::default();
    let mut logs = LogBatchBuilder::default();
    for i in 0..20_000_i64 {
        let labels = model::Labels::of("cart", &format!("metric_{i}_{}", "x".repeat(100))).canonical();
        let kind = MetricKind::Gauge;
        rows.push(&SampleRow { labels: &labels, kind, time_ms: 1_000, start_ms: None, value: i as f64 });
        let body = "y".repeat(100);
        let (time_ms, service, severity, body) = (1_000, "cart", 9, body.as_str());
        let (trace_id, span_id) = (Some(i as u128 + 1), Some(1));
        logs.push(&LogRow { time_ms, service, severity, body, trace_id, span_id });
    }
    let telemetry = vec![Telemetry::Samples(rows.finish()), Telemetry::Logs(logs.finish())];
    let out = give(&mut task(Box::new(Given(telemetry))), record(b"", &[]));
    assert!(out.iter().all(|output| output.payload.len() < 1_000_000), "as brokers allow by default");
    let mut counts = BTreeMap::<(OutputTopic, &str), usize>::new();
    for output in &out {
        let headers: Vec<(&str, &[u8])> =
            output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        if let Ok(Incoming::Telemetry(telemetry)) = wire::read(record(&output.payload, &headers)) {
            *counts.entry((output.topic, telemetry.kind())).or_default() +=
                telemetry.record_batch().num_rows();
        }
    }
    let rows = 20_000;
    let samples = [((OutputTopic::Samples, "logs"), rows), ((OutputTopic::Samples, "samples"), rows)];
    let wanted: BTreeMap<_, _> = samples.into_iter().chain([((OutputTopic::Spans, "logs"), rows)]).collect();
    assert_eq!(counts, wanted);
}

#[test]
fn rows_that_are_left_out_are_counted_and_tell_nothing() {
    let spec =
        codec::DECODERS.iter().find(|spec| spec.signal == "metrics" && spec.encoding == "json").unwrap();
    let rule =
        codec::TenantRule { tenant: "acme".to_owned(), header: Some("tenant".to_owned()), attribute: None };
    let mapping = codec::Mapping::parse("metrics", serde_json::json!({ "name": "metric" })).unwrap();
    let settings =
        codec::DecoderSettings { tenant: Some(rule.into()), mapping, ..codec::DecoderSettings::default() };
    let mut task = task((spec.build)(&settings));
    let mut run = |tenant: &[u8], payload: &str| {
        let out = give(&mut task, record(payload.as_bytes(), &[("tenant", tenant)]));
        (out, task.status())
    };
    let (out, status) = run(b"other", r#"{"metric": "q", "time": 1760000000, "value": 1}"#);
    assert!(out.is_empty());
    assert_eq!((status.rows_of_others, status.rows_left_out, status.watermark_ms), (1, 0, None));
    let (out, status) = run(b"acme", r#"{"metric": "q", "time": 1760000000, "value": null}"#);
    assert!(out.is_empty());
    assert_eq!((status.rows_of_others, status.rows_left_out), (1, 1));
    // What the mapping asks for is not there.
    let (out, _) = run(b"acme", r#"{"name": "q", "time": 1760000000, "value": 1}"#);
    assert_eq!((out.len(), out[0].topic), (1, OutputTopic::DeadLetter));
    let reason = out[0].headers.iter().find(|(name, _)| name == dead_letter::REASON_HEADER);
    assert_eq!(reason.unwrap().1, b"no JSON sample: it has none of the members metric");
    let (out, status) = run(b"acme", r#"{"metric": "q", "time": 1760000000, "value": 1}"#);
    assert!(out.iter().any(|output| output.topic == OutputTopic::Samples) && status.watermark_ms.is_some());
}
