//! Where JSON objects hold the parts of a row, as the configuration says it.
//!
//! A path leads through objects at its dots and into arrays by numbers: `readings.0.value`. A member with dots in its name counts
//! before what the dots lead to. Of several paths the first that is found counts; null is as if nothing were there.
//!
//! What is not configured is looked for by common names and may be missing. **What is configured must be there**, or else the
//! record is rejected with the path as the reason: so a wrong mapping shows as dead letters, which can be sent again after it is put
//! right, and not as rows that are read wrongly.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{NaiveDate, TimeZone as _};
use jiff::fmt::strtime::BrokenDownTime;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::object::{self, Object};
use crate::severity::Scale;
use crate::{Rejected, time};

/// Around the rows of an object: each row is read with them.
const MEMBERS_AROUND_MAX: usize = 256;
/// What these take, counted for each row.
const BYTES_AROUND_MAX: usize = 256 << 20;

/// One path or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(Vec<String>);

impl AsRef<[String]> for Paths {
    fn as_ref(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as sensor.reading, or a list of paths")
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<Vec<String>, E> {
                Ok(vec![path.to_owned()])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut paths: A) -> Result<Vec<String>, A::Error> {
                std::iter::from_fn(|| paths.next_element().transpose()).collect()
            }
        }
        let paths = deserializer.deserialize_any(OneOrMore)?;
        if paths.iter().any(String::is_empty) {
            return Err(D::Error::custom("a path must not be empty"));
        }
        Ok(Self(paths))
    }
}

/// Of `{"timestamp": 1760000000, "name": "queue_length", "value": 3, "labels": {"service": "cart", "zone": "a"}}` and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricMapping {
    /// An array of objects, each a row, which has what is around the array as well. None: the object is the row.
    pub rows: Option<String>,
    /// An empty list: rows have the time of their Kafka record.
    pub time: Option<Paths>,
    pub time_format: TimeFormat,
    /// Of times without an offset.
    pub time_zone: Zone,
    /// The metric's name.
    pub name: Option<Paths>,
    /// A number, also as text.
    pub value: Option<Paths>,
    /// In place of name and value: names of metrics, each with where its value is. One at least must be there.
    pub values: BTreeMap<String, Paths>,
    /// Objects whose members are labels. All of them count.
    pub labels: Option<Paths>,
    /// Labels by their names, each with where its value is.
    pub named_labels: BTreeMap<String, Paths>,
    /// The service, a text that is not empty. If it is not configured and not there, the labels are asked for it.
    pub service: Option<Paths>,
    /// `gauge`, `counter` or `delta`. If it is not there, the name of the metric is asked: those that end as Prometheus'
    /// counters do are counters.
    pub kind: Option<Paths>,
}

impl MetricMapping {
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !self.values.is_empty() && (self.name.is_some() || self.value.is_some()) {
            return Err("values stands in place of name and value; leave these out".to_owned());
        }
        for (key, paths) in [("name", &self.name), ("value", &self.value)] {
            not_empty(key, paths.as_ref())?;
        }
        for (name, paths) in self.values.iter().chain(&self.named_labels) {
            not_empty(name, Some(paths))?;
            if name.is_empty() {
                return Err("values, named_labels: a name must not be empty".to_owned());
            }
        }
        self.time_format.validate()
    }
}

/// Of `{"timestamp": "2025-10-09T08:53:20Z", "level": "error", "message": "disk full", "service": "cart"}` and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogMapping {
    /// As in [`MetricMapping`].
    pub rows: Option<String>,
    pub time: Option<Paths>,
    pub time_format: TimeFormat,
    pub time_zone: Zone,
    /// The message. What is no text is taken as it is written.
    pub body: Option<Paths>,
    /// The name of a level, or a number in the scale of `severity_numbers`; unknown if it is not there.
    pub severity: Option<Paths>,
    pub severity_numbers: SeverityNumbers,
    /// A text that is not empty.
    pub service: Option<Paths>,
    /// In hexadecimal, as all ids; none if it is not there.
    pub trace_id: Option<Paths>,
    pub span_id: Option<Paths>,
}

