//! What each part of OTLP becomes.

use foreshock_codec::{Dropped, Limits, Rejected};
use prost::Message;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::common::v1::{AnyValue, KeyValue, KeyValueList, any_value};
use proto::opentelemetry::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proto::opentelemetry::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    Summary, SummaryDataPoint, metric::Data, number_data_point::Value, summary_data_point::ValueAtQuantile,
};
use proto::opentelemetry::resource::v1::Resource;
use proto::opentelemetry::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::{any, attribute, decode, decode_within, lines, resource};

const MS: u64 = 1_000_000;

pub fn metrics(resource: Option<Resource>, metrics: Vec<(&str, Data)>) -> Vec<u8> {
    let metrics = metrics
        .into_iter()
        .map(|(name, data)| Metric { name: name.to_owned(), data: Some(data), ..Default::default() })
        .collect();
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

pub fn number(value: Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![attribute("zone", "a,b"), attribute("host", "h1")],
        start_time_unix_nano: 5 * MS,
        time_unix_nano: 9 * MS + 999_999,
        value: Some(value),
        ..Default::default()
    }
}

fn sum(aggregation_temporality: i32, is_monotonic: bool, value: i64) -> Data {
    Data::Sum(Sum { data_points: vec![number(Value::AsInt(value))], aggregation_temporality, is_monotonic })
}

#[test]
fn numbers() {
    let gauge = |points| Data::Gauge(Gauge { data_points: points });
    let stale = NumberDataPoint { flags: 1, ..number(Value::AsDouble(0.0)) };
    let timeless = NumberDataPoint { time_unix_nano: 0, ..number(Value::AsDouble(0.0)) };
    let empty = NumberDataPoint { value: None, ..number(Value::AsDouble(0.0)) };
    let takeover = NumberDataPoint {
        attributes: vec![attribute("service.name", "other"), attribute("__name__", "other")],
        start_time_unix_nano: 0,
        ..number(Value::AsDouble(1.5))
    };
    let points = vec![
        number(Value::AsDouble(0.25)),
        number(Value::AsDouble(f64::NAN)),
        number(Value::AsDouble(f64::INFINITY)),
        stale,
        timeless,
        empty,
        takeover,
    ];
    let payload = metrics(
        resource(&[("service.name", "cart"), ("service.namespace", "shop"), ("pod", "p1")]),
        vec![
            ("g", gauge(points)),
            ("c", sum(2, true, 1)),
            ("u", sum(2, false, -2)),
            ("d", sum(1, true, 3)),
            ("x", sum(0, true, 4)),
        ],
    );
    let (telemetry, dropped) = decode("metrics", &[], &payload).unwrap();
    let expected = [
        r"Gauge __name__=g,host=h1,service.name=shop/cart,zone=a\,b start Some(5) at 9 = 0.25",
        r"Gauge __name__=g,service.name=shop/cart start None at 9 = 1.5",
        r"Counter __name__=c,host=h1,service.name=shop/cart,zone=a\,b start Some(5) at 9 = 1",
        r"Gauge __name__=u,host=h1,service.name=shop/cart,zone=a\,b start Some(5) at 9 = -2",
        r"Delta __name__=d,host=h1,service.name=shop/cart,zone=a\,b start Some(5) at 9 = 3",
    ];
    assert_eq!(lines(&telemetry), expected);
    assert_eq!(
        dropped,
        Dropped { non_finite: 2, no_value: 1, no_time: 1, malformed: 2, ..Dropped::default() }
    );
    assert_eq!(dropped.total(), 6);
}

#[test]
fn histograms_and_summaries() {
    let point = |bounds: &[f64], counts: &[u64]| HistogramDataPoint {
        time_unix_nano: 9 * MS,
        count: 3,
        sum: Some(2.5),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..Default::default()
    };
    let points = vec![
        point(&[1.0, 2.0], &[1, 1, 1]),
        point(&[2.0, 1.0], &[1, 1, 1]),
        point(&[1.0], &[3]),
        HistogramDataPoint { sum: None, ..point(&[], &[]) },
    ];
    let summary = SummaryDataPoint {
        time_unix_nano: 9 * MS,
        count: 4,
        sum: 10.0,
        quantile_values: vec![
            ValueAtQuantile { quantile: 0.5, value: 2.0 },
            ValueAtQuantile { quantile: 0.99, value: f64::NAN },
        ],
        ..Default::default()
    };
    let payload = metrics(
        None,
        vec![
            ("h", Data::Histogram(Histogram { data_points: points, aggregation_temporality: 1 })),
            ("s", Data::Summary(Summary { data_points: vec![summary] })),
        ],
    );
    let (telemetry, dropped) = decode("metrics", &[], &payload).unwrap();
    let expected = [
        "Gauge __name__=s,quantile=0.5,service.name=unknown_service start None at 9 = 2",
        "Counter __name__=s_count,service.name=unknown_service start None at 9 = 4",
        "Counter __name__=s_sum,service.name=unknown_service start None at 9 = 10",
        "HistogramRow { labels: \"__name__=h,service.name=unknown_service\", time_ms: 9, start_ms: None, delta: true, \
         count: 3, sum: 2.5, bounds: [1.0, 2.0], counts: [1, 1, 1] }",
        "HistogramRow { labels: \"__name__=h,service.name=unknown_service\", time_ms: 9, start_ms: None, delta: true, \
         count: 3, sum: NaN, bounds: [], counts: [] }",
    ];
    assert_eq!(lines(&telemetry), expected);
    assert_eq!(dropped, Dropped { non_finite: 1, malformed: 2, ..Dropped::default() });
}

