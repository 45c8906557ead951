//! The checks of the crate from outside.

#![allow(clippy::unwrap_used)]

mod conformance;
mod golden;
mod local;
mod object;
#[cfg(feature = "s3-tests")]
mod s3;
