//! When a silence holds: once, or again and again by a rule of RFC 5545.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rrule::{Frequency, RRule, RRuleSet, Tz, Unvalidated};

use crate::silence::Recurrence;

/// How far a rule is looked ahead. One that gives nothing for so long is refused.
const AHEAD_MS: i64 = 5 * 366 * 86_400_000;
const RULE_BYTES_MAX: usize = 512;

/// `[starts_ms, ends_ms)`, or a window as long as that at each time that the rule gives.
#[derive(Debug)]
pub(crate) struct Windows {
    starts_ms: i64,
    ends_ms: i64,
    rule: Option<RRuleSet>,
    /// What was found last, as rules take time to follow.
    known: Mutex<Option<Known>>,
}

/// So it is from one time to before another.
#[derive(Clone, Copy, Debug)]
struct Known {
    from_ms: i64,
    until_ms: i64,
    holds: bool,
}

impl Windows {
    pub(crate) fn new(starts_ms: i64, ends_ms: i64, recurrence: Option<&Recurrence>) -> Result<Self, String> {
        let rule = recurrence.map(|recurrence| rule(starts_ms, ends_ms, recurrence)).transpose()?;
        Ok(Self { starts_ms, ends_ms, rule, known: Mutex::new(None) })
    }

    pub(crate) fn holds(&self, now_ms: i64) -> bool {
        let Some(rule) = &self.rule else { return (self.starts_ms..self.ends_ms).contains(&now_ms) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match *known {
            Some(known) if (known.from_ms..known.until_ms).contains(&now_ms) => known,
            _ => self.find(rule, now_ms),
        };
        *known = Some(found);
        found.holds
    }

    /// Whether it will never hold again.
    pub(crate) fn is_over(&self, now_ms: i64) -> bool {
        match &self.rule {
            None => now_ms >= self.ends_ms,
            Some(rule) => !self.holds(now_ms) && self.starts(rule, now_ms, 1).is_empty(),
        }
    }

    fn find(&self, rule: &RRuleSet, now_ms: i64) -> Known {
        let length_ms = self.ends_ms - self.starts_ms;
        // The one that began last, if it still goes on, and the next.
        let starts = self.starts(rule, now_ms.saturating_sub(length_ms).saturating_add(1), 2);
        match starts.first() {
            Some(&start_ms) if start_ms <= now_ms => {
                Known { from_ms: start_ms, until_ms: start_ms.saturating_add(length_ms), holds: true }
            }
            Some(&start_ms) => Known { from_ms: now_ms, until_ms: start_ms, holds: false },
            None => Known { from_ms: now_ms, until_ms: now_ms.saturating_add(AHEAD_MS / 2), holds: false },
        }
    }

    /// Starts from a time on, so many at the most.
    fn starts(&self, rule: &RRuleSet, from_ms: i64, count: u16) -> Vec<i64> {
        let zone = rule.get_dt_start().timezone();
        let Some((from, to)) = at(from_ms, zone).zip(at(from_ms.saturating_add(AHEAD_MS), zone)) else {
            return Vec::new();
        };
        let dates = rule.clone().after(from).before(to).all(count).dates;
        dates.into_iter().map(|date| date.timestamp_millis()).collect()
    }
}

fn at(ms: i64, zone: Tz) -> Option<DateTime<Tz>> {
    DateTime::<Utc>::from_timestamp_millis(ms).map(|time| time.with_timezone(&zone))
}

fn rule(starts_ms: i64, ends_ms: i64, recurrence: &Recurrence) -> Result<RRuleSet, String> {
    let text = recurrence.rule.trim();
    let text = text.strip_prefix("RRULE:").unwrap_or(text);
    if text.len() > RULE_BYTES_MAX {
        return Err(format!("the rule is longer than {RULE_BYTES_MAX} bytes"));
    }
    let zone = chrono_tz::Tz::from_str(&recurrence.time_zone).map_err(|_| {
        format!("{:?} is no time zone; write it as Europe/Berlin or UTC", recurrence.time_zone)
    })?;
    let start = at(starts_ms, zone.into()).ok_or("it starts beyond all calendars")?;
    let rule: RRule<Unvalidated> = text.parse().map_err(|error| {
        format!("{text:?} is no rule of RFC 5545 ({error}); write it as FREQ=WEEKLY;BYDAY=SU")
    })?;
    if matches!(rule.get_freq(), Frequency::Hourly | Frequency::Minutely | Frequency::Secondly) {
        return Err(
            "FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY; BYHOUR gives several windows a day".to_owned()
        );
    }
    let set = rule.build(start).map_err(|error| format!("{text:?}: {error}"))?;
    let windows = Windows { starts_ms, ends_ms, rule: None, known: Mutex::new(None) };
    if windows.starts(&set, starts_ms, 1).is_empty() {
        return Err(format!("{text:?} gives no window within five years"));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;

    fn ms(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    fn windows(starts: &str, hours: i64, rule: &str, time_zone: &str) -> Result<Windows, String> {
        let recurrence = Recurrence { rule: rule.to_owned(), time_zone: time_zone.to_owned() };
        Windows::new(ms(starts), ms(starts) + hours * HOUR_MS, Some(&recurrence))
    }

    #[test]
    fn once() {
        let window = Windows::new(100, 200, None).unwrap();
        assert_eq!([99, 100, 199, 200].map(|ms| window.holds(ms)), [false, true, true, false]);
        assert_eq!([199, 200].map(|ms| window.is_over(ms)), [false, true]);
    }

    #[test]
    fn every_sunday_at_two_by_the_clock_on_the_wall() {
        // Winter time ends on 2026-03-29, a Sunday, at 01:00 UTC.
        let sundays = windows("2026-03-22T01:00:00Z", 2, "FREQ=WEEKLY;BYDAY=SU", "Europe/Berlin").unwrap();
        for (time, expected) in [
            ("2026-03-22T00:59:59Z", false),
            ("2026-03-22T01:00:00Z", true),
            ("2026-03-22T02:59:59Z", true),
            ("2026-03-22T03:00:00Z", false),
            ("2026-03-28T01:30:00Z", false),
            ("2026-04-05T00:00:00Z", true),
            ("2026-04-05T01:59:59Z", true),
            ("2026-04-05T02:00:00Z", false),
            ("2025-12-28T01:30:00Z", false),
        ] {
            assert_eq!(sundays.holds(ms(time)), expected, "{time}");
        }
    }

    #[test]
    fn a_rule_ends_where_it_says() {
        let twice = windows("2026-01-01T00:00:00Z", 1, "FREQ=DAILY;COUNT=2", "UTC").unwrap();
        let start_ms = ms("2026-01-01T00:00:00Z");
        assert!(twice.holds(start_ms + DAY_MS) && !twice.holds(start_ms + 2 * DAY_MS));
        assert!(!twice.is_over(start_ms + HOUR_MS) && !twice.is_over(start_ms + DAY_MS));
        assert!(twice.is_over(start_ms + DAY_MS + HOUR_MS));
        let until =
            windows("2026-01-01T00:00:00Z", 1, "RRULE:FREQ=DAILY;UNTIL=20260103T000000Z", "UTC").unwrap();
        assert!(until.holds(start_ms + 2 * DAY_MS) && !until.holds(start_ms + 3 * DAY_MS));
    }

    #[test]
    fn what_was_found_before_changes_nothing() {
        let daily = windows("2026-01-01T22:00:00Z", 4, "FREQ=DAILY;BYHOUR=10,22", "UTC").unwrap();
        let start_ms = ms("2026-01-01T00:00:00Z");
        let hours: Vec<i64> = (0..96).map(|i| (i * 37) % 96).collect();
        for hour in hours {
            let now_ms = start_ms + hour * HOUR_MS;
            let of_day = hour % 24;
            let began = hour >= 22;
            let expected = began && (!(2..22).contains(&of_day) || (10..14).contains(&of_day));
            assert_eq!(daily.holds(now_ms), expected, "hour {hour}");
        }
    }

    #[test]
    fn messages_say_what_to_write() {
        for (rule, zone, part) in [
            ("FREQ=OFTEN", "UTC", "FREQ=WEEKLY;BYDAY=SU"),
            ("FREQ=MINUTELY", "UTC", "DAILY"),
            ("FREQ=DAILY", "Berlin", "Europe/Berlin"),
            ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "UTC", "five years"),
            (&"X".repeat(600), "UTC", "512"),
        ] {
            let message = windows("2026-01-01T00:00:00Z", 1, rule, zone).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
