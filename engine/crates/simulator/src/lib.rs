//! Crashes, by the thousand and by the seed: the worker's own code between a simulated broker and a simulated store.
//!
//! [`run`] starts processes of one group on a broker with transactions, hand-overs and zombies, lets each crash at a
//! call of the broker chosen by the seed, freezes them, loses and damages snapshots, and at last leaves them alone. Then what was
//! committed must be, partition by partition, what a task that was never interrupted gives. Either tasks have a state in which all
//! records show, or none and keep back what they give until the epoch ends. All time is simulated, and a
//! seed always gives the same run.

#![forbid(unsafe_code)]

mod chain;
mod gathering;
mod process;
mod run;
mod store;
mod world;

pub use run::{Mutation, Report, Violation, replayed_after_hand_over, run};
