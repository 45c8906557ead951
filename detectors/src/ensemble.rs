//! Two kinds of evidence, added up: how far a value lies from its level, and how new the picture is that the series gives.
//!
//! Fits series of which nothing is known: it is what `foreshock score` uses. The score is above 0 only where evidence rises
//! above what there was in the last hours, so one incident is one alert and not one for each of its points. With `every_point`
//! each is scored for itself, until what lasts has become usual: who puts the series of an incident together waits for some points
//! in a row.
//!
//! - *Level*: a robust z-score against a slow level, with a scale for either side. What is usual at a time of day is no evidence.
//!   In a series that is smooth the step from one value to the next counts too, in units of such steps; in one that seldom
//!   repeats itself, so does a run of the same value.
//! - *Novelty*: how far 5-minute means, and the mean and deviation of these, lie from all places that the series has visited,
//!   on a linear and on a curved (logarithmic) scale. A spike is seen by the first, a new pattern by this one only.
//!
//! Both are divided by what the series does all the time: a burst that comes every week is no news. Both count for less
//! where points are dense, since an operator has a budget of alerts a week and not of alerts a point. Only differences are
//! looked at, in units of the series' own scale and range: `a x + b` with a > 0 is judged like `x`.
//!
//! What a series does all the time is not known at first. Until it is, evidence counts less, and more of it only as far as it
//! would if the series were like most: this is provisional, ranks what is odd, and does not alert by itself.
//!
//! Two habits are known as such. The falls of a saw-tooth, such as memory that is given back at each restart, are no news from the third on.
//! And a season that is there every day is missed: one that has been absent for some hours is an alert of its own.
//!
//! With a [`Calendar`] times of day are those of a zone, and on holidays whatever is usual at some time of the day is at any, and nothing of it is learned or missed.
//!
//! Limits: no weeks; gaps are no evidence (see [`series_gone`](crate::series_gone)); an incident in the first
//! 150 points or so is learned as normal; a season is missed after it was learned for a week. What is large each time and comes every
//! few days alerts each time. Novelty counts from the 100th block of 5 minutes on. State of a series: 8 KB at the most. The
//! maps of places are bounded, and one that is full forgets the place that was not visited for the longest time, which is new
//! again when it is visited next.

mod absence;
mod constants;
mod day;
mod level;
mod novelty;
mod places;
mod reset;
mod residuals;
mod still;

use serde::{Deserialize, Serialize};

use crate::bounds::{STATE_MAX, VALUE_MAX, bounded, finite, is_size};
use crate::calendar::LocalTime;
use crate::deviation::validate_smallest;
use crate::{Calendar, Detector, Direction, InvalidParameters, Point, Verdict, prefetch};
pub use constants::Constants;
use constants::{Pace, Setting};
use level::Level;
use novelty::Novelty;

/// The interval is the median of this many positive ones between the first points.
const INTERVALS: usize = 11;
const INTERVAL_DEFAULT_S: f64 = 60.0;
/// How far back a time is no late arrival any more.
const CLOCK_PUT_BACK_MS: i64 = 4 * 3_600_000;
const WEEK_S: f64 = 7.0 * 86_400.0;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ensemble {
    /// Scores each point of an incident for itself, as who groups series into incidents needs, and not the first one only.
    pub every_point: bool,
    pub direction: Direction,
    pub min_abs_dev: f64,
    /// As a share of the expected value's size. More than 0 makes the zero of the unit count.
    pub min_rel_dev: f64,
    /// Given by who knows zones and files.
    pub calendar: Calendar,
    #[serde(skip)]
    pub constants: Constants,
}

/// The weight of a new value in a mean that at first counts all values alike.
fn weight(smallest: f64, known: u32) -> f64 {
    let count = f64::from(known) + 1.0;
    // Almost always so, and a product costs less than a division.
    if smallest * count >= 1.0 { smallest } else { 1.0 / count }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnsembleState {
    /// The first points, until there are enough to begin with.
    first: Vec<(i64, f64)>,
    begun: Option<Box<Begun>>,
}

/// What is known of a series once it has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Begun {
    interval_s: f64,
    /// Follows from the interval, and is calculated with the first point that comes.
    #[serde(skip)]
    pace: Option<Pace>,
    /// Evidence that must be exceeded to count.
    hold: f64,
    /// Alerts, each counted half after a week.
    alerts: f64,
    last_ms: i64,
    /// Whether a point of the block that is not complete has alerted.
    block_alerted: bool,
    level: Level,
    novelty: Novelty,
}

