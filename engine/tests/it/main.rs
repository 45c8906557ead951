//! The binary as a user runs it, and the house rules.

mod command_line;
mod scenarios;
mod tidy;
