//! Native histograms of Prometheus, the same message in 1.0 and 2.0.

use crate::exponential::{self, EXPONENTIAL_BUCKETS_MAX};
use crate::wire::{Field, Fields, WireError};

/// The bounds are given one by one.
const CUSTOM_BUCKETS: i32 = -53;
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
/// The histogram is of a gauge.
const RESET_HINT_GAUGE: i32 = 3;

#[derive(Default)]
pub(super) struct Histogram {
    pub(super) count: u64,
    pub(super) sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    negative: Buckets,
    positive: Buckets,
    reset_hint: i32,
    /// 0 if unknown, as below.
    pub(super) time_ms: i64,
    pub(super) start_ms: i64,
    custom_bounds: Vec<f64>,
}

/// The buckets of one sign: spans of neighbours, and the counts of all of them.
#[derive(Default)]
struct Buckets {
    /// The distance from the span before (of the first one, its index), and the number of buckets.
    spans: Vec<(i32, u32)>,
    counts: Vec<u64>,
    last: i64,
}

impl Histogram {
    pub(super) fn of(message: &[u8]) -> Result<Self, WireError> {
        let mut histogram = Self::default();
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => histogram.count = field.varint()?,
                2 => histogram.count = rounded(field.double()?),
                3 => histogram.sum = field.double()?,
                4 => histogram.schema = field.zigzag32()?,
                5 => histogram.zero_threshold = field.double()?,
                6 => histogram.zero_count = field.varint()?,
                7 => histogram.zero_count = rounded(field.double()?),
                8 => histogram.negative.span(field)?,
                9 => histogram.negative.deltas(field)?,
                10 => histogram.negative.floats(field)?,
                11 => histogram.positive.span(field)?,
                12 => histogram.positive.deltas(field)?,
                13 => histogram.positive.floats(field)?,
                14 => histogram.reset_hint = field.varint()? as i32,
                15 => histogram.time_ms = field.varint()? as i64,
                16 => field.each_fixed64(|bits| histogram.custom_bounds.push(f64::from_bits(bits)))?,
                17 => histogram.start_ms = field.varint()? as i64,
                _ => {}
            }
        }
        Ok(histogram)
    }

    /// Bounds and counts as explicit histograms have them. None if the message contradicts itself, or is of a gauge.
    pub(super) fn explicit_buckets(&self) -> Option<(Vec<f64>, Vec<u64>)> {
        if self.reset_hint == RESET_HINT_GAUGE {
            return None;
        }
        let (negative, positive) = (self.negative.dense()?, self.positive.dense()?);
        if self.schema == CUSTOM_BUCKETS {
            return self.custom_buckets(&positive);
        }
        if !SCHEMAS.contains(&self.schema) {
            return None;
        }
        let zero = (self.zero_count, self.zero_threshold);
        exponential::explicit_buckets(self.schema, zero, &negative, &positive)
    }

    fn custom_buckets(&self, buckets: &exponential::Buckets) -> Option<(Vec<f64>, Vec<u64>)> {
        let bounds = self.custom_bounds.clone();
        let ascending = bounds.iter().all(|bound| bound.is_finite()) && bounds.is_sorted_by(|a, b| a < b);
        // Here bucket i is the one below bound i; `dense` counts from one less.
        let first = usize::try_from(buckets.offset.checked_add(1)?).ok()?;
        if !ascending || first.saturating_add(buckets.counts.len()) > bounds.len() + 1 {
            return None;
        }
        let mut counts = vec![0; bounds.len() + 1];
        counts[first..first + buckets.counts.len()].copy_from_slice(&buckets.counts);
        Some((bounds, counts))
    }
}

impl Buckets {
    fn span(&mut self, field: Field<'_>) -> Result<(), WireError> {
        let (mut offset, mut length) = (0, 0);
        for field in Fields::of(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => offset = field.zigzag32()?,
                2 => length = field.varint()? as u32,
                _ => {}
            }
        }
        self.spans.push((offset, length));
        Ok(())
    }

    /// Counts as differences to the one before.
    fn deltas(&mut self, field: Field<'_>) -> Result<(), WireError> {
        field.each_varint(|value| {
            self.last = self.last.wrapping_add((value >> 1) as i64 ^ -((value & 1) as i64));
            self.push(u64::try_from(self.last).unwrap_or(0));
        })
    }

    fn floats(&mut self, field: Field<'_>) -> Result<(), WireError> {
        field.each_fixed64(|bits| self.push(rounded(f64::from_bits(bits))))
    }

    /// More than [`EXPONENTIAL_BUCKETS_MAX`] are not kept, and then refused.
    fn push(&mut self, count: u64) {
        if self.counts.len() <= EXPONENTIAL_BUCKETS_MAX {
            self.counts.push(count);
        }
    }

    /// All buckets between the first and the last, as OTLP numbers them: its bucket i is Prometheus' i + 1. None if the
    /// spans have another length than the counts, go backwards, or are too many.
    fn dense(&self) -> Option<exponential::Buckets> {
        let mut counts = Vec::new();
        let mut rest = self.counts.as_slice();
        let mut first = 0;
        for (i, (offset, length)) in self.spans.iter().enumerate() {
            if i == 0 {
                first = offset.checked_sub(1)?;
            } else {
                let gap = usize::try_from(*offset).ok()?;
                if gap > EXPONENTIAL_BUCKETS_MAX - counts.len() {
                    return None;
                }
                counts.resize(counts.len() + gap, 0);
            }
            let (span, after) = rest.split_at_checked(*length as usize)?;
            if span.len() > EXPONENTIAL_BUCKETS_MAX - counts.len() {
                return None;
            }
            counts.extend_from_slice(span);
            rest = after;
        }
        rest.is_empty().then_some(exponential::Buckets { offset: first, counts })
    }
}

/// The nearest count.
fn rounded(count: f64) -> u64 {
    count.round() as u64
}
