//! Events of an iCalendar file, as times.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use rrule::{RRule, RRuleSet, Unvalidated};

use super::{FIRST_MS, LAST_MS};

const EVENTS_MAX: usize = 10_000;
/// Of all events together.
const DAYS_MAX: usize = 100_000;
const RULE_TIMES_MAX: u16 = 50_000;

/// A time as it stands there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    Day(NaiveDate),
    At(NaiveDateTime, Tz),
}

#[derive(Debug, Default)]
struct Event {
    line: usize,
    start: Option<Time>,
    end: Option<Time>,
    rule: Option<String>,
    others: Vec<Time>,
    except: Vec<Time>,
    is_cancelled: bool,
}

/// When there are events, `[from, to)` in ms, in their order and without overlaps. Days are those of the zone.
pub(super) fn holidays(text: &str, zone: Tz) -> Result<Vec<(i64, i64)>, String> {
    let mut times = Vec::new();
    for event in events(text, zone)? {
        let line = event.line;
        times.extend(times_of(event, zone).map_err(|reason| format!("line {line}: {reason}"))?);
        if times.len() > DAYS_MAX {
            return Err(format!("there are more than {DAYS_MAX} holidays"));
        }
    }
    times.retain(|(from_ms, to_ms)| from_ms < to_ms && *to_ms > FIRST_MS && *from_ms < LAST_MS);
    times.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (from_ms, to_ms) in times {
        match merged.last_mut() {
            Some(last) if from_ms <= last.1 => last.1 = last.1.max(to_ms),
            _ => merged.push((from_ms, to_ms)),
        }
    }
    Ok(merged)
}

fn events(text: &str, zone: Tz) -> Result<Vec<Event>, String> {
    let (mut events, mut event) = (Vec::new(), None::<Event>);
    // What is inside of an event, such as an alarm.
    let mut inner = 0_usize;
    for (line, content) in unfolded(text) {
        let Some((name, value)) = content.split_once(':') else { continue };
        let (name, parameters) = name.split_once(';').unwrap_or((name, ""));
        let (name, value) = (name.to_ascii_uppercase(), value.trim());
        let Some(open) = &mut event else {
            if name == "BEGIN" && value.eq_ignore_ascii_case("VEVENT") {
                event = Some(Event { line, ..Event::default() });
            }
            continue;
        };
        let times = |values: &str| -> Result<Vec<Time>, String> {
            let of = |value: &str| {
                time(value.trim(), parameters, zone).map_err(|reason| format!("line {line}: {reason}"))
            };
            values.split(',').map(of).collect()
        };
        match name.as_str() {
            "BEGIN" => inner += 1,
            "END" if inner > 0 => inner -= 1,
            "END" => {
                events.extend(event.take());
                if events.len() > EVENTS_MAX {
                    return Err(format!("there are more than {EVENTS_MAX} events"));
                }
            }
            _ if inner > 0 => {}
            "DTSTART" => open.start = times(value)?.first().copied(),
            "DTEND" => open.end = times(value)?.first().copied(),
            "RRULE" => open.rule = Some(value.to_owned()),
            "RDATE" => open.others.extend(times(value)?),
            "EXDATE" => open.except.extend(times(value)?),
            "DURATION" | "RECURRENCE-ID" => {
                return Err(format!(
                    "line {line}: {name} is not read; write each time with DTSTART and DTEND"
                ));
            }
            "STATUS" => open.is_cancelled = value.eq_ignore_ascii_case("CANCELLED"),
            _ => {}
        }
    }
    if event.is_some() {
        return Err("the last event has no END:VEVENT".to_owned());
    }
    if events.is_empty() {
        return Err(
            "there is no BEGIN:VEVENT; holidays are the events of an iCalendar file (RFC 5545)".to_owned()
        );
    }
    Ok(events)
}

/// Lines with their numbers; those that begin with a space go on with the one before.
fn unfolded(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some((_, last))) => last.push_str(rest),
            _ => lines.push((number + 1, line.to_owned())),
        }
    }
    lines
}

fn time(value: &str, parameters: &str, zone: Tz) -> Result<Time, String> {
    let wrong = || format!("{value:?} is no time; write it as 20261225, 20261225T180000 or 20261225T180000Z");
    if !value.contains('T') {
        return NaiveDate::parse_from_str(value, "%Y%m%d").map(Time::Day).map_err(|_| wrong());
    }
    let (text, zone) = match value.strip_suffix('Z') {
        Some(text) => (text, Tz::UTC),
        None => {
            let of = parameters.split(';').find_map(|parameter| parameter.strip_prefix("TZID="));
            let named = |name: &str| {
                let name = name.trim_matches('"');
                Tz::from_str(name).map_err(|_| format!("{name:?} is no time zone of the IANA database"))
            };
            (value, of.map_or(Ok(zone), named)?)
        }
    };
    NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S").map(|at| Time::At(at, zone)).map_err(|_| wrong())
}

