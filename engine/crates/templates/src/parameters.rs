//! The values that a line has in the places of its variables, and what they are by their looks.
//!
//! Nothing is copied: a [`Parameter`] borrows its text from the line, and its kind is found when it is asked for. A line has at most as many
//! parameters as tokens are read of it.

use std::net::{IpAddr, SocketAddr};

use crate::classify::{Kind, is_dotted_name, is_email};
use crate::hashing::WILD;
use crate::tokenize::Token;

/// What a value is taken for. Where several fit, the first of this list is told, except that [`ParameterKind::Quoted`] comes right before
/// [`ParameterKind::Word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParameterKind {
    /// `key=` without anything behind it.
    Empty,
    /// A decimal number, with sign, fraction or exponent.
    Number,
    /// A number and a unit: `5 MB`, `12KiB`, `80B`.
    Bytes,
    /// Numbers and units of time: `15ms`, `1h30m`, `2.5 sec`.
    Duration,
    /// `12:30`, `12:30:01.5`.
    Time,
    /// An IPv4 or IPv6 address, alone or with a port.
    IpAddress,
    /// `00:1b:44:11:3a:b7`, or with dashes.
    MacAddress,
    Uuid,
    /// `0x1f`, or eight or more hexadecimal digits.
    Hex,
    /// `true`, `false`, `null`, `None`.
    Literal,
    Url,
    /// With slashes, or a drive and backslashes.
    Path,
    Email,
    /// A dotted name with or without a port.
    Host,
    /// Several values with commas or blanks between.
    List,
    /// Something else between quotes, without them.
    Quoted,
    /// Letters only.
    Word,
    /// Anything else.
    Text,
}

/// One variable's value in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    pub text: &'a str,
    /// The text stands between two quotes.
    pub is_quoted: bool,
}

impl<'a> Parameter<'a> {
    pub fn kind(&self) -> ParameterKind {
        let text = self.text;
        let is_address = || text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
        match text {
            "" => ParameterKind::Empty,
            _ if decimal(text).is_some() => ParameterKind::Number,
            _ if bytes(text).is_some() => ParameterKind::Bytes,
            _ if duration_seconds(text).is_some() => ParameterKind::Duration,
            _ if is_time(text) => ParameterKind::Time,
            _ if is_address() => ParameterKind::IpAddress,
            _ if is_mac_address(text) => ParameterKind::MacAddress,
            _ if is_uuid(text) => ParameterKind::Uuid,
            _ if is_hex(text) => ParameterKind::Hex,
            "true" | "false" | "null" | "True" | "False" | "TRUE" | "FALSE" | "NULL" | "None" => {
                ParameterKind::Literal
            }
            _ if text.contains("://") => ParameterKind::Url,
            _ if text.contains('/') || is_windows_path(text) => ParameterKind::Path,
            _ if is_email(text) => ParameterKind::Email,
            _ if is_host(text) => ParameterKind::Host,
            _ if text.contains(',') || (text.contains(' ') && !self.is_quoted) => ParameterKind::List,
            _ if self.is_quoted => ParameterKind::Quoted,
            _ if text.chars().all(char::is_alphabetic) => ParameterKind::Word,
            _ => ParameterKind::Text,
        }
    }

    /// A number as it is, a size in bytes, a duration in seconds; none if it is beyond all numbers.
    pub fn quantity(&self) -> Option<f64> {
        let quantity =
            decimal(self.text).or_else(|| bytes(self.text)).or_else(|| duration_seconds(self.text));
        quantity.filter(|quantity| quantity.is_finite())
    }
}

/// The parameters of one line, in order; see [`crate::TemplateMiner::observe_parameters`].
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    line: &'a str,
    tokens: &'a [Token],
    template: &'a [u64],
}

impl<'a> Parameters<'a> {
    /// `template` is that of the cluster which took the line that has `tokens`.
    pub(crate) fn new(line: &'a str, tokens: &'a [Token], template: &'a [u64]) -> Self {
        // Lengths differ only where hashes collide; then no place is known to be a variable but by its looks.
        let template = if template.len() == tokens.len() { template } else { &[] };
        Parameters { line, tokens, template }
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Parameter<'a>> {
        while let Some((token, rest)) = self.tokens.split_first() {
            self.tokens = rest;
            let symbol = self.template.split_first().map(|(&symbol, rest)| {
                self.template = rest;
                symbol
            });
            if token.kind != Kind::Variable && symbol != Some(WILD) {
                continue;
            }
            let bytes = self.line.as_bytes();
            let before = (token.start as usize).checked_sub(1).map(|at| bytes[at]);
            let behind = bytes.get(token.end as usize).copied();
            let is_quoted = before == behind && matches!(before, Some(b'"' | b'\''));
            return Some(Parameter { text: token.text(self.line), is_quoted });
        }
        None
    }
}

/// `nan` and `inf`, which Rust reads as numbers, are none here.
fn decimal(text: &str) -> Option<f64> {
    let is_number = text.bytes().next_back().is_some_and(|byte| byte.is_ascii_digit());
    let digits_only =
        text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    (is_number && digits_only).then(|| text.parse().ok()).flatten()
}

/// The digits, sign and point that `text` starts with, and the rest.
fn split_number(text: &str) -> (&str, &str) {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+');
    text.split_at(text.bytes().take_while(|byte| is_part(byte)).count())
}

