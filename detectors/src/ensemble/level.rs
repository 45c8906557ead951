//! How far a value lies from its level, in units of what is usual for the series.

use serde::{Deserialize, Serialize};

use super::day::DayProfile;
use super::{Rate, STATE_MAX, WEEK_S, is_size, weight};

const LEVEL_WEIGHT: f64 = 0.03;
const SCALE_WEIGHT: f64 = 0.01;
/// From such a mean to a sigma, about.
const SIGMA_PER_SCALE: f64 = 1.25;
/// A residual is learned as if it were at most this many scales.
const CLIP_SCALES: f64 = 15.0;
/// The first residuals are learned as if they were at most this many times their median size.
const FIRST_CLIP_MEDIANS: f64 = 30.0;
/// Sigmas beyond this are no evidence.
const USUAL_SIGMAS: f64 = 2.0;
const SIGMAS_MAX: f64 = 100.0;
/// Sigmas beyond the usual ones that alert, for a series that never had any.
const ALERT_SIGMAS: f64 = 3.5;
/// How much the mean excess of the series counts against an excess.
const HABITUATION: f64 = 30.0;
const HABIT_HALF_LIFE_POINTS: f64 = 2000.0;
/// Evidence counts in full after a few times as many points.
const RAMP_POINTS: f64 = 300.0;
/// Parts of the day, how fast they are learned, and how often one must have been seen to count.
const DAY_PARTS: usize = 24;
const DAY_WEIGHT: f64 = 0.1;
const DAY_VISITS_MIN: u8 = 3;
/// Sigma is at least this share of the sigma of residuals at that time of day.
const DAY_SIGMA_SHARE: f64 = 0.5;
/// A part of the day learns of a residual as if it were at most this many scales.
const DAY_CLIP_SCALES: f64 = 3.0;

/// What is to be said of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judgement {
    pub expected: f64,
    /// Where the value alone would alert, without novelty.
    pub lower: f64,
    pub upper: f64,
    /// 1 alerts.
    pub evidence: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    points: u32,
    mean: f64,
    /// Means of powers of residuals: of all, and twice those of the points above and below the level.
    moment: f64,
    moment_above: f64,
    moment_below: f64,
    /// Mean of the sigmas beyond the usual ones.
    excess: f64,
    /// Falls from 1 to 0.
    unlearned: f64,
    /// Of the residuals. It only explains them away: as a forecast it would carry incidents into the days after.
    day: DayProfile,
    /// Mean size of what the day does not explain of the residuals.
    day_spread: DayProfile,
}

impl Level {
    /// From the first points of a series. Whatever is odd among them must not decide what the rest is compared with.
    pub fn of(first: &[(i64, f64)]) -> Self {
        let mean = median(first.iter().map(|(_, value)| *value));
        let scale = median(first.iter().map(|(_, value)| (value - mean).abs()));
        let limit = if scale > 0.0 { FIRST_CLIP_MEDIANS * scale } else { f64::INFINITY };
        let mut level = Self {
            mean,
            unlearned: 1.0,
            day: DayProfile::new(DAY_PARTS),
            day_spread: DayProfile::new(DAY_PARTS),
            ..Self::default()
        };
        for (time_ms, value) in first {
            let residual = value - mean;
            level.learn_scale(residual, limit);
            level.learn_day(level.day.part(*time_ms), residual, scale);
            level.count();
        }
        level
    }

    pub fn is_sound(&self, has_begun: bool) -> bool {
        let means = [self.moment, self.moment_above, self.moment_below, self.excess];
        self.mean.abs() <= STATE_MAX
            && means.into_iter().all(is_size)
            && (0.0..1.0).contains(&self.unlearned)
            && [&self.day, &self.day_spread]
                .into_iter()
                .all(|day| day.is_sound(if has_begun { DAY_PARTS } else { 0 }))
    }