impl EnsembleState {
    /// Keeps one of the first points, and begins when there are enough.
    fn begin(&mut self, time_ms: i64, value: f64, Ensemble { constants, calendar, .. }: &Ensemble) {
        self.first.push((time_ms, value));
        if self.first.len() < constants.first_points {
            return;
        }
        let first = std::mem::take(&mut self.first);
        let interval_s = interval_s(&first);
        let pace = Pace::of(interval_s, constants);
        let setting = Setting { pace: &pace, constants };
        let first: Vec<(LocalTime, f64)> =
            first.into_iter().map(|(time_ms, value)| (calendar.at(time_ms), value)).collect();
        let (level, mut novelty) = (Level::of(&first, setting), Novelty::default());
        for (at, value) in first {
            novelty.observe(at, value, setting);
        }
        self.begun = Some(Box::new(Begun {
            interval_s,
            pace: Some(pace),
            hold: 0.0,
            alerts: 0.0,
            last_ms: time_ms,
            block_alerted: false,
            level,
            novelty,
        }));
    }
}

impl Begun {
    fn is_sound(&self, constants: &Constants) -> bool {
        (1e-3..=1e17).contains(&self.interval_s)
            && self.level.is_sound()
            && self.novelty.is_sound(constants)
            && is_size(self.hold)
            && is_size(self.alerts)
    }
}

#[cfg(test)]
impl EnsembleState {
    fn memory_bytes(&self) -> usize {
        let begun = self.begun.as_ref().map_or(0, |begun| size_of::<Begun>() + begun.novelty.heap_bytes());
        size_of::<Self>() + size_of_val(&self.first[..]) + begun
    }
}

/// The median of the first intervals.
fn interval_s(first: &[(i64, f64)]) -> f64 {
    let intervals_ms = first.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0));
    let mut intervals_ms: Vec<i64> = intervals_ms.filter(|ms| *ms > 0).take(INTERVALS).collect();
    intervals_ms.sort_unstable();
    intervals_ms.get(intervals_ms.len() / 2).map_or(INTERVAL_DEFAULT_S, |ms| *ms as f64 / 1000.0)
}

impl Detector for Ensemble {
    type State = EnsembleState;

    const NAME: &'static str = "ensemble";

    fn validate(&self) -> Result<(), InvalidParameters> {
        self.calendar.validate()?;
        validate_smallest(self.min_abs_dev, self.min_rel_dev)
    }

    fn state_bytes_max(&self) -> usize {
        // The first points are given up when there are enough of them, before there is a block.
        let first = self.constants.first_points.next_power_of_two() * size_of::<(i64, f64)>();
        let begun = size_of::<Begun>() + Novelty::heap_bytes_max(&self.constants);
        size_of::<EnsembleState>() + first.max(begun)
    }

    fn is_sound(&self, state: &EnsembleState) -> bool {
        state.first.len() < self.constants.first_points
            && state.first.iter().all(|(_, value)| value.abs() <= VALUE_MAX)
            && state.begun.as_ref().is_none_or(|begun| begun.is_sound(&self.constants))
    }

    fn prefetch(&self, state: &EnsembleState, depth: usize) {
        match (depth, &state.begun) {
            (0, _) => prefetch::value(state),
            (1, Some(begun)) => prefetch::value(&**begun),
            (_, Some(begun)) => begun.novelty.prefetch(begun.pace.as_ref(), depth == 2),
            (_, None) => {}
        }
    }

