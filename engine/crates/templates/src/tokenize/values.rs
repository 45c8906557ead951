//! Where values that hold delimiters end: paths, addresses with colons, times.

use crate::classify::{ALPHANUMERIC, CLASS, DIGIT, HEX};

/// Length of what a path starts with: `/`, `scheme://`, `X:\`, `\\` or `{guid}`.
pub(super) fn path_root(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'/', ..] => Some(1),
        [b'\\', b'\\', ..] => Some(2),
        [b'{', ..] => {
            let is_guid = rest.get(37) == Some(&b'}')
                && rest[1..37].iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
            is_guid.then_some(38)
        }
        [letter, ..] if letter.is_ascii_alphabetic() => {
            let scheme = rest
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'))
                .count();
            match rest[scheme..] {
                [b':', b'/', b'/', ..] => Some(scheme + 3),
                [b':', b'\\', ..] if scheme == 1 => Some(3),
                _ => None,
            }
        }
        _ => None,
    }
}

/// No letter, digit or colon follows.
fn ends_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(|&b| CLASS[usize::from(b)] & ALPHANUMERIC == 0 && b != b':')
}

/// Three or more groups of up to four hexadecimal digits and a colon, and a last group: a MAC or IPv6 address.
pub(super) fn colon_hex_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut groups = 0;
    loop {
        let digits = bytes[at..].iter().take(5).take_while(|&&b| CLASS[usize::from(b)] & HEX != 0).count();
        if digits <= 4 && bytes.get(at + digits) == Some(&b':') {
            groups += 1;
            at += digits + 1;
            continue;
        }
        let end = at + digits;
        return (groups >= 3 && (1..=4).contains(&digits) && ends_at(bytes, end)).then_some(end);
    }
}

/// `h:mm`, `h:mm:ss` or `h:mm:ss.f`.
pub(super) fn time_end(bytes: &[u8], start: usize) -> Option<usize> {
    let digits = |at: usize, most: usize| {
        bytes[at.min(bytes.len())..]
            .iter()
            .take(most)
            .take_while(|&&b| CLASS[usize::from(b)] & DIGIT != 0)
            .count()
    };
    let pair = |at: usize| (bytes.get(at) == Some(&b':') && digits(at + 1, 2) == 2).then_some(at + 3);
    let hours = digits(start, 2);
    if hours == 0 {
        return None;
    }
    let minutes_end = pair(start + hours)?;
    let Some(seconds_end) = pair(minutes_end) else {
        return ends_at(bytes, minutes_end).then_some(minutes_end);
    };
    if matches!(bytes.get(seconds_end), Some(b'.' | b',')) {
        let fraction = digits(seconds_end + 1, usize::MAX);
        let fraction_end = seconds_end + 1 + fraction;
        if fraction > 0 && ends_at(bytes, fraction_end) {
            return Some(fraction_end);
        }
    }
    ends_at(bytes, seconds_end).then_some(seconds_end)
}
