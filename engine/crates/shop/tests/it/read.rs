//! Messages as flat rows.

use foreshock_shop::{Message, Signal};
use prost::Message as _;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::common::v1::any_value::Value;
use proto::opentelemetry::metrics::v1::Metric;
use proto::opentelemetry::metrics::v1::metric::Data;
use proto::opentelemetry::metrics::v1::number_data_point;
use proto::opentelemetry::resource::v1::Resource;
use proto::opentelemetry::trace::v1::span::SpanKind;

pub const START_MS: i64 = 1_767_225_600_000;
pub const MINUTE_MS: i64 = 60_000;

#[derive(Debug)]
pub struct Span {
    pub written_ms: i64,
    pub service: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    /// Empty if it is a root.
    pub parent: Vec<u8>,
    pub name: String,
    pub server: bool,
    pub start_ns: u64,
    pub end_ns: u64,
    pub failed: bool,
}

impl Span {
    pub fn start_ms(&self) -> i64 {
        (self.start_ns / 1_000_000) as i64
    }

    pub fn duration_ms(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e6
    }
}

#[derive(Debug)]
pub struct Log {
    pub written_ms: i64,
    pub service: String,
    pub trace: Vec<u8>,
    pub span: Vec<u8>,
    pub time_ns: u64,
    pub severity: String,
    pub body: String,
}

#[derive(Debug, Default)]
pub struct Telemetry {
    pub spans: Vec<Span>,
    pub logs: Vec<Log>,
    /// (time in ms, service, metric)
    pub metrics: Vec<(i64, String, Metric)>,
    /// (time of the message in ms, event)
    pub events: Vec<(i64, serde_json::Value)>,
}

pub fn read(messages: &[Message]) -> Telemetry {
    let mut telemetry = Telemetry::default();
    for message in messages {
        let payload = message.payload.as_slice();
        let written_ms = message.time_ms;
        match message.signal {
            Signal::Metrics => {
                let request = ExportMetricsServiceRequest::decode(payload).expect("metrics");
                for resource in request.resource_metrics {
                    let service = service(resource.resource.as_ref());
                    for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                        telemetry.metrics.push((written_ms, service.clone(), metric));
                    }
                }
            }
            Signal::Logs => {
                let request = ExportLogsServiceRequest::decode(payload).expect("logs");
                for resource in request.resource_logs {
                    let service = service(resource.resource.as_ref());
                    for log in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                        telemetry.logs.push(Log {
                            written_ms,
                            service: service.clone(),
                            trace: log.trace_id,
                            span: log.span_id,
                            time_ns: log.time_unix_nano,
                            severity: log.severity_text,
                            body: string(log.body.and_then(|body| body.value)),
                        });
                    }
                }
            }
            Signal::Spans => {
                let request = ExportTraceServiceRequest::decode(payload).expect("spans");
                for resource in request.resource_spans {
                    let service = service(resource.resource.as_ref());
                    for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                        telemetry.spans.push(Span {
                            written_ms,
                            service: service.clone(),
                            server: span.kind() == SpanKind::Server,
                            failed: span.status.as_ref().is_some_and(|status| status.code == 2),
                            trace: span.trace_id,
                            id: span.span_id,
                            parent: span.parent_span_id,
                            name: span.name,
                            start_ns: span.start_time_unix_nano,
                            end_ns: span.end_time_unix_nano,
                        });
                    }
                }
            }
            Signal::Events => {
                telemetry.events.push((written_ms, serde_json::from_slice(payload).expect("an event")));
            }
        }
    }
    telemetry
}

impl Telemetry {
    /// Time in ms and value of each point of a gauge or of a counter of integers.
    pub fn points(&self, service: &str, name: &str) -> Vec<(i64, f64)> {
        let mut points = Vec::new();
        for (_, _, metric) in
            self.metrics.iter().filter(|(_, of, metric)| of == service && metric.name == name)
        {
            let data_points = match metric.data.as_ref().expect("data") {
                Data::Gauge(gauge) => &gauge.data_points,
                Data::Sum(sum) => &sum.data_points,
                other => panic!("{name} is {other:?}"),
            };
            for point in data_points {
                let value = match point.value.expect("a value") {
                    number_data_point::Value::AsDouble(value) => value,
                    number_data_point::Value::AsInt(value) => value as f64,
                };
                points.push(((point.time_unix_nano / 1_000_000) as i64, value));
            }
        }
        points
    }

    /// The server spans of a service that start in a range of ms.
    pub fn served(&self, service: &str, from_ms: i64, to_ms: i64) -> Vec<&Span> {
        let wanted = |span: &&Span| {
            span.server && span.service == service && (from_ms..to_ms).contains(&span.start_ms())
        };
        self.spans.iter().filter(wanted).collect()
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a median of nothing");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn mean(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "a mean of nothing");
    values.iter().sum::<f64>() / values.len() as f64
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = &resource.expect("a resource").attributes;
    let name = attributes.iter().find(|attribute| attribute.key == "service.name").expect("a service");
    string(name.value.as_ref().and_then(|value| value.value.clone()))
}

fn string(value: Option<Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?} is no text"),
    }
}
