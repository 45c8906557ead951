//! The binary `foreshock`: one file per sub-command below [`foreshock::commands`].

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use foreshock::commands::Arguments;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let default = arguments.command.default_log_level();
    let filter = EnvFilter::try_from_env("FORESHOCK_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    logs.with_ansi(std::io::stderr().is_terminal()).init();
    match arguments.command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
