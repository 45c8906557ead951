//! What is committed with an offset: which snapshot belongs to it, and what was written since.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Kafka's default of `offset.metadata.max.bytes`.
pub const METADATA_BYTES_MAX: usize = 4096;
const VERSION: u64 = 1;
const QUOTED_CHARS_MAX: usize = 80;

/// Committed as the metadata of a consumer's offset, one for each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointManifest {
    pub epoch: u64,
    /// Of the configuration that the task ran with.
    pub config_digest: u64,
    /// Kafka's timestamp of the last record before the offset, to warm up by seeking back in time.
    pub time_ms: Option<i64>,
    /// Somebody set the offset to here by hand: records before it are not to be read, even if the snapshot lacks them.
    pub read_from: Option<i64>,
    /// `None` until the first snapshot.
    pub snapshot: Option<SnapshotRef>,
}

/// The newest snapshot at the time of the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRef {
    /// As [`crate::SnapshotName`] writes it.
    pub name: String,
    /// Of the first record that the snapshot does not know.
    pub offset: i64,
    /// Of the outputs from there to the committed offset.
    pub digest: OutputDigest,
}

/// A running digest of outputs. Their order matters, and where each of their parts begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputDigest {
    pub state: u64,
    /// Outputs so far.
    pub count: u64,
}

impl OutputDigest {
    pub fn update(&mut self, topic: &str, key: &[u8], payload: &[u8]) {
        for part in [topic.as_bytes(), key, payload] {
            let length = part.len() as u64;
            self.state = xxh3_64_with_seed(&length.to_le_bytes(), self.state);
            self.state = xxh3_64_with_seed(part, self.state);
        }
        self.count = self.count.wrapping_add(1);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidManifest {
    #[error(
        "the committed manifest has version {found}, this engine knows {known}: run the newer engine that wrote it, or start with another group"
    )]
    Version { found: u64, known: u64 },
    #[error(
        "the metadata of the committed offset is not a manifest ({problem}): {text:?}; does another program commit for this group?"
    )]
    Garbage { problem: String, text: String },
}

#[derive(Deserialize)]
struct OnlyVersion {
    v: u64,
}

/// Digests are text, since many readers of JSON keep 53 bits of a number.
#[derive(Serialize, Deserialize)]
struct Wire {
    v: u64,
    epoch: u64,
    config: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<WireSnapshot>,
}

#[derive(Serialize, Deserialize)]
struct WireSnapshot {
    name: String,
    offset: i64,
    digest: String,
    count: u64,
}

impl CheckpointManifest {
    /// At most [`METADATA_BYTES_MAX`] bytes: a snapshot whose name is too long for that is left out.
    pub fn to_metadata(&self) -> String {
        let snapshot = self.snapshot.as_ref().map(|snapshot| WireSnapshot {
            name: snapshot.name.clone(),
            offset: snapshot.offset,
            digest: to_hexadecimal(snapshot.digest.state),
            count: snapshot.digest.count,
        });
        let mut wire = Wire {
            v: VERSION,
            epoch: self.epoch,
            config: to_hexadecimal(self.config_digest),
            time_ms: self.time_ms,
            read_from: self.read_from,
            snapshot,
        };
        let text = to_json(&wire);
        if text.len() <= METADATA_BYTES_MAX {
            return text;
        }
        wire.snapshot = None;
        to_json(&wire)
    }

    /// `Ok(None)` for an offset that was committed without metadata.
    pub fn from_metadata(text: &str) -> Result<Option<CheckpointManifest>, InvalidManifest> {
        if text.is_empty() {
            return Ok(None);
        }
        let garbage = |problem: String| InvalidManifest::Garbage { problem, text: quoted(text) };
        let no_json = |error: serde_json::Error| garbage(kind_of(&error).to_owned());
        let OnlyVersion { v: found } = serde_json::from_str(text).map_err(no_json)?;
        if found > VERSION {
            return Err(InvalidManifest::Version { found, known: VERSION });
        }
        if found < VERSION {
            return Err(garbage(format!("there is no version {found}")));
        }
        let wire: Wire = serde_json::from_str(text).map_err(no_json)?;
        let digest =
            |text: &str| from_hexadecimal(text).ok_or_else(|| garbage("a digest is malformed".to_owned()));
        let snapshot = match &wire.snapshot {
            None => None,
            Some(snapshot) => {
                let digest = OutputDigest { state: digest(&snapshot.digest)?, count: snapshot.count };
                Some(SnapshotRef { name: snapshot.name.clone(), offset: snapshot.offset, digest })
            }
        };
        Ok(Some(CheckpointManifest {
            epoch: wire.epoch,
            config_digest: digest(&wire.config)?,
            time_ms: wire.time_ms,
            read_from: wire.read_from,
            snapshot,
        }))
    }
}

/// Numbers and text always are JSON, so there is no error to hand on.
fn to_json(wire: &Wire) -> String {
    serde_json::to_string(wire).unwrap_or_default()
}

