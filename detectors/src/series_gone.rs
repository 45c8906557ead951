//! Whether a series is gone: it has had no point for longer than it ever has.
//!
//! For series that are sent as long as what they are of is there. The silence that is too long is learned: some expected points, and
//! a multiple of the longest pause that the series made more than once. So one that comes and goes is left alone, and one outage does not make the next one usual.
//! A pause while a series is learned counts at once: a job of an hour each night is known by the second one.
//!
//! It judges times and no values, and speaks when there is no point, so it is no [`Detector`](crate::Detector): whoever drives it asks
//! [`gone_ms`](SeriesGone::gone_ms) when event time has come there.
//!
//! Limits: a pause that comes seldom, such as the first week-end, is told of twice before it is known. Pauses halve in about three
//! weeks. Points that come late end no silence. Memory: 40 bytes a series.

use serde::{Deserialize, Serialize};

use crate::InvalidParameters;

/// How fast the expected interval follows, and at most how many times as long a pause counts for it.
const INTERVAL_WEIGHT: f32 = 0.02;
const INTERVAL_CLIP: f32 = 4.0;
const DAY_MS: i64 = 86_400_000;
/// What a day leaves of a pause.
const KEPT_A_DAY: f32 = 0.966;
const INTERVALS_MIN: u32 = 10;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeriesGone {
    /// No silence is too long before this.
    pub min_silence_s: f64,
    /// … nor before so many points are missing,
    pub missing_points: f64,
    /// … nor before it is so many times as long as the second-longest pause.
    pub pause_factor: f64,
    /// A series that has been there for less may end at any time.
    pub learn_s: f64,
}

impl Default for SeriesGone {
    fn default() -> Self {
        Self { min_silence_s: 180.0, missing_points: 5.0, pause_factor: 2.0, learn_s: 6.0 * 3600.0 }
    }
}

/// When a series had points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    first_ms: i64,
    last_ms: i64,
    interval_ms: f32,
    /// The longest pauses, the longest first.
    pauses_ms: [f32; 2],
    intervals: u32,
}

impl Presence {
    pub fn since(time_ms: i64) -> Self {
        Self { first_ms: time_ms, last_ms: time_ms, interval_ms: 0.0, pauses_ms: [0.0; 2], intervals: 0 }
    }

    /// The newest point.
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// How long it usually is from point to point, in ms.
    pub fn interval_ms(&self) -> f64 {
        f64::from(self.interval_ms)
    }

    pub fn is_sound(&self) -> bool {
        let is_time = |ms: f32| (0.0..=1e19).contains(&ms);
        is_time(self.interval_ms) && self.pauses_ms.into_iter().all(is_time) && self.first_ms <= self.last_ms
    }
}

/// How long a silence was expected to be at the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Silence {
    /// From the last point.
    pub since_ms: i64,
    pub interval_ms: f64,
    pub allowed_ms: f64,
}

impl Silence {
    /// 0..1: 0.5 where the silence becomes too long, 0.8 when it is four times as long.
    pub fn score(&self, now_ms: i64) -> f64 {
        let silent_ms = now_ms.saturating_sub(self.since_ms).max(0) as f64;
        silent_ms / (silent_ms + self.allowed_ms)
    }
}

impl SeriesGone {
    pub const NAME: &'static str = "series_gone";

    pub fn validate(&self) -> Result<(), InvalidParameters> {
        let within = |value: f64, low: f64| (low..=1e9).contains(&value);
        InvalidParameters::unless(within(self.min_silence_s, 1.0), "min_silence_s must be from 1 to 1e9")?;
        InvalidParameters::unless(within(self.missing_points, 1.0), "missing_points must be from 1 to 1e9")?;
        InvalidParameters::unless(within(self.pause_factor, 1.0), "pause_factor must be from 1 to 1e9")?;
        InvalidParameters::unless(within(self.learn_s, 0.0), "learn_s must be from 0 to 1e9")
    }

