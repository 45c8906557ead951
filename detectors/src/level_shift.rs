//! A new level that stays: one alert, then the new level is what is expected.
//!
//! Fits a series that stays where it is until something changes it: connections, replicas, queue depth, the residual of a
//! seasonal model. Two cumulative sums of standardised residuals (Page 1954, "Continuous inspection schemes"), one for each
//! direction, gather what lies beyond the drift that is allowed. When one passes its limit there is one alert, and the mean
//! of the points that made the sum rise is the new level. The level before is kept: a return to it ends the shift and
//! is no alert. What counts of a point is the median of it and the two before it, so that a single spike is nothing at all,
//! whatever the parameters; a shift is seen one point later for it. The first level is a median too, and the first noise
//! leaves the largest tenth of the residuals out, so that a few glitches among the first points spoil neither.
//!
//! Limits: a daily cycle is one shift after the other; noise with a long memory looks like shifts; one former level is kept,
//! not a set of them. 128 bytes of state, and 8 for each of the first points, at most 512, until the warm-up is over.

use serde::{Deserialize, Serialize};

use crate::bounds::{STATE_MAX, VALUE_MAX, bounded, finite, is_size};
use crate::deviation::validate_smallest;
use crate::{Detector, Direction, InvalidParameters, Point, Verdict};

/// The mean absolute value of a normal variable is this share of its sigma.
const MEAN_ABS_PER_SIGMA: f64 = 0.797_884_560_802_865_4;
/// The first points that are kept, at the most: the latest.
const FIRST_POINTS_MAX: usize = 64;
/// The share of the first residuals that may be of any size.
const GLITCHES: f64 = 0.1;
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

/// What lies beyond the drift in one direction, and the residuals since that was last nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    sigmas: f64,
    /// Of the residuals and of their weights, which are the sigmas beyond the drift: by chance the sum may have risen a
    /// little before the shift.
    residuals: f64,
    weights: f64,
}

impl Sum {
    fn add(&mut self, sigmas: f64, residual: f64) {
        self.sigmas += sigmas;
        if self.sigmas <= 0.0 {
            *self = Self::default();
            return;
        }
        let weight = sigmas.max(0.0);
        self.residuals = (self.residuals + weight * residual).clamp(-STATE_MAX, STATE_MAX);
        self.weights = (self.weights + weight).min(STATE_MAX);
    }

    /// How far the points lie from the level, on average.
    fn shift(&self) -> f64 {
        if self.weights > 0.0 { self.residuals / self.weights } else { 0.0 }
    }