fn to_hexadecimal(digest: u64) -> String {
    format!("{digest:016x}")
}

fn from_hexadecimal(text: &str) -> Option<u64> {
    let is_digest = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Without the words of `serde_json`, which may quote all of the text.
fn kind_of(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Data => "a field is missing or of another type",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
    }
}

fn quoted(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '.' } else { character })
        .take(QUOTED_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> CheckpointManifest {
        CheckpointManifest {
            epoch: 42,
            config_digest: 0xfeed,
            time_ms: Some(1_700_000_000_000),
            read_from: None,
            snapshot: Some(SnapshotRef {
                name: "g/t/0/00000000000000000100-40.snapshot".to_owned(),
                offset: 100,
                digest: OutputDigest { state: u64::MAX, count: 9 },
            }),
        }
    }

    #[test]
    fn metadata_reads_as_documented() {
        let text = manifest().to_metadata();
        assert_eq!(
            text,
            r#"{"v":1,"epoch":42,"config":"000000000000feed","time_ms":1700000000000,"snapshot":{"name":"g/t/0/00000000000000000100-40.snapshot","offset":100,"digest":"ffffffffffffffff","count":9}}"#
        );
        assert_eq!(CheckpointManifest::from_metadata(&text), Ok(Some(manifest())));
        assert_eq!(CheckpointManifest::from_metadata(""), Ok(None));
    }

    #[test]
    fn a_newer_version_is_told_from_garbage() {
        let newer = CheckpointManifest::from_metadata(r#"{"v":2,"epochs":[1,2]}"#);
        assert_eq!(newer, Err(InvalidManifest::Version { found: 2, known: 1 }));
        for text in [
            "garbage",
            "{",
            "{}",
            "[]",
            "null",
            r#"{"v":0}"#,
            r#"{"v":1}"#,
            r#"{"v":-1}"#,
            r#"{"v":1,"epoch":1,"config":"+00000000000000a"}"#,
        ] {
            let result = CheckpointManifest::from_metadata(text);
            assert!(matches!(result, Err(InvalidManifest::Garbage { .. })), "{text}: {result:?}");
        }
    }

    #[test]
    fn garbage_is_quoted_in_part() {
        let error = CheckpointManifest::from_metadata(&"x\n".repeat(1000)).unwrap_err();
        let InvalidManifest::Garbage { text, .. } = &error else { panic!("{error:?}") };
        assert_eq!(text, &"x.".repeat(40));
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn boundaries_and_order_count() {
        let digest = |outputs: &[(&str, &str, &str)]| {
            let mut digest = OutputDigest::default();
            for (topic, key, payload) in outputs {
                digest.update(topic, key.as_bytes(), payload.as_bytes());
            }
            digest
        };
        let all = [
            digest(&[]),
            digest(&[("", "", "")]),
            digest(&[("", "", ""), ("", "", "")]),
            digest(&[("a", "b", "c")]),
            digest(&[("ab", "", "c")]),
            digest(&[("a", "bc", "")]),
            digest(&[("", "ab", "c")]),
            digest(&[("a", "b", "c"), ("d", "e", "f")]),
            digest(&[("d", "e", "f"), ("a", "b", "c")]),
        ];
        for (index, first) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|second| second.state != first.state), "{index}");
        }
    }

    /// The value was computed with another implementation of XXH3.
    #[test]
    fn the_digest_is_the_same_in_every_release() {
        let mut digest = OutputDigest::default();
        digest.update("foreshock.alerts", b"key", &[7; 1000]);
        assert_eq!(digest, OutputDigest { state: 0x0896_5c83_f562_aac7, count: 1 });
    }

    prop_compose! {
        fn any_manifest()(
            epoch: u64, config_digest: u64, time_ms: Option<i64>, read_from: Option<i64>,
            snapshot in proptest::option::of((".{0,40}|\\PC{2000,5000}|\0{900}", any::<i64>(), any::<u64>(), any::<u64>())),
        ) -> CheckpointManifest {
            let snapshot = snapshot.map(|(name, offset, state, count)| {
                SnapshotRef { name, offset, digest: OutputDigest { state, count } }
            });
            CheckpointManifest { epoch, config_digest, time_ms, read_from, snapshot }
        }
    }

    proptest! {
        #[test]
        fn metadata_fits_and_comes_back(manifest in any_manifest()) {
            let text = manifest.to_metadata();
            prop_assert!(text.len() <= METADATA_BYTES_MAX);
            let read = CheckpointManifest::from_metadata(&text).unwrap().unwrap();
            let is_short = manifest.snapshot.as_ref().is_none_or(|snapshot| snapshot.name.len() < 600);
            if is_short {
                prop_assert_eq!(read, manifest);
            } else if read.snapshot.is_none() {
                prop_assert_eq!(read, CheckpointManifest { snapshot: None, ..manifest });
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}|\\{\"v\":1.{0,80}\\}") {
            let _ = CheckpointManifest::from_metadata(&text);
        }
    }
}
