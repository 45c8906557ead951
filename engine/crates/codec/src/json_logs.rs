//! Log records as JSON, by what wrote them: [`Ecs`] (Filebeat, Logstash), [`FluentBit`] and [`Splunk`]'s HTTP event
//! collector.
//!
//! A row without a time has that of the Kafka record; a time that cannot be read rejects the record.
//!
//! The severity is that of the first member that names one. What a number means is for the member to say: in
//! `severity_number` it is OpenTelemetry's, in syslog's own members (`log.syslog.severity.code`, journald's `PRIORITY`)
//! syslog's, and in any other member a level of Bunyan or Pino (10 to 60) or nothing.

use std::borrow::Cow;

use model::{LogBatchBuilder, LogRow};

use crate::entity::EntityRules;
use crate::json::object::Object;
use crate::json::{JsonFormat, Rows};
use crate::otlp::UNKNOWN_SERVICE;
use crate::severity::Scale::{self, Bunyan, OpenTelemetry, Syslog};
use crate::{Rejected, hex, naming};

/// Where the objects of a format hold the parts of a log record; the first that is there counts, of severities the first
/// that is known.
struct Members {
    format: &'static str,
    time: &'static [&'static str],
    body: &'static [&'static str],
    /// Names of levels, or numbers in the scale.
    severity: &'static [(&'static str, Scale)],
    /// Objects that may name the service, the surest first; the empty name is the object itself.
    service: &'static [&'static str],
    /// Members that name the service if no label does.
    workload: &'static [&'static str],
    trace_id: &'static [&'static str],
    span_id: &'static [&'static str],
}

const TRACE_ID: &[&str] = &["trace.id", "trace_id", "traceId", "TraceId"];
const SPAN_ID: &[&str] = &["span.id", "span_id", "spanId", "SpanId"];
const WORKLOAD: &[&str] = &[
    "kubernetes.labels.app.kubernetes.io/name",
    "kubernetes.labels.app_kubernetes_io/name",
    "kubernetes.labels.app",
    "kubernetes.deployment.name",
    "kubernetes.container.name",
    "kubernetes.container_name",
    "container.name",
    "container_name",
];

impl Members {
    fn read(&self, object: &Object<'_>, rows: &mut Rows<LogBatchBuilder>) -> Result<(), Rejected> {
        let body = object.text(self.body).unwrap_or_default();
        let body = body.trim_end_matches(['\n', '\r']);
        rows.budget.take(1, body.len())?;
        let Some(time_ms) = object.time_ms(self.format, self.time)?.or(rows.written_ms) else {
            rows.dropped.no_time += 1;
            return Ok(());
        };
        let mut severities = self.severity.iter().filter_map(|(name, scale)| {
            let severity = scale.severity_of(&object.text(&[name])?);
            (severity != 0).then_some(severity)
        });
        let id = |names: &[&str]| object.text(names).and_then(|text| hex::id(&text));
        rows.batch.push(&LogRow {
            time_ms,
            service: &self.service(object, &rows.entity),
            severity: severities.next().unwrap_or(0),
            body,
            trace_id: id(self.trace_id),
            span_id: id(self.span_id).and_then(|id| u64::try_from(id).ok()),
        });
        Ok(())
    }

    fn service<'a>(&self, object: &Object<'a>, entity: &EntityRules) -> Cow<'a, str> {
        let label = |label: &str| {
            self.service.iter().find_map(|place| match *place {
                "" => text(object, label),
                place => text(&object.object(place)?, label),
            })
        };
        let usual = || {
            let workload = || object.text(self.workload);
            naming::find_service(label).or_else(workload).unwrap_or(Cow::Borrowed(UNKNOWN_SERVICE))
        };
        entity.service(label, usual)
    }
}

