//! What a figure usually is, from window to window: an exponentially weighted mean and variance.
//!
//! The first windows weigh equally, later ones as much as the last [`WINDOWS_SPAN`] together. What lies beyond the limit enters the mean as if it
//! lay on it, and the variance as if it lay at [`SPREAD_LIMIT`], so that an outlier hardly moves the baseline, a run of them does not make it
//! deaf, and a new level is learned in time. The figure should be on a scale where its variance does not depend on its mean; see [`of_count`] and
//! [`of_share`].

use serde::{Deserialize, Serialize};

use crate::snapshot::Unsound;

const WINDOWS_SPAN: f64 = 60.0;
/// Standard deviations up to which a window widens the variance.
const SPREAD_LIMIT: f64 = 2.5;
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
        let difference = value - self.mean;
        let (mut step, mut spread) = (difference, difference);
        if self.windows >= WINDOWS_MIN {
            let deviation = self.variance.max(variance_min).sqrt();
            step = difference.clamp(-score_limit * deviation, score_limit * deviation);
            spread = difference.clamp(-SPREAD_LIMIT * deviation, SPREAD_LIMIT * deviation);
        }
        self.windows = self.windows.saturating_add(1);
        let weight = 1.0 / f64::from(self.windows).min(WINDOWS_SPAN);
        self.mean += weight * step;
        self.variance = (1.0 - weight) * (self.variance + weight * spread * spread);
    }

    /// The baseline of the sum of two counts. The younger one was nothing in the windows before it.
    pub fn of_sum(self, other: Baseline) -> Baseline {
        let windows = self.windows.max(other.windows);
        let share = |one: Baseline| match windows {
            0 => 0.0,
            _ => count_of(one.mean) * f64::from(one.windows) / f64::from(windows),
        };
        Baseline {
            mean: of_count(share(self) + share(other)),
            variance: self.variance.max(other.variance),
            windows,
        }
    }

    pub fn check(&self) -> Result<(), Unsound> {
        let is_sound =
            self.mean.abs() <= VALUE_MAX && (0.0..=4.0 * VALUE_MAX * VALUE_MAX).contains(&self.variance);
        Unsound::unless(is_sound, "a baseline is that of no count or share")
    }
}

/// A figure that is watched: its baseline, and on which side of it the figure was found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Watch {
    pub baseline: Baseline,
    /// The sign of the score that was told of, until the figure comes back half the way.
    side: i8,
}

/// A figure that has left its baseline.
pub(crate) struct Left {
    pub score: f64,
    /// What it was until then, on the figure's scale.
    pub mean: f64,
}

impl Watch {
    /// Takes a window's figure. Tells once that it has left its baseline, for as long as it stays away on that side.
    pub fn judge(&mut self, value: f64, variance_min: f64, score_min: f64) -> Option<Left> {
        let mean = self.baseline.mean();
        let score = self.baseline.score(value, variance_min).unwrap_or(0.0);
        let side = score.signum() as i8;
        let is_away = score.abs() >= score_min;
        let is_news = is_away && side != self.side;
        if is_away {
            self.side = side;
        } else if side != self.side || score.abs() < score_min / 2.0 {
            self.side = 0;
        }
        self.baseline.learn(value, variance_min, score_min);
        is_news.then_some(Left { score, mean })
    }

    pub fn check(&self) -> Result<(), Unsound> {
        self.baseline.check()?;
        Unsound::unless((-1..=1).contains(&self.side), "a figure has a side that is none")
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

/// The same for a share of `whole`, which is not 0. Without the corrections that there are for few events: with them, none of many would be
/// another share than none of few.
pub(crate) fn of_share(part: f64, whole: f64) -> f64 {
    (part / whole).min(1.0).sqrt().asin()
}

/// The variance of [`of_share`] for independent events.
pub(crate) fn share_variance(whole: f64) -> f64 {
    1.0 / (4.0 * whole)
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
    fn a_run_of_outliers_does_not_make_it_deaf() {
        let mut watch = Watch::default();
        let mut judge = |count: f64| watch.judge(of_count(count), COUNT_VARIANCE, 6.0).is_some();
        (0..100).for_each(|_| assert!(!judge(40.0)));
        let told: Vec<bool> = (0..5).map(|_| judge(400.0)).collect();
        assert_eq!(told, [true, false, false, false, false], "once while it lasts");
        (0..60).for_each(|_| assert!(!judge(40.0)));
        assert!(judge(400.0), "an hour later it is news again");
    }

    #[test]
    fn what_is_merged_adds_what_it_has_been_all_the_time() {
        let learned = |windows: u32, count: f64| {
            let mut baseline = Baseline::default();
            (0..windows).for_each(|_| baseline.learn(of_count(count), COUNT_VARIANCE, 6.0));
            baseline
        };
        let sum = learned(60, 10.0).of_sum(learned(1, 1000.0));
        assert!((count_of(sum.mean()) - 26.7).abs() < 0.1, "{}", count_of(sum.mean()));
        assert!((count_of(learned(60, 10.0).of_sum(learned(60, 30.0)).mean()) - 40.0).abs() < 0.1);
        assert_eq!(count_of(Baseline::default().of_sum(Baseline::default()).mean()), 0.0);
    }

    #[test]
    fn none_of_many_is_the_share_of_none_of_few() {
        let mut watch = Watch::default();
        let mut judge =
            |part: f64, whole: f64| watch.judge(of_share(part, whole), share_variance(whole), 6.0).is_some();
        (0..100).for_each(|_| assert!(!judge(0.0, 5.0)));
        assert!(!judge(0.0, 1000.0), "more lines are no shift");
        assert!(judge(5.0, 5.0), "all of five is one");
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