    fn update(&self, state: &mut EnsembleState, point: Point) -> Option<Verdict> {
        let value = bounded(point.value);
        let Some(state) = &mut state.begun else {
            state.begin(point.time_ms, value, self);
            return None;
        };
        // One time from far ahead must not make all that follow late, or what is held would not fade until then.
        if state.last_ms.saturating_sub(point.time_ms) > CLOCK_PUT_BACK_MS {
            state.last_ms = point.time_ms;
        }
        let elapsed_s = point.time_ms.saturating_sub(state.last_ms).max(0) as f64 / 1000.0;
        state.last_ms = state.last_ms.max(point.time_ms);
        let pace = state.pace.get_or_insert_with(|| Pace::of(state.interval_s, &self.constants));
        let setting = Setting { pace, constants: &self.constants };
        state.block_alerted &= !state.novelty.begins_block();
        let at = self.calendar.at(point.time_ms);
        let judgement = state.level.observe(at, value, setting);
        let novelty = state.novelty.observe(at, value, setting);
        state.hold *= setting.held(elapsed_s);
        if state.alerts > 0.0 {
            state.alerts *= setting.alerts(elapsed_s);
        }
        let novelty = novelty / (1.0 + self.constants.novelty_per_alert * state.alerts);
        let counted = |evidence: f64| self.counted(evidence, value - judgement.expected, judgement.expected);
        let held = self.constants.hold_factor * state.hold;
        let total = |novelty: f64| {
            let provisional = counted(judgement.provisional + novelty).min(self.constants.provisional_max);
            counted(judgement.evidence + novelty).max(provisional)
        };
        // The novelty of a block is that of the points that have alerted in it: it is held, and no news.
        let evidence = total(novelty);
        let news = if state.block_alerted { total(0.0) } else { evidence };
        let told = match (self.every_point, news > held) {
            (true, _) => evidence,
            (false, true) => news,
            (false, false) => 0.0,
        };
        let anomaly_score = told / (1.0 + told);
        if evidence > held {
            state.hold = evidence;
        }
        if news > held && news > 1.0 {
            state.alerts += 1.0;
            state.block_alerted = true;
        }
        let (lower, upper) = (finite(judgement.lower), finite(judgement.upper));
        Some(Verdict { expected: judgement.expected, lower, upper, anomaly_score })
    }

    fn points_left(&self, state: &EnsembleState) -> u32 {
        let left = self.constants.first_points.saturating_sub(state.first.len());
        if state.begun.is_some() { 0 } else { u32::try_from(left).unwrap_or(u32::MAX) }
    }
}