    fn is_sound(&self) -> bool {
        is_size(self.sigmas) && is_size(self.weights) && self.residuals.abs() <= STATE_MAX
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LevelShiftState {
    points: u32,
    /// The first values, until the warm-up is over.
    first: Vec<f64>,
    /// The last two values.
    last: [f64; 2],
    level: f64,
    /// Mean absolute residual.
    noise: f64,
    up: Sum,
    down: Sum,
    /// What the level was before it shifted.
    former: Option<f64>,
}

const _: () = assert!(size_of::<LevelShiftState>() <= 128);

impl LevelShiftState {
    /// Keeps one of the first values.
    fn keep(&mut self, value: f64) {
        if self.first.len() == FIRST_POINTS_MAX {
            self.first.remove(0);
        }
        self.first.push(value);
    }

    /// The first level and noise, of the first values.
    fn begin(&mut self) {
        let mut first = std::mem::take(&mut self.first);
        let middle = first.len() / 2;
        self.level = *first.select_nth_unstable_by(middle, f64::total_cmp).1;
        let mut sizes: Vec<f64> = first.iter().map(|value| (value - self.level).abs()).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        let glitches = (GLITCHES * sizes.len() as f64) as usize;
        let largest = sizes[sizes.len() - 1 - glitches];
        self.noise = sizes.iter().map(|size| size.min(largest)).sum::<f64>() / sizes.len() as f64;
    }
}

/// The middle one of three.
fn median(a: f64, b: f64, c: f64) -> f64 {
    a.max(b).min(a.min(b).max(c))
}

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

    fn state_bytes_max(&self) -> usize {
        size_of::<LevelShiftState>() + FIRST_POINTS_MAX.next_power_of_two() * size_of::<f64>()
    }

    fn is_sound(&self, state: &LevelShiftState) -> bool {
        let is_value = |value: f64| value.abs() <= STATE_MAX;
        state.first.len() <= FIRST_POINTS_MAX
            && state.first.iter().chain(&state.last).all(|value| value.abs() <= VALUE_MAX)
            && is_value(state.level)
            && is_size(state.noise)
            && state.up.is_sound()
            && state.down.is_sound()
            && state.former.is_none_or(is_value)
    }

    fn update(&self, state: &mut LevelShiftState, point: Point) -> Option<Verdict> {
        let value = bounded(point.value);
        let is_first = state.points == 0 || !state.first.is_empty();
        let is_warm = state.points >= self.warmup_points;
        let [before, last] = state.last;
        state.last = [last, value];
        state.points = state.points.saturating_add(1);
        if is_first && !is_warm {
            state.keep(value);
            return None;
        }
        if is_first {
            state.begin();
        }
        let usual = median(before, last, value);
        let sigma = state.noise / MEAN_ABS_PER_SIGMA;
        let verdict = self.judge(state, usual - state.level, sigma);
        if !verdict.is_anomalous() {
            self.learn(state, usual, value, sigma);
        }
        Some(verdict)
    }

    fn points_left(&self, state: &LevelShiftState) -> u32 {
        let has_begun = state.points > 0 && state.first.is_empty();
        if has_begun { 0 } else { self.warmup_points.saturating_sub(state.points) }
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

    /// While a sum rises little is learned, or the level would follow a shift before it is seen. In a series that was flat
    /// until now nothing else says how much a value may teach, so it teaches what the `usual` one does.
    fn learn(&self, state: &mut LevelShiftState, usual: f64, value: f64, sigma: f64) {
        let weight = (1.0 / self.memory_points).max(1.0 / f64::from(state.points));
        let usual = usual - state.level;
        let limit = if sigma > 0.0 { self.clip_sigmas * sigma } else { usual.abs() };
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
    fn a_shift_of_any_size_is_one_alert_wherever_it_begins() {
        for size in [5.0, 10.0, -20.0] {
            let is_one = |at: &usize| {
                let found = alerts(&LevelShift::default(), 800, |i| if i < *at { 0.0 } else { size });
                found.len() == 1 && (*at..at + 10).contains(&found[0])
            };
            let shifts = (300..500).filter(is_one).count();
            assert!(shifts >= 195, "{shifts} of 200 shifts by {size}");
        }
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
    fn a_spike_upon_a_sum_that_has_risen_is_no_shift() {
        for parameters in [
            LevelShift::default(),
            LevelShift {
                clip_sigmas: 1e6,
                threshold_sigmas: 1.0,
                drift_sigmas: 3.0,
                ..LevelShift::default()
            },
        ] {
            for spike in [60.0, -60.0, 1e6, -1e6, 1e90] {
                for at in 45..300 {
                    let level = |i: usize| if i == at { spike } else { 0.0 };
                    assert_eq!(alerts(&parameters, 500, level), [0; 0], "{spike} at {at}");
                }
            }
            // And in a series that is flat otherwise.
            let value = |i: usize| if i == 100 { 1e6 } else { -noise(i) };
            assert_eq!(alerts(&parameters, 500, value), [0; 0]);
        }
    }

    #[test]
    fn a_spike_within_a_shift_is_no_part_of_the_new_level() {
        for at in 500..506 {
            let shifted = |i: usize| if i < 500 { 0.0 } else { 10.0 };
            let level = |i: usize| if i == at { 1e6 } else { shifted(i) };
            let found = alerts(&LevelShift::default(), 1000, level);
            assert!(found.len() == 1 && (500..510).contains(&found[0]), "{found:?} for a spike at {at}");
        }
    }

    #[test]
    fn a_spike_teaches_a_flat_series_nothing() {
        let flat = |i: usize| if i == 100 { 1e6 } else { -noise(i) };
        let shifts = |i: usize| flat(i) + if i < 200 { 0.0 } else { 1.0 };
        let found = alerts(&LevelShift::default(), 500, shifts);
        assert!(found.len() == 1 && (200..210).contains(&found[0]), "{found:?}");
    }

    #[test]
    fn glitches_among_the_first_points_leave_the_first_level_and_noise_alone() {
        let places: [&[usize]; 6] = [&[0], &[20], &[39], &[0, 1, 2, 3], &[5, 17, 30, 31], &[36, 37, 38, 39]];
        for glitches in places {
            for glitch in [50.0, -1e6, 1e90] {
                let level = |i: usize| {
                    let shifted = if i < 100 { 0.0 } else { 10.0 };
                    if glitches.contains(&i) { glitch } else { shifted }
                };
                let found = alerts(&LevelShift::default(), 300, level);
                assert!(
                    found.len() == 1 && (100..110).contains(&found[0]),
                    "{found:?} for {glitch} at {glitches:?}"
                );
            }
        }
    }

    #[test]
    fn a_long_warm_up_keeps_few_points() {
        let (detector, mut state) =
            (LevelShift { warmup_points: 1000, ..LevelShift::default() }, LevelShiftState::default());
        for i in 0..1100 {
            let point = Point { time_ms: i as i64 * 60_000, value: noise(i) };
            assert_eq!(detector.update(&mut state, point).is_some(), i >= 1000);
            assert!(state.first.len() <= FIRST_POINTS_MAX && detector.is_sound(&state));
        }
        assert_eq!(state.first.capacity(), 0, "they are dropped");
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
