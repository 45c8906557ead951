use super::*;

fn sample<'a>(labels: &'a str, time_ms: i64) -> SampleRow<'a> {
    SampleRow { labels, kind: MetricKind::Counter, time_ms, start_ms: (time_ms > 1).then_some(1), value: 0.5 }
}

#[test]
fn rows_read_back_and_labels_are_kept_once() {
    let rows = [sample("a=1", 1), sample("b=2", 2), sample("a=1", 3)];
    let mut builder = SampleBatchBuilder::default();
    rows.iter().for_each(|row| builder.push(row));
    let batch = builder.finish();
    assert_eq!(batch.rows().collect::<Vec<_>>(), rows);
    assert_eq!(batch.label_keys(), [0, 1, 0]);
    assert_eq!(batch.label_values().len(), 2);
    assert!(builder.finish().is_empty(), "the builder starts anew");
}

#[test]
fn histogram_rows_read_back_also_from_a_slice() {
    let row = |bounds, counts| HistogramRow {
        labels: "a=1",
        time_ms: 1,
        start_ms: None,
        delta: true,
        count: 3,
        sum: 2.0,
        bounds,
        counts,
    };
    let rows = [row(&[1.0, 2.0], &[1, 1, 1]), row(&[], &[]), row(&[5.0], &[3, 0])];
    let mut builder = HistogramBatchBuilder::default();
    rows.iter().for_each(|row| builder.push(row));
    let batch = builder.finish();
    assert_eq!(batch.rows().collect::<Vec<_>>(), rows);
    let slice = HistogramBatch::try_from_record_batch(batch.record_batch().slice(1, 2)).unwrap();
    assert_eq!(slice.rows().collect::<Vec<_>>(), rows[1..]);
}

#[test]
fn spans_logs_and_events_read_back() {
    let span = |parent| SpanRow {
        start_us: 5,
        duration_us: 7,
        trace_id: u128::MAX - 1,
        span_id: u64::MAX,
        parent,
        service: "cart",
        operation: "GET /",
        kind: 2,
        error: true,
    };
    let mut spans = SpanBatchBuilder::default();
    [span(None), span(Some(9))].iter().for_each(|row| spans.push(row));
    assert_eq!(spans.finish().rows().collect::<Vec<_>>(), [span(None), span(Some(9))]);

    let log = |ids: Option<u64>| LogRow {
        time_ms: -1,
        service: "cart",
        severity: 17,
        body: "é failed",
        trace_id: ids.map(u128::from),
        span_id: ids,
    };
    let mut logs = LogBatchBuilder::default();
    [log(None), log(Some(3))].iter().for_each(|row| logs.push(row));
    assert_eq!(logs.finish().rows().collect::<Vec<_>>(), [log(None), log(Some(3))]);

    let event =
        EventRow { time_ms: 1, service: "cart", kind: "deploy", id: "1", summary: "v2", source: "ci" };
    let mut events = EventBatchBuilder::default();
    events.push(&event);
    let telemetry = Telemetry::Events(events.finish());
    let again = Telemetry::try_from_parts(telemetry.kind(), telemetry.record_batch().clone()).unwrap();
    assert_eq!(again, telemetry);
}

#[test]
fn other_columns_are_refused_in_words() {
    let events = EventBatchBuilder::default().finish();
    let message = LogBatch::try_from_record_batch(events.record_batch().clone()).unwrap_err().to_string();
    assert!(
        message.contains("logs") && message.contains("severity") && message.contains("summary"),
        "{message}"
    );
    assert!(Telemetry::try_from_parts("sample", events.record_batch().clone()).is_err());
}