    /// Judges a value, then learns from it.
    pub fn observe(&mut self, time_ms: i64, value: f64, rate: Rate) -> Judgement {
        let residual = value - self.mean;
        let part = self.day.part(time_ms);
        let scale = root(self.moment);
        let judgement = self.judge(residual, scale, part, rate);
        let limit = if scale > 0.0 { CLIP_SCALES * scale } else { f64::INFINITY };
        self.mean += weight(LEVEL_WEIGHT, self.points) * residual.clamp(-limit, limit);
        self.learn_scale(residual, limit);
        self.learn_day(part, residual, scale);
        self.count();
        judgement
    }

    fn judge(&mut self, residual: f64, scale: f64, part: usize, rate: Rate) -> Judgement {
        let is_known = self.day.visits(part) >= DAY_VISITS_MIN;
        let (usual, spread) =
            if is_known { (self.day.mean(part), self.day_spread.mean(part)) } else { (0.0, 0.0) };
        let smallest = DAY_SIGMA_SHARE * SIGMA_PER_SCALE * spread;
        let sigma = |moment: f64| (SIGMA_PER_SCALE * (scale + root(moment)) / 2.0).max(smallest);
        let (sigma_above, sigma_below) = (sigma(self.moment_above), sigma(self.moment_below));
        let own = if residual > 0.0 { sigma_above } else { sigma_below };
        // A flat series that moves is as surprising as can be.
        let sigmas = if residual == 0.0 { 0.0 } else { (residual.abs() / own).min(SIGMAS_MAX) };
        let excess = (sigmas - USUAL_SIGMAS).max(0.0);
        // Sigmas beyond the usual ones that alert.
        let habituation = 1.0 + HABITUATION / rate.weight * self.excess;
        let alert = ALERT_SIGMAS * habituation / (rate.weight * (1.0 - self.unlearned));
        let unexplained = if residual == 0.0 { 0.0 } else { (1.0 - usual / residual).clamp(0.0, 1.0) };
        let decay = rate.decay(HABIT_HALF_LIFE_POINTS, WEEK_S);
        self.excess += weight(decay, self.points) * (excess - self.excess);
        Judgement {
            expected: self.mean + usual,
            lower: self.mean - bound(-usual, sigma_below, alert),
            upper: self.mean + bound(usual, sigma_above, alert),
            evidence: excess / alert * unexplained,
        }
    }

    fn learn_scale(&mut self, residual: f64, limit: f64) {
        let power = power(residual.abs().min(limit));
        let (above, below) = if residual > 0.0 { (2.0 * power, 0.0) } else { (0.0, 2.0 * power) };
        let by = weight(SCALE_WEIGHT, self.points);
        self.moment += by * (power - self.moment);
        self.moment_above += by * (above - self.moment_above);
        self.moment_below += by * (below - self.moment_below);
    }

    fn learn_day(&mut self, part: usize, residual: f64, scale: f64) {
        let limit = DAY_CLIP_SCALES * scale;
        let error = residual - self.day.mean(part);
        self.day.learn(part, error.clamp(-limit, limit), DAY_WEIGHT);
        let size = error.abs().min(CLIP_SCALES * scale);
        self.day_spread.learn(part, size - self.day_spread.mean(part), DAY_WEIGHT);
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.day.heap_bytes() + self.day_spread.heap_bytes()
    }

    fn count(&mut self) {
        self.unlearned *= (-1.0 / RAMP_POINTS).exp();
        self.points = self.points.saturating_add(1);
    }
}

/// The scale is the mean of residuals to the power of 1.25, and of that the root: more than 1 calms heavy tails.
fn power(size: f64) -> f64 {
    size * size.sqrt().sqrt()
}

fn root(moment: f64) -> f64 {
    moment.powf(0.8)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The smallest residual of a side that alerts, where so much of it is `usual` at this time of day.
fn bound(usual: f64, sigma: f64, alert: f64) -> f64 {
    if usual <= 0.0 {
        return sigma * (USUAL_SIGMAS + alert);
    }
    // The larger solution of (x - usual_sigmas) (x - usual) = alert x, in sigmas.
    let half = (sigma * (USUAL_SIGMAS + alert) + usual) / 2.0;
    let root = (half * half - USUAL_SIGMAS * sigma * usual).max(0.0).sqrt();
    (half + root).max(usual)
}
