//! The points of metrics, as far as batches hold them.

use std::borrow::Cow;

use super::super::attributes::KEY_VALUE;
use crate::exponential;
use crate::wire::{self, Fields, Message, Shape, WireError};

/// The field of a metric that holds its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

/// Aggregation temporalities.
pub(super) const DELTA: i32 = 1;
pub(super) const CUMULATIVE: i32 = 2;

static NUMBER_POINT: Shape = Shape(&[
    (7, wire::Kind::Message(&KEY_VALUE)),
    (2, wire::Kind::Fixed64),
    (3, wire::Kind::Fixed64),
    (4, wire::Kind::Fixed64),
    (6, wire::Kind::Fixed64),
    (8, wire::Kind::Varint),
]);
static HISTOGRAM_POINT: Shape = Shape(&[
    (9, wire::Kind::Message(&KEY_VALUE)),
    (2, wire::Kind::Fixed64),
    (3, wire::Kind::Fixed64),
    (4, wire::Kind::Fixed64),
    (5, wire::Kind::Fixed64),
    (6, wire::Kind::RepeatedFixed64),
    (7, wire::Kind::RepeatedFixed64),
    (10, wire::Kind::Varint),
]);
static EXPONENTIAL_POINT: Shape = Shape(&[
    (1, wire::Kind::Message(&KEY_VALUE)),
    (2, wire::Kind::Fixed64),
    (3, wire::Kind::Fixed64),
    (4, wire::Kind::Fixed64),
    (5, wire::Kind::Fixed64),
    (6, wire::Kind::Varint),
    (7, wire::Kind::Fixed64),
    (8, wire::Kind::Message(&BUCKETS)),
    (9, wire::Kind::Message(&BUCKETS)),
    (10, wire::Kind::Varint),
    (14, wire::Kind::Fixed64),
]);
static BUCKETS: Shape = Shape(&[(1, wire::Kind::Varint), (2, wire::Kind::RepeatedVarint)]);
static SUMMARY_POINT: Shape = Shape(&[
    (7, wire::Kind::Message(&KEY_VALUE)),
    (2, wire::Kind::Fixed64),
    (3, wire::Kind::Fixed64),
    (4, wire::Kind::Fixed64),
    (5, wire::Kind::Fixed64),
    (6, wire::Kind::Message(&VALUE_AT_QUANTILE)),
    (8, wire::Kind::Varint),
]);
static VALUE_AT_QUANTILE: Shape = Shape(&[(1, wire::Kind::Fixed64), (2, wire::Kind::Fixed64)]);

static GAUGE: Shape = Shape(&[(1, wire::Kind::Message(&NUMBER_POINT))]);
static SUM: Shape =
    Shape(&[(1, wire::Kind::Message(&NUMBER_POINT)), (2, wire::Kind::Varint), (3, wire::Kind::Varint)]);
static HISTOGRAM: Shape = Shape(&[(1, wire::Kind::Message(&HISTOGRAM_POINT)), (2, wire::Kind::Varint)]);
static EXPONENTIAL_HISTOGRAM: Shape =
    Shape(&[(1, wire::Kind::Message(&EXPONENTIAL_POINT)), (2, wire::Kind::Varint)]);
static SUMMARY: Shape = Shape(&[(1, wire::Kind::Message(&SUMMARY_POINT))]);

impl Kind {
    pub(super) fn of_field(number: u32) -> Option<Self> {
        match number {
            5 => Some(Self::Gauge),
            7 => Some(Self::Sum),
            9 => Some(Self::Histogram),
            10 => Some(Self::ExponentialHistogram),
            11 => Some(Self::Summary),
            _ => None,
        }
    }

