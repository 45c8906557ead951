//! Metrics as JSON, one sample an object, or some, by the names of members that are common or those of the configuration.

use std::borrow::Cow;
use std::sync::Arc;

use model::labels::{self, NAME, SERVICE};
use model::{MetricKind, SourceRecord, Telemetry};
use serde_json::value::RawValue;

use super::mapping::{MetricMapping, Paths, Reader};
use super::object::{self, Object};
use crate::decoder::{Budget, release};
use crate::entity::EntityRules;
use crate::series::{Sample, SampleColumns, SeriesCache, TextIndex};
use crate::settings::DecoderSettings;
use crate::{Decoder, Dropped, Limits, Rejected, naming};

const READER: Reader = Reader { format: "JSON sample" };

const TIME: &[&str] = &["timestamp", "time", "@timestamp"];
const METRIC: &[&str] = &["name", "metric"];
const VALUE: &[&str] = &["value"];
const LABELS: &[&str] = &["labels", "tags"];
const SERVICES: &[&str] = &["service.name", "service"];
const KIND: &[&str] = &["kind", "type"];

/// A sample whose time is not configured and not there has that of the Kafka record, one without a value is left out; one without
/// a name, or with a time or value that cannot be read, rejects its record, as does one without what is configured.
pub struct MetricsDecoder {
    limits: Limits,
    mapping: Arc<MetricMapping>,
    entity: Arc<EntityRules>,
    dropped: Dropped,
    series: SeriesCache,
    /// Bytes that name a series, kept for their memory.
    raw: Vec<u8>,
}

impl MetricsDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        Self {
            limits: settings.limits,
            mapping: settings.mapping.metrics(),
            entity: Arc::clone(&settings.entity),
            dropped: Dropped::default(),
            series: SeriesCache::default(),
            raw: Vec::new(),
        }
    }
}

impl Decoder for MetricsDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        release(&mut self.raw);
        self.series.start_record();
        let mapping = &*self.mapping;
        let mut reading = Reading {
            mapping,
            entity: &self.entity,
            budget: Budget::new(self.limits),
            dropped: self.dropped,
            samples: SampleColumns::new(&self.series),
            series: &mut self.series,
            raw: &mut self.raw,
            written_ms: record.timestamp_ms,
        };
        object::each_object(record.payload, |object| {
            READER.each_row(mapping.rows.as_ref(), object, |row| reading.row(row))
        })?;
        self.dropped = reading.dropped;
        out.extend(reading.samples.into_telemetry(reading.series));
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// One record under way.
struct Reading<'m> {
    mapping: &'m MetricMapping,
    entity: &'m EntityRules,
    budget: Budget,
    dropped: Dropped,
    series: &'m mut SeriesCache,
    samples: SampleColumns,
    raw: &'m mut Vec<u8>,
    /// When the Kafka record was written: the time of samples without one.
    written_ms: Option<i64>,
}

