//! The file format of a snapshot, version 1:
//!
//! | bytes | what |
//! |---|---|
//! | 19 | `FORESHOCK-SNAPSHOT\n` |
//! | 2 | version of the format, little-endian |
//! | any | postcard: topic, partition, offset, engine version, configuration digest, sections as (name, bytes) |
//! | 16 | XXH3-128 of all before it, little-endian |
//!
//! The checksum finds damage, not forgery. A format that an engine has once written stays readable.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_128;

/// A named part of the state, in a format that only its owner reads.
pub use model::StateSection as Section;

const MAGIC: &[u8] = b"FORESHOCK-SNAPSHOT\n";
const VERSION: u16 = 1;
const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 16;
/// Most sections that are read.
pub const SECTIONS_MAX: usize = 65_536;
/// Room for sections that is made before they are seen.
const SECTIONS_EXPECTED_MAX: usize = 64;

/// The state of one partition's task before the record at `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub topic: String,
    pub partition: i32,
    /// Of the first record that the state does not know.
    pub offset: i64,
    /// Of the configuration that the task ran with.
    pub config_digest: u64,
    /// At most [`SECTIONS_MAX`], in the writer's order.
    pub sections: Vec<Section>,
}

/// Why bytes are not a snapshot that this engine can use. Another snapshot, or none, is then to be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSnapshot {
    #[error("the snapshot ends too early, at byte {bytes}: it was not written or copied completely")]
    Truncated { bytes: usize },
    #[error("this is not a snapshot of Foreshock")]
    NotASnapshot,
    #[error(
        "the snapshot has format version {found}, this engine knows up to {known}: a newer engine wrote it"
    )]
    Version { found: u16, known: u16 },
    #[error("the snapshot's checksum is wrong: it was damaged after it was written; check the disk")]
    Checksum,
    #[error("the snapshot's content is malformed although its checksum is right: {problem}")]
    Malformed { problem: String },
}

impl Snapshot {
    pub fn to_bytes(&self) -> Vec<u8> {
        debug_assert!(self.sections.len() <= SECTIONS_MAX, "{} sections", self.sections.len());
        let wire = Wire {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            engine_version: env!("CARGO_PKG_VERSION"),
            config_digest: self.config_digest,
            sections: self
                .sections
                .iter()
                .map(|section| WireSection(&section.name, WireBytes(&section.bytes)))
                .collect(),
        };
        // Enough for the lengths as well, so that the bytes are not moved while they are written.
        let sections_bytes: usize =
            self.sections.iter().map(|section| section.name.len() + section.bytes.len() + 20).sum();
        let mut bytes = Vec::with_capacity(sections_bytes + self.topic.len() + 128);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let mut bytes = postcard::to_extend(&wire, bytes).expect("all lengths are known");
        let checksum = xxh3_128(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Trusts nothing in `bytes`: lengths are checked before room is made for what they announce.
    pub fn from_bytes(bytes: &[u8]) -> Result<Snapshot, InvalidSnapshot> {
        let truncated = InvalidSnapshot::Truncated { bytes: bytes.len() };
        let Some(versioned) = bytes.strip_prefix(MAGIC) else {
            let is_beginning = MAGIC.starts_with(bytes);
            return Err(if is_beginning { truncated } else { InvalidSnapshot::NotASnapshot });
        };
        let Some((version, sealed)) = versioned.split_first_chunk::<VERSION_BYTES>() else {
            return Err(truncated);
        };
        let found = u16::from_le_bytes(*version);
        if found != VERSION {
            return Err(InvalidSnapshot::Version { found, known: VERSION });
        }
        let Some((content, checksum)) = sealed.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(truncated);
        };
        let checked = &bytes[..bytes.len() - CHECKSUM_BYTES];
        if xxh3_128(checked) != u128::from_le_bytes(*checksum) {
            return Err(if ends_early(sealed) { truncated } else { InvalidSnapshot::Checksum });
        }
        let malformed = |problem: String| InvalidSnapshot::Malformed { problem };
        match postcard::take_from_bytes::<Wire<'_>>(content) {
            Ok((wire, [])) => Ok(wire.into_snapshot()),
            Ok((_, rest)) => Err(malformed(format!("{} bytes after the end", rest.len()))),
            Err(error) => Err(malformed(error.to_string())),
        }
    }

    /// The bytes of the first section of that name.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        self.sections.iter().find(|section| section.name == name).map(|section| section.bytes.as_slice())
    }
}

/// Whether content and checksum, taken together, end before both are complete.
fn ends_early(sealed: &[u8]) -> bool {
    match postcard::take_from_bytes::<Wire<'_>>(sealed) {
        Ok((_, rest)) => rest.len() < CHECKSUM_BYTES,
        Err(error) => error == postcard::Error::DeserializeUnexpectedEnd,
    }
}

/// Borrows from the snapshot or from the file, so that state is copied once.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    engine_version: &'a str,
    config_digest: u64,
    #[serde(borrow, deserialize_with = "bounded_sections")]
    sections: Vec<WireSection<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireSection<'a>(&'a str, #[serde(borrow)] WireBytes<'a>);

