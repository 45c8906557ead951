//! The service graph, grouping of anomalies into incidents, and root-cause ranking. Pure, deterministic.
//!
//! [`TraceCollector`] puts traces together and says what they tell, [`Correlator`] gathers that from all collectors, with points
//! and changes, in bounded statistics; asked for a trigger time it compares what came after with what was usual before and ranks the services by how much of the
//! disturbance each one explains. [`Grouper`] turns anomalies into incidents and asks for rankings at fixed event
//! times. Nothing here reads a clock, draws a random number or lets the order of a hash map reach an output.

#![forbid(unsafe_code)]

pub mod collector;
pub mod evidence;
pub mod graph;
pub mod grouping;
pub mod ranking;
pub mod sketch;
pub mod statistics;
pub mod symbols;
pub mod template;
pub mod traces;
mod watch;

pub use collector::{CollectorLimits, EdgeCall, TraceCollector, TraceEvidence};
pub use evidence::{BUCKET_MS, Correlator, CorrelatorLimits};
pub use graph::ServiceGraph;
pub use grouping::{Grouper, GrouperSettings};
pub use ranking::{Family, RANKERS, Ranker, Trigger};
pub use template::template_of;
pub use traces::COMPLETE_AFTER_MS;
