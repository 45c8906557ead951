//! How fast OTLP becomes Arrow, on one core, next to prost.
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
        messages(&title, series, &records, |payload| {
            ExportMetricsServiceRequest::decode(payload)
                .is_ok_and(|request| !black_box(request).resource_metrics.is_empty())
        });
    }
    let records = logs();
    compare("logs, 6 attributes", 20_000, &records, "logs", |limits| {
        Box::new(oracle::LogsDecoder::new(limits))
    });
    messages("logs, 6 attributes", 20_000, &records, |payload| {
        ExportLogsServiceRequest::decode(payload)
            .is_ok_and(|request| !black_box(request).resource_logs.is_empty())
    });
    let records = spans();
    compare("spans, 8 attributes", 20_000, &records, "spans", |limits| {
        Box::new(oracle::SpansDecoder::new(limits))
    });
    messages("spans, 8 attributes", 20_000, &records, |payload| {
        ExportTraceServiceRequest::decode(payload)
            .is_ok_and(|request| !black_box(request).resource_spans.is_empty())
    });
}

fn compare(
    title: &str,
    rows: usize,
    records: &[Vec<u8>],
    signal: &str,
    prost: fn(Limits) -> Box<dyn Decoder>,
) {
    let mut decoder = decoder(signal, "otlp_proto", Limits::default()).expect("a decoder of the list");
    report(title, "foreshock, first", rows, seconds(|| read(decoder.as_mut(), records, rows)));
    report(title, "foreshock", rows, median(|| read(decoder.as_mut(), records, rows)));
    let mut decoder = prost(Limits::default());
    report(title, "prost, batches", rows, median(|| read(decoder.as_mut(), records, rows)));
}

fn messages(title: &str, rows: usize, records: &[Vec<u8>], decode: impl Fn(&[u8]) -> bool) {
    let all = || assert!(records.iter().all(|payload| decode(payload)));
    report(title, "prost, messages", rows, median(all));
}

fn read(decoder: &mut dyn Decoder, records: &[Vec<u8>], rows: usize) {
    let mut count = 0;
    let mut out = Vec::new();
    for payload in records {
        let record = SourceRecord { topic: "t", partition: 0, offset: 0, key: None, headers: &[], payload };
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
