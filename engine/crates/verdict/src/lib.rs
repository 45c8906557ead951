//! Whether a change made a service worse.
//!
//! The series of the service before and after the change are cut into blocks of a minute, whose means are compared by a one-sided
//! Mann-Whitney test against a tolerance, as canary analysis does (Davidovič and Beyer, "Canary Analysis Service", ACM Queue 16(1), 2018;
//! Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other", 1947). Three things that
//! make such tests cry wolf on telemetry are dealt with:
//!
//! - neighbouring minutes are alike: the test counts as many minutes as would be independent, by the autocorrelation of the time before;
//! - levels wander: the difference must exceed what the same cut would have shown anywhere else in the time before, and what the same
//!   time of the day before shows is taken off;
//! - many series are compared: Holm's correction holds the probability of a false fail (Holm, "A simple sequentially rejective multiple
//!   test procedure", 1979).
//!
//! Pure: no clock and no I/O. Use it with an hour before and at least five minutes after; with less the answer is *unknown*.

#![forbid(unsafe_code)]

mod blocks;
mod judge;
mod role;
mod statistics;

pub use blocks::{BLOCK_MS, Blocks};
pub use judge::{Change, Criteria, Finding, InvalidChange, Outcome, SeriesReport, Verdict, judge};
pub use role::Role;
