//! How rare a value is, by the theory of extreme values.
//!
//! Fits a series whose noise has a tail of its own, such as latency, where "six sigmas" means something else for each series:
//! the threshold is a probability. It is SPOT with drift (Siffer, Fouque, Termier and Largouet 2017, "Anomaly detection in
//! streams with extreme value theory"): residuals from a slow level, a high quantile of them on either side, and a generalised
//! Pareto distribution of what lies beyond. Where SPOT keeps the peaks and maximises the likelihood, this keeps their mean
//! and mean square, weighted towards the latest, and takes shape and scale by moments (Hosking and Wallis 1987, "Parameter
//! and quantile estimation for the generalized Pareto distribution"), so that the state does not grow.
//!
//! Limits: a tail whose variance does not exist (shape of a half or more) is taken as the heaviest that has one, and alerts
//! too often; points count as independent, so one incident is an alert for each of its points; no season. A probability
//! below about one in ten times the points seen is extrapolated. 88 bytes of state.

use serde::{Deserialize, Serialize};

use crate::bounds::{STATE_MAX, bounded, finite, is_size};
use crate::deviation::{ANOMALOUS_WEIGHT, validate_smallest};
use crate::{Detector, Direction, InvalidParameters, Point, Verdict};

/// What lies beyond the quantile.
const TAIL_SHARE: f64 = 0.02;
/// How fast the quantile follows, in mean absolute residuals.
const QUANTILE_STEP: f64 = 0.1;
/// Peaks that a peak is averaged with, at the most.
const PEAKS_MEMORY: f64 = 1000.0;
/// Before any is seen, peaks are as if so many had been those of an exponential tail.
const PEAKS_PRIOR: f64 = 10.0;
/// In mean absolute residuals: the 98th percentile and the mean beyond it, of a normal variable.
const FIRST_QUANTILE: f64 = 2.6;
const FIRST_PEAK: f64 = 0.5;
/// Shapes of tails; above, there is no variance to take moments of.
const SHAPE_MIN: f64 = -0.4;
const SHAPE_MAX: f64 = 0.45;
/// A residual is learned as if it were at most this many mean absolute residuals.
const CLIP_RESIDUALS: f64 = 10.0;
const PROBABILITY_MIN: f64 = 1e-300;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tail {
    /// How probable a point that alerts is in a series without incidents.
    pub probability: f64,
    pub warmup_points: u32,
    /// Points over which the level is averaged.
    pub level_points: f64,
    pub direction: Direction,
    pub min_abs_dev: f64,
    pub min_rel_dev: f64,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            probability: 1e-5,
            warmup_points: 100,
            level_points: 100.0,
            direction: Direction::Both,
            min_abs_dev: 0.0,
            min_rel_dev: 0.0,
        }
    }
}

/// One side of the residuals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Side {
    /// The quantile beyond which the tail begins, in the unit of the series.
    quantile: f64,
    /// Mean and mean square of what lies beyond; `peaks` counts them.
    mean: f64,
    square: f64,
    peaks: u32,
}

/// A generalised Pareto distribution beyond the quantile.
struct Pareto {
    shape: f64,
    scale: f64,
}

impl Side {
    fn of(residual_mean: f64) -> Self {
        let mean = FIRST_PEAK * residual_mean;
        Self { quantile: FIRST_QUANTILE * residual_mean, mean, square: 2.0 * mean * mean, peaks: 0 }
    }

    fn pareto(&self) -> Pareto {
        let variance = self.square - self.mean * self.mean;
        let ratio = if variance > 0.0 { self.mean * self.mean / variance } else { f64::INFINITY };
        let shape = (0.5 * (1.0 - ratio)).clamp(SHAPE_MIN, SHAPE_MAX);
        // The mean is scale / (1 - shape).
        Pareto { shape, scale: self.mean * (1.0 - shape) }
    }

    /// How probable a residual at least this far on this side is.
    fn probability(&self, residual: f64) -> f64 {
        let beyond = residual - self.quantile;
        if beyond <= 0.0 {
            return 1.0;
        }
        let Pareto { shape, scale } = self.pareto();
        let scales = beyond / scale;
        let share = if shape.abs() < 1e-6 {
            (-scales).exp()
        } else {
            (1.0 + shape * scales).max(0.0).powf(-1.0 / shape)
        };
        (TAIL_SHARE * share).max(PROBABILITY_MIN)
    }

