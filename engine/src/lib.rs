//! Foreshock, as a library for its own binary and tests.

pub mod change;
pub mod commands;
pub mod config;
mod controls;
mod delivery;
pub mod demo;
mod doors;
pub mod engine;
pub mod feed;
mod ledger;
mod service;
mod token;
pub mod view;
