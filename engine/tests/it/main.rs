//! The binary as a user runs it, and the house rules.

mod command_line;
mod dead_letters;
mod inspect;
mod receivers;
mod scenarios;
mod tidy;
mod verdicts;
