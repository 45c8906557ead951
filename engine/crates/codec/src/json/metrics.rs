//! Metrics as JSON, one sample an object.

use std::borrow::Cow;

use model::labels::{self, NAME, SERVICE};
use model::{MetricKind, SourceRecord, Telemetry};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::object::{self, Object};
use crate::decoder::{Batch as _, Budget};
use crate::series::{Sample, SampleColumns, SeriesCache, TextIndex};
use crate::{Decoder, Dropped, Limits, Rejected, naming};

const FORMAT: &str = "JSON sample";

/// Where an object holds the parts of its sample. Of the names of one part the first that is found counts; at the dots
/// of a name it leads through objects.
///
/// The defaults read
/// `{"timestamp": 1760000000, "name": "queue_length", "value": 3, "labels": {"service": "cart", "zone": "a"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonMapping {
    /// A number of seconds, milliseconds, microseconds or nanoseconds since the epoch, or a date with a time.
    pub time: Vec<String>,
    /// The metric's name.
    pub name: Vec<String>,
    /// A number, also as text.
    pub value: Vec<String>,
    /// Objects whose members are labels. All of them count.
    pub labels: Vec<String>,
    /// The service, a text that is not empty. If there is none, the labels are asked for it.
    pub service: Vec<String>,
    /// `gauge`, `counter` or `delta`. If there is none, the name of the metric is asked: those that end as Prometheus'
    /// counters do are counters.
    pub kind: Vec<String>,
}

impl Default for JsonMapping {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            time: names(&["timestamp", "time", "@timestamp"]),
            name: names(&["name", "metric"]),
            value: names(&["value"]),
            labels: names(&["labels", "tags"]),
            service: names(&["service.name", "service"]),
            kind: names(&["kind", "type"]),
        }
    }
}

/// A sample without a time has that of the Kafka record, one without a value is left out; one without a name, or with a time or
/// value that cannot be read, rejects its record.
pub struct MetricsDecoder {
    limits: Limits,
    mapping: JsonMapping,
    dropped: Dropped,
    series: SeriesCache,
}

impl MetricsDecoder {
    pub fn new(limits: Limits) -> Self {
        Self::with_mapping(limits, JsonMapping::default())
    }

    pub fn with_mapping(limits: Limits, mapping: JsonMapping) -> Self {
        Self { limits, mapping, dropped: Dropped::default(), series: SeriesCache::default() }
    }
}

impl Decoder for MetricsDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        self.series.start_record();
        let mut reading = Reading {
            mapping: &self.mapping,
            budget: Budget::new(self.limits),
            dropped: self.dropped,
            series: &mut self.series,
            samples: SampleColumns::default(),
            raw: Vec::new(),
            written_ms: record.timestamp_ms,
        };
        object::each_object(record.payload, |object| reading.sample(object))?;
        self.dropped = reading.dropped;
        out.extend(reading.samples.into_telemetry());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// One record under way.
struct Reading<'m> {
    mapping: &'m JsonMapping,
    budget: Budget,
    dropped: Dropped,
    series: &'m mut SeriesCache,
    samples: SampleColumns,
    /// Bytes that name a series, kept for their memory.
    raw: Vec<u8>,
    /// When the Kafka record was written: the time of samples without one.
    written_ms: Option<i64>,
}

impl Reading<'_> {
    fn sample(&mut self, object: &Object<'_>) -> Result<(), Rejected> {
        let mapping = self.mapping;
        let name = object.first(&mapping.name).ok_or_else(|| {
            let reason = format!("it has none of the members {}", mapping.name.join(", "));
            Rejected::Format { format: FORMAT, reason }
        })?;
        let time_ms = object.time_ms(FORMAT, &mapping.time)?.or(self.written_ms);
        let value = object.first(&mapping.value).map(read_value).transpose()?;
        let (Some(time_ms), Some(value)) = (time_ms, value) else {
            let why = if value.is_none() { &mut self.dropped.no_value } else { &mut self.dropped.no_time };
            *why += 1;
            return self.budget.take(1, 0);
        };
        if !value.is_finite() {
            self.dropped.non_finite += 1;
            return self.budget.take(1, 0);
        }
        let labels = self.labels(object, name)?;
        self.budget.take(1, self.series.text_length(labels))?;
        let kind = match object.first(&mapping.kind).and_then(object::text).as_deref() {
            Some("gauge") => MetricKind::Gauge,
            Some("counter") => MetricKind::Counter,
            Some("delta") => MetricKind::Delta,
            _ => self.series.kind(labels),
        };
        self.samples.push(self.series, labels, Sample { kind, time_ms, start_ms: None, value });
        Ok(())
    }

    fn labels(&mut self, object: &Object<'_>, name: &RawValue) -> Result<TextIndex, Rejected> {
        let is_named = |value: &&RawValue| !value.get().starts_with(['{', '[']) && value.get() != "\"\"";
        let mut services = self.mapping.service.iter().filter_map(|name| object.find(name).filter(is_named));
        let service = services.next();
        self.raw.clear();
        let groups = self.mapping.labels.iter().map(|name| object.find(name));
        // No JSON holds this byte, so the parts cannot be taken for others.
        for part in [Some(name), service].into_iter().chain(groups) {
            self.raw.extend(part.map_or("", RawValue::get).as_bytes());
            self.raw.push(0xff);
        }
        match self.series.find(0, &self.raw) {
            Ok(labels) => Ok(labels),
            Err(unknown) => {
                let (text, kind) = canonical(self.mapping, object, name, service)?;
                Ok(self.series.insert(unknown, &text, kind))
            }
        }
    }
}

fn read_value(value: &RawValue) -> Result<f64, Rejected> {
    let no_number = || Rejected::Format { format: FORMAT, reason: format!("{} is no number", value.get()) };
    object::number(value).ok_or_else(no_number)
}

/// The canonical text of the labels, and what the name says of the kind.
fn canonical(
    mapping: &JsonMapping,
    object: &Object<'_>,
    name: &RawValue,
    service: Option<&RawValue>,
) -> Result<(String, MetricKind), Rejected> {
    let no_text = |value: &RawValue| Rejected::Format {
        format: FORMAT,
        reason: format!("{} holds no text in Unicode", value.get()),
    };
    let groups: Vec<Object<'_>> = mapping.labels.iter().filter_map(|name| object.object(name)).collect();
    let mut pairs: Vec<(&str, Cow<'_, str>)> = Vec::new();
    for (key, value) in groups.iter().flat_map(Object::members).filter(|(_, value)| value.get() != "null") {
        pairs.push((key, object::text(value).ok_or_else(|| no_text(value))?));
    }
    let name = object::text(name).ok_or_else(|| no_text(name))?;
    let service = match service {
        Some(value) => object::text(value).ok_or_else(|| no_text(value))?,
        None => {
            naming::service(|label| pairs.iter().rfind(|pair| pair.0 == label).map(|pair| pair.1.clone()))
        }
    };
    let kind = naming::metric_kind(&name);
    // Last, so that no label takes their place.
    pairs.extend([(SERVICE, service), (NAME, name)]);
    let mut text = String::new();
    labels::append_canonical(&mut pairs, &mut text);
    Ok((text, kind))
}
