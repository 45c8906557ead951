//! A simulated shop that emits telemetry and can be broken on purpose. Deterministic, and knows nothing of the engine.
//!
//! [`Shop`] runs in simulated time: requests come from outside, services call each other, and what an OpenTelemetry
//! SDK and a deployer would write about it comes out as [`Message`]s. [`Shop::inject`] breaks a service; all draws of
//! a request are made from a stream of its own, so that a fault changes what it causes and nothing else.
//! [`Scenario`] is an hour with three faults, for a demonstration or a test.

#![forbid(unsafe_code)]

mod clock;
mod draw;
mod export;
mod fault;
mod graph;
mod load;
mod meters;
mod operations;
mod request;
mod scenario;
mod shop;

pub use export::{Message, Signal};
pub use fault::{Fault, FaultKind, InvalidFault};
pub use scenario::Scenario;
pub use shop::{Shop, ShopConfig, service_names};
