//! `foreshock completion`: completion of commands and options for a shell.

use std::io;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print the completion script of a shell
#[derive(Args)]
pub struct Completion {
    shell: Shell,
}

impl Completion {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        clap_complete::generate(self.shell, &mut super::Arguments::command(), "foreshock", &mut io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}
