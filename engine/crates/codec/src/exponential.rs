//! Exponential histograms with their bounds written out.

use crate::wire::{Message, WireError};

/// A point of an exponential histogram with more buckets is malformed; writers keep at most 160 by default.
pub(crate) const EXPONENTIAL_BUCKETS_MAX: usize = 10_000;
/// Scales that the data model allows.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;

/// The buckets of one sign. Bucket i of the positive ones holds values in (edge(i), edge(i + 1)].
#[derive(Default)]
pub(crate) struct Buckets {
    pub(crate) offset: i32,
    /// At most one more than [`EXPONENTIAL_BUCKETS_MAX`]; beyond that they are only checked.
    pub(crate) counts: Vec<u64>,
}

impl Buckets {
    /// Of OTLP's message.
    pub(crate) fn of(message: &Message<'_>) -> Result<Self, WireError> {
        let mut buckets = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => buckets.offset = field.zigzag32()?,
                2 => field.each_varint(|count| {
                    if buckets.counts.len() <= EXPONENTIAL_BUCKETS_MAX {
                        buckets.counts.push(count);
                    }
                })?,
                _ => {}
            }
        }
        Ok(buckets)
    }

    /// Where bucket i begins, counted from the first one here.
    fn edge(&self, i: usize, scale: i32) -> f64 {
        ((f64::from(self.offset) + i as f64) * f64::from(-scale).exp2()).exp2()
    }
}

/// Bounds and counts as explicit histograms have them: negative buckets, the one around zero, positive ones. None if
/// the point is not as the data model says.
pub(crate) fn explicit_buckets(
    scale: i32,
    (zero_count, zero_threshold): (u64, f64),
    negative: &Buckets,
    positive: &Buckets,
) -> Option<(Vec<f64>, Vec<u64>)> {
    let length = negative.counts.len() + positive.counts.len();
    if length > EXPONENTIAL_BUCKETS_MAX || !SCALES.contains(&scale) {
        return None;
    }
    let mut bounds = Vec::with_capacity(length + 2);
    let mut counts = Vec::with_capacity(length + 3);
    // Values up to `bound` and above the bound before. What has no room between two numbers joins its neighbour.
    let mut push = |bound: f64, count: u64| {
        let follows = bounds.last().is_none_or(|last| *last < bound);
        match counts.last_mut() {
            Some(last) if !follows => *last = count.saturating_add(*last),
            _ => {
                bounds.push(bound);
                counts.push(count);
            }
        }
    };
    if !negative.counts.is_empty() {
        push((-negative.edge(negative.counts.len(), scale)).max(f64::MIN), 0);
    }
    for (i, count) in negative.counts.iter().enumerate().rev() {
        push((-negative.edge(i, scale)).max(f64::MIN), *count);
    }
    let zero_end = if positive.counts.is_empty() { zero_threshold } else { positive.edge(0, scale) };
    let zero_end = if zero_end.is_finite() { zero_end.max(0.0) } else { f64::MAX };
    push(zero_end, zero_count);
    for (i, count) in positive.counts.iter().enumerate() {
        push(positive.edge(i + 1, scale).min(f64::MAX), *count);
    }
    counts.push(0);
    Some((bounds, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets((offset, counts): (i32, &[u64])) -> Buckets {
        Buckets { offset, counts: counts.to_vec() }
    }

    fn explicit(
        scale: i32,
        negative: (i32, &[u64]),
        zero: u64,
        positive: (i32, &[u64]),
    ) -> Option<(Vec<f64>, Vec<u64>)> {
        explicit_buckets(scale, (zero, 0.0), &buckets(negative), &buckets(positive))
    }

    #[test]
    fn exponential_buckets_get_their_bounds() {
        let (bounds, counts) = explicit(0, (0, &[1, 2]), 3, (1, &[4, 0, 5])).unwrap();
        assert_eq!(bounds, [-4.0, -2.0, -1.0, 2.0, 4.0, 8.0, 16.0]);
        assert_eq!(counts, [0, 2, 1, 3, 4, 0, 5, 0]);
        let (bounds, counts) = explicit(1, (0, &[]), 0, (0, &[1, 1])).unwrap();
        assert_eq!((bounds.len(), counts), (3, vec![0, 1, 1, 0]));
        assert!((bounds[1] - 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn extreme_exponents_lose_no_count() {
        for offset in [i32::MIN, -100_000, 0, 100_000, i32::MAX] {
            for scale in [-10, 0, 20] {
                let (bounds, counts) = explicit(scale, (offset, &[1, 2]), 3, (offset, &[4, 5])).unwrap();
                assert!(
                    bounds.is_sorted_by(|a, b| a < b) && bounds.iter().all(|b| b.is_finite()),
                    "{bounds:?}"
                );
                assert_eq!(counts.len(), bounds.len() + 1);
                assert_eq!(counts.iter().sum::<u64>(), 15);
            }
        }
        assert!(explicit(21, (0, &[]), 0, (0, &[])).is_none());
    }
}
