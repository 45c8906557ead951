//! A new level that stays: one alert, then the new level is what is expected.
//!
//! Fits a series that stays where it is until something changes it: connections, replicas, queue depth, the residual of a
//! seasonal model. Two cumulative sums of standardised residuals (Page 1954, "Continuous inspection schemes"), one for each
//! direction, gather what lies beyond the drift that is allowed. When one passes its limit there is one alert, and the mean
//! of the points since the sum began to rise is the new level. The level before is kept: a return to it ends the shift and
//! is no alert.
//!
//! Limits: a single point counts for a few sigmas at most, so a spike is no shift; a daily cycle is one shift after the
//! other; noise with a long memory looks like shifts; one former level is kept, not a set of them. 88 bytes of state.

use serde::{Deserialize, Serialize};

use crate::bounds::{STATE_MAX, bounded, finite, is_size};
use crate::deviation::validate_smallest;
use crate::{Detector, Direction, InvalidParameters, Point, Verdict};

/// The mean absolute value of a normal variable is this share of its sigma.
const MEAN_ABS_PER_SIGMA: f64 = 0.797_884_560_802_865_4;
/// A return is one that ends within so many sigmas of the former level.
const RETURN_SIGMAS: f64 = 2.0;
/// What a return scores at the most.
const RETURN_RATIO: f64 = 0.99;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevelShift {
    pub warmup_points: u32,
    /// Points over which level and noise are learned.
    pub memory_points: f64,
    /// A residual within this is no sign of a shift.
    pub drift_sigmas: f64,
    /// A residual counts for at most this much.
    pub clip_sigmas: f64,
    /// The sum of what lies beyond the drift, at which there is an alert.
    pub threshold_sigmas: f64,
    pub direction: Direction,
    /// Shifts that are smaller are no alert; they are learned all the same.
    pub min_abs_dev: f64,
    pub min_rel_dev: f64,
}

impl Default for LevelShift {
    fn default() -> Self {
        Self {
            warmup_points: 40,
            memory_points: 200.0,
            drift_sigmas: 1.0,
            clip_sigmas: 4.0,
            threshold_sigmas: 15.0,
            direction: Direction::Both,
            min_abs_dev: 0.0,
            min_rel_dev: 0.0,
        }
    }
}

/// What lies beyond the drift in one direction, and the points since that was last nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    sigmas: f64,
    /// Of their residuals.
    residuals: f64,
    points: u32,
}

impl Sum {
    fn add(&mut self, sigmas: f64, residual: f64) {
        self.sigmas += sigmas;
        if self.sigmas <= 0.0 {
            *self = Self::default();
            return;
        }
        self.residuals = (self.residuals + residual).clamp(-STATE_MAX, STATE_MAX);
        self.points = self.points.saturating_add(1);
    }

    /// How far the points lie from the level, on average.
    fn shift(&self) -> f64 {
        self.residuals / f64::from(self.points.max(1))
    }

