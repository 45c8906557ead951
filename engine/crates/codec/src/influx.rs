//! InfluxDB's line protocol, as Telegraf writes it: `measurement,tag=value field=1.5,other=2i 1760000000000000000`.
//!
//! Each field is a sample of the metric `measurement_field`; the field `value` is one of `measurement` alone. Numbers and
//! booleans (1 and 0) are values, text is none. The tags are the labels, and one of them may name the service. The kind
//! follows from the name as in Prometheus. A time may be in seconds to nanoseconds; a line without one has that of the Kafka record.
//! Lines that cannot be read reject the record, with their number.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};
use model::labels::{self, NAME, SERVICE};
use model::{SourceRecord, Telemetry};

use crate::decoder::Budget;
use crate::entity::EntityRules;
use crate::series::{Sample, SampleColumns, SeriesCache, TextIndex};
use crate::settings::DecoderSettings;
use crate::{Decoder, Dropped, Limits, Rejected, naming, time};

const FORMAT: &str = "Influx line protocol";

/// Reads [the line protocol](self).
pub struct LineDecoder {
    limits: Limits,
    entity: Arc<EntityRules>,
    dropped: Dropped,
    series: SeriesCache,
}

impl LineDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        let DecoderSettings { limits, entity, .. } = settings;
        let (dropped, series) = (Dropped::default(), SeriesCache::default());
        Self { limits: *limits, entity: Arc::clone(entity), dropped, series }
    }
}

impl Decoder for LineDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        let text = std::str::from_utf8(record.payload).map_err(|error| reject(error.to_string()))?;
        self.series.start_record();
        let mut reading = Reading {
            budget: Budget::new(self.limits),
            entity: &self.entity,
            dropped: self.dropped,
            samples: SampleColumns::new(&self.series),
            series: &mut self.series,
            written_ms: record.timestamp_ms,
        };
        let mut rest = text;
        let mut number = 1;
        while !rest.is_empty() {
            let (line, after) = rest.split_at(line_end(rest));
            let content = line.trim_start();
            if !content.trim_end().is_empty() && !content.starts_with('#') {
                reading.line(content).map_err(|stop| match stop {
                    Stop::Rejected(rejected) => rejected,
                    Stop::Line(reason) => reject(format!("line {number}: {reason}")),
                })?;
            }
            number += 1 + memchr_iter(b'\n', line.as_bytes()).count();
            rest = after.get(1..).unwrap_or("");
        }
        self.dropped = reading.dropped;
        out.extend(reading.samples.into_telemetry(reading.series));
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

fn reject(reason: String) -> Rejected {
    Rejected::Format { format: FORMAT, reason }
}

enum Stop {
    Rejected(Rejected),
    Line(String),
}

impl From<Rejected> for Stop {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

/// Where the first line ends. Text in quotes may hold line breaks, outside of comments and before the fields there is none.
fn line_end(text: &str) -> usize {
    let end = memchr(b'\n', text.as_bytes()).unwrap_or(text.len());
    let line = &text[..end];
    if line.trim_start().starts_with('#') || memchr(b'"', line.as_bytes()).is_none() {
        return end;
    }
    let fields = unescaped(text, b" ").unwrap_or(text.len());
    let mut is_quoted = false;
    let mut bytes = text.bytes().enumerate().skip(fields);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if is_quoted => drop(bytes.next()),
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Where the first of the bytes stands that no backslash is before.
fn unescaped(text: &str, ends: &[u8]) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if ends.contains(&byte) {
            return Some(at);
        }
    }
    None
}

/// Without the backslashes before the characters that have a meaning. Others stay.
fn plain(text: &str) -> Cow<'_, str> {
    if memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some(',' | '=' | ' ')) => out.extend(characters.next()),
            _ => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// A value of a field.
enum Value {
    Number(f64),
    Text,
}

/// One record under way.
struct Reading<'c> {
    budget: Budget,
    entity: &'c EntityRules,
    dropped: Dropped,
    series: &'c mut SeriesCache,
    samples: SampleColumns,
    /// When the Kafka record was written: the time of lines without one.
    written_ms: Option<i64>,
}

