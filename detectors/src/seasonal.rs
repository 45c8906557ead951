//! Online decomposition into level, trend and season; the residual is scored.
//!
//! Fits a series with a daily cycle: request rates, user counts, batch jobs. Level and trend follow Holt (1957), the season
//! Winters (1960), "Forecasting sales by exponentially weighted moving averages", kept as a profile over bins of the period.
//!
//! Two forecasts run side by side: level and trend of the values, and level and trend of the values without their season.
//! The second counts once two periods were seen and as long as its errors are clearly the smaller ones, so a series without
//! a cycle is judged by level and trend. What keeps the season apart from the rest:
//!
//! - Each bin learns once a period, from its values against a slow level. Nothing is learned from a single day: a bin moves
//!   towards the median of what it holds and its last two visits, so an incident has no echo on the days after it.
//! - A value may lie anywhere between its bin and the two beside it, so a job may begin up to a bin early or late.
//!
//! With a [`Calendar`] the day is that of a time zone, so that a change of the clocks does not move the season, and on holidays anything between the lowest and
//! the highest of the season is expected at any time, and nothing of it is learned.
//!
//! Limits: one period. A peak within two bins (10 minutes of a day) is learned, but not missed when it is
//! absent. About 2.5 KB of state for each series.

use serde::{Deserialize, Serialize};

use crate::bounds::{VALUE_MAX, is_size};
use crate::{Calendar, Detector, Deviation, Direction, InvalidParameters, Point, Verdict};

/// Of a day 5 minutes each.
const BINS: usize = 288;
/// The mean absolute value of a normal variable is this share of its sigma.
const MEAN_ABS_PER_SIGMA: f64 = 0.797_884_560_802_865_4;
/// How much smaller the mean squared error must be with the season than without.
const LOSS_RATIO_MAX: f64 = 0.7;
/// An error counts as at most this many limits when the two forecasts are compared.
const LIMITS_MAX: f64 = 4.0;

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
    /// Given by who knows zones and files.
    pub calendar: Calendar,
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
            calendar: Calendar::default(),
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

    /// The largest error that is learned of in full.
    fn limit(&self, expected: f64, sigma: f64) -> f64 {
        (4.0 * sigma).max(self.min_abs_dev).max(self.min_rel_dev * expected.abs())
    }
}

/// Level, trend, and the mean size of the forecast's error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Holt {
    level: f64,
    trend_per_s: f64,
    residual: f64,
}

/// How much one point counts.
#[derive(Clone, Copy)]
struct Step {
    elapsed_s: f64,
    half_life_s: f64,
    /// From the time that passed, 0..1.
    decay: f64,
    /// The decay, but not less than while few points are known nor more than one outlier may have.
    weight: f64,
}

impl Step {
    /// The same with less weight for a point that is a surprise.
    fn weighted(self, is_surprise: bool) -> Self {
        if is_surprise {
            Self { weight: self.weight * crate::deviation::ANOMALOUS_WEIGHT, ..self }
        } else {
            self
        }
    }
}

impl Holt {
    /// The trend is believed for a while only: a gap must not carry it away.
    fn forecast(&self, step: Step) -> f64 {
        self.level + self.trend_per_s * step.elapsed_s.min(step.half_life_s)
    }

    fn sigma(&self) -> f64 {
        self.residual / MEAN_ABS_PER_SIGMA
    }

    fn learn(&mut self, step: Step, error: f64) {
        let mut next = *self;
        next.level = self.forecast(step) + step.weight * error;
        if step.elapsed_s > 0.0 {
            // Not the slope to the new level, which has no bound when little time has passed: the decay shrinks with the time.
            next.trend_per_s += 0.1 * step.weight * error * (step.decay / step.elapsed_s);
        }
        next.residual += step.weight * (error.abs() - self.residual);
        if next.is_sound() {
            *self = next;
        }
    }

    fn is_sound(&self) -> bool {
        is_size(self.residual) && is_size(self.level.abs()) && is_size(self.trend_per_s.abs())
    }
}

/// One bin of the season: its offset from the slow level, and what its last visit alone would have said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    offset: f32,
    last: f32,
}

/// Bins as bytes: for each group of eight which of them are not all zeros, and then those.
mod written {
    use std::fmt;

    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    use super::{BINS, Bin};

