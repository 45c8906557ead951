//! Records as writers send them: the same series again and again, with other values and times.
//!
//! A record holds up to 2000 points, log records or spans: the Collector cuts batches so that they fit into a Kafka record of 1 MB.

use prost::Message;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use proto::opentelemetry::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proto::opentelemetry::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
    number_data_point::Value,
};
use proto::opentelemetry::resource::v1::Resource;
use proto::opentelemetry::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::peers;

const ROWS_OF_A_RECORD: usize = 2000;
const ROWS_OF_A_RESOURCE: usize = 250;
const START_NS: u64 = 1_760_000_000_000_000_000;

fn time_ns(pass: usize) -> u64 {
    START_NS + (pass as u64 + 1) * 15_000_000_000
}

fn value(row: usize, pass: usize) -> f64 {
    (row * 31 % 997) as f64 * 0.37 + pass as f64 * 1.5
}

fn attribute(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn resource(number: usize) -> Option<Resource> {
    let attributes = vec![
        attribute("service.name", format!("service-{number}")),
        attribute("service.namespace", "shop".to_owned()),
        attribute("service.instance.id", format!("9a1b2c3d-{number:04}")),
        attribute("host.name", format!("node-{number}.example.internal")),
        attribute("k8s.namespace.name", "shop".to_owned()),
        attribute("k8s.deployment.name", format!("service-{number}")),
        attribute("k8s.pod.name", format!("service-{number}-5d9f7c6b8-x2x{number}")),
    ];
    Some(Resource { attributes, ..Default::default() })
}

fn scope() -> Option<InstrumentationScope> {
    let (name, version) = ("io.opentelemetry.http".to_owned(), "2.9.0".to_owned());
    Some(InstrumentationScope { name, version, ..Default::default() })
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

/// Row numbers cut into records, and these into resources.
fn records(rows: usize, mut record: impl FnMut(Vec<&[usize]>) -> Vec<u8>) -> Vec<Vec<u8>> {
    let rows: Vec<usize> = (0..rows).collect();
    rows.chunks(ROWS_OF_A_RECORD).map(|rows| record(rows.chunks(ROWS_OF_A_RESOURCE).collect())).collect()
}

/// One scrape of all series.
pub fn metrics(series: usize, points_of_a_metric: usize, pass: usize) -> Vec<Vec<u8>> {
    let point = |row: &usize| NumberDataPoint {
        attributes: attributes(*row),
        start_time_unix_nano: START_NS,
        time_unix_nano: time_ns(pass),
        value: Some(Value::AsDouble(value(*row, pass))),
        ..Default::default()
    };
    let metric = |rows: &[usize]| {
        let number = rows[0] / points_of_a_metric % 40;
        let data_points = rows.iter().map(point).collect();
        let data = if number.is_multiple_of(2) {
            Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true })
        } else {
            Data::Gauge(Gauge { data_points })
        };
        Metric {
            name: format!("http.server.requests.{number}"),
            description: "What has been answered so far.".to_owned(),
            unit: "{request}".to_owned(),
            data: Some(data),
            ..Default::default()
        }
    };
    records(series, |resources| {
        let resource_metrics = resources.into_iter().map(|rows| {
            let metrics = rows.chunks(points_of_a_metric).map(metric).collect();
            let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..Default::default() }];
            ResourceMetrics {
                resource: resource(rows[0] / ROWS_OF_A_RESOURCE),
                scope_metrics,
                ..Default::default()
            }
        });
        ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }.encode_to_vec()
    })
}

pub fn logs(pass: usize) -> Vec<Vec<u8>> {
    let log = |row: &usize| LogRecord {
        time_unix_nano: time_ns(pass) + *row as u64,
        observed_time_unix_nano: time_ns(pass) + *row as u64,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: attribute(
            "",
            format!(
                "request {row} from 10.0.{}.7 took {} ms and was answered with 200 in time",
                row % 256,
                (row + pass) % 90
            ),
        )
        .value,
        attributes: attributes(*row)[..6].to_vec(),
        trace_id: ((*row + pass) as u128 + 1).to_be_bytes().to_vec(),
        span_id: ((*row + pass) as u64 + 1).to_be_bytes().to_vec(),
        ..Default::default()
    };
    records(20_000, |resources| {
        let resource_logs = resources.into_iter().map(|rows| {
            let scope_logs = vec![ScopeLogs {
                scope: scope(),
                log_records: rows.iter().map(log).collect(),
                ..Default::default()
            }];
            ResourceLogs {
                resource: resource(rows[0] / ROWS_OF_A_RESOURCE),
                scope_logs,
                ..Default::default()
            }
        });
        ExportLogsServiceRequest { resource_logs: resource_logs.collect() }.encode_to_vec()
    })
}

