//! How fast OTLP, remote write and JSON samples become Arrow, on one core, next to prost and `serde_json::Value`.
//!
//! `cargo run --release -p foreshock-codec --example decode_speed`
//!
//! Each row is the median of several runs over the same records. `foreshock` is the decoder of the product from bytes to
//! batches, for metrics with the id of every series; its first run, in which no series is known, is given beside it.
//! `prost, batches` does the same with messages that prost builds, `prost, messages` only builds them.

#[path = "../tests/it"]
mod it {
    pub mod oracle;
}

use std::hint::black_box;
use std::time::Instant;

use foreshock_codec::{Decoder, Limits, decoder};
use model::{SeriesId, SourceRecord, Telemetry};
use prost::Message;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::common::v1::{AnyValue, KeyValue, any_value};
use proto::opentelemetry::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proto::opentelemetry::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point::Value,
};
use proto::opentelemetry::resource::v1::Resource;
use proto::opentelemetry::trace::v1::{ResourceSpans, ScopeSpans, Span};

use it::oracle;

const RUNS: usize = 9;
const TIME_NS: u64 = 1_760_000_000_000_000_000;

fn main() {
    println!("{:<34} {:<18} {:>12} {:>9}", "records", "reader", "M rows/s", "ns/row");
    for (points_of_a_metric, series) in [(50, 10_000), (1, 10_000), (50, 200_000)] {
        let records = metrics(points_of_a_metric, series);
        let title = format!("metrics, {series} series, {points_of_a_metric} a metric");
        compare(&title, series, &records, "metrics", |limits| Box::new(oracle::MetricsDecoder::new(limits)));
        messages(&title, series, &records, "prost, messages", |payload| {
            ExportMetricsServiceRequest::decode(payload)
                .is_ok_and(|request| !black_box(request).resource_metrics.is_empty())
        });
    }
    let records = logs();
    compare("logs, 6 attributes", 20_000, &records, "logs", |limits| {
        Box::new(oracle::LogsDecoder::new(limits))
    });
    messages("logs, 6 attributes", 20_000, &records, "prost, messages", |payload| {
        ExportLogsServiceRequest::decode(payload)
            .is_ok_and(|request| !black_box(request).resource_logs.is_empty())
    });
    let records = spans();
    compare("spans, 8 attributes", 20_000, &records, "spans", |limits| {
        Box::new(oracle::SpansDecoder::new(limits))
    });
    messages("spans, 8 attributes", 20_000, &records, "prost, messages", |payload| {
        ExportTraceServiceRequest::decode(payload)
            .is_ok_and(|request| !black_box(request).resource_spans.is_empty())
    });
    remote_write_and_json();
}

fn remote_write_and_json() {
    let title = "remote write 1.0, 10000 series";
    let records = remote_write(10_000);
    product(title, 10_000, &records, ("metrics", "prometheus_remote_write"));
    messages(title, 10_000, &records, "prost, messages", |payload| {
        let payload = snap::raw::Decoder::new().decompress_vec(payload).expect("a block of Snappy");
        WriteRequest::decode(payload.as_slice())
            .is_ok_and(|request| !black_box(request).timeseries.is_empty())
    });
    for samples_of_a_record in [1, 1000] {
        let title = format!("JSON, 6 labels, {samples_of_a_record} a record");
        let records = json(10_000, samples_of_a_record);
        product(&title, 10_000, &records, ("metrics", "json"));
        messages(&title, 10_000, &records, "serde_json::Value", |payload| {
            let values = serde_json::Deserializer::from_slice(payload).into_iter::<serde_json::Value>();
            values.map(black_box).all(|value| value.is_ok())
        });
    }
}

fn compare(
    title: &str,
    rows: usize,
    records: &[Vec<u8>],
    signal: &str,
    prost: fn(Limits) -> Box<dyn Decoder>,
) {
    product(title, rows, records, (signal, "otlp_proto"));
    let mut decoder = prost(Limits::default());
    report(title, "prost, batches", rows, median(|| read(decoder.as_mut(), records, rows)));
}

