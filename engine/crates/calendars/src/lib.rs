//! By whose clock a series has its day, and on which days it has none: IANA time zones, and the holidays of an iCalendar file (RFC 5545).
//!
//! What comes out is plain numbers for detectors, from 1990 to 2100: they know neither zones nor rules. The database of zones is that of this
//! build, so the same program gives the same on every machine.

#![forbid(unsafe_code)]

mod ics;

use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use detectors::Calendar;

/// 1990-01-01 and 2100-01-01.
const FIRST_MS: i64 = 631_152_000_000;
const LAST_MS: i64 = 4_102_444_800_000;
const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// # Errors
/// In words: a zone that is none, or holidays that cannot be read, with the line.
pub fn calendar(time_zone: &str, holidays_ics: Option<&str>) -> Result<Calendar, String> {
    let zone = Tz::from_str(time_zone)
        .map_err(|_| format!("{time_zone:?} is no time zone; write it as Europe/Berlin or UTC"))?;
    let holidays = holidays_ics.map_or(Ok(Vec::new()), |text| ics::holidays(text, zone))?;
    Ok(Calendar { offsets: offsets(zone), holidays })
}

fn offset_ms(zone: Tz, time_ms: i64) -> i64 {
    let time = DateTime::<Utc>::from_timestamp_millis(time_ms).unwrap_or_default();
    i64::from(zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc()) * 1000
}

/// From when on local time is how much ahead of UTC.
fn offsets(zone: Tz) -> Vec<(i64, i64)> {
    let mut offsets = vec![(i64::MIN, offset_ms(zone, FIRST_MS))];
    for day_ms in (FIRST_MS..LAST_MS).step_by(DAY_MS as usize) {
        let after = offset_ms(zone, day_ms + DAY_MS);
        if offset_ms(zone, day_ms) == after {
            continue;
        }
        let (mut before_ms, mut after_ms) = (day_ms, day_ms + DAY_MS);
        while after_ms - before_ms > MINUTE_MS {
            let middle_ms = (before_ms + after_ms) / 2 / MINUTE_MS * MINUTE_MS;
            *(if offset_ms(zone, middle_ms) == after { &mut after_ms } else { &mut before_ms }) = middle_ms;
        }
        offsets.push((after_ms, after));
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn ms(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn the_day_is_that_of_the_zone_in_summer_and_winter() {
        let berlin = calendar("Europe/Berlin", None).unwrap();
        for (utc, local) in [
            ("2026-03-29T00:59:59Z", "2026-03-29T01:59:59Z"),
            ("2026-03-29T01:00:00Z", "2026-03-29T03:00:00Z"),
            ("2026-07-01T12:00:00Z", "2026-07-01T14:00:00Z"),
            ("2026-10-25T00:59:59Z", "2026-10-25T02:59:59Z"),
            ("2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
            ("1950-01-01T00:00:00Z", "1950-01-01T01:00:00Z"),
        ] {
            assert_eq!(berlin.at(ms(utc)).local_ms, ms(local), "{utc}");
        }
        let kathmandu = calendar("Asia/Kathmandu", None).unwrap();
        assert_eq!(kathmandu.at(ms("2026-01-01T00:00:00Z")).local_ms, ms("2026-01-01T05:45:00Z"));
        assert_eq!(calendar("UTC", None).unwrap().offsets, [(i64::MIN, 0)]);
        assert!(calendar("Berlin", None).unwrap_err().contains("Europe/Berlin"));
    }

    #[test]
    fn every_zone_has_a_bounded_number_of_changes() {
        for zone in ["America/Sao_Paulo", "Africa/Casablanca", "Australia/Lord_Howe", "America/New_York"] {
            let calendar = calendar(zone, None).unwrap();
            assert!((2..600).contains(&calendar.offsets.len()), "{zone}: {}", calendar.offsets.len());
            assert!(calendar.validate().is_ok());
        }
    }
}
