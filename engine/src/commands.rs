//! The sub-commands. Each returns its exit code, or an error that says what to do.

mod completion;
mod replay;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum Command {
    Validate(validate::Validate),
    Replay(replay::Replay),
    Completion(completion::Completion),
}

impl Command {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Validate(command) => command.run(),
            Self::Replay(command) => command.run(),
            Self::Completion(command) => command.run(),
        }
    }
}