/// A text that is no object: Elastic's `service` is one, with a name in it.
fn text<'a>(object: &Object<'a>, label: &str) -> Option<Cow<'a, str>> {
    let value = object.find(label)?;
    if value.get().starts_with(['{', '[']) { None } else { crate::json::object::text(value) }
}

/// Elastic Common Schema, as Filebeat and Logstash write it: `{"@timestamp": "…", "message": "…", "log.level": "error",
/// "service": {"name": "cart"}}`. Names with dots and nested objects are the same.
pub(crate) struct Ecs;

impl JsonFormat for Ecs {
    type Batch = LogBatchBuilder;

    fn read(object: &Object<'_>, rows: &mut Rows<LogBatchBuilder>) -> Result<(), Rejected> {
        const MEMBERS: Members = Members {
            format: "ECS log record",
            time: &["@timestamp"],
            body: &["message", "event.original", "error.message"],
            severity: &[
                ("severity_number", OpenTelemetry),
                ("SeverityNumber", OpenTelemetry),
                ("log.level", Bunyan),
                ("level", Bunyan),
                ("severity", Bunyan),
                ("log.syslog.severity.code", Syslog),
            ],
            service: &["", "fields"],
            workload: WORKLOAD,
            trace_id: TRACE_ID,
            span_id: SPAN_ID,
        };
        MEMBERS.read(object, rows)
    }
}

/// Fluent Bit, from Kafka's output or others in JSON: `{"@timestamp": 1760000000.123, "log": "…", "kubernetes": {…}}`.
pub(crate) struct FluentBit;

impl JsonFormat for FluentBit {
    type Batch = LogBatchBuilder;

    fn read(object: &Object<'_>, rows: &mut Rows<LogBatchBuilder>) -> Result<(), Rejected> {
        const MEMBERS: Members = Members {
            format: "Fluent Bit log record",
            time: &["@timestamp", "date", "timestamp", "time"],
            body: &["log", "message", "msg", "MESSAGE"],
            severity: &[
                ("severity_number", OpenTelemetry),
                ("SeverityNumber", OpenTelemetry),
                ("level", Bunyan),
                ("severity", Bunyan),
                ("log.level", Bunyan),
                ("loglevel", Bunyan),
                ("syslog_severity", Syslog),
                ("PRIORITY", Syslog),
            ],
            service: &[""],
            workload: WORKLOAD,
            trace_id: TRACE_ID,
            span_id: SPAN_ID,
        };
        MEMBERS.read(object, rows)
    }
}

/// Events for Splunk's HTTP event collector, one after the other: `{"time": 1760000000.123, "event": "…",
/// "fields": {"service.name": "cart"}}`. An event that is an object has its text in `message`, else is the text.
pub(crate) struct Splunk;

impl JsonFormat for Splunk {
    type Batch = LogBatchBuilder;

    fn read(object: &Object<'_>, rows: &mut Rows<LogBatchBuilder>) -> Result<(), Rejected> {
        const MEMBERS: Members = Members {
            format: "Splunk HEC event",
            time: &["time"],
            body: &["event.message", "event.msg", "event"],
            severity: &[
                ("fields.severity_number", OpenTelemetry),
                ("fields.SeverityNumber", OpenTelemetry),
                ("event.severity_number", OpenTelemetry),
                ("event.SeverityNumber", OpenTelemetry),
                ("fields.level", Bunyan),
                ("fields.severity", Bunyan),
                ("event.level", Bunyan),
                ("event.severity", Bunyan),
                ("fields.syslog_severity", Syslog),
            ],
            service: &["fields", "event"],
            workload: &["fields.k8s.deployment.name", "fields.k8s.container.name", "fields.container_name"],
            trace_id: &["fields.trace_id", "event.trace_id"],
            span_id: &["fields.span_id", "event.span_id"],
        };
        if object.get("event").is_none() {
            let reason = "it has no member event".to_owned();
            return Err(Rejected::Format { format: MEMBERS.format, reason });
        }
        MEMBERS.read(object, rows)
    }
}