fn product(title: &str, rows: usize, records: &[Vec<u8>], (signal, encoding): (&str, &str)) {
    let mut decoder = decoder(signal, encoding, Limits::default()).expect("a decoder of the list");
    report(title, "foreshock, first", rows, seconds(|| read(decoder.as_mut(), records, rows)));
    report(title, "foreshock", rows, median(|| read(decoder.as_mut(), records, rows)));
}

fn messages(title: &str, rows: usize, records: &[Vec<u8>], reader: &str, decode: impl Fn(&[u8]) -> bool) {
    let all = || assert!(records.iter().all(|payload| decode(payload)));
    report(title, reader, rows, median(all));
}

fn read(decoder: &mut dyn Decoder, records: &[Vec<u8>], rows: usize) {
    let mut count = 0;
    let mut out = Vec::new();
    for payload in records {
        let record = SourceRecord {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            headers: &[],
            payload,
        };
        decoder.decode(record, &mut out).expect("a valid record");
        for batch in out.drain(..) {
            if let Telemetry::Samples(batch) = &batch {
                for labels in batch.label_values().iter().flatten() {
                    black_box(SeriesId::of_canonical(labels));
                }
            }
            count += batch.record_batch().num_rows();
            black_box(batch);
        }
    }
    assert_eq!(count, rows, "every row is read");
}

fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..RUNS).map(|_| seconds(&mut run)).collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn report(title: &str, reader: &str, rows: usize, seconds: f64) {
    let per_row = seconds / rows as f64;
    println!("{title:<34} {reader:<18} {:>12.2} {:>9.0}", 1e-6 / per_row, per_row * 1e9);
}

fn attribute(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn resource(service: usize) -> Option<Resource> {
    let attributes = vec![
        attribute("service.name", format!("service-{service}")),
        attribute("service.namespace", "shop".to_owned()),
        attribute("host.name", format!("node-{service}.example.internal")),
        attribute("k8s.pod.name", format!("service-{service}-5d9f7c6b8-x2x{service}")),
    ];
    Some(Resource { attributes, ..Default::default() })
}

/// Eight attributes of which some are the same for all rows, as they are in practice.
fn attributes(row: usize) -> Vec<KeyValue> {
    vec![
        attribute("http.request.method", ["GET", "POST", "PUT"][row % 3].to_owned()),
        attribute("http.response.status_code", (200 + row % 7).to_string()),
        attribute("http.route", format!("/api/v1/things/{}", row % 50)),
        attribute("server.address", format!("shop-{}.example.internal", row % 11)),
        attribute("url.scheme", "https".to_owned()),
        attribute("network.protocol.version", "1.1".to_owned()),
        attribute("deployment.environment.name", "production".to_owned()),
        attribute("instance", format!("instance-{row}")),
    ]
}

/// One scrape of all series, about 5000 points a record.
fn metrics(points_of_a_metric: usize, series: usize) -> Vec<Vec<u8>> {
    let point = |row: usize| NumberDataPoint {
        attributes: attributes(row),
        start_time_unix_nano: TIME_NS,
        time_unix_nano: TIME_NS + 15_000_000_000,
        value: Some(Value::AsDouble(row as f64 * 0.5)),
        ..Default::default()
    };
    let metric = |rows: &[usize]| {
        let data_points = rows.iter().map(|row| point(*row)).collect();
        let data = Some(Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true }));
        Metric { name: format!("http.server.requests.{}", rows[0] % 40), data, ..Default::default() }
    };
    let rows: Vec<usize> = (0..series).collect();
    let records = rows.chunks(5000).enumerate().map(|(i, rows)| {
        let metrics = rows.chunks(points_of_a_metric).map(metric).collect();
        let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
        let resource_metrics =
            vec![ResourceMetrics { resource: resource(i), scope_metrics, ..Default::default() }];
        ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
    });
    records.collect()
}

