//! What a figure usually is, from window to window: an exponentially weighted mean and variance.
//!
//! The first windows weigh equally, later ones as much as the last [`WINDOWS_SPAN`] together. What lies beyond the limit enters as if it lay on
//! it, so that an outlier hardly moves the baseline, and a new level is learned in time. The figure should be on a scale where its variance does
//! not depend on its mean; see [`of_count`] and [`of_share`].

use serde::{Deserialize, Serialize};

use crate::snapshot::Unsound;

const WINDOWS_SPAN: f64 = 60.0;
/// Windows before a figure is judged.
pub(crate) const WINDOWS_MIN: u32 = 10;

/// More than any count or share is on its scale.
const VALUE_MAX: f64 = 8_589_934_592.0;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Baseline {
    mean: f64,
    variance: f64,
    windows: u32,
}

impl Baseline {
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// By how many standard deviations `value` lies above the mean; `None` before there is a baseline. The variance is taken as
    /// `variance_min` at least, which is what chance alone gives.
    pub fn score(&self, value: f64, variance_min: f64) -> Option<f64> {
        (self.windows >= WINDOWS_MIN).then(|| (value - self.mean) / self.variance.max(variance_min).sqrt())
    }

    pub fn learn(&mut self, value: f64, variance_min: f64, score_limit: f64) {
        let bounded = match self.score(value, variance_min) {
            Some(score) if score.abs() > score_limit => {
                self.mean + score_limit.copysign(score) * self.variance.max(variance_min).sqrt()
            }
            _ => value,
        };
        self.windows = self.windows.saturating_add(1);
        let weight = 1.0 / f64::from(self.windows).min(WINDOWS_SPAN);
        let difference = bounded - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
    }

    /// The baseline of the sum of two counts.
    pub fn of_sum(self, other: Baseline) -> Baseline {
        Baseline {
            mean: of_count(count_of(self.mean) + count_of(other.mean)),
            variance: self.variance.max(other.variance),
            windows: self.windows.max(other.windows),
        }
    }

    pub fn check(&self) -> Result<(), Unsound> {
        let is_sound =
            self.mean.abs() <= VALUE_MAX && (0.0..=4.0 * VALUE_MAX * VALUE_MAX).contains(&self.variance);
        Unsound::unless(is_sound, "a baseline is that of no count or share")
    }
}

/// The variance of [`of_count`] for independent events.
pub(crate) const COUNT_VARIANCE: f64 = 1.0;

/// A count on a scale where chance makes the same variance everywhere (Anscombe, The transformation of Poisson, binomial and negative-binomial
/// data, 1948).
pub(crate) fn of_count(count: f64) -> f64 {
    2.0 * (count + 0.375).sqrt()
}

pub(crate) fn count_of(value: f64) -> f64 {
    (value * value / 4.0 - 0.375).max(0.0)
}

/// The same for a share of `whole`.
pub(crate) fn of_share(part: f64, whole: f64) -> f64 {
    ((part + 0.375) / (whole + 0.75)).min(1.0).sqrt().asin()
}

/// The variance of [`of_share`] for independent events.
pub(crate) fn share_variance(whole: f64) -> f64 {
    1.0 / (4.0 * whole + 2.0)
}

pub(crate) fn share_of(value: f64) -> f64 {
    value.clamp(0.0, std::f64::consts::FRAC_PI_2).sin().powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_can_be_undone() {
        for count in [0.0, 1.0, 7.0, 1e6] {
            assert!((count_of(of_count(count)) - count).abs() < 1e-6 * (1.0 + count));
        }
        assert!((share_of(of_share(30.0, 100.0)) - 0.3).abs() < 0.01);
    }

    #[test]
    fn a_new_level_is_learned_in_time_and_an_outlier_is_not() {
        let mut baseline = Baseline::default();
        let score = |baseline: &Baseline, count: f64| baseline.score(of_count(count), COUNT_VARIANCE);
        for _ in 0..WINDOWS_MIN {
            assert_eq!(score(&baseline, 9.0), None);
            baseline.learn(of_count(9.0), COUNT_VARIANCE, 6.0);
        }
        baseline.learn(of_count(1e9), COUNT_VARIANCE, 6.0);
        assert!(score(&baseline, 100.0).expect("it is known by now") > 3.0);
        (0..300).for_each(|_| baseline.learn(of_count(100.0), COUNT_VARIANCE, 6.0));
        assert!(score(&baseline, 100.0).expect("it is known by now").abs() < 1.0);
    }
}