impl LogMapping {
    pub(crate) fn validate(&self) -> Result<(), String> {
        not_empty("body", self.body.as_ref())?;
        self.time_format.validate()
    }
}

fn not_empty(key: &str, paths: Option<&Paths>) -> Result<(), String> {
    match paths {
        Some(Paths(paths)) if paths.is_empty() => Err(format!("{key}: name at least one path")),
        _ => Ok(()),
    }
}

/// What numbers mean as severities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeverityNumbers {
    /// 1 to 24.
    Opentelemetry,
    /// 10, 20, … 60, as Bunyan and Pino count.
    #[default]
    Bunyan,
    /// 0 (emergency) to 7 (debug).
    Syslog,
}

impl SeverityNumbers {
    pub(crate) fn scale(self) -> Scale {
        match self {
            Self::Opentelemetry => Scale::OpenTelemetry,
            Self::Bunyan => Scale::Bunyan,
            Self::Syslog => Scale::Syslog,
        }
    }
}

/// How times are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// A number of seconds, milliseconds, microseconds or nanoseconds since the epoch, by its size, or a date as in RFC 3339.
    #[default]
    Auto,
    /// A number since the epoch, so many of which are a second.
    Number(u32),
    /// As `strptime` writes it: `%d.%m.%Y %H:%M:%S`.
    Text(String),
}

impl TimeFormat {
    const NUMBERS: [(&'static str, u32); 4] =
        [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)];

    fn validate(&self) -> Result<(), String> {
        let Self::Text(format) = self else { return Ok(()) };
        let wrong = |why: &str| {
            format!(
                "time_format: {format:?} {why}; write auto, s, ms, us, ns, or a format as strptime has it, such as \
                 \"%d.%m.%Y %H:%M:%S\""
            )
        };
        if !format.contains('%') {
            return Err(wrong("is no format of times"));
        }
        // What it writes of a time it must read again, to the second.
        let second = 1_760_003_723;
        let time = jiff::Timestamp::from_second(second).map_err(|error| wrong(&error.to_string()))?;
        let written = jiff::fmt::strtime::format(format, &time.to_zoned(jiff::tz::TimeZone::UTC));
        let written = written.map_err(|error| wrong(&format!("cannot be used: {error}")))?;
        match read(format, Zone::default(), &written) {
            Some(time_ms) if time_ms.div_euclid(1000) == second => Ok(()),
            _ => Err(wrong("does not tell the date and the time of the day to the second")),
        }
    }

    fn read(&self, zone: Zone, text: &str) -> Option<i64> {
        match self {
            Self::Auto => time::of_text_in(text, |civil| zone.time_ms(civil)),
            Self::Number(of_a_second) => time::in_units(text.trim(), *of_a_second),
            Self::Text(format) => read(format, zone, text.trim()),
        }
    }
}

fn read(format: &str, zone: Zone, text: &str) -> Option<i64> {
    let read = BrokenDownTime::parse(format, text).ok()?;
    if read.offset().is_some() || read.timestamp().is_some() {
        return Some(read.to_timestamp().ok()?.as_millisecond());
    }
    zone.time_ms(read.to_datetime().ok()?)
}

impl<'de> Deserialize<'de> for TimeFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = Self::NUMBERS.iter().find(|(name, _)| *name == text);
        Ok(match number {
            Some((_, of_a_second)) => Self::Number(*of_a_second),
            None if text == "auto" => Self::Auto,
            None => Self::Text(text),
        })
    }
}

/// A time zone by its name, such as `Europe/Berlin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(chrono_tz::Tz);

impl Default for Zone {
    fn default() -> Self {
        Self(chrono_tz::Tz::UTC)
    }
}