    /// Takes in a point. `interval_ms` is how long before it the same sender had one, which is more than the pause where many
    /// share the series. Returns the silence that it ends, if that was too long.
    pub fn observe(
        &self,
        presence: &mut Presence,
        time_ms: i64,
        interval_ms: Option<i64>,
    ) -> Option<Silence> {
        if time_ms <= presence.last_ms {
            // Another sender's, or a late one.
            if let Some(interval_ms) = interval_ms.filter(|ms| *ms > 0) {
                learn_interval(presence, interval_ms);
            }
            return None;
        }
        let silence =
            self.gone_ms(presence).filter(|gone_ms| *gone_ms <= time_ms).map(|_| self.silence(presence));
        let pause_ms = time_ms.saturating_sub(presence.last_ms);
        let days = time_ms.div_euclid(DAY_MS).saturating_sub(presence.last_ms.div_euclid(DAY_MS));
        if days > 0 {
            let kept = KEPT_A_DAY.powi(i32::try_from(days).unwrap_or(i32::MAX));
            presence.pauses_ms = presence.pauses_ms.map(|pause_ms| pause_ms * kept);
        }
        let is_learning = !self.is_learned(presence);
        learn_interval(presence, interval_ms.unwrap_or(pause_ms));
        let pause_ms = pause_ms as f32;
        let [longest, second] = &mut presence.pauses_ms;
        if pause_ms > *longest {
            // Of a pause that nobody was told of it is known that it was none to be told of.
            *second = if is_learning { pause_ms } else { *longest };
            *longest = pause_ms;
        } else if pause_ms > *second {
            *second = pause_ms;
        }
        presence.last_ms = time_ms;
        silence
    }

    /// Before this it is not known well enough.
    pub fn learned_ms(&self, presence: &Presence) -> i64 {
        presence.first_ms.saturating_add((1000.0 * self.learn_s) as i64)
    }

    fn is_learned(&self, presence: &Presence) -> bool {
        let known_ms = presence.last_ms.saturating_sub(presence.first_ms) as f64;
        presence.intervals >= INTERVALS_MIN && known_ms >= 1000.0 * self.learn_s
    }

    /// The silence that follows the last point.
    pub fn silence(&self, presence: &Presence) -> Silence {
        let interval_ms = presence.interval_ms();
        let pause_ms = f64::from(presence.pauses_ms[1]);
        let allowed_ms = (1000.0 * self.min_silence_s)
            .max(self.missing_points * interval_ms)
            .max(self.pause_factor * pause_ms);
        Silence { since_ms: presence.last_ms, interval_ms, allowed_ms }
    }

    /// When the series counts as gone if there is no other point; none while it is learned.
    pub fn gone_ms(&self, presence: &Presence) -> Option<i64> {
        let allowed_ms = self.silence(presence).allowed_ms as i64;
        self.is_learned(presence).then(|| presence.last_ms.saturating_add(allowed_ms))
    }
}