    /// The residual that is this probable.
    fn at(&self, probability: f64) -> f64 {
        let Pareto { shape, scale } = self.pareto();
        let rarity = (TAIL_SHARE / probability).max(1.0);
        let scales = if shape.abs() < 1e-6 { rarity.ln() } else { (rarity.powf(shape) - 1.0) / shape };
        self.quantile + scales * scale
    }

    fn learn(&mut self, residual: f64, residual_mean: f64, probability: f64) {
        let step = QUANTILE_STEP * residual_mean;
        if residual <= self.quantile {
            self.quantile = (self.quantile - step * TAIL_SHARE).max(0.0);
            return;
        }
        // What lies beyond where alerts begin is learned as if it lay there: an incident says little of what is usual. A
        // little more may always be learned, or a flat series could never learn that it moves.
        let most = (self.at(probability) - self.quantile).max(FIRST_PEAK * residual_mean);
        let beyond = (residual - self.quantile).min(most);
        self.quantile += step * (1.0 - TAIL_SHARE);
        let by = (1.0 / PEAKS_MEMORY).max(1.0 / (f64::from(self.peaks) + PEAKS_PRIOR));
        self.mean += by * (beyond - self.mean);
        self.square += by * (beyond * beyond - self.square);
        self.peaks = self.peaks.saturating_add(1);
    }

