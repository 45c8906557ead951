//! Online decomposition into level, trend and season; the residual is scored.
//!
//! Fits a series with a daily cycle: request rates, user counts. Level and trend follow Holt (1957), the season Winters
//! (1960), "Forecasting sales by exponentially weighted moving averages", kept as a profile over bins of the period, each
//! with the weight of how often it was seen. The residual's spread is an exponentially weighted mean of its size.
//!
//! The season counts as far as it explains the residuals: before two periods were seen, and on series without a cycle, it is
//! left out and the detector works by level and trend. Limits: one period, UTC; no holidays.

use serde::{Deserialize, Serialize};

use crate::{Detector, Deviation, Direction, InvalidParameters, Point, Verdict};

const BINS: usize = 96;
/// The mean absolute value of a normal variable is this share of its sigma.
const MEAN_ABS_PER_SIGMA: f64 = 0.797_884_560_802_865_4;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seasonal {
    /// Length of the season.
    pub period_s: f64,
    /// Age at which a point counts half for the level.
    pub half_life_s: f64,
    pub warmup_points: u32,
    pub threshold_sigmas: f64,
    pub direction: Direction,
    pub min_abs_dev: f64,
    pub min_rel_dev: f64,
}

impl Default for Seasonal {
    fn default() -> Self {
        Self {
            period_s: 86_400.0,
            half_life_s: 300.0,
            warmup_points: 40,
            threshold_sigmas: 6.0,
            direction: Direction::Both,
            min_abs_dev: 1e-3,
            min_rel_dev: 0.25,
        }
    }
}

impl Seasonal {
    fn deviation(&self) -> Deviation {
        Deviation {
            direction: self.direction,
            min_abs_dev: self.min_abs_dev,
            min_rel_dev: self.min_rel_dev,
            threshold_sigmas: self.threshold_sigmas,
        }
    }
}

/// One bin of the season: its offset from the level, and how often it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    offset: f32,
    seen: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeasonalState {
    level: f64,
    trend_per_s: f64,
    /// Mean size of the residual as judged, without the season, and with it.
    residual: f64,
    plain_error: f64,
    season_error: f64,
    first_ms: i64,
    last_ms: i64,
    points: u32,
    bins: Vec<Bin>,
}

impl Detector for Seasonal {
    type State = SeasonalState;

    fn validate(&self) -> Result<(), InvalidParameters> {
        let period = (60.0..=366.0 * 86_400.0).contains(&self.period_s);
        InvalidParameters::unless(period, "period_s must be from 60 to 31622400")?;
        let positive = self.half_life_s > 0.0 && self.half_life_s.is_finite();
        InvalidParameters::unless(positive, "half_life_s must be more than 0")?;
        InvalidParameters::unless(self.warmup_points >= 3, "warmup_points must be at least 3")?;
        self.deviation().validate()
    }

    fn update(&self, state: &mut SeasonalState, point: Point) -> Option<Verdict> {
        if state.points == 0 {
            state.level = point.value;
            state.first_ms = point.time_ms;
            state.last_ms = point.time_ms;
            state.bins = vec![Bin::default(); BINS];
        }
        let elapsed_s = point.time_ms.saturating_sub(state.last_ms).max(0) as f64 / 1000.0;
        let phase = (point.time_ms as f64 / 1000.0).rem_euclid(self.period_s) / self.period_s;
        let bin = ((phase * BINS as f64) as usize).min(BINS - 1);
        let offset = f64::from(state.bins[bin].offset);
        let age_s = point.time_ms.saturating_sub(state.first_ms) as f64 / 1000.0;
        let seasonal = age_s > 2.0 * self.period_s && state.season_error < 0.8 * state.plain_error;

        // The trend is believed for a while only: a gap must not carry it away.
        let forecast = state.level + state.trend_per_s * elapsed_s.min(self.half_life_s);
        let expected = forecast + if seasonal { offset } else { 0.0 };
        let sigma = state.residual / MEAN_ABS_PER_SIGMA;
        let warm = state.points >= self.warmup_points;
        let verdict = warm.then(|| self.deviation().judge(point.value, expected, sigma));

        let decay = 1.0 - 0.5_f64.powf(elapsed_s / self.half_life_s);
        let weight = decay.clamp(1.0 / f64::from(state.points.min(200) + 1), if warm { 0.5 } else { 1.0 });
        let smallest = self.min_abs_dev.max(self.min_rel_dev * expected.abs());
        let limit = if warm { (4.0 * sigma).max(smallest) } else { f64::INFINITY };
        let error = (point.value - expected).clamp(-limit, limit);
        // Errors are compared over ten half-lives, so that one incident does not switch the season.
        let slow = weight / 10.0;
        let plain = (point.value - forecast).abs().min(limit);
        let with_season = (point.value - forecast - offset).abs().min(limit);
        let residual = state.residual + weight * (error.abs() - state.residual);
        let level = forecast + weight * error;
        if !(residual.is_finite() && level.is_finite()) {
            return verdict;
        }
        if elapsed_s > 0.0 {
            let slope = (level - state.level) / elapsed_s;
            state.trend_per_s += 0.1 * weight * (slope - state.trend_per_s);
        }
        state.residual = residual;
        state.plain_error += slow * (plain - state.plain_error);
        state.season_error += slow * (with_season - state.season_error);
        state.level = level;
        let target = point.value - level;
        let entry = &mut state.bins[bin];
        entry.seen = entry.seen.saturating_add(1);
        let bin_weight = (1.0 / f64::from(entry.seen)).max(0.05);
        let target = target.clamp(offset - limit, offset + limit);
        entry.offset = (offset + bin_weight * (target - offset)) as f32;
        if !entry.offset.is_finite() {
            entry.offset = 0.0;
        }
        state.last_ms = state.last_ms.max(point.time_ms);
        state.points = state.points.saturating_add(1);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarms(len: i64, step_s: i64, value: impl Fn(i64) -> f64) -> Vec<i64> {
        let (detector, mut state) = (Seasonal::default(), SeasonalState::default());
        let mut alarms_at = |i: i64| {
            let noise = [-1.0, 0.5, 1.0, -0.5][i as usize % 4];
            let point = Point { time_ms: i * step_s * 1000, value: value(i) + noise };
            detector.update(&mut state, point).is_some_and(|verdict| verdict.anomaly_score > 0.5)
        };
        (0..len).filter(|&i| alarms_at(i)).collect()
    }

    #[test]
    fn a_daily_wave_is_normal_and_a_step_in_it_is_not() {
        let wave = |i: i64| 100.0 + 60.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin();
        let day = 288;
        assert_eq!(alarms(6 * day, 300, wave), [0; 0]);
        let broken = |i: i64| if i == 5 * day + 30 { 0.0 } else { wave(i) };
        assert_eq!(alarms(6 * day, 300, broken).first(), Some(&(5 * day + 30)));
    }

    #[test]
    fn a_slow_rise_is_a_trend() {
        assert_eq!(alarms(1000, 10, |i| 100.0 + 0.05 * i as f64), [0; 0]);
    }
}
