//! How the state of stages is written down, so that another process goes on where this one stood.
//!
//! A section is postcard of plain data, or, where a type leaves fields out, JSON. Sections are found by name, so that a
//! stage that is new to the configuration finds none and begins anew.

use std::fmt::Display;

use model::StateSection;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A state that cannot be taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("section {section:?} of the state cannot be read: {reason}")]
pub struct InvalidState {
    pub section: String,
    pub reason: String,
}

impl InvalidState {
    pub fn new(section: &str, reason: impl Display) -> Self {
        Self { section: section.to_owned(), reason: reason.to_string() }
    }
}

/// Of what a section or record in postcard holds: raised when a type in it changes, so that an older one is refused and not misread.
pub(crate) const VERSION: u8 = 7;
/// What is read still: later versions only added kinds of things, and to calls (see [`crate::wire`]) their traces.
const VERSION_MIN: u8 = 5;

pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("plain data of known lengths, and memory does not fail")
}

/// What [`encode`] wrote, or why it is not that.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match decode_head(bytes)? {
        (value, []) => Ok(value),
        _ => Err("it is longer than its content".to_owned()),
    }
}

/// What [`encode`] wrote, and what was written behind it.
pub(crate) fn decode_head<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    let bytes = match bytes {
        [VERSION_MIN..=VERSION, bytes @ ..] => bytes,
        [found, ..] => return Err(format!("it is of version {found}, not {VERSION_MIN} to {VERSION}")),
        [] => return Err("it is empty".to_owned()),
    };
    postcard::take_from_bytes(bytes).map_err(|error| error.to_string())
}

pub(crate) fn section<T: DeserializeOwned>(sections: &[StateSection], name: &str) -> Result<T, InvalidState> {
    decode(bytes_of(sections, name)?).map_err(|reason| InvalidState::new(name, reason))
}

pub(crate) fn bytes_of<'a>(sections: &'a [StateSection], name: &str) -> Result<&'a [u8], InvalidState> {
    let section = sections.iter().find(|section| section.name == name);
    section.map(|section| section.bytes.as_slice()).ok_or_else(|| InvalidState::new(name, "it is missing"))
}