pub fn spans(pass: usize) -> Vec<Vec<u8>> {
    let span = |row: &usize| Span {
        trace_id: ((*row / 10 + pass) as u128 + 1).to_be_bytes().to_vec(),
        span_id: ((*row + pass) as u64 + 1).to_be_bytes().to_vec(),
        parent_span_id: (*row as u64 / 2 + 1).to_be_bytes().to_vec(),
        name: format!("GET /api/v1/things/{}", row % 50),
        kind: 2,
        start_time_unix_nano: time_ns(pass) + *row as u64,
        end_time_unix_nano: time_ns(pass) + *row as u64 + 3_000_000,
        attributes: attributes(*row),
        ..Default::default()
    };
    records(20_000, |resources| {
        let resource_spans = resources.into_iter().map(|rows| {
            let scope_spans = vec![ScopeSpans {
                scope: scope(),
                spans: rows.iter().map(span).collect(),
                ..Default::default()
            }];
            ResourceSpans {
                resource: resource(rows[0] / ROWS_OF_A_RESOURCE),
                scope_spans,
                ..Default::default()
            }
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
    })
}

/// The labels of [`attributes`] as Prometheus names them, in order.
fn labels(row: usize) -> Vec<(String, String)> {
    let text = |attribute: KeyValue| match attribute.value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => (attribute.key.replace('.', "_"), text),
        _ => unreachable!("the attributes are text"),
    };
    let mut labels: Vec<(String, String)> = attributes(row).into_iter().map(text).collect();
    labels.sort();
    labels
}

fn written_labels(row: usize) -> Vec<(String, String)> {
    let name = ("__name__".to_owned(), format!("http_requests_{}_total", row % 40));
    let job = ("job".to_owned(), "shop/cart".to_owned());
    [name].into_iter().chain(labels(row)).chain([job]).collect()
}

fn time_ms(pass: usize) -> i64 {
    (time_ns(pass) / 1_000_000) as i64
}

fn snappy(payload: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(payload).expect("less than 4 GiB")
}

pub fn remote_write(pass: usize) -> Vec<Vec<u8>> {
    let time_series = |row: &usize| peers::TimeSeries {
        labels: written_labels(*row).into_iter().map(|(name, value)| peers::Label { name, value }).collect(),
        samples: vec![peers::Sample { value: value(*row, pass), timestamp: time_ms(pass) }],
    };
    records(10_000, |resources| {
        let timeseries = resources.into_iter().flatten().map(time_series).collect();
        snappy(&peers::WriteRequest { timeseries }.encode_to_vec())
    })
}

pub fn remote_write_2(pass: usize) -> Vec<Vec<u8>> {
    records(10_000, |resources| {
        let mut symbols = vec![String::new()];
        let mut known = std::collections::HashMap::from([(String::new(), 0)]);
        let mut reference = |text: String| {
            *known.entry(text).or_insert_with_key(|text| {
                symbols.push(text.clone());
                symbols.len() as u32 - 1
            })
        };
        let timeseries = resources.into_iter().flatten().map(|row| peers::TimeSeries2 {
            labels_refs: written_labels(*row)
                .into_iter()
                .flat_map(|(name, value)| [name, value])
                .map(&mut reference)
                .collect(),
            samples: vec![peers::Sample { value: value(*row, pass), timestamp: time_ms(pass) }],
            metadata: Some(peers::Metadata { r#type: 1 }),
        });
        let timeseries = timeseries.collect();
        snappy(&peers::Request2 { symbols, timeseries }.encode_to_vec())
    })
}

pub fn json(series: usize, samples_of_a_record: usize, pass: usize) -> Vec<Vec<u8>> {
    let line = |row: &usize| {
        let labels: serde_json::Map<String, serde_json::Value> =
            labels(*row).into_iter().take(6).map(|(name, value)| (name, value.into())).collect();
        let sample = serde_json::json!({
            "timestamp": time_ms(pass),
            "name": format!("http_requests_{}_total", row % 40),
            "value": value(*row, pass),
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

/// Two rows a line.
pub fn influx(pass: usize) -> Vec<Vec<u8>> {
    let line = |row: &usize| {
        let tags: String =
            labels(*row).into_iter().take(6).map(|(name, value)| format!(",{name}={value}")).collect();
        format!("requests{tags} rate={},errors={}i {}\n", value(*row, pass), row % 9, time_ns(pass))
    };
    let rows: Vec<usize> = (0..5_000).collect();
    rows.chunks(1000).map(|rows| rows.iter().map(line).collect::<String>().into_bytes()).collect()
}
