//! How far a value lies from its level, in units of what is usual for the series.

use serde::{Deserialize, Serialize};

use super::day::{self, DayProfile};
use super::reset::Reset;
use super::residuals::{Residuals, SIGMA_PER_SCALE};
use super::still::Still;
use super::{STATE_MAX, Setting, weight};
use crate::calendar::LocalTime;

/// The first residuals are learned as if they were at most this many times their median size.
const FIRST_CLIP_MEDIANS: f64 = 30.0;
/// Parts of the day, and how often one must have been seen to count.
const DAY_PARTS: usize = 24;
const DAY_VISITS_MIN: u8 = 3;
/// A part of the day learns of a residual as if it were at most this many scales.
const DAY_CLIP_SCALES: f64 = 3.0;

/// What is to be said of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judgement {
    pub expected: f64,
    /// Where the distance from the level would alert, without other evidence.
    pub lower: f64,
    pub upper: f64,
    /// 1 alerts.
    pub evidence: f64,
    /// What the evidence would be if what is not learned yet of the series were as it is in most series.
    pub provisional: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    points: u32,
    mean: f64,
    residuals: Residuals,
    /// The last value, as far as it can be believed, and the steps from each to the next.
    last: f64,
    steps: Residuals,
    still: Still,
    reset: Reset,
    /// Falls from 1 to 0.
    unlearned: f64,
    /// Of the residuals. It only explains them away: as a forecast it would carry incidents into the days after.
    day: DayProfile<DAY_PARTS>,
    /// Mean size of what the day does not explain of the residuals.
    #[serde(with = "day::written")]
    day_spread: [f64; DAY_PARTS],
}

impl Level {
    /// From the first points of a series. Whatever is odd among them must not decide what the rest is compared with.
    pub fn of(first: &[(LocalTime, f64)], setting: Setting) -> Self {
        let mean = median(first.iter().map(|(_, value)| *value));
        let scale = median(first.iter().map(|(_, value)| (value - mean).abs()));
        let limit = if scale > 0.0 { FIRST_CLIP_MEDIANS * scale } else { f64::INFINITY };
        let mut level = Self { mean, last: mean, unlearned: 1.0, ..Self::default() };
        for (at, value) in first {
            let residual = value - mean;
            level.residuals.learn(residual, limit, level.points, setting);
            let step_scale = level.steps.scale();
            level.learn_step(*value, step_scale, limit, setting);
            level.still.observe(*value, level.points, setting);
            level.reset.observe(*value, level.steps.scale());
            level.learn_day(level.day.part(at.local_ms), residual, scale, setting);
            level.count(setting);
        }
        level
    }

    pub fn is_sound(&self) -> bool {
        self.mean.abs() <= STATE_MAX
            && self.last.abs() <= STATE_MAX
            && self.residuals.is_sound()
            && self.steps.is_sound()
            && self.still.is_sound()
            && self.reset.is_sound()
            && (0.0..1.0).contains(&self.unlearned)
            && self.day.is_sound()
            && self.day_spread.iter().all(|spread| spread.abs() <= STATE_MAX)
    }

    /// Judges a value, then learns from it.
    pub fn observe(&mut self, at: LocalTime, value: f64, setting: Setting) -> Judgement {
        let step_scale = self.steps.scale();
        if self.reset.observe(value, step_scale) {
            // A saw-tooth begins again: the level is where it did.
            (self.mean, self.last) = (value, value);
        }
        let residual = value - self.mean;
        let part = self.day.part(at.local_ms);
        let scale = self.residuals.scale();
        let mut judgement = self.judge(residual, scale, (at, part), setting);
        let others = self.step_evidence(value, step_scale, scale, setting)
            + self.still.observe(value, self.points, setting);
        judgement.evidence += others;
        judgement.provisional += others;
        let limit = if scale > 0.0 { setting.constants.clip_scales * scale } else { f64::INFINITY };
        self.mean += weight(setting.constants.level_weight, self.points) * residual.clamp(-limit, limit);
        self.residuals.learn(residual, limit, self.points, setting);
        self.learn_step(value, step_scale, limit, setting);
        if !at.is_holiday {
            self.learn_day(part, residual, scale, setting);
        }
        self.count(setting);
        judgement
    }

