//! Names of snapshots: `<group>/<topic>/<partition>/<offset, 20 digits>-<epoch>.snapshot`.
//!
//! Unusual characters of group and topic are percent-escaped, so that a name is a path below a store and nothing else. Of one partition, the
//! names sort by offset.

use std::fmt;
use std::str::FromStr;

/// Longest part of a name in bytes, escapes included: what file systems allow.
pub(crate) const PART_BYTES_MAX: usize = 255;
/// Most parts of a name between slashes that a store accepts.
pub(crate) const PARTS_MAX: usize = 8;
const SUFFIX: &str = ".snapshot";

/// Which state a snapshot holds. Valid by construction; `to_string` and `parse` are inverse.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotName {
    group: String,
    topic: String,
    partition: i32,
    offset: i64,
    epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("the {part} of a snapshot's name is empty")]
    Empty { part: &'static str },
    #[error(
        "the {part} is too long for a snapshot's name: {bytes} bytes once escaped, at most {PART_BYTES_MAX}"
    )]
    TooLong { part: &'static str, bytes: usize },
    #[error("the {part} of a snapshot's name is negative: {value}")]
    Negative { part: &'static str, value: i64 },
    #[error(
        "{name:?} is not a snapshot's name: <group>/<topic>/<partition>/<offset of 20 digits>-<epoch>.snapshot"
    )]
    Form { name: String },
}

impl SnapshotName {
    /// `offset` is that of the first record that the state does not know.
    pub fn new(
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        epoch: u64,
    ) -> Result<SnapshotName, InvalidName> {
        for (part, text) in [("group", group), ("topic", topic)] {
            if text.is_empty() {
                return Err(InvalidName::Empty { part });
            }
            let bytes = escape(text).len();
            if bytes > PART_BYTES_MAX {
                return Err(InvalidName::TooLong { part, bytes });
            }
        }
        for (part, value) in [("partition", i64::from(partition)), ("offset", offset)] {
            if value < 0 {
                return Err(InvalidName::Negative { part, value });
            }
        }
        Ok(SnapshotName { group: group.to_owned(), topic: topic.to_owned(), partition, offset, epoch })
    }

    /// Reads what `to_string` wrote, and nothing else.
    pub fn parse(name: &str) -> Result<SnapshotName, InvalidName> {
        let form = || InvalidName::Form { name: name.chars().take(80).collect() };
        let parsed = parse_loosely(name).ok_or_else(form)?;
        if parsed.to_string() == name { Ok(parsed) } else { Err(form()) }
    }

    pub fn group(&self) -> &str {
        &self.group
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Of the first record that the state does not know.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where all snapshots of this partition lie, to be listed.
    pub fn folder(&self) -> String {
        format!("{}/{}/{}", escape(&self.group), escape(&self.topic), self.partition)
    }

    pub(crate) fn is_of(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.group == group && self.topic == topic && self.partition == partition
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{:020}-{}{SUFFIX}", self.folder(), self.offset, self.epoch)
    }
}

impl FromStr for SnapshotName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<SnapshotName, InvalidName> {
        SnapshotName::parse(name)
    }
}

fn parse_loosely(name: &str) -> Option<SnapshotName> {
    let mut parts = name.split('/');
    let (group, topic, partition, file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (offset, epoch) = file.strip_suffix(SUFFIX)?.split_once('-')?;
    SnapshotName::new(
        &unescape(group)?,
        &unescape(topic)?,
        partition.parse().ok()?,
        offset.parse().ok()?,
        epoch.parse().ok()?,
    )
    .ok()
}

/// A dot at the start is escaped too: no part is `.`, `..` or a hidden file.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, byte) in text.bytes().enumerate() {
        let is_plain = is_plain(byte) || (byte == b'.' && index > 0);
        if is_plain {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Whether a store may use `name` as a path below itself.
pub(crate) fn is_storable(name: &str) -> bool {
    name.split('/').count() <= PARTS_MAX && name.split('/').all(is_storable_part)
}

fn is_storable_part(part: &str) -> bool {
    let is_known = |byte: u8| is_plain(byte) || byte == b'.' || byte == b'%';
    !part.is_empty() && part.len() <= PART_BYTES_MAX && !part.starts_with('.') && part.bytes().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_reads_as_documented() {
        let name = SnapshotName::new("foreshock", "otlp_metrics", 3, 1_234_567, 42).unwrap();
        assert_eq!(name.to_string(), "foreshock/otlp_metrics/3/00000000000001234567-42.snapshot");
        assert_eq!(name.folder(), "foreshock/otlp_metrics/3");
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn unusual_characters_are_escaped() {
        let name = SnapshotName::new("../../etc", "..", 0, 0, 0).unwrap();
        assert_eq!(name.folder(), "%2E.%2F..%2Fetc/%2E./0");
        let name = SnapshotName::new("a b%/ü\0", ".hidden", 0, 0, 0).unwrap();
        assert_eq!(name.folder(), "a%20b%25%2F%C3%BC%00/%2Ehidden/0");
        assert_eq!(SnapshotName::parse(&name.to_string()), Ok(name));
    }

    #[test]
    fn what_cannot_be_a_name_is_told() {
        let long = "ü".repeat(100);
        assert_eq!(SnapshotName::new("", "t", 0, 0, 0), Err(InvalidName::Empty { part: "group" }));
        assert_eq!(
            SnapshotName::new("g", &long, 0, 0, 0),
            Err(InvalidName::TooLong { part: "topic", bytes: 600 })
        );
        assert_eq!(
            SnapshotName::new("g", "t", 0, -1, 0),
            Err(InvalidName::Negative { part: "offset", value: -1 })
        );
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        for name in [
            "",
            "g/t/0",
            "g/t/0/1-1.snapshot",
            "g/t/0/00000000000000000001-1",
            "g/t/0/00000000000000000001-+1.snapshot",
            "g/t/+0/00000000000000000001-1.snapshot",
            "g/t/0/00000000000000000001-01.snapshot",
            "g/%74/0/00000000000000000001-1.snapshot",
            "%2e/t/0/00000000000000000001-1.snapshot",
            "g/../0/00000000000000000001-1.snapshot",
            "g/t%/0/00000000000000000001-1.snapshot",
            "g/%FF/0/00000000000000000001-1.snapshot",
            "/g/t/0/00000000000000000001-1.snapshot",
            "g/t/0/00000000000000000001-1.snapshot/",
            "g/t/0/99999999999999999999-1.snapshot",
        ] {
            assert!(matches!(SnapshotName::parse(name), Err(InvalidName::Form { .. })), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_and_stays_below_the_store(
            group in "\\PC{1,20}|[./%\\\\\0]{1,8}", topic in "[a-zA-Z0-9._-]{1,80}",
            partition in 0..i32::MAX, offset in 0..i64::MAX, epoch: u64,
        ) {
            let name = SnapshotName::new(&group, &topic, partition, offset, epoch).unwrap();
            let text = name.to_string();
            prop_assert!(is_storable(&text), "{}", text);
            prop_assert_eq!(SnapshotName::parse(&text), Ok(name));
        }

        #[test]
        fn names_sort_by_offset(first in 0..i64::MAX, second in 0..i64::MAX) {
            let text = |offset| SnapshotName::new("g", "t", 0, offset, 7).unwrap().to_string();
            prop_assert_eq!(first.cmp(&second), text(first).cmp(&text(second)));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = SnapshotName::parse(&text);
        }
    }
}
