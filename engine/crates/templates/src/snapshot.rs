//! What the parts of a miner share when it is written and read: each has a `saved` and a `restored`.
//!
//! What is read is checked in full, so that no bytes give a miner that panics or never ends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// No counter of a sound miner is beyond, so that none can overflow.
pub(crate) const COUNT_MAX: u64 = 1 << 60;

/// Goes up with every change of what is written, and of what a line is taken for, as hashes of shapes are written.
const VERSION: u32 = 2;

/// Written first of everything, so that what another version wrote is refused before anything is made of it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub(crate) struct Version;

impl From<Version> for u32 {
    fn from(Version: Version) -> u32 {
        VERSION
    }
}

impl TryFrom<u32> for Version {
    type Error = Unsound;

    fn try_from(version: u32) -> Result<Self, Unsound> {
        Unsound::unless(version == VERSION, "it is of another version").map(|()| Version)
    }
}

/// No miner leaves this state behind, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsound(&'static str);

impl Unsound {
    pub fn unless(holds: bool, reason: &'static str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self(reason)) }
    }
}

impl fmt::Display for Unsound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no template miner or detector leaves this behind: {}", self.0)
    }
}
