//! Where secrets come from: files and the environment, never the configuration itself.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use model::Secret;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A file with a secret is not longer than this.
const SECRET_BYTES_MAX: u64 = 64 << 10;
const ALLOWED: &str =
    "a secret is not written into the configuration: write { file: PATH } or { env: NAME } instead";

/// Written as `{ file: PATH }` or `{ env: NAME }`. A file is read each time, so that what it holds may be renewed; white space around
/// the secret does not belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretReference {
    File(PathBuf),
    Environment(String),
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret in {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0} holds no secret: it is empty, longer than 64 KiB, or not UTF-8")]
    Unusable(String),
    #[error("the environment has no variable {0}, which names a secret")]
    NoVariable(String),
}

impl SecretReference {
    pub fn read(&self) -> Result<Secret, SecretError> {
        let (name, text) = match self {
            Self::File(path) => {
                let fail = |source| SecretError::File { path: path.clone(), source };
                let file = std::fs::File::open(path).map_err(fail)?;
                let mut bytes = Vec::new();
                file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
                let is_short = bytes.len() as u64 <= SECRET_BYTES_MAX;
                (path.display().to_string(), String::from_utf8(bytes).ok().filter(|_| is_short))
            }
            Self::Environment(name) => {
                let none = |_| SecretError::NoVariable(name.clone());
                (format!("the variable {name}"), Some(std::env::var(name).map_err(none)?))
            }
        };
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        text.map(Secret::new).ok_or(SecretError::Unusable(name))
    }
}

impl<'de> Deserialize<'de> for SecretReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reference;
        impl<'de> Visitor<'de> for Reference {
            type Value = SecretReference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ file: PATH } or { env: NAME }")
            }

            // Without the text, which is the secret.
            fn visit_str<E: de::Error>(self, _text: &str) -> Result<SecretReference, E> {
                Err(E::custom(ALLOWED))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretReference, A::Error> {
                let entry: Option<(String, String)> = map.next_entry()?;
                let reference = match entry {
                    Some((key, path)) if key == "file" => SecretReference::File(path.into()),
                    Some((key, name)) if key == "env" => SecretReference::Environment(name),
                    _ => return Err(de::Error::custom(ALLOWED)),
                };
                match map.next_entry::<String, String>()? {
                    None => Ok(reference),
                    Some(_) => Err(de::Error::custom(ALLOWED)),
                }
            }
        }
        deserializer.deserialize_any(Reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_each_time_and_text_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let json = format!("{{\"file\": {:?}}}", path.display().to_string());
        let reference: SecretReference = serde_json::from_str(&json).unwrap();
        assert!(reference.read().unwrap_err().to_string().contains("token"));
        for secret in ["one\n", " two "] {
            std::fs::write(&path, secret).unwrap();
            assert_eq!(reference.read().unwrap().reveal(), secret.trim());
        }
        std::fs::write(&path, vec![b'x'; SECRET_BYTES_MAX as usize + 1]).unwrap();
        assert!(reference.read().unwrap_err().to_string().contains("64 KiB"));
        for wrong in [r#""hunter2""#, "{}", r#"{"file": "a", "env": "b"}"#, r#"{"text": "hunter2"}"#] {
            let message = serde_json::from_str::<SecretReference>(wrong).unwrap_err().to_string();
            assert!(message.contains("env: NAME") && !message.contains("hunter2"), "{message}");
        }
    }
}
