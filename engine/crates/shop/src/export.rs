//! What was recorded since the last flush, and its encoding as OTLP and CloudEvents.

use prost::Message as _;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::common::v1::any_value::Value;
use proto::opentelemetry::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use proto::opentelemetry::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proto::opentelemetry::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use proto::opentelemetry::resource::v1::Resource;
use proto::opentelemetry::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::clock::rfc3339;
use crate::graph::SERVICES;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// `ExportMetricsServiceRequest` in protobuf.
    Metrics,
    /// `ExportLogsServiceRequest` in protobuf.
    Logs,
    /// `ExportTraceServiceRequest` in protobuf.
    Spans,
    /// One CloudEvent in structured mode (JSON).
    Events,
}

/// What an exporter writes onto the topic of a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it was written, in ms since the Unix epoch.
    pub time_ms: i64,
    pub signal: Signal,
    pub headers: Vec<(String, Vec<u8>)>,
    pub payload: Vec<u8>,
}

impl Message {
    fn new(time_ms: i64, signal: Signal, payload: Vec<u8>) -> Self {
        let content_type = match signal {
            Signal::Metrics | Signal::Logs | Signal::Spans => "application/x-protobuf",
            Signal::Events => "application/cloudevents+json; charset=utf-8",
        };
        let headers = vec![("content-type".to_owned(), content_type.as_bytes().to_vec())];
        Self { time_ms, signal, headers, payload }
    }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub fn integer(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// Spans and logs wait here until the next flush, in the order in which they ended.
#[derive(Debug)]
pub struct Exporter {
    /// Minor versions of the services, which deploys count up.
    versions: Vec<u32>,
    spans: Vec<ResourceSpans>,
    logs: Vec<ResourceLogs>,
}

impl Exporter {
    pub fn new() -> Self {
        Self { versions: vec![1; SERVICES.len()], spans: Vec::new(), logs: Vec::new() }
    }

    pub fn span(&mut self, service: usize, span: Span) {
        let resource = self.resource(service);
        if self.spans.last().is_none_or(|last| last.resource.as_ref() != Some(&resource)) {
            let scope = ScopeSpans { scope: instrumentation(), ..Default::default() };
            self.spans.push(ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![scope],
                ..Default::default()
            });
        }
        if let Some(scope) = self.spans.last_mut().and_then(|last| last.scope_spans.last_mut()) {
            scope.spans.push(span);
        }
    }

    pub fn log(&mut self, service: usize, record: LogRecord) {
        let resource = self.resource(service);
        if self.logs.last().is_none_or(|last| last.resource.as_ref() != Some(&resource)) {
            let scope = ScopeLogs { scope: instrumentation(), ..Default::default() };
            self.logs.push(ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![scope],
                ..Default::default()
            });
        }
        if let Some(scope) = self.logs.last_mut().and_then(|last| last.scope_logs.last_mut()) {
            scope.log_records.push(record);
        }
    }

    /// The logs and then the spans since the last flush.
    pub fn flush(&mut self, time_ms: i64, messages: &mut Vec<Message>) {
        if !self.logs.is_empty() {
            let request = ExportLogsServiceRequest { resource_logs: std::mem::take(&mut self.logs) };
            messages.push(Message::new(time_ms, Signal::Logs, request.encode_to_vec()));
        }
        if !self.spans.is_empty() {
            let request = ExportTraceServiceRequest { resource_spans: std::mem::take(&mut self.spans) };
            messages.push(Message::new(time_ms, Signal::Spans, request.encode_to_vec()));
        }
    }

    /// The metrics of all services, in the order of the services.
    pub fn metrics(&self, time_ms: i64, metrics: Vec<Vec<Metric>>) -> Message {
        let resource_metrics = metrics.into_iter().enumerate().map(|(service, metrics)| ResourceMetrics {
            resource: Some(self.resource(service)),
            scope_metrics: vec![ScopeMetrics { scope: instrumentation(), metrics, ..Default::default() }],
            ..Default::default()
        });
        let request = ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() };
        Message::new(time_ms, Signal::Metrics, request.encode_to_vec())
    }

    /// A deploy of the next version of a service, or of the one before.
    pub fn deploy(&mut self, service: usize, rolls_back: bool, time_ms: i64) -> Message {
        let name = SERVICES[service].name;
        let before = self.version(service);
        let minor = &mut self.versions[service];
        *minor = if rolls_back { minor.saturating_sub(1) } else { *minor + 1 };
        let version = self.version(service);
        let (event_type, verb) = if rolls_back {
            ("com.example.shop.deploy.rolled_back", "rolled back")
        } else {
            ("com.example.shop.deploy.finished", "deployed")
        };
        let event = serde_json::json!({
            "specversion": "1.0",
            "id": format!("{name}-{time_ms}"),
            "source": "/shop/deployer",
            "type": event_type,
            "time": rfc3339(time_ms),
            "subject": name,
            "datacontenttype": "application/json",
            "data": {
                "service": name,
                "version": version,
                "previous_version": before,
                "summary": format!("{name} {verb} from {before} to {version}"),
            },
        });
        Message::new(time_ms, Signal::Events, event.to_string().into_bytes())
    }

    fn version(&self, service: usize) -> String {
        format!("2.{}.0", self.versions[service])
    }

    fn resource(&self, service: usize) -> Resource {
        let name = SERVICES[service].name;
        let attributes = vec![text("service.name", name), text("service.version", &self.version(service))];
        Resource { attributes, ..Default::default() }
    }
}

fn instrumentation() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "shop".to_owned(), ..Default::default() })
}