/// A time of the clock on the wall; one that a change of the clock skips is an hour later.
fn ms(at: NaiveDateTime, zone: Tz) -> i64 {
    let found = zone.from_local_datetime(&at).earliest();
    let later = || zone.from_local_datetime(&(at + chrono::TimeDelta::hours(1))).earliest();
    found.or_else(later).map_or_else(|| at.and_utc().timestamp_millis(), |at| at.timestamp_millis())
}

fn times_of(event: Event, zone: Tz) -> Result<Vec<(i64, i64)>, String> {
    if event.is_cancelled {
        return Ok(Vec::new());
    }
    let start = event.start.ok_or("the event has no DTSTART")?;
    let (first, own_zone) = match start {
        Time::Day(day) => (day.and_time(NaiveTime::MIN), zone),
        Time::At(at, zone) => (at, zone),
    };
    let from = |time: Time| match time {
        Time::Day(day) => ms(day.and_time(NaiveTime::MIN), zone),
        Time::At(at, zone) => ms(at, zone),
    };
    let mut starts: BTreeSet<i64> = BTreeSet::from([from(start)]);
    if let Some(rule) = &event.rule {
        starts.extend(repeated(first, own_zone, rule)?);
    }
    starts.extend(event.others.into_iter().map(from));
    for except in event.except {
        starts.remove(&from(except));
    }
    // Days are 23 to 25 hours long, so their number counts.
    let days = match (start, event.end) {
        (Time::Day(day), Some(Time::Day(end))) => Some((end - day).num_days().max(1)),
        (Time::Day(_), _) => Some(1),
        (Time::At(..), _) => None,
    };
    if event.end.is_some_and(|end| from(end) < from(start)) {
        return Err("DTEND is before DTSTART".to_owned());
    }
    let length_ms = event.end.map_or(0, |end| from(end) - from(start));
    let end_of = |start_ms: i64| match days {
        Some(days) => {
            let at =
                chrono::DateTime::from_timestamp_millis(start_ms).unwrap_or_default().with_timezone(&zone);
            let end = at.date_naive().checked_add_days(Days::new(days.unsigned_abs()));
            end.map_or(start_ms, |end| ms(end.and_time(NaiveTime::MIN), zone))
        }
        None => start_ms.saturating_add(length_ms),
    };
    Ok(starts.into_iter().map(|start_ms| (start_ms, end_of(start_ms))).collect())
}

