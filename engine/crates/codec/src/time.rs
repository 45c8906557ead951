//! Times as formats write them, in milliseconds since the Unix epoch.

use jiff::Timestamp;
use jiff::civil::DateTime;

/// A number of seconds, milliseconds, microseconds or nanoseconds since the epoch: whichever of them lies between 1973
/// and 5138. Fractions are rounded to the nearest millisecond. None if it is not finite or before the epoch.
pub(crate) fn of_number(number: f64) -> Option<i64> {
    if !(0.0..=MAX_NS).contains(&number) {
        return None;
    }
    Some(match number {
        seconds if seconds < 1e11 => (seconds * 1e3).round(),
        ms if ms < 1e14 => ms.round(),
        us if us < 1e17 => (us / 1e3).floor(),
        ns => (ns / 1e6).floor(),
    } as i64)
}

/// The largest number of nanoseconds that is a time.
const MAX_NS: f64 = i64::MAX as f64;

/// The last microsecond whose nanoseconds a signed number holds, in 2262.
const SPAN_END_MAX_US: i64 = i64::MAX / 1_000;

/// Whether a span with a start after the epoch also ends at a time that makes sense. Sums of such times do not overflow.
pub(crate) fn is_span(start_us: i64, duration_us: i64) -> bool {
    start_us.checked_add(duration_us).is_some_and(|end_us| end_us <= SPAN_END_MAX_US)
}

/// A number as [`of_number`] reads it, or a date with a time: RFC 3339, or the like with a blank for the `T`, a comma
/// before the fraction, an offset without colon, or no offset, which then is UTC.
pub(crate) fn of_text(text: &str) -> Option<i64> {
    of_text_in(text, of_utc)
}

/// The same; `of_civil` is what a time without an offset is.
pub(crate) fn of_text_in(text: &str, of_civil: impl FnOnce(DateTime) -> Option<i64>) -> Option<i64> {
    let text = text.trim();
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return of_digits(text);
    }
    if let Ok(number) = text.parse::<f64>() {
        return of_number(number);
    }
    of_date_in(text, of_civil)
}

/// A number since the epoch, of whose units so many are a second. None unless it lies between 1973 and 5138, as no number does
/// that is of another unit.
pub(crate) fn in_units(text: &str, of_a_second: u32) -> Option<i64> {
    const RANGE_MS: std::ops::Range<i64> = 100_000_000_000..100_000_000_000_000;
    let time_ms = match text.parse::<i64>() {
        Ok(whole) if of_a_second >= 1_000 => whole / i64::from(of_a_second / 1_000),
        Ok(whole) => whole.checked_mul(1_000)?,
        Err(_) => {
            let ms = text.parse::<f64>().ok()? * 1e3 / f64::from(of_a_second);
            // A fraction such as .123 may lie just below what is meant.
            if of_a_second > 1_000 { ms.floor() as i64 } else { ms.round() as i64 }
        }
    };
    RANGE_MS.contains(&time_ms).then_some(time_ms)
}

fn of_utc(time: DateTime) -> Option<i64> {
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// A date with a time, as [`of_text`] reads it, without blanks around it.
pub(crate) fn of_date(text: &str) -> Option<i64> {
    of_date_in(text, of_utc)
}

fn of_date_in(text: &str, of_civil: impl FnOnce(DateTime) -> Option<i64>) -> Option<i64> {
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let with_dot = text.replacen(',', ".", 1);
    if let Ok(time) = with_dot.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    // A civil time would accept an offset and drop it; RFC 3339 has read those already.
    let has_offset = with_dot.get(19..).is_some_and(|rest| rest.contains(['+', '-', 'Z', 'z', '[']));
    if has_offset || with_dot.len() < 19 {
        return None;
    }
    of_civil(with_dot.parse().ok()?)
}

/// A number since the epoch where it might also be any other: one with the digits of seconds, milliseconds, microseconds or
/// nanoseconds (and perhaps a fraction) of a time from 2001 to 2100.
pub(crate) fn of_epoch(text: &str) -> Option<i64> {
    const YEARS_MS: std::ops::Range<i64> = 1_000_000_000_000..4_102_444_800_000;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole.len(), 10 | 13 | 16 | 19) || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    of_text(text).filter(|time_ms| YEARS_MS.contains(time_ms))
}