/// The name of a metric: as it is in an object, or of the configuration.
#[derive(Clone, Copy)]
enum Name<'a> {
    Member(&'a RawValue),
    Configured(&'a str),
}

impl Reading<'_> {
    fn row(&mut self, object: &Object<'_>) -> Result<(), Rejected> {
        let mapping = self.mapping;
        if mapping.values.is_empty() {
            let name = READER.find(object, mapping.name.as_ref(), METRIC)?;
            let name = name.ok_or_else(|| READER.missing(METRIC))?;
            let value = match &mapping.value {
                // Null says that there is no value; without the member the mapping is wrong.
                Some(paths) if paths.as_ref().iter().any(|path| object.is_null(path)) => None,
                configured => READER.find(object, configured.as_ref(), VALUE)?,
            };
            return self.sample(object, Name::Member(name), value);
        }
        let mut is_any = false;
        for (name, paths) in &mapping.values {
            if let Some(value) = object.first(paths.as_ref()) {
                is_any = true;
                self.sample(object, Name::Configured(name), Some(value))?;
            }
        }
        let paths = || mapping.values.values().flat_map(|paths| paths.as_ref());
        if is_any {
            return Ok(());
        }
        if paths().any(|path| object.is_null(path)) {
            self.dropped.no_value += 1;
            return self.budget.take(1, 0);
        }
        Err(READER.missing(&paths().collect::<Vec<_>>()))
    }

    fn sample(
        &mut self,
        object: &Object<'_>,
        name: Name<'_>,
        value: Option<&RawValue>,
    ) -> Result<(), Rejected> {
        let mapping = self.mapping;
        let when = (mapping.time.as_ref(), &mapping.time_format, mapping.time_zone);
        let time_ms = READER.time_ms(object, when, TIME, self.written_ms)?;
        let value = value.map(read_value).transpose()?;
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
        let kind = first(object, mapping.kind.as_ref(), KIND);
        let kind = match kind.and_then(object::text).as_deref() {
            Some("gauge") => MetricKind::Gauge,
            Some("counter") => MetricKind::Counter,
            Some("delta") => MetricKind::Delta,
            _ => self.series.kind(labels),
        };
        self.samples.push(self.series, labels, Sample { kind, time_ms, start_ms: None, value });
        Ok(())
    }

    fn labels(&mut self, object: &Object<'_>, name: Name<'_>) -> Result<TextIndex, Rejected> {
        let mapping = self.mapping;
        let is_named = |value: &&RawValue| object::is_scalar(value) && value.get() != "\"\"";
        let named = |name: &str| object.find(name).filter(is_named);
        let service = match &mapping.service {
            Some(paths) => {
                let found = paths.as_ref().iter().find_map(|path| named(path));
                Some(found.ok_or_else(|| READER.missing(paths.as_ref()))?)
            }
            None => SERVICES.iter().find_map(|name| named(name)),
        };
        // By rules it may be named by any member.
        let by_rules = || self.entity.ruled(|name: &str| self.attribute(object, name).and_then(object::text));
        // A mapping says more of this source.
        let ruled: Option<Cow<'_, str>> =
            if mapping.service.is_none() { by_rules().map(Cow::Owned) } else { None };
        self.raw.clear();
        let (member, configured) = match name {
            Name::Member(value) => (Some(value), ""),
            Name::Configured(name) => (None, name),
        };
        self.raw.extend(configured.as_bytes());
        self.raw.push(0xff);
        self.raw.extend(ruled.as_deref().unwrap_or_default().as_bytes());
        self.raw.push(0xff);
        // No JSON holds this byte, so the parts cannot be taken for others.
        let mut part = |value: Option<&RawValue>| {
            self.raw.extend(value.map_or("", RawValue::get).as_bytes());
            self.raw.push(0xff);
        };
        part(member);
        part(service);
        each(mapping.labels.as_ref(), LABELS, |name| part(object.find(name)));
        for paths in mapping.named_labels.values() {
            part(object.first(paths.as_ref()));
        }
        match self.series.find(0, self.raw) {
            Ok(labels) => Ok(labels),
            Err(unknown) => {
                let service = match ruled {
                    Some(service) => Some(service),
                    None => service.map(text).transpose()?,
                };
                let (text, kind) = canonical(mapping, object, name, service)?;
                Ok(self.series.insert(unknown, &text, kind))
            }
        }
    }

    /// What a rule of entities names: a label, else a member of the object.
    fn attribute<'a>(&self, object: &Object<'a>, name: &str) -> Option<&'a RawValue> {
        let mut label = None;
        if let Some(paths) = self.mapping.named_labels.get(name) {
            label = object.first(paths.as_ref());
        }
        each(self.mapping.labels.as_ref(), LABELS, |group| {
            label = label.or_else(|| object.object(group)?.get(name));
        });
        label.or_else(|| object.find(name)).filter(|value| object::is_scalar(value))
    }
}

/// Calls `call` with each path that is configured, else with each common one.
fn each(configured: Option<&Paths>, common: &[&str], mut call: impl FnMut(&str)) {
    match configured {
        Some(paths) => paths.as_ref().iter().for_each(|path| call(path)),
        None => common.iter().for_each(|path| call(path)),
    }
}

fn first<'a>(object: &Object<'a>, configured: Option<&Paths>, common: &[&str]) -> Option<&'a RawValue> {
    match configured {
        Some(paths) => object.first(paths.as_ref()),
        None => object.first(common),
    }
}

fn read_value(value: &RawValue) -> Result<f64, Rejected> {
    object::number(value).ok_or_else(|| READER.reject(format!("{} is no number", value.get())))
}

fn text(value: &RawValue) -> Result<Cow<'_, str>, Rejected> {
    object::text(value).ok_or_else(|| READER.reject(format!("{} holds no text in Unicode", value.get())))
}

/// The canonical text of the labels, and what the name says of the kind.
fn canonical<'a>(
    mapping: &'a MetricMapping,
    object: &Object<'a>,
    name: Name<'a>,
    service: Option<Cow<'a, str>>,
) -> Result<(String, MetricKind), Rejected> {
    let mut groups: Vec<Object<'_>> = Vec::new();
    each(mapping.labels.as_ref(), LABELS, |name| groups.extend(object.object(name)));
    let mut pairs: Vec<(&str, Cow<'_, str>)> = Vec::new();
    for (key, value) in groups.iter().flat_map(Object::members).filter(|(_, value)| value.get() != "null") {
        pairs.push((key, text(value)?));
    }
    for (key, paths) in &mapping.named_labels {
        if let Some(value) = object.first(paths.as_ref()) {
            pairs.push((key, text(value)?));
        }
    }
    let name = match name {
        Name::Member(value) => text(value)?,
        Name::Configured(name) => Cow::Borrowed(name),
    };
    let service = service.unwrap_or_else(|| {
        naming::service(|label| pairs.iter().rfind(|pair| pair.0 == label).map(|pair| pair.1.clone()))
    });
    let kind = naming::metric_kind(&name);
    // Last, so that no label takes their place.
    pairs.extend([(SERVICE, service), (NAME, name)]);
    let mut text = String::new();
    labels::append_canonical(&mut pairs, &mut text);
    Ok((text, kind))
}