/// When a rule gives the event, until 2100.
fn repeated(first: NaiveDateTime, zone: Tz, rule: &str) -> Result<Vec<i64>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("RRULE {rule:?}: {error}");
    // It is told by the clock on the wall, which the library knows as UTC; what a change of the clock skips stays in this way.
    let mut parts = Vec::new();
    for part in rule.split(';') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if key.eq_ignore_ascii_case("FREQ")
            && ["HOURLY", "MINUTELY", "SECONDLY"].iter().any(|often| value.eq_ignore_ascii_case(often))
        {
            return Err(wrong(&"holidays repeat daily at the most"));
        }
        parts.push(if !key.eq_ignore_ascii_case("UNTIL") {
            part.to_owned()
        } else if !value.contains('T') {
            format!("UNTIL={value}T235959Z")
        } else {
            match time(value, "", zone)? {
                Time::At(at, Tz::UTC) if value.ends_with('Z') => {
                    let local = zone.from_utc_datetime(&at).naive_local();
                    format!("UNTIL={}", local.format("%Y%m%dT%H%M%SZ"))
                }
                _ => format!("UNTIL={value}Z"),
            }
        });
    }
    let text = parts.join(";");
    let start = rrule::Tz::UTC.from_utc_datetime(&first);
    let parsed: RRule<Unvalidated> = text.parse().map_err(|error| wrong(&error))?;
    let set: RRuleSet = parsed.build(start).map_err(|error| wrong(&error))?;
    let end = chrono::DateTime::from_timestamp_millis(LAST_MS).unwrap_or_default();
    let found = set.before(end.with_timezone(&rrule::Tz::UTC)).all(RULE_TIMES_MAX);
    if found.limited {
        return Err(wrong(&format!("it gives more than {RULE_TIMES_MAX} times until 2100; end it by UNTIL")));
    }
    Ok(found.dates.into_iter().map(|date| ms(date.naive_utc(), zone)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::ms as at;
    use super::*;

    fn event(lines: &str) -> String {
        format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            lines.replace('\n', "\r\n")
        )
    }

    fn found(lines: &str) -> Result<Vec<(i64, i64)>, String> {
        holidays(&event(lines), Tz::Europe__Berlin)
    }

    fn is_in(holidays: &[(i64, i64)], time: &str) -> bool {
        holidays.iter().any(|(from, to)| (*from..*to).contains(&at(time)))
    }

    #[test]
    fn a_day_is_one_of_the_zone_and_comes_every_year() {
        let christmas = found("SUMMARY:Christmas: a\n  long title\nDTSTART;VALUE=DATE:20201225\nDTEND;VALUE=DATE:20201227\nRRULE:FREQ=YEARLY").unwrap();
        assert_eq!(christmas.len(), 80);
        for (time, expected) in [
            ("2026-12-24T22:59:59Z", false),
            ("2026-12-24T23:00:00Z", true),
            ("2026-12-26T22:59:59Z", true),
            ("2026-12-26T23:00:00Z", false),
            ("2019-12-25T12:00:00Z", false),
        ] {
            assert_eq!(is_in(&christmas, time), expected, "{time}");
        }
    }

    #[test]
    fn rules_dates_and_exceptions() {
        // Thanksgiving, without that of one year and with a day more in another.
        let lines = "DTSTART;VALUE=DATE:20241128\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;UNTIL=20301231\n\
                     EXDATE;VALUE=DATE:20261126\nRDATE;VALUE=DATE:20271126,20271127";
        let days = found(lines).unwrap();
        for (time, expected) in [
            ("2025-11-27T12:00:00Z", true),
            ("2026-11-26T12:00:00Z", false),
            ("2027-11-25T12:00:00Z", true),
            ("2027-11-26T12:00:00Z", true),
            ("2030-11-28T12:00:00Z", true),
            ("2031-11-27T12:00:00Z", false),
        ] {
            assert_eq!(is_in(&days, time), expected, "{time}: {days:?}");
        }
        // The three days that follow each other are one.
        assert!(days.contains(&(at("2027-11-24T23:00:00Z"), at("2027-11-27T23:00:00Z"))), "{days:?}");
    }

    #[test]
    fn a_day_on_which_the_clock_changes_has_23_hours() {
        let day = found("DTSTART;VALUE=DATE:20260329").unwrap();
        assert_eq!(day, [(at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z"))]);
    }

    #[test]
    fn a_rule_ends_by_the_clock_on_the_wall_and_misses_no_day() {
        let day_ms = 86_400_000;
        for until in ["20301231", "20301231T000000", "20301230T230000Z"] {
            let days =
                found(&format!("DTSTART;VALUE=DATE:20301230\nRRULE:FREQ=DAILY;UNTIL={until}")).unwrap();
            assert_eq!(days, [(at("2030-12-29T23:00:00Z"), at("2030-12-31T23:00:00Z"))], "{until}");
        }
        // In Cairo the night of 2024-04-26 begins at one.
        let days = event("DTSTART;VALUE=DATE:20240425\nRRULE:FREQ=DAILY;COUNT=3");
        let days = holidays(&days, Tz::Africa__Cairo).unwrap();
        assert_eq!(days.iter().map(|(from, to)| to - from).sum::<i64>(), 3 * day_ms - 3_600_000);
    }

    #[test]
    fn times_have_zones() {
        let lines = "DTSTART;TZID=America/New_York:20260703T120000\nDTEND;TZID=America/New_York:20260703T180000\n\
                     BEGIN:VALARM\nDTSTART:20200101\nEND:VALARM";
        assert_eq!(found(lines).unwrap(), [(at("2026-07-03T16:00:00Z"), at("2026-07-03T22:00:00Z"))]);
        let cancelled = "DTSTART;VALUE=DATE:20260101\nSTATUS:CANCELLED";
        assert_eq!(found(cancelled).unwrap(), []);
    }

    #[test]
    fn errors_name_the_line() {
        for (lines, part) in [
            ("DTSTART;VALUE=DATE:2026-12-25", "line 3"),
            ("DTSTART;TZID=Nowhere:20260101T000000", "Nowhere"),
            ("DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=OFTEN", "FREQ=OFTEN"),
            ("SUMMARY:none", "DTSTART"),
            ("DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=SECONDLY;BYHOUR=0", "daily at the most"),
            ("DTSTART;VALUE=DATE:20260101\nDURATION:P3D", "DTEND"),
            ("DTSTART;VALUE=DATE:20260103\nDTEND;VALUE=DATE:20260101", "before DTSTART"),
            ("DTSTART;VALUE=DATE:19000101\nRRULE:FREQ=DAILY", "UNTIL"),
        ] {
            let message = found(lines).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        assert!(holidays("BEGIN:VCALENDAR", Tz::UTC).unwrap_err().contains("VEVENT"));
        assert!(holidays("BEGIN:VEVENT\nDTSTART:20260101", Tz::UTC).unwrap_err().contains("END:VEVENT"));
    }
}