    fn judge(
        &mut self,
        residual: f64,
        scale: f64,
        (at, part): (LocalTime, usize),
        setting: Setting,
    ) -> Judgement {
        let neighbour = self.day.neighbour(at.local_ms);
        let is_known = |part: usize| self.day.visits(part) >= DAY_VISITS_MIN;
        let (usual, spread) =
            if is_known(part) { (self.day.mean(part), self.day_spread[part]) } else { (0.0, 0.0) };
        // What comes every day does not come to the minute, and clocks change: the part of the day that is near explains too.
        let nearly = if is_known(neighbour) { self.day.mean(neighbour) } else { usual };
        let (mut usual_below, mut usual_above) = (usual.min(nearly), usual.max(nearly));
        if at.is_holiday {
            for usual in (0..DAY_PARTS).filter(|part| is_known(*part)).map(|part| self.day.mean(part)) {
                (usual_below, usual_above) = (usual_below.min(usual), usual_above.max(usual));
            }
        }
        let smallest = setting.constants.day_sigma_share * SIGMA_PER_SCALE * spread;
        let measure = self.residuals.measure(scale, self.unlearned, smallest, setting);
        let excess = measure.excess(residual, setting);
        self.residuals.learn_excess(excess, self.points, setting);
        let explaining = if residual > 0.0 { usual_above } else { usual_below };
        let unexplained = if residual == 0.0 { 0.0 } else { (1.0 - explaining / residual).clamp(0.0, 1.0) };
        Judgement {
            expected: self.mean + usual,
            lower: self.mean - bound(-usual_below, measure.sigma_below, measure.alert, setting),
            upper: self.mean + bound(usual_above, measure.sigma_above, measure.alert, setting),
            evidence: excess / measure.alert * unexplained,
            provisional: excess / measure.alert_provisional * unexplained,
        }
    }

    /// What the step from the last value says. In a series that is smooth a step tells more than the distance from a level
    /// that the day moves; in noise it tells nothing that the level does not, and counts for nothing.
    fn step_evidence(&mut self, value: f64, steps: f64, residuals: f64, setting: Setting) -> f64 {
        let step = value - self.last;
        let (excess, alert) = self.steps.excess_and_alert(step, steps, self.unlearned, setting);
        self.steps.learn_excess(excess, self.points, setting);
        let smoothness = if steps < residuals { 1.0 - steps / residuals } else { 0.0 };
        setting.constants.step_factor * smoothness * smoothness * excess / alert
    }

    fn learn_step(&mut self, value: f64, scale: f64, limit: f64, setting: Setting) {
        let step = value - self.last;
        let limit = if scale > 0.0 { setting.constants.clip_scales * scale } else { limit };
        self.last += step.clamp(-limit, limit);
        self.steps.learn(step, limit, self.points, setting);
    }

    fn learn_day(&mut self, part: usize, residual: f64, scale: f64, setting: Setting) {
        let limit = DAY_CLIP_SCALES * scale;
        let error = residual - self.day.mean(part);
        let weight = self.day.learn(part, error.clamp(-limit, limit), setting.constants.level_day_weight);
        let size = error.abs().min(setting.constants.clip_scales * scale);
        self.day_spread[part] += weight * (size - self.day_spread[part]);
    }

    fn count(&mut self, setting: Setting) {
        self.unlearned *= setting.pace.level_unlearned;
        self.points = self.points.saturating_add(1);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The smallest residual of a side that alerts, where so much of it is `usual` at this time of day.
fn bound(usual: f64, sigma: f64, alert: f64, setting: Setting) -> f64 {
    if usual <= 0.0 {
        return sigma * (setting.constants.usual_sigmas + alert);
    }
    // The larger solution of (x - usual_sigmas) (x - usual) = alert x, in sigmas.
    let half = (sigma * (setting.constants.usual_sigmas + alert) + usual) / 2.0;
    let root = (half * half - setting.constants.usual_sigmas * sigma * usual).max(0.0).sqrt();
    (half + root).max(usual)
}

#[cfg(test)]
mod tests {
    use super::super::{Constants, Pace};
    use super::*;

    #[test]
    fn what_comes_every_day_is_explained_half_an_hour_sooner_or_later_and_not_hours() {
        const DAY: i64 = 288;
        let constants = Constants::default();
        let pace = Pace::of(300.0, &constants);
        let setting = Setting { pace: &pace, constants: &constants };
        // The most evidence in the last day, in which the job of two hours is late.
        let evidence = |late: i64| {
            let begins = |i: i64| 108 + if i >= 20 * DAY { late } else { 0 };
            let is_running = |i: i64| (begins(i)..begins(i) + 24).contains(&(i % DAY));
            let value = |i: i64| ((i * 7919) % 101) as f64 / 50.0 + if is_running(i) { 30.0 } else { 0.0 };
            let at = |i: i64| LocalTime { local_ms: i * 300_000, is_holiday: false };
            let first: Vec<(LocalTime, f64)> = (0..50).map(|i| (at(i), value(i))).collect();
            let mut level = Level::of(&first, setting);
            let mut judge = |i: i64| level.observe(at(i), value(i), setting).evidence;
            let judged: Vec<f64> = (50..21 * DAY).map(&mut judge).collect();
            judged[judged.len() - DAY as usize..].iter().copied().fold(0.0, f64::max)
        };
        let on_time = evidence(0);
        for late in [-6, -3, 3, 6] {
            assert!(evidence(late) < 1.2 * on_time + 0.1, "{late}: {} for {on_time}", evidence(late));
        }
        assert!(evidence(60) > 2.0 * on_time, "{} for {on_time}", evidence(60));
    }
}