fn learn_interval(presence: &mut Presence, interval_ms: i64) {
    let interval_ms = interval_ms as f32;
    let known = presence.intervals as f32;
    let clipped = match presence.intervals {
        0 => interval_ms,
        _ => interval_ms.min(INTERVAL_CLIP * presence.interval_ms),
    };
    presence.interval_ms += INTERVAL_WEIGHT.max(1.0 / (known + 1.0)) * (clipped - presence.interval_ms);
    presence.intervals = presence.intervals.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const HOUR_MS: i64 = 3_600_000;

    /// The series with these points, and the pauses that were told, by when they began and ended.
    fn series(times_ms: impl IntoIterator<Item = i64>) -> (Presence, Vec<(i64, i64)>) {
        let (detector, mut told) = (SeriesGone::default(), Vec::new());
        let mut times_ms = times_ms.into_iter();
        let mut presence = Presence::since(times_ms.next().unwrap());
        for time_ms in times_ms {
            let silence = detector.observe(&mut presence, time_ms, None);
            told.extend(silence.map(|silence| (silence.since_ms, time_ms)));
            assert!(presence.is_sound());
        }
        (presence, told)
    }

    fn every(step_ms: i64, from_ms: i64, to_ms: i64) -> impl Iterator<Item = i64> {
        (0..(to_ms - from_ms) / step_ms).map(move |i| from_ms + i * step_ms)
    }

    #[test]
    fn a_series_is_gone_after_some_missing_points_and_not_at_once() {
        let gone = |step_ms: i64| {
            let (presence, _) = series(every(step_ms, 0, 12 * HOUR_MS));
            SeriesGone::default().gone_ms(&presence).unwrap() - presence.last_ms()
        };
        assert_eq!(gone(15_000), 180_000, "min_silence_s");
        assert_eq!(gone(5 * MINUTE_MS), 25 * MINUTE_MS, "missing_points");
        // One in twenty is lost, sometimes two in a row.
        let lossy = every(5 * MINUTE_MS, 0, 48 * HOUR_MS).filter(|ms| (ms / MINUTE_MS / 5 * 7919) % 41 > 2);
        let (presence, told) = series(lossy);
        assert_eq!(told, []);
        let allowed_ms = SeriesGone::default().gone_ms(&presence).unwrap() - presence.last_ms();
        assert!((25 * MINUTE_MS..50 * MINUTE_MS).contains(&allowed_ms), "{allowed_ms}");
    }

    #[test]
    fn the_second_outage_is_told_like_the_first_and_a_habit_is_not() {
        let outages = [(20, 26), (60, 66)].map(|(from, to)| (from * HOUR_MS, to * HOUR_MS));
        let is_out = |ms: &i64| outages.iter().any(|(from, to)| (*from..*to).contains(ms));
        let (_, told) = series(every(MINUTE_MS, 0, 90 * HOUR_MS).filter(|ms| !is_out(ms)));
        assert_eq!(told, outages.map(|(from, to)| (from - MINUTE_MS, to)));
        // A job of one hour each night: its first pause is learned.
        let (presence, told) = series(every(MINUTE_MS, 0, 240 * HOUR_MS).filter(|ms| ms % DAY_MS < HOUR_MS));
        assert_eq!(told, []);
        let allowed_ms = SeriesGone::default().gone_ms(&presence).unwrap() - presence.last_ms();
        assert!((24 * HOUR_MS..48 * HOUR_MS).contains(&allowed_ms), "and it is missed within two days");
    }

    #[test]
    fn what_is_new_may_end_at_any_time() {
        let (presence, _) = series(every(MINUTE_MS, 0, 5 * HOUR_MS));
        assert_eq!(SeriesGone::default().gone_ms(&presence), None);
    }

    #[test]
    fn points_that_come_late_or_from_another_sender_end_nothing() {
        let (mut presence, _) = series(every(MINUTE_MS, 0, 12 * HOUR_MS));
        let before = presence.clone();
        assert_eq!(
            SeriesGone::default().observe(&mut presence, before.last_ms() - 5 * MINUTE_MS, None),
            None
        );
        assert_eq!(presence, before);
        // Ten senders of a point in five minutes make one in half a minute; one that is left is not silent.
        let detector = SeriesGone::default();
        for i in 0..2000 {
            detector.observe(&mut presence, before.last_ms() + i * 30_000, Some(5 * MINUTE_MS));
        }
        assert!(detector.silence(&presence).allowed_ms >= 24.0 * 60_000.0);
    }

    #[test]
    fn the_score_rises_from_a_half_where_the_silence_is_too_long() {
        let silence = Silence { since_ms: 1000, interval_ms: 15_000.0, allowed_ms: 180_000.0 };
        assert_eq!([181_000, 721_000, 0].map(|now_ms| silence.score(now_ms)), [0.5, 0.8, 0.0]);
    }

    #[test]
    fn times_at_the_ends_of_the_range_are_borne() {
        let (presence, _) = series([i64::MIN, i64::MAX, 0]);
        assert!(presence.is_sound());
        for text in [r#"{"min_silence_s": 0}"#, r#"{"pause_factor": 0.5}"#, r#"{"missing_points": 1e99}"#] {
            assert!(serde_json::from_str::<SeriesGone>(text).unwrap().validate().is_err(), "{text}");
        }
    }
}
