//! Exponentially weighted mean and deviation, scored as a z-score.
//!
//! Fits a series whose level drifts slowly: queue depth, memory in use, error ratio. A series with a daily cycle wants
//! [`seasonal`](crate::seasonal). The recurrences are those of Finch (2009), "Incremental calculation of weighted mean and
//! variance", with the weight taken from the time that passed, so that gaps and uneven intervals need no resampling.
//! What is learned of one point is limited, so that a spike neither hides the next nor blunts the detector, and what is
//! learned while points are anomalous counts less, so that the end of an incident finds the old level. A new level is
//! alarming until it is learned, about three of the slower half-lives.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use crate::deviation::{ANOMALOUS_WEIGHT, larger, smaller};
use crate::{Detector, Deviation, Direction, InvalidParameters, Point, Verdict};

/// Parameters, shared by every series the detector watches.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ewma {
    /// Age at which a point counts half as much as a fresh one.
    pub half_life_s: f64,
    /// Points to see before the first verdict.
    pub warmup_points: u32,
    /// A deviation is learned as if it were at most this many sigmas.
    pub clip_sigmas: f64,
    pub threshold_sigmas: f64,
    pub direction: Direction,
    pub min_abs_dev: f64,
    pub min_rel_dev: f64,
    #[serde(skip)]
    learned: Learned,
}

/// How much of a new point is learned, for the time and half-life that were asked for last: most points come in equal intervals,
/// and an exponential costs as much as all the rest.
#[derive(Clone, Debug, Default)]
struct Learned(Cell<(i64, f64, f64)>);

impl Learned {
    fn after(&self, elapsed_ms: i64, half_life_s: f64) -> f64 {
        let (known_ms, known_s, learned) = self.0.get();
        if known_ms == elapsed_ms && known_s == half_life_s {
            return learned;
        }
        let learned = 1.0 - (-(elapsed_ms as f64) / (1000.0 * half_life_s)).exp2();
        self.0.set((elapsed_ms, half_life_s, learned));
        learned
    }
}

impl Default for Ewma {
    fn default() -> Self {
        Self {
            half_life_s: 600.0,
            warmup_points: 30,
            clip_sigmas: 3.0,
            threshold_sigmas: 6.0,
            direction: Direction::Both,
            min_abs_dev: 1e-3,
            min_rel_dev: 0.2,
            learned: Learned::default(),
        }
    }
}

impl Ewma {
    fn deviation(&self) -> Deviation {
        Deviation {
            direction: self.direction,
            min_abs_dev: self.min_abs_dev,
            min_rel_dev: self.min_rel_dev,
            threshold_sigmas: self.threshold_sigmas,
        }
    }
}

/// What is remembered about one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EwmaState {
    mean: f64,
    variance: f64,
    last_ms: i64,
    points: u32,
}

// A million series must fit in 32 MB.
const _: () = assert!(size_of::<EwmaState>() <= 32);

impl Detector for Ewma {
    type State = EwmaState;

    const NAME: &'static str = "ewma";

    fn validate(&self) -> Result<(), InvalidParameters> {
        let positive = self.half_life_s > 0.0 && self.half_life_s.is_finite();
        InvalidParameters::unless(positive, "half_life_s must be more than 0")?;
        InvalidParameters::unless(self.warmup_points >= 2, "warmup_points must be at least 2")?;
        InvalidParameters::unless(self.clip_sigmas >= 1.0, "clip_sigmas must be at least 1")?;
        self.deviation().validate()
    }

    fn state_bytes_max(&self) -> usize {
        size_of::<EwmaState>()
    }

    fn is_sound(&self, state: &EwmaState) -> bool {
        state.mean.is_finite() && state.variance.is_finite() && state.variance >= 0.0
    }

    #[inline]
    fn update(&self, state: &mut EwmaState, point: Point) -> Option<Verdict> {
        if state.points == 0 {
            state.mean = point.value;
            state.last_ms = point.time_ms;
        }
        let EwmaState { mean, variance, last_ms, points } = *state;
        // Judge first, learn second: a point must not soften its own verdict.
        let sigma = variance.sqrt();
        let warm = points >= self.warmup_points;
        let deviation = self.deviation();
        let verdict = warm.then(|| deviation.judge(point.value, mean, sigma));

        let elapsed_ms = point.time_ms.saturating_sub(last_ms).max(0);
        // While few points are known each counts alike, so that the first does not outweigh the rest.
        let (decay, count) = (self.learned.after(elapsed_ms, self.half_life_s), f64::from(points) + 1.0);
        let mut weight = if decay * count >= 1.0 { decay } else { 1.0 / count };
        let mut limit = f64::INFINITY;
        if let Some(verdict) = verdict {
            weight = weight.min(0.5) * if verdict.is_anomalous() { ANOMALOUS_WEIGHT } else { 1.0 };
            // A little more than sigma may be learned at a time, or a flat series could never learn that it moves.
            limit = larger(self.clip_sigmas * sigma, deviation.smallest(mean));
        }
        let learned = larger(smaller(point.value - mean, limit), -limit);
        let variance = (1.0 - weight) * (variance + weight * learned * learned);
        if variance.is_finite() {
            state.mean = mean + weight * learned;
            state.variance = variance;
        }
        state.last_ms = last_ms.max(point.time_ms);
        state.points = points.saturating_add(1);
        verdict
    }

    fn points_left(&self, state: &EwmaState) -> u32 {
        self.warmup_points.saturating_sub(state.points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `len` points of noise around `level(i)`, 10 s apart; returns the indexes that alarm.
    fn alarms(len: usize, level: impl Fn(usize) -> f64) -> Vec<usize> {
        let (detector, mut state) = (Ewma::default(), EwmaState::default());
        let mut alarms_at = |i: usize| {
            let value = level(i) + [-1.0, 0.5, 1.0, -0.5][i % 4];
            let point = Point { time_ms: i as i64 * 10_000, value };
            detector.update(&mut state, point).is_some_and(|verdict| verdict.anomaly_score > 0.5)
        };
        (0..len).filter(|&i| alarms_at(i)).collect()
    }

    #[test]
    fn spikes_are_flagged_and_do_not_mask_each_other() {
        let spikes = [150, 153];
        assert_eq!(alarms(200, |i| if spikes.contains(&i) { 40.0 } else { 0.0 }), spikes);
    }

    #[test]
    fn a_new_level_is_flagged_and_learned() {
        let alarms = alarms(2000, |i| if i < 500 { 10.0 } else { 50.0 });
        assert_eq!(alarms.first(), Some(&500));
        assert!(*alarms.last().unwrap() < 1000, "{alarms:?}");
    }

    #[test]
    fn nothing_is_flagged_during_warmup() {
        assert_eq!(alarms(29, |i| if i == 20 { 1e9 } else { 0.0 }), [0; 0]);
    }
}