    const GROUP: usize = 8;

    fn to_bytes(bin: Bin) -> [u8; 8] {
        (u64::from(bin.offset.to_bits()) | u64::from(bin.last.to_bits()) << 32).to_le_bytes()
    }

    pub fn serialize<S: Serializer>(bins: &[Bin], serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(bins.len().div_ceil(GROUP) + size_of_val(bins));
        for group in bins.chunks(GROUP) {
            let head = bytes.len();
            bytes.push(0);
            for (i, bin) in group.iter().copied().map(to_bytes).enumerate() {
                if bin != [0; 8] {
                    bytes[head] |= 1 << i;
                    bytes.extend_from_slice(&bin);
                }
            }
        }
        serializer.serialize_bytes(&bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bin>, D::Error> {
        deserializer.deserialize_bytes(Bins)
    }

    struct Bins;

    impl Visitor<'_> for Bins {
        type Value = Vec<Bin>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("whole groups of bins")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            if bytes.is_empty() {
                return Ok(Vec::new());
            }
            read(bytes).ok_or_else(|| E::invalid_value(Unexpected::Bytes(bytes), &self))
        }
    }

    fn read(mut bytes: &[u8]) -> Option<Vec<Bin>> {
        let mut bins = vec![Bin::default(); BINS];
        for group in bins.chunks_mut(GROUP) {
            let head = *bytes.split_off_first()?;
            for (_, bin) in group.iter_mut().enumerate().filter(|(i, _)| head >> i & 1 != 0) {
                let offset = f32::from_le_bytes(*bytes.split_off(..4)?.first_chunk()?);
                let last = f32::from_le_bytes(*bytes.split_off(..4)?.first_chunk()?);
                *bin = Bin { offset, last };
            }
        }
        bytes.is_empty().then_some(bins)
    }
}

/// The stay of a series in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Visit {
    /// Counted from the epoch on.
    bin: i64,
    /// Mean offset from the slow level.
    mean: f64,
    points: u32,
}

/// What is expected of a bin: somewhere between `low` and `high`, most likely `offset`.
#[derive(Clone, Copy)]
struct Range {
    offset: f64,
    low: f64,
    high: f64,
}

impl Range {
    /// What is left of a deviation from the level.
    fn excess(&self, deviation: f64) -> f64 {
        deviation - deviation.clamp(self.low, self.high)
    }