fn logs() -> Vec<Vec<u8>> {
    let log = |row: usize| LogRecord {
        time_unix_nano: TIME_NS + row as u64,
        observed_time_unix_nano: TIME_NS + row as u64,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: attribute(
            "",
            format!(
                "request {row} from 10.0.{}.7 took {} ms and was answered with 200 in time",
                row % 256,
                row % 90
            ),
        )
        .value,
        attributes: attributes(row)[..6].to_vec(),
        trace_id: (row as u128 + 1).to_be_bytes().to_vec(),
        span_id: (row as u64 + 1).to_be_bytes().to_vec(),
        ..Default::default()
    };
    let records = (0..20).map(|i| {
        let log_records = (0..1000).map(|row| log(i * 1000 + row)).collect();
        let scope_logs = vec![ScopeLogs { log_records, ..Default::default() }];
        let resource_logs = vec![ResourceLogs { resource: resource(i), scope_logs, ..Default::default() }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    });
    records.collect()
}

fn spans() -> Vec<Vec<u8>> {
    let span = |row: usize| Span {
        trace_id: (row as u128 / 10 + 1).to_be_bytes().to_vec(),
        span_id: (row as u64 + 1).to_be_bytes().to_vec(),
        parent_span_id: (row as u64 / 2 + 1).to_be_bytes().to_vec(),
        name: format!("GET /api/v1/things/{}", row % 50),
        kind: 2,
        start_time_unix_nano: TIME_NS + row as u64,
        end_time_unix_nano: TIME_NS + row as u64 + 3_000_000,
        attributes: attributes(row),
        ..Default::default()
    };
    let records = (0..20).map(|i| {
        let spans = (0..1000).map(|row| span(i * 1000 + row)).collect();
        let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
        let resource_spans = vec![ResourceSpans { resource: resource(i), scope_spans, ..Default::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    });
    records.collect()
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<WrittenSample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct WrittenSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// The labels of [`attributes`] as Prometheus names them.
fn labels(row: usize) -> Vec<(String, String)> {
    let text = |attribute: KeyValue| match attribute.value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => (attribute.key.replace('.', "_"), text),
        _ => unreachable!("the attributes are text"),
    };
    let mut labels: Vec<(String, String)> = attributes(row).into_iter().map(text).collect();
    labels.sort();
    labels
}

fn remote_write(series: usize) -> Vec<Vec<u8>> {
    let time_series = |row: usize| {
        let name = ("__name__".to_owned(), format!("http_requests_{}_total", row % 40));
        let job = ("job".to_owned(), "shop/cart".to_owned());
        let labels = [name].into_iter().chain(labels(row)).chain([job]);
        let labels = labels.map(|(name, value)| Label { name, value }).collect();
        let samples =
            vec![WrittenSample { value: row as f64 * 0.5, timestamp: (TIME_NS / 1_000_000) as i64 }];
        TimeSeries { labels, samples }
    };
    let rows: Vec<usize> = (0..series).collect();
    let records = rows.chunks(2000).map(|rows| {
        let timeseries = rows.iter().map(|row| time_series(*row)).collect();
        let payload = WriteRequest { timeseries }.encode_to_vec();
        snap::raw::Encoder::new().compress_vec(&payload).expect("less than 4 GiB")
    });
    records.collect()
}

fn json(series: usize, samples_of_a_record: usize) -> Vec<Vec<u8>> {
    let line = |row: &usize| {
        let labels: serde_json::Map<String, serde_json::Value> =
            labels(*row).into_iter().take(6).map(|(name, value)| (name, value.into())).collect();
        let sample = serde_json::json!({
            "timestamp": TIME_NS / 1_000_000,
            "name": format!("http_requests_{}_total", row % 40),
            "value": *row as f64 * 0.5,
            "service": "cart",
            "labels": labels,
        });
        format!("{sample}\n")
    };
    let rows: Vec<usize> = (0..series).collect();
    rows.chunks(samples_of_a_record)
        .map(|rows| rows.iter().map(line).collect::<String>().into_bytes())
        .collect()
}