    pub(super) fn shape(self) -> &'static Shape {
        match self {
            Self::Gauge => &GAUGE,
            Self::Sum => &SUM,
            Self::Histogram => &HISTOGRAM,
            Self::ExponentialHistogram => &EXPONENTIAL_HISTOGRAM,
            Self::Summary => &SUMMARY,
        }
    }

    pub(super) fn point_shape(self) -> &'static Shape {
        match self {
            Self::Gauge | Self::Sum => &NUMBER_POINT,
            Self::Histogram => &HISTOGRAM_POINT,
            Self::ExponentialHistogram => &EXPONENTIAL_POINT,
            Self::Summary => &SUMMARY_POINT,
        }
    }

    /// What holds for all points. It may come after them.
    pub(super) fn totals<'a>(self, data: &Message<'a>) -> Result<Totals<'a>, WireError> {
        let has_totals = !matches!(self, Self::Gauge | Self::Summary);
        let mut totals = Totals::default();
        for field in data.fields() {
            let field = field?;
            match (field.number, self) {
                (1, _) => {
                    let point = field.bytes()?;
                    totals.only_point = (!totals.has_points).then_some(point);
                    if totals.has_points && !has_totals {
                        break;
                    }
                    totals.has_points = true;
                }
                (2, _) if has_totals => totals.temporality = field.varint()? as i32,
                (3, Self::Sum) => totals.is_monotonic = field.varint()? != 0,
                _ => {}
            }
        }
        Ok(totals)
    }
}

/// What holds for all points of a metric.
#[derive(Default)]
pub(super) struct Totals<'a> {
    pub(super) temporality: i32,
    pub(super) is_monotonic: bool,
    pub(super) has_points: bool,
    /// If there is just one.
    pub(super) only_point: Option<&'a [u8]>,
}

/// What points of every kind have.
#[derive(Default)]
pub(super) struct Point<'a> {
    /// The attributes with their keys and lengths, as they stand one after the other in the point.
    pub(super) attributes: Cow<'a, [u8]>,
    /// The attributes are those that were expected.
    pub(super) is_expected: bool,
    pub(super) start_ns: u64,
    pub(super) time_ns: u64,
    pub(super) flags: u64,
}

impl<'a> Point<'a> {
    /// Calls `each` with every attribute, a `KeyValue`.
    pub(super) fn each_attribute<'s, E: From<WireError>>(
        &'s self,
        mut each: impl FnMut(&'s [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        Fields::of(&self.attributes).try_for_each(|field| each(field?.bytes()?))
    }

    /// Reads the fields of a point: its attributes are those of the number `attributes`, `other` reads the rest. `expected` are the
    /// attributes that it may have; if it has them, they need not be taken apart.
    #[inline]
    fn read(
        message: &'a [u8],
        [attributes, flags]: [u32; 2],
        expected: &[u8],
        mut other: impl FnMut(wire::Field<'a>) -> Result<(), WireError>,
    ) -> Result<Self, WireError> {
        let mut point = Self::default();
        let (mut start, mut end) = (0, 0);
        let mut fields = Fields::of(message);
        let mut before = 0;
        loop {
            if start == end && fields.peek() == expected.first().copied() && fields.go_past(expected) {
                (start, end) = (before, message.len() - fields.remaining());
                point.is_expected = !expected.is_empty();
                before = end;
            }
            let Some(field) = fields.next() else { break };
            let field = field?;
            let after = message.len() - fields.remaining();
            match field.number {
                number if number == attributes => {
                    field.bytes()?;
                    point.is_expected = false;
                    if end != before && end > start {
                        // They do not stand together. One after the other they are the same attributes.
                        point.attributes.to_mut().extend_from_slice(&message[start..end]);
                        start = before;
                    } else if end == start {
                        start = before;
                    }
                    end = after;
                }
                2 => point.start_ns = field.fixed64()?,
                3 => point.time_ns = field.fixed64()?,
                number if number == flags => point.flags = field.varint()?,
                _ => other(field)?,
            }
            before = after;
        }
        if point.attributes.is_empty() {
            point.attributes = Cow::Borrowed(&message[start..end]);
        } else {
            point.attributes.to_mut().extend_from_slice(&message[start..end]);
        }
        Ok(point)
    }
}

pub(super) struct NumberPoint<'a> {
    pub(super) point: Point<'a>,
    pub(super) value: Option<f64>,
}