/// On the wire the same as a sequence of `u8`, but written and read in one piece.
#[derive(Deserialize)]
#[serde(transparent)]
struct WireBytes<'a>(&'a [u8]);

impl Serialize for WireBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Wire<'_> {
    fn into_snapshot(self) -> Snapshot {
        let owned = |WireSection(name, bytes): WireSection<'_>| Section {
            name: name.to_owned(),
            bytes: bytes.0.to_vec(),
        };
        Snapshot {
            topic: self.topic.to_owned(),
            partition: self.partition,
            offset: self.offset,
            config_digest: self.config_digest,
            sections: self.sections.into_iter().map(owned).collect(),
        }
    }
}

fn bounded_sections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WireSection<'de>>, D::Error> {
    struct Sections;

    impl<'de> Visitor<'de> for Sections {
        type Value = Vec<WireSection<'de>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "at most {SECTIONS_MAX} sections")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let expected = sequence.size_hint().unwrap_or(0).min(SECTIONS_EXPECTED_MAX);
            let mut sections = Vec::with_capacity(expected);
            while let Some(section) = sequence.next_element()? {
                if sections.len() == SECTIONS_MAX {
                    return Err(A::Error::custom("too many sections"));
                }
                sections.push(section);
            }
            Ok(sections)
        }
    }

    deserializer.deserialize_seq(Sections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot() -> Snapshot {
        let section = |name: &str, bytes: &[u8]| Section { name: name.to_owned(), bytes: bytes.to_vec() };
        Snapshot {
            topic: "otlp_metrics".to_owned(),
            partition: 3,
            offset: 1_234_567,
            config_digest: 0xfeed,
            sections: vec![section("detect", &[0, 1, 255]), section("correlate", b"")],
        }
    }

    /// `content` with all around it right.
    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &VERSION.to_le_bytes(), content].concat();
        let checksum = xxh3_128(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_snapshot_comes_back() {
        let read = Snapshot::from_bytes(&snapshot().to_bytes()).unwrap();
        assert_eq!(read, snapshot());
        assert_eq!(read.section("detect"), Some(&[0, 1, 255][..]));
        assert_eq!(read.section("templates"), None);
    }

    #[test]
    fn every_cut_is_found() {
        let bytes = snapshot().to_bytes();
        for length in 0..bytes.len() {
            let error = Snapshot::from_bytes(&bytes[..length]).unwrap_err();
            assert_eq!(error, InvalidSnapshot::Truncated { bytes: length });
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = snapshot().to_bytes();
        for index in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[index / 8] ^= 1 << (index % 8);
            let error = Snapshot::from_bytes(&damaged).unwrap_err();
            match index / 8 {
                0..19 => assert_eq!(error, InvalidSnapshot::NotASnapshot),
                19..21 => assert!(matches!(error, InvalidSnapshot::Version { known: 1, .. })),
                // A length that was damaged may point behind the end.
                _ => assert!(matches!(error, InvalidSnapshot::Checksum | InvalidSnapshot::Truncated { .. })),
            }
        }
    }

    #[test]
    fn a_newer_version_is_told_whatever_follows() {
        let bytes = [MAGIC, &[2, 0], b"something else"].concat();
        assert_eq!(Snapshot::from_bytes(&bytes), Err(InvalidSnapshot::Version { found: 2, known: 1 }));
        assert_eq!(Snapshot::from_bytes(b"PAR1"), Err(InvalidSnapshot::NotASnapshot));
    }

    #[test]
    fn lengths_are_not_trusted() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let until_sections = [0, 0, 0, 0, 0];
        for content in [
            huge.to_vec(),
            [&until_sections[..], &huge].concat(),
            [&until_sections[..], &[1], &huge].concat(),
            [&until_sections[..], &[1, 0], &huge].concat(),
            [&until_sections[..], &[0xff, 0xff, 0xff, 0x7f], &[0; 400_000]].concat(),
            [&until_sections[..], &[0], b"rest"].concat(),
            [&[1, 0xff], &until_sections[..], &[0]].concat(),
        ] {
            let result = Snapshot::from_bytes(&sealed(&content));
            assert!(matches!(result, Err(InvalidSnapshot::Malformed { .. })), "{result:?}");
        }
        assert!(Snapshot::from_bytes(&sealed(&[&until_sections[..], &[0]].concat())).is_ok());
    }

    proptest! {
        #[test]
        fn every_snapshot_comes_back(
            topic in ".{0,20}", partition: i32, offset: i64, config_digest: u64,
            sections in proptest::collection::vec((".{0,8}", proptest::collection::vec(any::<u8>(), 0..300)), 0..5),
        ) {
            let sections = sections.into_iter().map(|(name, bytes)| Section { name, bytes }).collect();
            let snapshot = Snapshot { topic, partition, offset, config_digest, sections };
            prop_assert_eq!(Snapshot::from_bytes(&snapshot.to_bytes()), Ok(snapshot));
        }

        #[test]
        fn no_bytes_make_it_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Snapshot::from_bytes(&content);
            let _ = Snapshot::from_bytes(&sealed(&content));
            let _ = Snapshot::from_bytes(&[MAGIC, &[1, 0], &content].concat());
        }
    }
}
