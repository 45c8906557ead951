//! What headers and the members of JSON objects say about the format of a record.

use model::SourceRecord;

use crate::json::object::Object;

/// A format to try, and what speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) signal: &'static str,
    pub(super) encoding: &'static str,
    pub(super) why: String,
}

fn hint(signal: &'static str, encoding: &'static str, why: impl Into<String>) -> Hint {
    Hint { signal, encoding, why: why.into() }
}

pub(super) fn of_headers(record: &SourceRecord<'_>) -> Vec<Hint> {
    let mut hints = Vec::new();
    let content_type = record.header("content-type").unwrap_or_default().trim().to_ascii_lowercase();
    if record.header("ce_specversion").is_some() {
        hints.push(hint("events", "cloud_events", "the header ce_specversion"));
    }
    if content_type.starts_with("application/cloudevents") {
        hints.push(hint("events", "cloud_events", format!("the header content-type is {content_type}")));
    }
    let is_remote_write = record.header("x-prometheus-remote-write-version").is_some()
        || content_type.contains("proto=prometheus.writerequest")
        || content_type.contains("proto=io.prometheus.write");
    if is_remote_write {
        hints.push(hint("metrics", "prometheus_remote_write", "the headers are those of remote write"));
    }
    hints
}

/// A format, and the members by which it is known: one of each group, dots lead into objects.
struct Shape {
    signal: &'static str,
    encoding: &'static str,
    members: &'static [&'static [&'static str]],
}

const fn shape(
    signal: &'static str,
    encoding: &'static str,
    members: &'static [&'static [&'static str]],
) -> Shape {
    Shape { signal, encoding, members }
}

/// The more particular ones come first.
const SHAPES: &[Shape] = &[
    shape("metrics", "otlp_json", &[&["resourceMetrics"]]),
    shape("logs", "otlp_json", &[&["resourceLogs"]]),
    shape("spans", "otlp_json", &[&["resourceSpans"]]),
    shape("events", "cdevents", &[&["context.type"], &["subject"]]),
    shape("events", "cloud_events", &[&["specversion"], &["type"], &["source"]]),
    shape("events", "alertmanager_json", &[&["alerts"], &["status", "groupKey", "receiver", "version"]]),
    shape("events", "alertmanager_json", &[&["alerts"]]),
    shape("events", "kubernetes_events_json", &[&["involvedObject", "regarding"]]),
    shape("events", "kubernetes_events_json", &[&["object.involvedObject", "object.regarding"]]),
    shape("events", "kubernetes_events_json", &[&["items"], &["kind", "apiVersion", "metadata"]]),
    shape("events", "kubernetes_events_json", &[&["items"]]),
    shape(
        "spans",
        "zipkin_json",
        &[&["traceId"], &["id"], &["timestamp", "duration", "localEndpoint", "name"]],
    ),
    shape(
        "logs",
        "splunk_hec_json",
        &[&["event"], &["time", "host", "source", "sourcetype", "index", "fields"]],
    ),
    shape("logs", "fluentbit_json", &[&["log"], &["kubernetes", "stream", "date", "@timestamp"]]),
    shape("logs", "ecs_json", &[&["@timestamp"], &["message", "event.original", "error.message"]]),
    shape("metrics", "json", &[&["name", "metric"], &["value"]]),
    shape("logs", "json", &[&["timestamp", "ts"], &["message", "msg", "body"]]),
    shape("logs", "fluentbit_json", &[&["log", "message", "msg", "MESSAGE"]]),
];

pub(super) fn of_object(object: &Object<'_>) -> Vec<Hint> {
    let known = |shape: &Shape| {
        let members = shape.members.iter().map(|group| {
            group
                .iter()
                .copied()
                .find(|name| object.find(name).is_some_and(|value| is_of(shape, name, value.get())))
        });
        let members: Option<Vec<&str>> = members.collect();
        let members = members?;
        let (plural, members) = (if members.len() > 1 { "s" } else { "" }, members.join(", "));
        Some(hint(shape.signal, shape.encoding, format!("JSON with the member{plural} {members}")))
    };
    SHAPES.iter().filter_map(known).collect()
}

/// Whether the value fits: Elastic's `log` is an object, Fluent Bit's is text.
fn is_of(shape: &Shape, name: &str, value: &str) -> bool {
    match (shape.encoding, name) {
        ("fluentbit_json", "log") => value.starts_with('"'),
        ("cdevents", "context.type") => value.starts_with("\"dev.cdevents."),
        _ => true,
    }
}
