//! When a deviation counts: direction, smallest size, and the step from sigmas to a score.

use serde::{Deserialize, Serialize};

use crate::bounds::finite;
use crate::{InvalidParameters, Verdict};

/// An anomalous point is learned with this share of a usual one's weight.
pub(crate) const ANOMALOUS_WEIGHT: f64 = 0.2;

/// Which side of the expected value is of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Up,
    Down,
    #[default]
    Both,
}

impl Direction {
    /// The size of a deviation, 0 on the side that is of no interest.
    pub(crate) fn counted(self, deviation: f64) -> f64 {
        match self {
            Direction::Up => deviation.max(0.0),
            Direction::Down => (-deviation).max(0.0),
            Direction::Both => deviation.abs(),
        }
    }
}

pub(crate) fn validate_smallest(min_abs_dev: f64, min_rel_dev: f64) -> Result<(), InvalidParameters> {
    let size = |value: f64| value >= 0.0 && value.is_finite();
    InvalidParameters::unless(size(min_abs_dev), "min_abs_dev must be 0 or more")?;
    InvalidParameters::unless(size(min_rel_dev), "min_rel_dev must be 0 or more")
}

/// a / (a + b), of sizes of which both may be infinite; 1 then.
fn share(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if sum.is_finite() {
        return a / sum;
    }
    let ratio = a / b;
    if ratio.is_finite() { ratio / (1.0 + ratio) } else { 1.0 }
}

/// As `max` and `min` of numbers, in one instruction: those ask about each first whether it is one.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// The part of a detector's parameters that says which deviations are worth an alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    pub direction: Direction,
    /// In the unit of the series.
    pub min_abs_dev: f64,
    /// As a share of the expected value's size.
    pub min_rel_dev: f64,
    /// Sigmas at which the score is 0.5.
    pub threshold_sigmas: f64,
}

impl Deviation {
    pub fn validate(&self) -> Result<(), InvalidParameters> {
        validate_smallest(self.min_abs_dev, self.min_rel_dev)?;
        let positive = self.threshold_sigmas > 0.0 && self.threshold_sigmas.is_finite();
        InvalidParameters::unless(positive, "threshold_sigmas must be more than 0")
    }

    /// The smallest deviation that is worth an alarm.
    pub(crate) fn smallest(&self, expected: f64) -> f64 {
        larger(self.min_rel_dev * expected.abs(), self.min_abs_dev)
    }

    /// The verdict on `value` where `expected` with a spread of `sigma` was expected.
    #[inline]
    pub fn judge(&self, value: f64, expected: f64, sigma: f64) -> Verdict {
        let margin = larger(self.threshold_sigmas * sigma, self.smallest(expected));
        let deviation = value - expected;
        let counted = self.direction.counted(deviation);
        // At the margin the score is 0.5; a margin of zero lets any deviation count.
        let anomaly_score = if counted == 0.0 { 0.0 } else { share(counted, margin) };
        let (lower, upper) = (finite(expected - margin), finite(expected + margin));
        Verdict { expected, lower, upper, anomaly_score }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Deviation =
        Deviation { direction: Direction::Both, min_abs_dev: 1.0, min_rel_dev: 0.1, threshold_sigmas: 4.0 };

    #[test]
    fn small_deviations_are_harmless_however_many_sigmas() {
        assert!(BOTH.judge(100.5, 100.0, 1e-9).anomaly_score < 0.5, "below min_rel_dev");
        assert!(BOTH.judge(0.9, 0.0, 1e-9).anomaly_score < 0.5, "below min_abs_dev");
        assert!(BOTH.judge(111.0, 100.0, 1e-9).anomaly_score > 0.5);
        assert_eq!(BOTH.judge(140.0, 100.0, 10.0).anomaly_score, 0.5, "at the threshold");
    }

    #[test]
    fn the_bounds_are_finite_also_at_the_end_of_the_range() {
        for (expected, sigma) in
            [(f64::MAX, 1.0), (f64::MIN, 1.0), (0.0, f64::MAX), (f64::MAX, f64::INFINITY)]
        {
            let verdict = BOTH.judge(-expected, expected, sigma);
            assert!(verdict.lower.is_finite() && verdict.upper.is_finite(), "{verdict:?}");
            assert!((0.0..=1.0).contains(&verdict.anomaly_score), "{verdict:?}");
        }
    }

    #[test]
    fn direction_is_kept() {
        let up = Deviation { direction: Direction::Up, ..BOTH };
        assert_eq!(up.judge(-1e9, 0.0, 1.0).anomaly_score, 0.0);
        assert!(up.judge(1e9, 0.0, 1.0).anomaly_score > 0.99);
    }
}