/// Whole numbers, of which nanoseconds do not fit into a double.
fn of_digits(digits: &str) -> Option<i64> {
    let number: i64 = digits.parse().ok()?;
    Some(match digits.trim_start_matches('0').len() {
        ..=11 => number * 1_000,
        12..=14 => number,
        15..=17 => number / 1_000,
        _ => number / 1_000_000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_unit() {
        for text in [
            "1760000000",
            "1760000000000",
            "1760000000000000",
            "1760000000000000000",
            "1760000000.0",
            "1.76e9",
            "2025-10-09T08:53:20Z",
            "2025-10-09T10:53:20+02:00",
            "2025-10-09T10:53:20.000+0200",
            "2025-10-09 08:53:20",
            " 2025-10-09 08:53:20,000 ",
        ] {
            assert_eq!(of_text(text), Some(1_760_000_000_000), "{text}");
        }
        assert_eq!(of_text("1760000000.123"), Some(1_760_000_000_123));
        assert_eq!(of_text("2025-10-09T08:53:20.123456Z"), Some(1_760_000_000_123));
        assert_eq!(of_text("1760000000123456789"), Some(1_760_000_000_123));
        assert_eq!(of_number(1_760_000_000_123.0), Some(1_760_000_000_123));
        assert_eq!(of_text("0"), Some(0));
    }

    #[test]
    fn numbers_in_a_unit() {
        for (text, of_a_second, expected) in [
            ("1760000000", 1, Some(1_760_000_000_000)),
            ("1760000000.123", 1, Some(1_760_000_000_123)),
            ("1.76e9", 1, Some(1_760_000_000_000)),
            ("1760000000123", 1_000, Some(1_760_000_000_123)),
            ("1760000000123999", 1_000_000, Some(1_760_000_000_123)),
            ("1760000000123999999", 1_000_000_000, Some(1_760_000_000_123)),
            ("1760000000", 1_000, None),
            ("1760000000123", 1, None),
            ("999999999999999999999", 1_000_000_000, None),
            ("-5", 1, None),
            ("NaN", 1, None),
            ("now", 1, None),
        ] {
            assert_eq!(in_units(text, of_a_second), expected, "{text} {of_a_second}");
        }
    }

    #[test]
    fn numbers_that_can_only_be_times() {
        for (text, expected) in [
            ("1000000000", 1_000_000_000_000),
            ("1760000000.25", 1_760_000_000_250),
            ("1760000000123", 1_760_000_000_123),
            ("1760000000123.5", 1_760_000_000_124),
            ("1760000000123456", 1_760_000_000_123),
            ("1760000000123456789", 1_760_000_000_123),
            ("4102444799", 4_102_444_799_000),
        ] {
            assert_eq!(of_epoch(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "42",
            "0000000042",
            "999999999",
            "4102444800",
            "9876543210",
            "17600000000",
            "1760000000.",
            "1760000000.5.5",
            "1760000000e3",
            "4315e12",
            "1.76e9",
            "+176000000",
            "2025-10-09T08:53:20Z",
        ] {
            assert_eq!(of_epoch(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in
            ["", "yesterday", "12:00:00", "2025-13-09T08:53:20Z", "-5", "2025-10-09", "99999999999999999999"]
        {
            assert_eq!(of_text(text), None, "{text}");
        }
        assert_eq!(of_text("2025"), Some(2_025_000), "a number of seconds, not a year");
        assert_eq!((of_number(f64::NAN), of_number(-1.0), of_number(1e300)), (None, None, None));
    }
}
