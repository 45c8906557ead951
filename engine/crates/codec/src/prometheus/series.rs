//! Series of remote write and their labels, whose parts come in any order.

use std::borrow::Cow;

use model::MetricKind;
use model::labels::{self, NAME, SERVICE};

use super::Stop;
use crate::entity::EntityRules;
use crate::wire::{Field, Fields, Message, WireError};
use crate::{Rejected, naming};

/// Metric types of 2.0.
pub(super) const UNSPECIFIED: i32 = 0;
pub(super) const COUNTER: i32 = 1;
pub(super) const HISTOGRAM: i32 = 3;
pub(super) const SUMMARY: i32 = 5;

/// Where a `TimeSeries` holds its points.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub(super) samples: u32,
    pub(super) histograms: u32,
    /// In the cache of series, as raw labels of 1.0 and 2.0 differ.
    pub(super) group: u32,
}

const FIRST: Numbers = Numbers { samples: 2, histograms: 4, group: 1 };
const SECOND: Numbers = Numbers { samples: 2, histograms: 3, group: 2 };

pub(super) enum RawLabels<'a> {
    /// Messages of 1.0 with their keys and lengths.
    Pairs(Cow<'a, [u8]>),
    /// Of 2.0, into the symbols.
    References(Vec<u32>),
}

/// A series without its points.
pub(super) struct TimeSeries<'a> {
    pub(super) fields: Numbers,
    pub(super) labels: RawLabels<'a>,
    pub(super) metric_type: i32,
    pub(super) created_ms: Option<i64>,
    /// From the first point on.
    rest: &'a [u8],
}

impl<'a> TimeSeries<'a> {
    /// Of a `prometheus.TimeSeries`.
    pub(super) fn first(message: &'a [u8]) -> Result<Self, WireError> {
        let mut labels = Cow::Borrowed(&message[..0]);
        let mut rest: &[u8] = &[];
        let (mut start, mut end, mut before) = (0, 0, 0);
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next() {
            let field = field?;
            let after = message.len() - fields.remaining();
            if field.number == 1 {
                field.bytes()?;
                if end > start && end != before {
                    // They do not stand together. One after the other they are the same labels.
                    labels.to_mut().extend_from_slice(&message[start..end]);
                    start = before;
                } else if end == start {
                    start = before;
                }
                end = after;
            } else if rest.is_empty() {
                rest = &message[before..];
            }
            before = after;
        }
        if labels.is_empty() {
            labels = Cow::Borrowed(&message[start..end]);
        } else {
            labels.to_mut().extend_from_slice(&message[start..end]);
        }
        let labels = RawLabels::Pairs(labels);
        Ok(Self { fields: FIRST, labels, metric_type: UNSPECIFIED, created_ms: None, rest })
    }

    /// Of an `io.prometheus.write.v2.TimeSeries`.
    pub(super) fn second(message: &'a [u8]) -> Result<Self, WireError> {
        let mut references = Vec::new();
        let mut metadata = Message::default();
        let mut created_ms = None;
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => field.each_varint(|reference| {
                    references.push(u32::try_from(reference).unwrap_or(u32::MAX));
                })?,
                5 => metadata.merge(field.bytes()?),
                6 => created_ms = Some(field.varint()? as i64).filter(|time| *time != 0),
                _ => {}
            }
        }
        let mut metric_type = UNSPECIFIED;
        for field in metadata.fields() {
            let field = field?;
            if field.number == 1 {
                metric_type = field.varint()? as i32;
            }
        }
        let labels = RawLabels::References(references);
        Ok(Self { fields: SECOND, labels, metric_type, created_ms, rest: message })
    }

    /// The samples and histograms, among other fields.
    pub(super) fn points(&self) -> impl Iterator<Item = Result<Field<'a>, WireError>> + use<'a> {
        Fields::of(self.rest)
    }
}

/// A sample, of 1.0 or 2.0.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) value: f64,
    /// 0 if unknown, as below.
    pub(super) time_ms: i64,
    pub(super) start_ms: i64,
}

impl Sample {
    pub(super) fn of(message: &[u8]) -> Result<Self, WireError> {
        let mut sample = Self::default();
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => sample.value = field.double()?,
                2 => sample.time_ms = field.varint()? as i64,
                3 => sample.start_ms = field.varint()? as i64,
                _ => {}
            }
        }
        Ok(sample)
    }
}

/// The texts that the series of a request of 2.0 refer to.
#[derive(Default)]
pub(super) struct Symbols<'a>(Vec<&'a str>);

impl<'a> Symbols<'a> {
    pub(super) fn push(&mut self, symbol: &'a str) {
        self.0.push(symbol);
    }

    /// Writes the labels over `raw`: each text after its length. With more than `bytes_max` they are refused.
    pub(super) fn resolve(
        &self,
        references: &[u32],
        bytes_max: usize,
        raw: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        raw.clear();
        if !references.len().is_multiple_of(2) {
            return Err(Stop::Request("a series has a label without a value".to_owned()));
        }
        for reference in references {
            let symbol = self.0.get(*reference as usize).ok_or_else(|| {
                let count = self.0.len();
                Stop::Request(format!("a label refers to the symbol {reference}, of which there are {count}"))
            })?;
            if symbol.len() > bytes_max.saturating_sub(raw.len()) {
                return Err(Rejected::TooMuchText { limit: bytes_max }.into());
            }
            raw.extend((symbol.len() as u32).to_le_bytes());
            raw.extend(symbol.as_bytes());
        }
        Ok(())
    }
}

/// The canonical text of raw labels, and what the name says of the kind. None if they name no metric.
pub(super) fn canonical(
    numbers: Numbers,
    raw: &[u8],
    entity: &EntityRules,
) -> Result<Option<(String, MetricKind)>, Stop> {
    let mut pairs: Vec<(&str, Cow<'_, str>)> = Vec::new();
    if numbers.group == FIRST.group {
        for field in Fields::of(raw) {
            let (mut name, mut value) = ("", "");
            for field in Fields::of(field?.bytes()?) {
                let field = field?;
                match field.number {
                    1 => name = field.text()?,
                    2 => value = field.text()?,
                    _ => {}
                }
            }
            pairs.push((name, Cow::Borrowed(value)));
        }
    } else {
        let mut rest = raw;
        while let Some((name, after)) = symbol(rest)
            && let Some((value, after)) = symbol(after)
        {
            pairs.push((name, Cow::Borrowed(value)));
            rest = after;
        }
    }
    // A label without a value is none, as in Prometheus.
    pairs.retain(|(_, value)| !value.is_empty());
    let get = |label: &str| pairs.iter().rfind(|pair| pair.0 == label).map(|pair| pair.1.clone());
    let Some(name) = get(NAME) else { return Ok(None) };
    let kind = naming::metric_kind(&name);
    let service = entity.service(get, || naming::service(get));
    pairs.push((SERVICE, service));
    let mut text = String::new();
    labels::append_canonical(&mut pairs, &mut text);
    Ok(Some((text, kind)))
}

/// The first text that [`Symbols::resolve`] wrote, and what follows it.
fn symbol(raw: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = raw.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