    fn is_sound(&self) -> bool {
        is_size(self.sigmas) && self.residuals.abs() <= STATE_MAX
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LevelShiftState {
    points: u32,
    level: f64,
    /// Mean absolute residual.
    noise: f64,
    up: Sum,
    down: Sum,
    /// What the level was before it shifted.
    former: Option<f64>,
}

const _: () = assert!(size_of::<LevelShiftState>() <= 88);

impl Detector for LevelShift {
    type State = LevelShiftState;

    const NAME: &'static str = "level_shift";

    fn validate(&self) -> Result<(), InvalidParameters> {
        let at_least = |value: f64, least: f64| value >= least && value.is_finite();
        InvalidParameters::unless(self.warmup_points >= 10, "warmup_points must be at least 10")?;
        InvalidParameters::unless(at_least(self.memory_points, 10.0), "memory_points must be at least 10")?;
        InvalidParameters::unless(at_least(self.drift_sigmas, 0.0), "drift_sigmas must be 0 or more")?;
        let clips = at_least(self.clip_sigmas, self.drift_sigmas + 0.1);
        InvalidParameters::unless(clips, "clip_sigmas must be more than drift_sigmas, by 0.1 at least")?;
        InvalidParameters::unless(
            at_least(self.threshold_sigmas, 1.0),
            "threshold_sigmas must be at least 1",
        )?;
        validate_smallest(self.min_abs_dev, self.min_rel_dev)
    }

    fn is_sound(&self, state: &LevelShiftState) -> bool {
        let is_value = |value: f64| value.abs() <= STATE_MAX;
        is_value(state.level)
            && is_size(state.noise)
            && state.up.is_sound()
            && state.down.is_sound()
            && state.former.is_none_or(is_value)
    }

    fn update(&self, state: &mut LevelShiftState, point: Point) -> Option<Verdict> {
        let value = bounded(point.value);
        if state.points == 0 {
            state.level = value;
        }
        let residual = value - state.level;
        let sigma = state.noise / MEAN_ABS_PER_SIGMA;
        let is_warm = state.points >= self.warmup_points;
        let verdict = is_warm.then(|| self.judge(state, residual, sigma));
        if verdict.is_none_or(|verdict| !verdict.is_anomalous()) {
            self.learn(state, value, sigma, is_warm);
        }
        state.points = state.points.saturating_add(1);
        verdict
    }
}

impl LevelShift {
    fn judge(&self, state: &mut LevelShiftState, residual: f64, sigma: f64) -> Verdict {
        // A flat series that moves is as far away as can be.
        let sigmas = if residual == 0.0 { 0.0 } else { residual / sigma };
        let sigmas = sigmas.clamp(-self.clip_sigmas, self.clip_sigmas);
        state.up.add(sigmas - self.drift_sigmas, residual);
        state.down.add(-sigmas - self.drift_sigmas, residual);
        let expected = state.level;
        let smallest = self.min_abs_dev.max(self.min_rel_dev * expected.abs());
        let sum = if state.up.sigmas >= state.down.sigmas { state.up } else { state.down };
        let mut ratio = self.counted(sum, smallest);
        if sum.sigmas > self.threshold_sigmas {
            let level = expected + sum.shift();
            let is_return = |former: f64| (level - former).abs() <= (RETURN_SIGMAS * sigma).max(smallest);
            let returns = state.former.is_some_and(is_return);
            if returns {
                ratio = ratio.min(RETURN_RATIO);
            }
            state.level = state.former.filter(|_| returns).unwrap_or(level).clamp(-STATE_MAX, STATE_MAX);
            state.former = Some(expected);
            (state.up, state.down) = Default::default();
        }
        let margin = (self.drift_sigmas * sigma).max(smallest);
        Verdict {
            expected,
            lower: finite(expected - margin),
            upper: finite(expected + margin),
            anomaly_score: if ratio.is_finite() { ratio / (1.0 + ratio) } else { 1.0 },
        }
    }

    /// The sum in units of its limit, as far as direction and size let it count.
    fn counted(&self, sum: Sum, smallest: f64) -> f64 {
        let counted = self.direction.counted(sum.shift());
        let ratio = sum.sigmas / self.threshold_sigmas;
        if counted == 0.0 { 0.0 } else { ratio.min(if smallest > 0.0 { counted / smallest } else { ratio }) }
    }

    /// While a sum rises little is learned, or the level would follow a shift before it is seen.
    fn learn(&self, state: &mut LevelShiftState, value: f64, sigma: f64, is_warm: bool) {
        let weight = (1.0 / self.memory_points).max(1.0 / (f64::from(state.points) + 1.0));
        let limit = if is_warm && sigma > 0.0 { self.clip_sigmas * sigma } else { f64::INFINITY };
        let residual = (value - state.level).clamp(-limit, limit);
        let rise = state.up.sigmas.max(state.down.sigmas) / self.threshold_sigmas;
        let calm = (1.0 - rise).max(0.0);
        state.level += weight * calm * residual;
        state.noise += weight * (residual.abs() - state.noise);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: usize) -> f64 {
        let mixed = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33;
        (mixed % 1000) as f64 / 500.0 - 1.0
    }

    fn alerts(detector: &LevelShift, len: usize, level: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut state = LevelShiftState::default();
        let mut is_alert = |i: usize| {
            let point = Point { time_ms: i as i64 * 60_000, value: level(i) + noise(i) };
            let verdict = detector.update(&mut state, point);
            assert!(detector.is_sound(&state));
            verdict.is_some_and(|verdict| verdict.is_anomalous())
        };
        (0..len).filter(|i| is_alert(*i)).collect()
    }

    #[test]
    fn a_shift_is_one_alert_and_the_return_is_none() {
        let level = |i: usize| if (500..800).contains(&i) { 110.0 } else { 100.0 };
        let found = alerts(&LevelShift::default(), 1500, level);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!((500..510).contains(&found[0]), "{found:?}");
    }

    #[test]
    fn a_third_level_is_another_alert() {
        let level = |i: usize| [100.0, 110.0, 125.0][i / 500];
        let found = alerts(&LevelShift::default(), 1500, level);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1] >= 1000, "{found:?}");
    }

    #[test]
    fn a_spike_is_no_shift_and_noise_is_none() {
        let level = |i: usize| if i % 400 == 399 { 1e6 } else { 0.0 };
        assert_eq!(alerts(&LevelShift::default(), 20_000, level), [0; 0]);
    }

    #[test]
    fn parameters_say_which_shifts_count() {
        let level = |i: usize| if i < 500 { 100.0 } else { 110.0 };
        let found = |detector: LevelShift| alerts(&detector, 1000, level).len();
        let default = LevelShift::default;
        assert_eq!(found(LevelShift { direction: Direction::Up, ..default() }), 1);
        assert_eq!(found(LevelShift { direction: Direction::Down, ..default() }), 0);
        assert_eq!(found(LevelShift { min_abs_dev: 20.0, ..default() }), 0);
        assert_eq!(found(LevelShift { min_rel_dev: 0.05, ..default() }), 1);
    }
}
