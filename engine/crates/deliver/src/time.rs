//! Points in time as text, and back.

use jiff::Timestamp;

/// RFC 3339 in UTC; times beyond what a calendar holds are shown as its ends.
pub(crate) fn time_text(ms: i64) -> String {
    let beyond = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(beyond).to_string()
}

/// `Retry-After`: seconds, or a date of HTTP.
pub(crate) fn retry_after_ms(text: &str, now_ms: i64) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(i64::from(seconds) * 1_000);
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some((date.as_millisecond() - now_ms).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_beyond_a_calendar_are_its_ends() {
        assert_eq!(time_text(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert!(time_text(i64::MAX).starts_with("9999-12") && time_text(i64::MIN).starts_with('-'));
    }

    #[test]
    fn both_forms_of_retry_after() {
        assert_eq!(retry_after_ms(" 120 ", 0), Some(120_000));
        assert_eq!(retry_after_ms("Thu, 01 Jan 1970 00:01:00 GMT", 10_000), Some(50_000));
        assert_eq!(retry_after_ms("Thu, 01 Jan 1970 00:00:00 GMT", 10_000), Some(0), "it is over");
        for text in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after_ms(text, 0), None, "{text}");
        }
    }
}