impl<'a> NumberPoint<'a> {
    #[inline]
    pub(super) fn of(message: &'a [u8], expected: &[u8]) -> Result<Self, WireError> {
        let mut value = None;
        let point = Point::read(message, [7, 8], expected, |field| {
            match field.number {
                4 => value = Some(field.double()?),
                6 => value = Some(field.fixed64()? as i64 as f64),
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self { point, value })
    }
}

/// How many values a histogram holds and what they add up to.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
}

/// Of a histogram with explicit bounds.
#[derive(Default)]
pub(super) struct Buckets {
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
}

pub(super) struct HistogramPoint<'a> {
    pub(super) point: Point<'a>,
    pub(super) count: Count,
}

impl<'a> HistogramPoint<'a> {
    /// Writes over `buckets`.
    pub(super) fn of(message: &'a [u8], expected: &[u8], buckets: &mut Buckets) -> Result<Self, WireError> {
        let Buckets { bounds, counts } = buckets;
        bounds.clear();
        counts.clear();
        let mut count = Count::default();
        let point = Point::read(message, [9, 10], expected, |field| {
            match field.number {
                4 => count.count = field.fixed64()?,
                5 => count.sum = Some(field.double()?),
                6 => field.each_fixed64(|value| counts.push(value))?,
                7 => field.each_fixed64(|value| bounds.push(f64::from_bits(value)))?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self { point, count })
    }
}

pub(super) struct ExponentialPoint<'a> {
    pub(super) point: Point<'a>,
    pub(super) count: Count,
    pub(super) scale: i32,
    /// The count of values around zero and the largest of them.
    pub(super) zero: (u64, f64),
    pub(super) negative: exponential::Buckets,
    pub(super) positive: exponential::Buckets,
}

impl<'a> ExponentialPoint<'a> {
    pub(super) fn of(message: &'a [u8], expected: &[u8]) -> Result<Self, WireError> {
        let (mut count, mut scale, mut zero) = (Count::default(), 0, (0, 0.0));
        let (mut negative, mut positive) = (Message::default(), Message::default());
        let point = Point::read(message, [1, 10], expected, |field| {
            match field.number {
                4 => count.count = field.fixed64()?,
                5 => count.sum = Some(field.double()?),
                6 => scale = field.zigzag32()?,
                7 => zero.0 = field.fixed64()?,
                8 => positive.merge(field.bytes()?),
                9 => negative.merge(field.bytes()?),
                14 => zero.1 = field.double()?,
                _ => {}
            }
            Ok(())
        })?;
        let (negative, positive) =
            (exponential::Buckets::of(&negative)?, exponential::Buckets::of(&positive)?);
        Ok(Self { point, count, scale, zero, negative, positive })
    }
}

pub(super) struct SummaryPoint<'a> {
    pub(super) point: Point<'a>,
    pub(super) count: u64,
    pub(super) sum: f64,
}

impl<'a> SummaryPoint<'a> {
    pub(super) fn of(message: &'a [u8]) -> Result<Self, WireError> {
        let (mut count, mut sum) = (0, 0.0);
        let point = Point::read(message, [7, 8], &[], |field| {
            match field.number {
                4 => count = field.fixed64()?,
                5 => sum = field.double()?,
                6 => drop(value_at_quantile(field.bytes()?)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self { point, count, sum })
    }

    /// The quantiles of a message that [`SummaryPoint::of`] has read, and their values.
    pub(super) fn quantiles(message: &'a [u8]) -> impl Iterator<Item = (f64, f64)> {
        let quantiles = Fields::of(message).filter_map(Result::ok).filter(|field| field.number == 6);
        quantiles.filter_map(|field| value_at_quantile(field.bytes().ok()?).ok())
    }
}

fn value_at_quantile(message: &[u8]) -> Result<(f64, f64), WireError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    for field in Fields::of(message) {
        let field = field?;
        match field.number {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}
