//! Batches to OTLP and CloudEvents: what `decoder` reads, for writing test data and for examples.

use jiff::Timestamp;
use model::labels::{NAME, SERVICE};
use model::{EventRow, HistogramBatch, Labels, LogBatch, MetricKind, SampleBatch, SpanBatch};
use prost::Message;
use proto::opentelemetry::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use proto::opentelemetry::common::v1::{AnyValue, KeyValue, any_value};
use proto::opentelemetry::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proto::opentelemetry::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric::Data, number_data_point,
};
use proto::opentelemetry::resource::v1::Resource;
use proto::opentelemetry::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, status::StatusCode};
use serde_json::json;

/// An export request for metrics. Neighbouring rows of one service share a resource.
pub fn samples(batch: &SampleBatch) -> Vec<u8> {
    metrics(batch.rows().map(|row| {
        let labels = Labels::parse(row.labels);
        let point = NumberDataPoint {
            attributes: attributes(&labels),
            start_time_unix_nano: row.start_ms.map_or(0, nanoseconds),
            time_unix_nano: nanoseconds(row.time_ms),
            value: Some(number_data_point::Value::AsDouble(row.value)),
            ..Default::default()
        };
        let data_points = vec![point];
        let sum = |temporality: AggregationTemporality, data_points| {
            Data::Sum(Sum { data_points, aggregation_temporality: temporality as i32, is_monotonic: true })
        };
        let data = match row.kind {
            MetricKind::Gauge => Data::Gauge(Gauge { data_points }),
            MetricKind::Counter => sum(AggregationTemporality::Cumulative, data_points),
            MetricKind::Delta => sum(AggregationTemporality::Delta, data_points),
        };
        (labels, data)
    }))
}

/// An export request for metrics, all histograms with explicit bounds.
pub fn histograms(batch: &HistogramBatch) -> Vec<u8> {
    metrics(batch.rows().map(|row| {
        let labels = Labels::parse(row.labels);
        let point = HistogramDataPoint {
            attributes: attributes(&labels),
            start_time_unix_nano: row.start_ms.map_or(0, nanoseconds),
            time_unix_nano: nanoseconds(row.time_ms),
            count: row.count,
            sum: Some(row.sum).filter(|sum| !sum.is_nan()),
            bucket_counts: row.counts.to_vec(),
            explicit_bounds: row.bounds.to_vec(),
            ..Default::default()
        };
        let temporality =
            if row.delta { AggregationTemporality::Delta } else { AggregationTemporality::Cumulative };
        let histogram = Histogram { data_points: vec![point], aggregation_temporality: temporality as i32 };
        (labels, Data::Histogram(histogram))
    }))
}

fn metrics(rows: impl Iterator<Item = (Labels, Data)>) -> Vec<u8> {
    let metrics = rows.map(|(labels, data)| {
        let metric = Metric { name: labels.name().to_owned(), data: Some(data), ..Default::default() };
        (labels.service().to_owned(), metric)
    });
    let resource_metrics = by_service(metrics, |service, metrics| ResourceMetrics {
        resource: resource(service),
        scope_metrics: vec![ScopeMetrics { metrics, ..Default::default() }],
        ..Default::default()
    });
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// An export request for logs.
pub fn logs(batch: &LogBatch) -> Vec<u8> {
    let records = batch.rows().map(|row| {
        let record = LogRecord {
            time_unix_nano: nanoseconds(row.time_ms),
            observed_time_unix_nano: nanoseconds(row.time_ms),
            severity_number: i32::from(row.severity),
            body: Some(text(row.body)),
            trace_id: row.trace_id.map_or(Vec::new(), |id| id.to_be_bytes().to_vec()),
            span_id: row.span_id.map_or(Vec::new(), |id| id.to_be_bytes().to_vec()),
            ..Default::default()
        };
        (row.service.to_owned(), record)
    });
    let resource_logs = by_service(records, |service, log_records| ResourceLogs {
        resource: resource(service),
        scope_logs: vec![ScopeLogs { log_records, ..Default::default() }],
        ..Default::default()
    });
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// An export request for spans.
pub fn spans(batch: &SpanBatch) -> Vec<u8> {
    let spans = batch.rows().map(|row| {
        let start = u64::try_from(row.start_us).unwrap_or(0).saturating_mul(1000);
        let span = Span {
            trace_id: row.trace_id.to_be_bytes().to_vec(),
            span_id: row.span_id.to_be_bytes().to_vec(),
            parent_span_id: row.parent.map_or(Vec::new(), |id| id.to_be_bytes().to_vec()),
            name: row.operation.to_owned(),
            kind: i32::from(row.kind),
            start_time_unix_nano: start,
            end_time_unix_nano: start
                .saturating_add(u64::try_from(row.duration_us).unwrap_or(0).saturating_mul(1000)),
            status: row.error.then(|| Status { code: StatusCode::Error as i32, ..Default::default() }),
            ..Default::default()
        };
        (row.service.to_owned(), span)
    });
    let resource_spans = by_service(spans, |service, spans| ResourceSpans {
        resource: resource(service),
        scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
        ..Default::default()
    });
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A CloudEvent in structured mode, to send with the header `content-type: application/cloudevents+json`.
pub fn cloud_event(row: &EventRow<'_>) -> Vec<u8> {
    let time = Timestamp::from_millisecond(row.time_ms).unwrap_or_default();
    json!({
        "specversion": "1.0",
        "id": row.id,
        "source": row.source,
        "type": format!("dev.foreshock.{}", row.kind),
        "subject": row.service,
        "time": time.to_string(),
        "datacontenttype": "application/json",
        "data": { "service": row.service, "summary": row.summary },
    })
    .to_string()
    .into_bytes()
}

/// Groups neighbours of one service, in order.
fn by_service<T, R>(rows: impl Iterator<Item = (String, T)>, group: impl Fn(String, Vec<T>) -> R) -> Vec<R> {
    let mut groups: Vec<(String, Vec<T>)> = Vec::new();
    for (service, row) in rows {
        match groups.last_mut() {
            Some((last, rows)) if *last == service => rows.push(row),
            _ => groups.push((service, vec![row])),
        }
    }
    groups.into_iter().map(|(service, rows)| group(service, rows)).collect()
}

fn resource(service: String) -> Option<Resource> {
    let attributes = vec![attribute(SERVICE, &service)];
    Some(Resource { attributes, ..Default::default() })
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let of_point = |(key, _): &(&str, &str)| *key != SERVICE && *key != NAME;
    labels.iter().filter(of_point).map(|(key, value)| attribute(key, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(text(value)), ..Default::default() }
}

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }
}

/// OTLP has no times before 1970; they become 0, which is unknown.
fn nanoseconds(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000)
}