#[test]
fn logs() {
    let record = |time, observed, body| LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed,
        body,
        ..Default::default()
    };
    let list = KeyValueList {
        values: vec![KeyValue {
            key: "n".into(),
            value: Some(AnyValue { value: Some(any_value::Value::IntValue(1)) }),
            ..Default::default()
        }],
    };
    let map = Some(AnyValue { value: Some(any_value::Value::KvlistValue(list)) });
    let log_records = vec![
        LogRecord {
            severity_number: 17,
            trace_id: 5u128.to_be_bytes().to_vec(),
            span_id: 6u64.to_be_bytes().to_vec(),
            ..record(3 * MS, 9 * MS, any("failed"))
        },
        LogRecord { severity_text: "WARN".into(), ..record(0, 9 * MS, map) },
        LogRecord { severity_number: 99, event_name: "started".into(), ..record(4 * MS, 0, None) },
        record(0, 0, any("when?")),
    ];
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(&[("service.name", "cart")]),
            scope_logs: vec![ScopeLogs { log_records, ..Default::default() }],
            ..Default::default()
        }],
    };
    let (telemetry, dropped) = decode("logs", &[], &request.encode_to_vec()).unwrap();
    let expected = [
        r#"LogRow { time_ms: 3, service: "cart", severity: 17, body: "failed", trace_id: Some(5), span_id: Some(6) }"#,
        r#"LogRow { time_ms: 9, service: "cart", severity: 13, body: "{\"n\":1}", trace_id: None, span_id: None }"#,
        r#"LogRow { time_ms: 4, service: "cart", severity: 0, body: "started", trace_id: None, span_id: None }"#,
    ];
    assert_eq!(lines(&telemetry), expected);
    assert_eq!(dropped, Dropped { no_time: 1, ..Dropped::default() });
}

#[test]
fn spans() {
    let span = |start, end| Span {
        trace_id: 5u128.to_be_bytes().to_vec(),
        span_id: 6u64.to_be_bytes().to_vec(),
        name: "GET /".into(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..Default::default()
    };
    let error = Some(Status { code: 2, ..Default::default() });
    let spans = vec![
        Span { parent_span_id: 7u64.to_be_bytes().to_vec(), status: error, ..span(3_999, 9_000) },
        Span { kind: 77, parent_span_id: vec![0; 8], ..span(9_000, 3_000) },
        Span { trace_id: Vec::new(), ..span(1_000, 2_000) },
        span(0, 2_000),
    ];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(&[("service.name", "cart")]),
            scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
            ..Default::default()
        }],
    };
    let (telemetry, dropped) = decode("spans", &[], &request.encode_to_vec()).unwrap();
    let expected = [
        r#"SpanRow { start_us: 3, duration_us: 5, trace_id: 5, span_id: 6, parent: Some(7), service: "cart", operation: "GET /", kind: 2, error: true }"#,
        r#"SpanRow { start_us: 9, duration_us: 0, trace_id: 5, span_id: 6, parent: None, service: "cart", operation: "GET /", kind: 0, error: false }"#,
    ];
    assert_eq!(lines(&telemetry), expected);
    assert_eq!(dropped, Dropped { no_time: 1, malformed: 1, ..Dropped::default() });
}

#[test]
fn limits_are_kept() {
    let payload = metrics(
        resource(&[("service.name", "cart")]),
        vec![("g", Data::Gauge(Gauge { data_points: vec![number(Value::AsDouble(1.0)); 3] }))],
    );
    let rejected = |limits| decode_within(limits, "metrics", &[], &payload).unwrap_err();
    let limits = Limits::default();
    let bytes = payload.len();
    assert_eq!(
        rejected(Limits { payload_bytes_max: bytes - 1, ..limits }),
        Rejected::PayloadTooLarge { bytes, limit: bytes - 1 }
    );
    assert_eq!(rejected(Limits { rows_max: 2, ..limits }), Rejected::TooManyRows { limit: 2 });
    assert_eq!(rejected(Limits { text_bytes_max: 60, ..limits }), Rejected::TooMuchText { limit: 60 });
    assert!(
        decode_within(Limits { payload_bytes_max: bytes, rows_max: 3, ..limits }, "metrics", &[], &payload)
            .is_ok()
    );
    assert_eq!(decode("metrics", &[], b"\x0a\xff").unwrap_err().code(), "protobuf");
}

/// A summary whose quantiles give no rows takes no memory for their names.
#[test]
fn quantiles_without_a_value_are_only_counted() {
    let quantile_values =
        (0..1000).map(|i| ValueAtQuantile { quantile: f64::from(i), value: f64::NAN }).collect();
    let summary =
        SummaryDataPoint { time_unix_nano: 9 * MS, sum: f64::NAN, quantile_values, ..Default::default() };
    let name = "x".repeat(1000);
    let payload = metrics(None, vec![(&name, Data::Summary(Summary { data_points: vec![summary] }))]);
    let (telemetry, dropped) = decode("metrics", &[], &payload).unwrap();
    assert_eq!(lines(&telemetry).len(), 1);
    assert_eq!(dropped, Dropped { non_finite: 1001, ..Dropped::default() });
}
