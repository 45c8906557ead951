//! What the parts of a miner share when it is written and read: each has a `saved` and a `restored`.
//!
//! What is read is checked in full, so that no bytes give a miner that panics or never ends.

use std::fmt;

/// No counter of a sound miner is beyond, so that none can overflow.
pub(crate) const COUNT_MAX: u64 = 1 << 60;

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
        write!(formatter, "no template miner leaves this behind: {}", self.0)
    }
}