    /// The error to learn from: a small one counts from the offset, or the level could drift within the range.
    fn error(&self, deviation: f64, limit: f64) -> f64 {
        let error = deviation - self.offset;
        if error.abs() <= limit { error } else { self.excess(deviation) }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeasonalState {
    plain: Holt,
    /// Of the values without their season.
    rest: Holt,
    /// What offsets are measured from. In the first period it is the first value.
    slow_level: f64,
    /// Mean squared errors of both forecasts, in squared limits, and how many points they were made from.
    plain_loss: f64,
    season_loss: f64,
    losses: u32,
    first_ms: i64,
    last_ms: i64,
    points: u32,
    /// Whether the first period is over, and the offsets are about zero.
    has_profile: bool,
    visit: Visit,
    #[serde(with = "written")]
    bins: Vec<Bin>,
    /// How often each bin was visited.
    visits: Vec<u8>,
}

impl SeasonalState {
    fn start(point: Point, value: f64) -> Self {
        Self {
            plain: Holt { level: value, ..Holt::default() },
            slow_level: value,
            first_ms: point.time_ms,
            last_ms: point.time_ms,
            bins: vec![Bin::default(); BINS],
            visits: vec![0; BINS],
            ..Self::default()
        }
    }

    /// What the season says of a bin, if it or one beside it was visited.
    fn range(&self, bin: i64) -> Option<Range> {
        if !self.has_profile {
            return None;
        }
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for near in [bin - 1, bin, bin + 1].map(index) {
            let Bin { offset, last } = self.bins[near];
            if self.visits[near] > 0 {
                low = low.min(f64::from(offset));
                high = high.max(f64::from(offset));
            }
            if self.visits[near] == 2 {
                // Which of the two days was the odd one cannot be known yet.
                low = low.min(f64::from(last));
                high = high.max(f64::from(last));
            }
        }
        let own = index(bin);
        let offset = if self.visits[own] > 0 { f64::from(self.bins[own].offset) } else { (low + high) / 2.0 };
        (low <= high).then_some(Range { offset, low, high })
    }

    /// Anything that the season says of any bin; most likely what it says of this one.
    fn range_of_all(&self, range: Range) -> Range {
        let visited = self.bins.iter().zip(&self.visits).filter(|(_, visits)| **visits > 0);
        let all = visited.map(|(bin, _)| f64::from(bin.offset));
        all.fold(range, |range, offset| Range {
            low: range.low.min(offset),
            high: range.high.max(offset),
            ..range
        })
    }

    /// Enters a bin. What was visited before is over then, and so is the first period if this is the first bin behind it.
    fn enter(&mut self, bin: i64, first_period_is_over: bool) {
        if self.visit.bin == bin {
            return;
        }
        self.end_visit();
        self.visit = Visit { bin, ..Visit::default() };
        if first_period_is_over && !self.has_profile {
            self.make_profile();
        }
    }

    /// Takes a value into the visit.
    fn visit(&mut self, value: f64) {
        self.visit.points = self.visit.points.saturating_add(1);
        self.visit.mean += (value - self.slow_level - self.visit.mean) / f64::from(self.visit.points);
    }

    fn end_visit(&mut self) {
        if self.visit.points == 0 {
            return;
        }
        let own = index(self.visit.bin);
        let target = offset(self.visit.mean);
        let Bin { offset: known, last } = self.bins[own];
        let visits = self.visits[own].saturating_add(1);
        self.visits[own] = visits;
        self.bins[own].offset = match visits {
            1 => target,
            2 => known / 2.0 + target / 2.0,
            _ => {
                // Of the third day on at most the median is learned, of later ones half of the way there.
                let median = known.min(target).max(known.max(target).min(last));
                if visits == 3 { median } else { known / 2.0 + median / 2.0 }
            }
        };
        self.bins[own].last = target;
    }

    /// The first period is over: from now on the slow level is the mean of its bins.
    fn make_profile(&mut self) {
        let visited: Vec<usize> = (0..BINS).filter(|&bin| self.visits[bin] > 0).collect();
        let sum: f64 = visited.iter().map(|&bin| f64::from(self.bins[bin].offset)).sum();
        let mean = sum / visited.len().max(1) as f64;
        for &bin in &visited {
            let centred = offset(f64::from(self.bins[bin].offset) - mean);
            self.bins[bin] = Bin { offset: centred, last: centred };
        }
        self.slow_level += mean;
        let level = self.slow_level;
        self.rest = Holt { level, trend_per_s: 0.0, residual: self.plain.residual };
        self.has_profile = true;
    }
}

/// The place of a bin in the profile.
fn index(bin: i64) -> usize {
    bin.rem_euclid(BINS as i64) as usize
}

fn offset(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

impl Detector for Seasonal {
    type State = SeasonalState;

    const NAME: &'static str = "seasonal";

    fn validate(&self) -> Result<(), InvalidParameters> {
        const LONGEST_S: f64 = 366.0 * 86_400.0;
        let period = (60.0..=LONGEST_S).contains(&self.period_s);
        InvalidParameters::unless(period, "period_s must be from 60 to 31622400")?;
        let half_life = self.half_life_s > 0.0 && self.half_life_s <= LONGEST_S;
        InvalidParameters::unless(half_life, "half_life_s must be more than 0 and at most 31622400")?;
        InvalidParameters::unless(self.warmup_points >= 3, "warmup_points must be at least 3")?;
        self.calendar.validate()?;
        self.deviation().validate()
    }

    fn state_bytes_max(&self) -> usize {
        size_of::<SeasonalState>() + BINS * (size_of::<Bin>() + 1)
    }

    fn is_sound(&self, state: &SeasonalState) -> bool {
        let empty = state.points == 0;
        let bins = if empty { 0 } else { BINS };
        state.bins.len() == bins
            && state.visits.len() == bins
            && state.bins.iter().all(|bin| bin.offset.is_finite() && bin.last.is_finite())
            && state.plain.is_sound()
            && state.rest.is_sound()
            && is_size(state.slow_level.abs())
            && is_size(state.visit.mean.abs())
            && is_size(state.plain_loss)
            && is_size(state.season_loss)
    }

    fn update(&self, state: &mut SeasonalState, point: Point) -> Option<Verdict> {
        let value = point.value.clamp(-VALUE_MAX, VALUE_MAX);
        if state.points == 0 {
            *state = SeasonalState::start(point, value);
        }
        let in_order = point.time_ms >= state.last_ms;
        let elapsed_s = point.time_ms.saturating_sub(state.last_ms).max(0) as f64 / 1000.0;
        let age_s = point.time_ms.saturating_sub(state.first_ms) as f64 / 1000.0;
        let local = self.calendar.at(point.time_ms);
        let bin = (local.local_ms as f64 / 1000.0 / self.period_s * BINS as f64).floor() as i64;
        if in_order {
            state.enter(bin, age_s >= self.period_s);
        }
        let warm = state.points >= self.warmup_points;
        let decay = 1.0 - 0.5_f64.powf(elapsed_s / self.half_life_s);
        let weight = decay.clamp(1.0 / f64::from(state.points.min(200) + 1), if warm { 0.5 } else { 1.0 });
        let step = Step { elapsed_s, half_life_s: self.half_life_s, decay, weight };

        let forecast = state.plain.forecast(step);
        let sigma = state.plain.sigma();
        let limit = if warm { self.limit(forecast, sigma) } else { f64::INFINITY };
        let error = value - forecast;
        let mut verdict = warm.then(|| self.deviation().judge(point.value, forecast, sigma));
        let surprise = verdict.is_some_and(|verdict| verdict.is_anomalous());
        state.plain.learn(step.weighted(surprise), error.clamp(-limit, limit));

        if let Some(range) = state.range(bin) {
            let range = if local.is_holiday { state.range_of_all(range) } else { range };
            let active = age_s > 2.0 * self.period_s && state.season_loss < LOSS_RATIO_MAX * state.plain_loss;
            let rest = state.rest.forecast(step);
            let sigma = state.rest.sigma();
            let deviation = value - rest;
            let season_limit = self.limit(rest + range.offset, sigma);
            let season_error = range.error(deviation, season_limit);
            if active && warm {
                verdict = Some(self.judge(point.value, rest, range, sigma));
            }
            let surprise =
                warm && season_error.abs() > self.deviation().judge(rest, rest, sigma).upper - rest;
            state.rest.learn(step.weighted(surprise), season_error.clamp(-season_limit, season_limit));
            if in_order && !local.is_holiday {
                self.learn_season(state, elapsed_s, value, range);
            }
            let scale = limit.min(season_limit);
            // What surprises both says nothing about which is better; so an incident does not switch the season.
            if warm && !local.is_holiday && scale > 0.0 && error.abs().min(season_error.abs()) <= scale {
                let loss = |error: f64| (error.abs() / scale).min(LIMITS_MAX).powi(2);
                state.losses = state.losses.saturating_add(1);
                let decay = 1.0 - 0.5_f64.powf(elapsed_s / (3.0 * self.period_s));
                let weight = decay.max(1.0 / f64::from(state.losses));
                state.plain_loss += weight * (loss(error) - state.plain_loss);
                state.season_loss += weight * (loss(season_error) - state.season_loss);
            }
        }
        if in_order && !(local.is_holiday && state.has_profile) {
            state.visit(value);
        }
        state.last_ms = state.last_ms.max(point.time_ms);
        state.points = state.points.saturating_add(1);
        verdict
    }

    fn points_left(&self, state: &SeasonalState) -> u32 {
        self.warmup_points.saturating_sub(state.points)
    }
}

impl Seasonal {
    fn judge(&self, value: f64, level: f64, range: Range, sigma: f64) -> Verdict {
        let nearest = level + (value - level).clamp(range.low, range.high);
        let at = |expected: f64| self.deviation().judge(value, expected, sigma);
        Verdict {
            expected: level + range.offset,
            lower: at(level + range.low).lower,
            upper: at(level + range.high).upper,
            anomaly_score: at(nearest).anomaly_score,
        }
    }

    /// The slow level follows the values without their season, a day's change within hours.
    fn learn_season(&self, state: &mut SeasonalState, elapsed_s: f64, value: f64, range: Range) {
        let limit = self.limit(state.slow_level + range.offset, state.rest.sigma());
        let error = range.error(value - state.slow_level, limit);
        let weight = 1.0 - 0.5_f64.powf(elapsed_s / (self.period_s / 8.0));
        let slow_level = state.slow_level + weight * error.clamp(-limit, limit);
        if is_size(slow_level.abs()) {
            state.slow_level = slow_level;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 288;

    /// Feeds points with a noise of one; returns the indexes that alarm.
    fn alarms(len: i64, step_s: i64, value: impl Fn(i64) -> f64) -> Vec<i64> {
        alarms_of(&Seasonal::default(), len, step_s, value)
    }

    fn alarms_of(detector: &Seasonal, len: i64, step_s: i64, value: impl Fn(i64) -> f64) -> Vec<i64> {
        let mut state = SeasonalState::default();
        let mut alarms_at = |i: i64| {
            let noise = [-1.0, 0.5, 1.0, -0.5, 0.2][i as usize % 5];
            let point = Point { time_ms: i * step_s * 1000, value: value(i) + noise };
            detector.update(&mut state, point).is_some_and(|verdict| verdict.anomaly_score > 0.5)
        };
        (0..len).filter(|&i| alarms_at(i)).collect()
    }

    /// A job of 15 minutes a day that takes the series from 100 to 500, at this point of day `i / DAY`.
    fn job(i: i64, at: i64) -> f64 {
        if (at..at + 3).contains(&(i % DAY)) { 500.0 } else { 100.0 }
    }

    fn from_day(alarms: &[i64], day: i64) -> Vec<i64> {
        alarms.iter().copied().filter(|i| *i >= (day - 1) * DAY).collect()
    }

    #[test]
    fn a_daily_wave_is_normal_and_a_step_in_it_is_not() {
        let wave = |i: i64| 100.0 + 60.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin();
        assert_eq!(alarms(6 * DAY, 300, wave), [0; 0]);
        let broken = |i: i64| if i == 5 * DAY + 30 { 0.0 } else { wave(i) };
        assert_eq!(alarms(6 * DAY, 300, broken).first(), Some(&(5 * DAY + 30)));
    }

    #[test]
    fn a_daily_job_is_normal_from_its_fourth_day_wherever_it_lies() {
        for at in [0, 100, 101, 103, 285] {
            let found = alarms(8 * DAY, 300, |i| job(i, at));
            assert!(found.iter().any(|i| *i < 3 * DAY), "{at}: the first days are surprising, {found:?}");
            assert_eq!(from_day(&found, 4), [0; 0], "{at}");
        }
    }

    #[test]
    fn a_change_of_the_clock_moves_a_job_and_does_not_alarm() {
        // By the clock on the wall the job is always at the same time; from day 6 on that is an hour sooner, in UTC.
        let wall = |i: i64| if i >= 6 * DAY { i + 12 } else { i };
        let value = |i: i64| job(wall(i), 100);
        let change_ms = 6 * DAY * 300_000;
        let offsets = vec![(0, 0), (change_ms, 3_600_000)];
        let calendar = Calendar { offsets, holidays: Vec::new() };
        let with_zone = Seasonal { calendar, ..Seasonal::default() };
        assert_eq!(from_day(&alarms_of(&with_zone, 9 * DAY, 300, value), 4), [0; 0]);
        assert!(!from_day(&alarms(9 * DAY, 300, value), 4).is_empty(), "without the zone it does");
        // And back, when an hour comes twice.
        let wall = |i: i64| if i >= 6 * DAY { i - 12 } else { i };
        let offsets = vec![(0, 0), (change_ms, -3_600_000)];
        let calendar = Calendar { offsets, holidays: Vec::new() };
        let with_zone = Seasonal { calendar, ..Seasonal::default() };
        assert_eq!(from_day(&alarms_of(&with_zone, 9 * DAY, 300, |i| job(wall(i), 100)), 4), [0; 0]);
    }

    #[test]
    fn a_holiday_may_be_without_its_season_and_is_not_learned() {
        let holiday = 7 * DAY..8 * DAY;
        // The job does not run, and something happens that no time of any day explains.
        let value = |i: i64| match i {
            _ if i == 7 * DAY + 150 => 900.0,
            _ if holiday.contains(&i) => 100.0,
            _ => job(i, 100),
        };
        let holidays = vec![(holiday.start * 300_000, holiday.end * 300_000)];
        let calendar = Calendar { offsets: Vec::new(), holidays };
        let with_holidays = Seasonal { calendar, ..Seasonal::default() };
        let found = from_day(&alarms_of(&with_holidays, 10 * DAY, 300, value), 4);
        assert_eq!(found, [7 * DAY + 150], "the fault alone, and nothing on the days after");
        let without = from_day(&alarms(10 * DAY, 300, value), 4);
        assert!(without.contains(&(7 * DAY + 101)), "without the holiday the job is missed: {without:?}");
    }

    #[test]
    fn a_job_that_does_not_run_or_runs_at_another_time_is_found() {
        let missing = |i: i64| if i >= 5 * DAY { 100.0 } else { job(i, 100) };
        let found = from_day(&alarms(6 * DAY, 300, missing), 4);
        assert!(!found.is_empty() && found.iter().all(|i| (100..103).contains(&(i - 5 * DAY))), "{found:?}");
        let moved = |i: i64| job(i, if i / DAY == 5 { 200 } else { 100 });
        let found = from_day(&alarms(8 * DAY, 300, moved), 4);
        assert!(found.contains(&(5 * DAY + 200)) && found.contains(&(5 * DAY + 101)), "{found:?}");
        assert!(found.iter().all(|i| *i < 5 * DAY + 203), "no echo on the days after: {found:?}");
    }

    #[test]
    fn a_job_is_learned_at_every_resolution() {
        for step_s in [10, 60] {
            let day = 86_400 / step_s;
            // From 02:01:40 on, so that it begins and ends within bins.
            let value = |i: i64| if (7300..8200).contains(&(i * step_s % 86_400)) { 500.0 } else { 100.0 };
            let found = alarms(5 * day, step_s, value);
            assert!(found.iter().all(|i| *i < 3 * day), "{step_s} s: {found:?}");
            let missing = |i: i64| if i > 4 * day { 100.0 } else { value(i) };
            assert!(alarms(5 * day, step_s, missing).iter().any(|i| *i >= 4 * day), "{step_s} s");
        }
    }

    #[test]
    fn the_season_is_learned_from_a_wave_that_level_and_trend_could_follow() {
        let wave = |i: i64| 100.0 + 60.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin();
        let (detector, mut state) = (Seasonal::default(), SeasonalState::default());
        for i in 0..5 * DAY {
            detector.update(&mut state, Point { time_ms: i * 300_000, value: wave(i) });
        }
        let offset = |at: i64| f64::from(state.bins[(at as usize) * BINS / DAY as usize].offset);
        let height = offset(72) - offset(216);
        assert!((height - 120.0).abs() < 12.0, "from trough to crest it is 120, learned were {height}");
    }

    #[test]
    fn a_slow_rise_is_a_trend() {
        assert_eq!(alarms(1000, 10, |i| 100.0 + 0.05 * i as f64), [0; 0]);
    }

    #[test]
    fn a_new_level_is_found_and_learned_also_with_a_daily_job() {
        let step = |i: i64| job(i, 100) + if i >= 6 * DAY + 200 { 300.0 } else { 0.0 };
        let found = from_day(&alarms(10 * DAY, 300, step), 4);
        assert_eq!(found.first(), Some(&(6 * DAY + 200)));
        assert!(*found.last().unwrap() < 6 * DAY + 220, "{found:?}");
    }

    #[test]
    fn huge_values_a_millisecond_apart_leave_the_state_finite() {
        let (detector, mut state) = (Seasonal::default(), SeasonalState::default());
        for i in 0..20_000_i64 {
            let value = [1.0, f64::MAX, -f64::MAX, 0.0, 1e308][i as usize % 5];
            let time_ms = i / 2 * 300_000 + i % 2;
            detector.update(&mut state, Point { time_ms, value });
            if i % 100 == 0 {
                let bytes = postcard::to_stdvec(&state).unwrap();
                assert_eq!(postcard::from_bytes::<SeasonalState>(&bytes).unwrap(), state);
            }
        }
    }
}