impl Reading<'_> {
    fn line(&mut self, line: &str) -> Result<(), Stop> {
        let head_end = unescaped(line, b" ").ok_or_else(|| Stop::Line("it has no fields".to_owned()))?;
        let (head, mut rest) = (&line[..head_end], line[head_end..].trim_start_matches(' '));
        if head.starts_with(',') {
            return Err(Stop::Line("it has no measurement".to_owned()));
        }
        let group = self.series.group(head.as_bytes());
        // The time stands behind the fields, so they wait for it.
        let mut fields = Vec::new();
        loop {
            let at = unescaped(rest, b"= ,").filter(|at| rest.as_bytes()[*at] == b'=' && *at > 0);
            let at = at.ok_or_else(|| Stop::Line(format!("{} is no field with a value", excerpt(rest))))?;
            let key = &rest[..at];
            let (value, after) = read_value(&rest[at + 1..])?;
            fields.push((key, value));
            match after.as_bytes().first() {
                Some(b',') => rest = &after[1..],
                _ => {
                    rest = after;
                    break;
                }
            }
        }
        let time_ms = match rest.trim() {
            "" => self.written_ms,
            text => {
                let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
                let time = if is_number { time::of_text(text) } else { None };
                Some(time.ok_or_else(|| Stop::Line(format!("{} is no time", excerpt(text))))?)
            }
        };
        for (key, value) in fields {
            self.sample(head, group, key, value, time_ms)?;
        }
        Ok(())
    }

    fn sample(
        &mut self,
        head: &str,
        group: u32,
        key: &str,
        value: Value,
        time_ms: Option<i64>,
    ) -> Result<(), Stop> {
        let dropped = match (value, time_ms) {
            (Value::Text, _) => &mut self.dropped.no_value,
            (Value::Number(value), _) if !value.is_finite() => &mut self.dropped.non_finite,
            (_, None) => &mut self.dropped.no_time,
            (Value::Number(value), Some(time_ms)) => {
                let labels = self.labels(head, group, key)?;
                self.budget.take(1, self.series.text_length(labels))?;
                let kind = self.series.kind(labels);
                self.samples.push(self.series, labels, Sample { kind, time_ms, start_ms: None, value });
                return Ok(());
            }
        };
        *dropped += 1;
        Ok(self.budget.take(1, 0)?)
    }

    fn labels(&mut self, head: &str, group: u32, key: &str) -> Result<TextIndex, Stop> {
        let unknown = match self.series.find(group, key.as_bytes()) {
            Ok(labels) => return Ok(labels),
            Err(unknown) => unknown,
        };
        let tags_at = unescaped(head, b",").unwrap_or(head.len());
        let measurement = plain(&head[..tags_at]);
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        let mut rest = &head[tags_at..];
        while let Some(tags) = rest.strip_prefix(',') {
            let end = unescaped(tags, b",").unwrap_or(tags.len());
            let (tag, after) = tags.split_at(end);
            let at = unescaped(tag, b"=").filter(|at| *at > 0);
            let at = at.ok_or_else(|| Stop::Line(format!("{} is no tag with a value", excerpt(tag))))?;
            pairs.push((plain(&tag[..at]), plain(&tag[at + 1..])));
            rest = after;
        }
        let tag = |label: &str| pairs.iter().rfind(|pair| pair.0 == label).map(|pair| pair.1.clone());
        let service = self.entity.service(tag, || naming::service(tag));
        let name = match plain(key) {
            key if key == "value" => measurement,
            key => Cow::Owned(format!("{measurement}_{key}")),
        };
        let kind = naming::metric_kind(&name);
        // Last, so that no tag takes their place.
        pairs.push((SERVICE.into(), service));
        pairs.push((NAME.into(), name));
        let mut text = String::new();
        labels::append_canonical(&mut pairs, &mut text);
        Ok(self.series.insert(unknown, &text, kind))
    }
}

/// The value that the text begins with, and what follows it.
fn read_value(text: &str) -> Result<(Value, &str), Stop> {
    if let Some(quoted) = text.strip_prefix('"') {
        let end = unescaped(quoted, b"\"");
        let end = end.ok_or_else(|| Stop::Line("a text in quotes does not end".to_owned()))?;
        let after = &quoted[end + 1..];
        if !matches!(after.as_bytes().first(), None | Some(b',' | b' ' | b'\r')) {
            return Err(Stop::Line(format!("{} follows a text in quotes", excerpt(after))));
        }
        return Ok((Value::Text, after));
    }
    let end = text.find([',', ' ', '\r']).unwrap_or(text.len());
    let (value, after) = text.split_at(end);
    let number = match value {
        "t" | "T" | "true" | "True" | "TRUE" => Some(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => Some(0.0),
        _ => match (value.strip_suffix('i'), value.strip_suffix('u')) {
            (Some(digits), _) => digits.parse::<i64>().ok().map(|number| number as f64),
            (_, Some(digits)) => digits.parse::<u64>().ok().map(|number| number as f64),
            _ => value.parse().ok(),
        },
    };
    let number = number.ok_or_else(|| Stop::Line(format!("{} is no value", excerpt(value))))?;
    Ok((Value::Number(number), after))
}

/// As much of a text as a reason shows.
fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 40;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((at, _)) => format!("{:?}…", &text[..at]),
        None => format!("{text:?}"),
    }
}