fn bytes(text: &str) -> Option<f64> {
    let (number, unit) = split_number(text);
    let factor = match unit.trim_start_matches(' ') {
        "B" => 1.0,
        "KB" | "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    decimal(number).map(|number| number * factor)
}

fn duration_seconds(mut text: &str) -> Option<f64> {
    let mut seconds = None;
    while !text.is_empty() {
        let (number, rest) = split_number(text);
        let rest = rest.trim_start_matches(' ');
        let unit_end = rest.bytes().take_while(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()).count();
        let (unit, rest) = rest.split_at(unit_end);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" | "msec" => 1e-3,
            "s" | "sec" | "secs" => 1.0,
            "m" | "min" | "mins" => 60.0,
            "h" | "hr" | "hrs" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        *seconds.get_or_insert(0.0) += decimal(number)? * factor;
        text = rest;
    }
    seconds
}

/// Hours and minutes, with or without seconds and their fraction.
fn is_time(text: &str) -> bool {
    let is_pair = |part: &str| matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.splitn(3, ':');
    let (Some(hours), Some(minutes)) = (parts.next(), parts.next()) else { return false };
    let is_seconds = |seconds: &str| {
        let (whole, fraction) = seconds.split_once(['.', ',']).unwrap_or((seconds, "0"));
        is_pair(whole) && !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit())
    };
    is_pair(hours) && is_pair(minutes) && parts.next().is_none_or(is_seconds)
}

fn is_mac_address(text: &str) -> bool {
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.len() == 17 && (text.split(':').all(is_pair) || text.split('-').all(is_pair))
}

fn is_uuid(text: &str) -> bool {
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_hex(text: &str) -> bool {
    let (digits, least) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 1),
        None => (text, 8),
    };
    digits.len() >= least && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_windows_path(text: &str) -> bool {
    matches!(text.as_bytes(), [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic())
        || text.starts_with("\\\\")
}

fn is_host(text: &str) -> bool {
    let (name, port) = text.rsplit_once(':').unwrap_or((text, "0"));
    is_dotted_name(name.as_bytes())
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TemplateMiner;

    fn check(kind: ParameterKind, texts: &[&str]) {
        for text in texts {
            assert_eq!(Parameter { text, is_quoted: false }.kind(), kind, "{text}");
        }
    }

    #[test]
    fn kinds_are_told_by_looks() {
        check(ParameterKind::Empty, &[""]);
        check(ParameterKind::Number, &["0", "-7", "+1.5", "2e9", "1.5E-3", "12345678"]);
        check(ParameterKind::Bytes, &["5 MB", "12KiB", "80B"]);
        check(ParameterKind::Duration, &["15ms", "1h30m", "2.5s", "3µs", "1 sec"]);
        check(ParameterKind::Time, &["12:30", "7:05:01.25"]);
        check(ParameterKind::IpAddress, &["10.0.0.1", "10.0.0.1:80", "fe80::1", "[::1]:443"]);
        check(ParameterKind::MacAddress, &["00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7"]);
        check(ParameterKind::Uuid, &["550e8400-e29b-41d4-a716-446655440000"]);
        check(ParameterKind::Uuid, &["{550e8400-e29b-41d4-a716-446655440000}"]);
        check(ParameterKind::Hex, &["0x1f", "deadbeef", "9f4ef63a01"]);
        check(ParameterKind::Literal, &["true", "None"]);
        check(ParameterKind::Url, &["https://a.example/x?y=1"]);
        check(ParameterKind::Path, &["/var/lib/x", "src/main.rs", "C:\\data", "\\\\host\\share"]);
        check(ParameterKind::Email, &["joe@lab.example"]);
        check(ParameterKind::Host, &["db.example.org", "db.example.org:5432"]);
        check(ParameterKind::List, &["a,b", "1 2 3"]);
        check(ParameterKind::Word, &["kestrel", "größe"]);
        check(ParameterKind::Text, &["nan0", "x-1", "1.2.3.4.5", "12:", "0x", "٣"]);
        assert_eq!(Parameter { text: "not now", is_quoted: true }.kind(), ParameterKind::Quoted);
    }

    #[test]
    fn quantities_have_base_units() {
        let quantity = |text| Parameter { text, is_quoted: false }.quantity();
        assert_eq!(quantity("-1.5"), Some(-1.5));
        assert_eq!(quantity("2 KiB"), Some(2048.0));
        assert_eq!(quantity("1m30s"), Some(90.0));
        assert_eq!(["inf", "nan", "KB", "ms", "", "1 2", "1e999", "9e307 TB"].map(quantity), [None; 8]);
    }

    #[test]
    fn a_line_gives_the_values_of_its_variables_in_order() {
        let mut miner = TemplateMiner::default();
        for name in ["kestrel", "osprey", "merlin", "harrier", "goshawk"] {
            miner.observe(&format!("worker {name} sent \"{name}\" 5 MB of 1,2 in 15ms to 10.0.0.1:80 at k="));
        }
        let line = "worker falcon sent \"falcon\" 70 MB of 3,4 in 2ms to 10.0.0.2:81 at k=";
        let (mined, parameters) = miner.observe_parameters(line);
        let found: Vec<(&str, ParameterKind)> = parameters.map(|one| (one.text, one.kind())).collect();
        let expected = [
            ("falcon", ParameterKind::Word),
            ("falcon", ParameterKind::Quoted),
            ("70 MB", ParameterKind::Bytes),
            ("3,4", ParameterKind::List),
            ("2ms", ParameterKind::Duration),
            ("10.0.0.2:81", ParameterKind::IpAddress),
            ("", ParameterKind::Empty),
        ];
        assert_eq!(found, expected);
        assert!(!mined.is_new);
        assert_eq!(
            miner.template(mined.template_id),
            "worker <*> sent \"<*>\" <*> of <*> in <*> to <*> at k=<*>"
        );
    }
}
