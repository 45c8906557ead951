//! What is written reads back the same.

use foreshock_codec::{encode, ipc};
use model::{
    EventBatchBuilder, EventRow, HistogramBatchBuilder, HistogramRow, Labels, LogBatchBuilder, LogRow,
    MetricKind, SampleBatchBuilder, SampleRow, SpanBatchBuilder, SpanRow, Telemetry,
};
use proptest::prelude::*;

use crate::decode;

fn labels() -> impl Strategy<Value = String> {
    let pairs = proptest::collection::vec(("[a-z=,]{1,3}", "[a-z=,\\\\é]{0,3}"), 0..4);
    (pairs, "[a-z]{1,8}", "[a-z/]{1,8}").prop_map(|(pairs, name, service)| {
        let own = [("__name__".to_owned(), name), ("service.name".to_owned(), service)];
        Labels::new(pairs.into_iter().chain(own)).canonical()
    })
}

fn time() -> std::ops::Range<i64> {
    1..4_000_000_000_000
}

fn samples() -> impl Strategy<Value = Telemetry> {
    let row = (labels(), 0..3u8, time(), proptest::option::of(time()), -1e300..1e300f64);
    proptest::collection::vec(row, 1..20).prop_map(|rows| {
        let mut batch = SampleBatchBuilder::default();
        for (labels, kind, time_ms, start_ms, value) in &rows {
            let kind = [MetricKind::Gauge, MetricKind::Counter, MetricKind::Delta][usize::from(*kind)];
            let (time_ms, start_ms, value) = (*time_ms, *start_ms, *value);
            batch.push(&SampleRow { labels, kind, time_ms, start_ms, value });
        }
        Telemetry::Samples(batch.finish())
    })
}

fn histograms() -> impl Strategy<Value = Telemetry> {
    let row = (labels(), time(), any::<bool>(), 0..9u64, proptest::collection::vec(0..9u64, 1..6));
    proptest::collection::vec(row, 1..20).prop_map(|rows| {
        let mut batch = HistogramBatchBuilder::default();
        for (labels, time_ms, delta, count, counts) in &rows {
            let bounds: Vec<f64> = (1..counts.len()).map(|i| i as f64).collect();
            let (time_ms, delta, count, bounds) = (*time_ms, *delta, *count, bounds.as_slice());
            batch.push(&HistogramRow {
                labels,
                time_ms,
                start_ms: None,
                delta,
                count,
                sum: 0.5,
                bounds,
                counts,
            });
        }
        Telemetry::Histograms(batch.finish())
    })
}

fn spans() -> impl Strategy<Value = Telemetry> {
    let row = (
        time(),
        0..9_000_000i64,
        1..u128::MAX,
        1..u64::MAX,
        proptest::option::of(1..u64::MAX),
        "[a-z]{1,3}",
        0..6u8,
    );
    proptest::collection::vec(row, 1..20).prop_map(|rows| {
        let mut batch = SpanBatchBuilder::default();
        for (start_us, duration_us, trace_id, span_id, parent, name, kind) in &rows {
            batch.push(&SpanRow {
                start_us: *start_us,
                duration_us: *duration_us,
                trace_id: *trace_id,
                span_id: *span_id,
                parent: *parent,
                service: name,
                operation: name,
                kind: *kind,
                error: *kind == 1,
            });
        }
        Telemetry::Spans(batch.finish())
    })
}

fn logs() -> impl Strategy<Value = Telemetry> {
    let row = (time(), "[a-z]{1,3}", 0..25u8, ".{0,9}", proptest::option::of(1..u64::MAX));
    proptest::collection::vec(row, 1..20).prop_map(|rows| {
        let mut batch = LogBatchBuilder::default();
        for (time_ms, service, severity, body, id) in &rows {
            let (time_ms, severity, span_id, trace_id) = (*time_ms, *severity, *id, id.map(u128::from));
            batch.push(&LogRow { time_ms, service, severity, body, trace_id, span_id });
        }
        Telemetry::Logs(batch.finish())
    })
}

fn events() -> impl Strategy<Value = Telemetry> {
    (time(), "[a-z]{1,3}", 0..4usize, ".{1,9}").prop_map(|(time_ms, service, kind, text)| {
        let kind = ["deploy", "config", "kubernetes", "other"][kind];
        let mut batch = EventBatchBuilder::default();
        batch.push(&EventRow { time_ms, service: &service, kind, id: &text, summary: &text, source: &text });
        Telemetry::Events(batch.finish())
    })
}

fn encoded(telemetry: &Telemetry) -> (&'static str, Vec<u8>) {
    match telemetry {
        Telemetry::Samples(batch) => ("metrics", encode::samples(batch)),
        Telemetry::Histograms(batch) => ("metrics", encode::histograms(batch)),
        Telemetry::Spans(batch) => ("spans", encode::spans(batch)),
        Telemetry::Logs(batch) => ("logs", encode::logs(batch)),
        Telemetry::Events(batch) => ("events", encode::cloud_event(&batch.rows().next().unwrap())),
    }
}

proptest! {
    #[test]
    fn telemetry_reads_back(telemetry in prop_oneof![samples(), histograms(), spans(), logs(), events()]) {
        let (signal, payload) = encoded(&telemetry);
        let (decoded, dropped) = decode(signal, &[], &payload).unwrap();
        prop_assert_eq!(dropped.total(), 0);
        prop_assert_eq!(decoded.as_slice(), std::slice::from_ref(&telemetry));

        let bytes = ipc::to_bytes(&telemetry);
        prop_assert_eq!(ipc::from_bytes(telemetry.kind(), &bytes).unwrap(), telemetry);
    }
}

#[test]
fn ipc_refuses_other_kinds_and_other_bytes() {
    let telemetry = Telemetry::Samples(SampleBatchBuilder::default().finish());
    let bytes = ipc::to_bytes(&telemetry);
    assert_eq!(ipc::from_bytes("samples", &bytes).unwrap(), telemetry);
    assert!(matches!(ipc::from_bytes("logs", &bytes), Err(ipc::IpcError::Schema(_))));
    assert!(ipc::from_bytes("samples", b"").is_err());
    assert!(ipc::from_bytes("samples", b"no stream at all, for sure").is_err());
}