impl Ensemble {
    /// The part of the evidence that these parameters let count: less than 1 where the deviation is too small.
    fn counted(&self, evidence: f64, deviation: f64, expected: f64) -> f64 {
        let smallest = self.min_abs_dev.max(self.min_rel_dev * expected.abs());
        let counted = self.direction.counted(deviation);
        match (self.direction, smallest > 0.0) {
            (_, true) => evidence.min(counted / smallest),
            (Direction::Both, false) => evidence,
            (_, false) => {
                if counted > 0.0 {
                    evidence
                } else {
                    0.0
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That a series may take.
    const STATE_BYTES_MAX: usize = 8192;
    const STEP_MS: i64 = 300_000;
    const DAY: i64 = 288;

    /// Noise of about one, the same for each index.
    fn noise(i: i64) -> f64 {
        let mut mixed = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = |bits: u64| (bits & 0xffff) as f64 / 65_536.0;
        unit(mixed >> 48) + unit(mixed >> 32) + unit(mixed >> 16) - 1.5
    }

    fn verdicts(detector: &Ensemble, len: i64, value: impl Fn(i64) -> f64) -> Vec<Verdict> {
        let mut state = EnsembleState::default();
        let point = |i: i64| Point { time_ms: i * STEP_MS, value: value(i) };
        (0..len)
            .map(|i| detector.update(&mut state, point(i)))
            .map(|verdict| {
                verdict.unwrap_or(Verdict { expected: 0.0, lower: 0.0, upper: 0.0, anomaly_score: 0.0 })
            })
            .collect()
    }

    fn alerts(detector: &Ensemble, len: i64, value: impl Fn(i64) -> f64) -> Vec<i64> {
        let verdicts = verdicts(detector, len, value);
        (0..len).filter(|i| verdicts[*i as usize].is_anomalous()).collect()
    }

    #[test]
    fn an_incident_is_one_alert_and_so_is_the_next() {
        let incident =
            |i: i64| if (1000..1020).contains(&i) || (1500..1505).contains(&i) { 40.0 } else { 0.0 };
        let found = alerts(&Ensemble::default(), 2000, |i| noise(i) + incident(i));
        let near = |i: &i64| (950..1100).contains(i) || (1450..1600).contains(i);
        assert_eq!(found.iter().copied().filter(near).collect::<Vec<_>>(), [1000, 1500], "{found:?}");
        assert!(found.len() < 6, "a week of noise has few alerts: {found:?}");
    }

    #[test]
    fn every_point_of_an_incident_is_scored_if_so_told() {
        let value = |i: i64| noise(i) + if (1000..1012).contains(&i) { 40.0 } else { 0.0 };
        let detector = Ensemble { every_point: true, ..Ensemble::default() };
        let found = alerts(&detector, 1500, value);
        // What puts series together waits for three points in a row; what lasts becomes usual after some more.
        assert!((1000..1005).all(|i| found.contains(&i)), "{found:?}");
        let outside = found.iter().filter(|i| !(1000..1013).contains(*i)).count();
        assert!(outside < 5, "a usual point is none: {found:?}");
        // What is told first is the same.
        let firsts = alerts(&Ensemble::default(), 1500, value);
        assert!(firsts.iter().all(|i| found.contains(i)), "{firsts:?}");
    }

    #[test]
    fn an_incident_is_one_alert_however_dense_the_points_are() {
        for step_s in [10, 30, 60, 150, 300] {
            let (points_per_block, begins) = (300 / step_s, 1000 * (300 / step_s));
            for (seed, size) in (0..8_i64).flat_map(|seed| [40.0, 400.0].map(|size| (seed * 100_000, size))) {
                // It begins anywhere in a block.
                let begins = begins + seed / 100_000 % points_per_block;
                let (detector, mut state) = (Ensemble::default(), EnsembleState::default());
                let mut is_alert = |i: i64| {
                    let incident = if (begins..begins + 40).contains(&i) { size } else { 0.0 };
                    let point = Point { time_ms: i * step_s * 1000, value: noise(i + seed) + incident };
                    let verdict = detector.update(&mut state, point);
                    verdict.is_some_and(|verdict| verdict.is_anomalous())
                };
                let found: Vec<i64> = (0..begins + 100).filter(|i| is_alert(*i)).collect();
                let found: Vec<i64> = found.into_iter().filter(|i| *i >= begins).collect();
                assert_eq!(found, [begins], "a point in {step_s} s, {size}");
            }
        }
    }

    #[test]
    fn an_incident_that_grows_within_a_block_alerts_again() {
        let begins = 30_000;
        let (detector, mut state) = (Ensemble::default(), EnsembleState::default());
        let mut is_alert = |i: i64| {
            let incident = match i - begins {
                0..3 => 15.0,
                3..9 => 60.0,
                _ => 0.0,
            };
            let verdict =
                detector.update(&mut state, Point { time_ms: i * 10_000, value: noise(i) + incident });
            verdict.is_some_and(|verdict| verdict.is_anomalous())
        };
        let found: Vec<i64> = (0..begins + 9).filter(|i| is_alert(*i)).collect();
        assert!(found.ends_with(&[begins, begins + 3]), "{found:?}");
    }

    #[test]
    fn what_is_held_fades_also_after_one_time_from_far_ahead() {
        let incident = |i: i64| if i == 1000 || i == 1500 { 40.0 } else { 0.0 };
        let (detector, mut state) = (Ensemble::default(), EnsembleState::default());
        let mut is_alert = |i: i64| {
            let ahead_ms = if i == 1010 { 10 * 365 * 86_400_000 } else { 0 };
            // Each third point comes late, which is no sign of a clock.
            let late_ms = if i % 3 == 0 { 2 * STEP_MS } else { 0 };
            let time_ms = i * STEP_MS + ahead_ms - late_ms;
            let verdict = detector.update(&mut state, Point { time_ms, value: noise(i) + incident(i) });
            verdict.is_some_and(|verdict| verdict.is_anomalous())
        };
        let found: Vec<i64> = (0..2000).filter(|i| is_alert(*i)).collect();
        assert!(found.contains(&1000) && found.contains(&1500), "{found:?}");
        let Begun { hold, alerts, .. } = *state.begun.unwrap();
        assert!(hold < 1.0 && alerts < 2.5, "{hold} {alerts}");
    }

    #[test]
    fn points_that_come_late_make_nothing_fade_sooner() {
        let held = |late: bool| {
            let (detector, mut state) = (Ensemble::default(), EnsembleState::default());
            for i in 0..1040 {
                let late_ms = if late && i > 1000 && i % 2 == 1 { 3 * STEP_MS } else { 0 };
                let value = noise(i) + if i == 1000 { 40.0 } else { 0.0 };
                detector.update(&mut state, Point { time_ms: i * STEP_MS - late_ms, value });
            }
            let Begun { hold, last_ms, .. } = *state.begun.unwrap();
            (hold, last_ms)
        };
        let (plain, late) = (held(false), held(true));
        assert!(plain.0 > 10.0 && (plain.0 / late.0 - 1.0).abs() < 0.02, "{plain:?} {late:?}");
    }

    #[test]
    fn a_series_is_judged_alike_in_every_unit() {
        let value = |i: i64| noise(i) * noise(i + 7).abs() + if i % 700 == 650 { 9.0 } else { 0.0 };
        let scores = |factor: f64, offset: f64| -> Vec<f64> {
            let verdicts = verdicts(&Ensemble::default(), 3000, |i| factor * value(i) + offset);
            verdicts.iter().map(|verdict| verdict.anomaly_score).collect()
        };
        let plain = scores(1.0, 0.0);
        assert!(plain.iter().any(|score| *score > 0.5));
        for (factor, offset) in [(1024.0, 0.0), (1.0, 64.0), (1e-30, 0.0), (1e30, 1e31), (86.4, -5000.0)] {
            for (i, (score, plain)) in scores(factor, offset).iter().zip(&plain).enumerate() {
                assert!((score - plain).abs() < 0.02, "{factor} {offset}: {score} for {plain} at {i}");
            }
        }
    }

    #[test]
    fn an_idle_mean_that_fades_leaves_a_sound_state() {
        let detector = Ensemble::default();
        let mut state = EnsembleState::default();
        for i in 0..400 {
            let value = if i < 300 { 1e-310 * noise(i) } else { 100.0 * noise(i) };
            detector.update(&mut state, Point { time_ms: i * STEP_MS, value });
            assert!(detector.is_sound(&state), "after point {i}");
        }
    }

    #[test]
    fn what_comes_every_day_is_no_news_and_what_comes_at_another_time_is() {
        let job = |i: i64, at: i64| if (at..at + 12).contains(&(i % DAY)) { 30.0 } else { 0.0 };
        let value = |i: i64| noise(i) + job(i, 108) + if i == 20 * DAY + 200 { 60.0 } else { 0.0 };
        let found = alerts(&Ensemble::default(), 21 * DAY, value);
        assert!(found.iter().all(|i| *i < 7 * DAY || *i == 20 * DAY + 200), "{found:?}");
        assert_eq!(found.last(), Some(&(20 * DAY + 200)));
    }

    #[test]
    fn a_change_of_the_clock_and_a_holiday_are_no_news() {
        // A job by the clock on the wall, three hours sooner in UTC from a day on, as where a zone is left; and a day without it.
        let job = |i: i64| if (108..120).contains(&(i % DAY)) { 30.0 } else { 0.0 };
        let (moves, quiet) = (25 * DAY, 22 * DAY..23 * DAY);
        let value = |i: i64| match i {
            _ if quiet.contains(&i) => noise(i),
            _ if i >= moves => noise(i) + job(i + 36),
            _ => noise(i) + job(i),
        };
        let calendar = Calendar {
            offsets: vec![(0, 0), (moves * STEP_MS, 3 * 3_600_000)],
            holidays: vec![(quiet.start * STEP_MS, quiet.end * STEP_MS)],
        };
        let later = |detector: &Ensemble| -> Vec<i64> {
            alerts(detector, 28 * DAY, value).into_iter().filter(|i| *i >= 20 * DAY).collect()
        };
        let with = later(&Ensemble { calendar, ..Ensemble::default() });
        assert_eq!(with, [0; 0]);
        let without = later(&Ensemble::default());
        assert!(without.iter().any(|i| *i >= moves), "{without:?}");
    }

    #[test]
    fn what_is_odd_while_a_series_is_learned_ranks_high_and_does_not_alert() {
        let score = |size: f64, usual_excess: f64| {
            let constants = Constants { usual_excess, ..Constants::default() };
            let value = |i: i64| noise(i) + if i == 70 { size } else { 0.0 };
            verdicts(&Ensemble { constants, ..Ensemble::default() }, 71, value)[70].anomaly_score
        };
        let provisional_max = 0.8 / 1.8;
        for size in [5.0, 6.0] {
            // A series of which nothing else is known might do this all the time.
            let (known, unknown) = (score(size, Constants::default().usual_excess), score(size, 1e9));
            assert!(unknown < 0.8 * known && known <= provisional_max + 1e-9, "{size}: {unknown} {known}");
        }
        assert_eq!(score(20.0, Constants::default().usual_excess), score(20.0, 1e9), "it alerts by itself");
        assert!(score(20.0, 1e9) > 0.5);
    }

    #[test]
    fn a_season_that_is_absent_is_an_alert() {
        let season = |i: i64| 20.0 * (i as f64 * std::f64::consts::TAU / DAY as f64).sin();
        // From where it is half-way, so that nothing jumps.
        let is_flat = |i: i64| (15 * DAY..16 * DAY).contains(&i);
        let value = |i: i64| noise(i) + if is_flat(i) { 0.0 } else { season(i) };
        let found = alerts(&Ensemble::default(), 20 * DAY, value);
        let absent: Vec<i64> = found.iter().copied().filter(|i| *i >= 14 * DAY).collect();
        // Where it should have risen, or later, when hours of it are missing; and nothing when it is back.
        assert!(absent.len() <= 2 && absent.iter().all(|i| is_flat(*i)), "{found:?}");
        assert!(absent.iter().any(|i| *i > 15 * DAY + DAY / 4), "hours are missing: {found:?}");
    }

    #[test]
    fn a_saw_tooth_is_usual_and_a_deeper_fall_is_not() {
        // Memory that rises for two days or so until a restart.
        let saw = |i: i64| 100.0 + 60.0 * ((i % 577) as f64 / 577.0) + noise(i);
        let value = |i: i64| if (5500..5510).contains(&i) { 20.0 } else { saw(i) };
        let found = alerts(&Ensemble::default(), 6000, value);
        let later: Vec<i64> = found.iter().copied().filter(|i| *i > 3 * 577).collect();
        assert!(later.contains(&5500), "{found:?}");
        assert!(later.iter().filter(|i| !(5500..5530).contains(*i)).count() <= 1, "{found:?}");
    }

    #[test]
    fn a_slow_degradation_is_found_while_it_grows() {
        let value = |i: i64| noise(i) + ((i - 3000) as f64 * 12.0 / (2 * DAY) as f64).clamp(0.0, 12.0);
        let found = alerts(&Ensemble::default(), 3000 + 2 * DAY, value);
        assert!(found.iter().any(|i| *i >= 3000), "{found:?}");
    }

    #[test]
    fn each_of_many_incidents_of_a_series_alerts() {
        // Of an hour, one in two days. What comes every day is a habit after some.
        let begins: Vec<i64> = (0..6).map(|k| 3000 + 600 * k + 37 * (k % 3)).collect();
        let is_out = |i: i64| begins.iter().any(|begin| (*begin..begin + 12).contains(&i));
        let found = alerts(&Ensemble::default(), 7000, |i| noise(i) + if is_out(i) { 40.0 } else { 0.0 });
        let missed: Vec<&i64> = begins.iter().filter(|begin| !found.contains(begin)).collect();
        assert_eq!(missed, [&0; 0], "{found:?}");
    }

    #[test]
    fn an_incident_in_the_first_hours_of_a_series_alerts() {
        for (step_ms, begins) in [(60_000, 180), (15_000, 600), (300_000, 80)] {
            let (detector, mut state) = (Ensemble::default(), EnsembleState::default());
            let mut is_alert = |i: i64| {
                let value = noise(i) + if i >= begins { 40.0 } else { 0.0 };
                let verdict = detector.update(&mut state, Point { time_ms: i * step_ms, value });
                verdict.is_some_and(|verdict| verdict.is_anomalous())
            };
            let found: Vec<i64> = (0..begins + 20).filter(|i| is_alert(*i)).collect();
            assert!(found.contains(&begins), "{step_ms}: {found:?}");
        }
    }

    #[test]
    fn a_pattern_that_was_never_seen_is_found_within_the_usual_range() {
        // Between two levels, and once at rest half-way: no value is far from the level.
        let value = |i: i64| match i {
            2000..2040 => 50.0 + noise(i),
            _ => (if i % 2 == 0 { 0.0 } else { 100.0 }) + noise(i),
        };
        let found = alerts(&Ensemble::default(), 2200, value);
        assert!(found.contains(&2000), "{found:?}");
        assert!(found.iter().all(|i| (2000..2100).contains(i)), "{found:?}");
    }

    #[test]
    fn a_series_that_gets_stuck_is_one_alert() {
        let value = |i: i64| noise(i.min(2000));
        let found = alerts(&Ensemble::default(), 3000, value);
        assert!(found.iter().filter(|i| **i > 2000).count() == 1, "{found:?}");
        assert!(found.iter().any(|i| (2003..2020).contains(i)), "{found:?}");
        // What stands still as a matter of course may do so for long.
        let value = |i: i64| if i < 2000 { (noise(i) * 0.6).round() } else { 0.0 };
        assert!(alerts(&Ensemble::default(), 3000, value).iter().all(|i| *i < 2000));
    }

    #[test]
    fn parameters_say_what_counts() {
        let value = |i: i64| {
            100.0 + noise(i) + if i == 1000 { 20.0 } else { 0.0 } - if i == 1500 { 20.0 } else { 0.0 }
        };
        let found = |detector: Ensemble| -> Vec<i64> {
            alerts(&detector, 2000, value).into_iter().filter(|i| *i % 500 == 0).collect()
        };
        let default = Ensemble::default;
        assert_eq!(found(default()), [1000, 1500]);
        assert_eq!(found(Ensemble { direction: Direction::Up, ..default() }), [1000]);
        assert_eq!(found(Ensemble { direction: Direction::Down, ..default() }), [1500]);
        assert_eq!(found(Ensemble { min_abs_dev: 30.0, ..default() }), [0; 0]);
        assert_eq!(found(Ensemble { min_abs_dev: 10.0, ..default() }), [1000, 1500]);
        assert_eq!(found(Ensemble { min_rel_dev: 0.3, ..default() }), [0; 0]);
    }

    #[test]
    fn a_value_alerts_beyond_the_bounds_and_not_within() {
        let (detector, mut state) = (Ensemble::default(), EnsembleState::default());
        for i in 0..3000 {
            let next = |value: f64| {
                let mut state = state.clone();
                detector.update(&mut state, Point { time_ms: i * STEP_MS, value })
            };
            if i % 100 == 50 && i > 500 {
                let Verdict { expected, lower, upper, .. } = next(0.0).unwrap();
                assert!(lower < expected && expected < upper);
                let width = upper - lower;
                assert!(next(upper + 1e-6 * width).unwrap().is_anomalous());
                assert!(next(lower - 1e-6 * width).unwrap().is_anomalous());
                assert!(!next(expected).unwrap().is_anomalous());
            }
            detector.update(&mut state, Point { time_ms: i * STEP_MS, value: noise(i) + job(i) });
        }
        fn job(i: i64) -> f64 {
            if i % DAY < 12 { 0.5 } else { 0.0 }
        }
    }

    #[test]
    fn the_interval_is_that_of_most_points() {
        let at = |time_ms: i64| (time_ms, 0.0);
        let uneven: Vec<_> = [0, 60, 60, 120, 180, 4000, 4060, 4120].map(|s| at(s * 1000)).into();
        assert_eq!(interval_s(&uneven), 60.0);
        assert_eq!(interval_s(&[at(5), at(5), at(1)]), INTERVAL_DEFAULT_S);
    }

    #[test]
    fn the_state_is_bounded() {
        let (detector, mut state) = (Ensemble::default(), EnsembleState::default());
        let mut largest = 0;
        for i in 0..60_000 {
            // Wanders through ever more of an ever larger range.
            let value = noise(i) * (1.0 + i as f64 / 50.0) + 100.0 * (i as f64 / 9.7).sin();
            detector.update(&mut state, Point { time_ms: i * STEP_MS, value });
            if i % 500 == 0 {
                largest = largest.max(state.memory_bytes());
                assert!(detector.is_sound(&state));
            }
        }
        assert!((3000..=STATE_BYTES_MAX).contains(&largest), "{largest}");
    }
}