impl Zone {
    /// The earlier one of a time that there is twice; none that there is not, as clocks are put forward.
    fn time_ms(self, time: jiff::civil::DateTime) -> Option<i64> {
        let date = NaiveDate::from_ymd_opt(
            i32::from(time.year()),
            u32::from(time.month().unsigned_abs()),
            u32::from(time.day().unsigned_abs()),
        );
        let [hour, minute, second] =
            [time.hour(), time.minute(), time.second()].map(|part| u32::from(part.unsigned_abs()));
        let naive = date?.and_hms_nano_opt(hour, minute, second, time.subsec_nanosecond().unsigned_abs())?;
        Some(self.0.from_local_datetime(&naive).earliest()?.timestamp_millis())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown =
            || D::Error::custom(format!("there is no time zone {name:?}; write one such as Europe/Berlin"));
        name.parse().map(Self).map_err(|_| unknown())
    }
}

/// Reads objects by a mapping.
pub(super) struct Reader {
    /// What an object should be, for reasons.
    pub(super) format: &'static str,
}

impl Reader {
    pub(super) fn reject(&self, reason: impl Into<String>) -> Rejected {
        Rejected::Format { format: self.format, reason: reason.into() }
    }

    /// What is at the first path that leads to anything. If there is none: an error where paths are configured, none where `common`
    /// ones are used.
    pub(super) fn find<'a>(
        &self,
        object: &Object<'a>,
        configured: Option<&Paths>,
        common: &[&str],
    ) -> Result<Option<&'a RawValue>, Rejected> {
        let Some(Paths(paths)) = configured else { return Ok(object.first(common)) };
        object.first(paths).map(Some).ok_or_else(|| self.missing(paths))
    }

    pub(super) fn missing(&self, paths: &[impl AsRef<str>]) -> Rejected {
        let paths: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
        self.reject(format!("it has none of the members {}", paths.join(", ")))
    }

    /// The time in milliseconds, `written_ms` if the mapping does not ask for one.
    pub(super) fn time_ms(
        &self,
        object: &Object<'_>,
        (configured, format, zone): (Option<&Paths>, &TimeFormat, Zone),
        common: &[&str],
        written_ms: Option<i64>,
    ) -> Result<Option<i64>, Rejected> {
        if configured.is_some_and(|paths| paths.0.is_empty()) {
            return Ok(written_ms);
        }
        let Some(value) = self.find(object, configured, common)? else { return Ok(written_ms) };
        let time = object::text(value).and_then(|text| format.read(zone, &text));
        let how = match format {
            TimeFormat::Auto => String::new(),
            TimeFormat::Number(of_a_second) => {
                let unit = TimeFormat::NUMBERS.iter().find(|(_, number)| number == of_a_second);
                format!(" in {}", unit.map_or("", |(name, _)| name))
            }
            TimeFormat::Text(format) => format!(" as {format}"),
        };
        time.map(Some).ok_or_else(|| self.reject(format!("{} is no time{how}", value.get())))
    }

    /// Calls `each` with the rows of an object.
    pub(super) fn each_row<'a>(
        &self,
        rows: Option<&String>,
        object: &Object<'a>,
        mut each: impl FnMut(&Object<'a>) -> Result<(), Rejected>,
    ) -> Result<(), Rejected> {
        let Some(path) = rows else { return each(object) };
        let array = object.find(path).ok_or_else(|| self.missing(&[path]))?;
        if !array.get().starts_with('[') {
            return Err(self.reject(format!("{path} is no array of objects")));
        }
        let around = object.without(path);
        if around.len() > MEMBERS_AROUND_MAX {
            return Err(self.reject(format!("it has more than {MEMBERS_AROUND_MAX} members around {path}")));
        }
        let (of_each, mut bytes) = (around.text_bytes(), 0_usize);
        object::each_item(array, &mut |row| {
            bytes = bytes.saturating_add(of_each);
            if bytes > BYTES_AROUND_MAX {
                return Err(self.reject(format!(
                    "what is around {path} takes more than {BYTES_AROUND_MAX} bytes, counted for each row"
                )));
            }
            each(&row.after(&around))
        })
    }
}
