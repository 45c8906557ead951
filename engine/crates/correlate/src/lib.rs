//! The service graph, grouping of anomalies into incidents, and root-cause ranking. Pure, deterministic.
//!
//! [`Correlator`] watches spans, logs, points and changes and keeps bounded statistics of them; asked for a
//! trigger time it compares what came after with what was usual before and ranks the services by how much of the
//! disturbance each one explains. [`Grouper`] turns anomalies into incidents and asks for rankings at fixed event
//! times. Nothing here reads a clock, draws a random number or lets the order of a hash map reach an output.

#![forbid(unsafe_code)]

pub mod evidence;
pub mod graph;
pub mod grouping;
pub mod ranking;
pub mod sketch;
pub mod symbols;
pub mod template;
pub mod traces;

pub use evidence::{Correlator, CorrelatorLimits, EdgeCall};
pub use graph::ServiceGraph;
pub use grouping::{Grouper, GrouperSettings};
pub use ranking::{Family, RANKERS, Ranker, Trigger};
pub use template::template_of;
