//! Lengths of time and sizes, as people write them into a configuration.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

fn number_and_unit<N: FromStr>(text: &str) -> Option<(N, &str)> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    Some((text[..unit_at].parse().ok()?, text[unit_at..].trim()))
}

/// A length of time, written as `250ms`, `30s`, `5m`, `2h` or `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    ms: i64,
}

impl Span {
    pub const fn from_ms(ms: i64) -> Self {
        Self { ms }
    }

    pub const fn ms(self) -> i64 {
        self.ms
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit::<i64>(text)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(unit_ms).map(|ms| Self { ms })
    }
}

/// As in a configuration, for the command line.
impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
            .ok_or_else(|| format!("{text:?} is not a length of time; write it as 250ms, 30s, 5m, 2h or 1d"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A size in memory, written as `512KiB`, `64MiB` or `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    bytes: usize,
}

impl Size {
    pub const fn from_bytes(bytes: usize) -> Self {
        Self { bytes }
    }

    pub const fn bytes(self) -> usize {
        self.bytes
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit::<usize>(text)?;
        let unit_bytes = match unit {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(unit_bytes).map(|bytes| Self { bytes })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let what = || format!("{text:?} is not a size; write it as 512KiB, 64MiB or 2GiB");
        Self::parse(&text).ok_or_else(|| de::Error::custom(what()))
    }
}