    fn is_sound(&self) -> bool {
        is_size(self.quantile) && is_size(self.mean) && (0.0..=f64::MAX).contains(&self.square)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TailState {
    points: u32,
    level: f64,
    /// Mean absolute residual.
    residual: f64,
    above: Side,
    below: Side,
}

const _: () = assert!(size_of::<TailState>() <= 88);

impl Detector for Tail {
    type State = TailState;

    const NAME: &'static str = "tail";

    fn validate(&self) -> Result<(), InvalidParameters> {
        let possible = self.probability > 0.0 && self.probability < TAIL_SHARE;
        InvalidParameters::unless(possible, "probability must be more than 0 and less than 0.02")?;
        InvalidParameters::unless(self.warmup_points >= 50, "warmup_points must be at least 50")?;
        let averaged = self.level_points >= 2.0 && self.level_points.is_finite();
        InvalidParameters::unless(averaged, "level_points must be at least 2")?;
        validate_smallest(self.min_abs_dev, self.min_rel_dev)
    }

    fn state_bytes_max(&self) -> usize {
        size_of::<TailState>()
    }

    fn is_sound(&self, state: &TailState) -> bool {
        state.level.abs() <= STATE_MAX
            && is_size(state.residual)
            && state.above.is_sound()
            && state.below.is_sound()
    }

    fn update(&self, state: &mut TailState, point: Point) -> Option<Verdict> {
        let value = bounded(point.value);
        if state.points == 0 {
            state.level = value;
        }
        // The first half of the warm-up is for level and noise, the rest for the tail.
        if state.points == self.warmup_points / 2 {
            (state.above, state.below) = (Side::of(state.residual), Side::of(state.residual));
        }
        let residual = value - state.level;
        let verdict = (state.points >= self.warmup_points).then(|| self.judge(state, residual));
        let is_anomalous = verdict.is_some_and(|verdict| verdict.is_anomalous());
        let weight = if is_anomalous { ANOMALOUS_WEIGHT } else { 1.0 };
        let limit = if state.residual > 0.0 { CLIP_RESIDUALS * state.residual } else { f64::INFINITY };
        let learned = residual.clamp(-limit, limit);
        if state.points >= self.warmup_points / 2 {
            state.above.learn(residual, state.residual, self.probability);
            state.below.learn(-residual, state.residual, self.probability);
        }
        let by = weight * (1.0 / self.level_points).max(1.0 / (f64::from(state.points) + 1.0));
        state.level += by * learned;
        state.residual += by * (learned.abs() - state.residual);
        state.points = state.points.saturating_add(1);
        verdict
    }

    fn points_left(&self, state: &TailState) -> u32 {
        self.warmup_points.saturating_sub(state.points)
    }
}

impl Tail {
    fn judge(&self, state: &TailState, residual: f64) -> Verdict {
        let (side, size) = if residual > 0.0 { (&state.above, residual) } else { (&state.below, -residual) };
        let expected = state.level;
        let smallest = self.min_abs_dev.max(self.min_rel_dev * expected.abs());
        let counted = self.direction.counted(residual);
        let rarity = if counted > 0.0 { side.probability(size).ln() / self.probability.ln() } else { 0.0 };
        let ratio = if smallest > 0.0 { rarity.min(counted / smallest) } else { rarity };
        Verdict {
            expected,
            lower: finite(expected - state.below.at(self.probability).max(smallest)),
            upper: finite(expected + state.above.at(self.probability).max(smallest)),
            anomaly_score: ratio / (1.0 + ratio),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Independent, uniform in 0..1.
    fn unit(i: usize) -> f64 {
        let mut mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn alerts(detector: &Tail, len: usize, value: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut state = TailState::default();
        let mut is_alert = |i: usize| {
            let verdict = detector.update(&mut state, Point { time_ms: i as i64 * 60_000, value: value(i) });
            assert!(detector.is_sound(&state));
            verdict.is_some_and(|verdict| verdict.is_anomalous())
        };
        (0..len).filter(|i| is_alert(*i)).collect()
    }

    #[test]
    fn alerts_are_as_frequent_as_they_should_be_whatever_the_tail() {
        let detector = Tail { probability: 1e-4, ..Tail::default() };
        let exponential = |i: usize| -(1.0 - unit(i)).ln();
        let normal = |i: usize| (0..12).map(|k| unit(12 * i + k)).sum::<f64>();
        let uniform = unit;
        let heavy = |i: usize| (1.0 - unit(i)).powf(-0.25);
        let tails: [(&str, &dyn Fn(usize) -> f64); 4] =
            [("exponential", &exponential), ("normal", &normal), ("uniform", &uniform), ("Pareto", &heavy)];
        for (name, value) in tails {
            let found = alerts(&detector, 300_000, value).len();
            // Two sides, 30 for each.
            assert!((20..160).contains(&found), "{name}: {found}");
        }
    }

    #[test]
    fn a_flat_series_learns_that_it_moves() {
        let found = alerts(&Tail::default(), 4000, |i| if i < 1000 { 0.0 } else { unit(i) });
        assert!(found.contains(&1000) && *found.last().unwrap() < 2000, "{found:?}");
    }

    #[test]
    fn a_value_beyond_the_bounds_alerts() {
        let (detector, mut state) = (Tail::default(), TailState::default());
        for i in 0..5000 {
            detector.update(&mut state, Point { time_ms: i as i64 * 60_000, value: unit(i) + unit(i + 7) });
        }
        let next =
            |value: f64| detector.update(&mut state.clone(), Point { time_ms: 1 << 40, value }).unwrap();
        let Verdict { expected, lower, upper, .. } = next(1.0);
        assert!(lower < expected && expected < upper);
        assert!(next(upper + 1e-6).is_anomalous() && next(lower - 1e-6).is_anomalous());
        assert!(!next(upper - 1e-6).is_anomalous() && !next(lower + 1e-6).is_anomalous());
    }

    #[test]
    fn parameters_say_what_counts() {
        let value = |i: usize| {
            100.0 + unit(i) + [20.0, 0.0, -20.0, 0.0][i % 4] * f64::from(u8::from(i > 1000 && i % 301 < 2))
        };
        let both = alerts(&Tail::default(), 4000, value).len();
        let up = alerts(&Tail { direction: Direction::Up, ..Tail::default() }, 4000, value).len();
        let down = alerts(&Tail { direction: Direction::Down, ..Tail::default() }, 4000, value).len();
        assert!(up > 0 && down > 0 && up + down == both, "{up} {down} {both}");
        assert_eq!(alerts(&Tail { min_rel_dev: 0.3, ..Tail::default() }, 4000, value), [0; 0]);
    }
}
