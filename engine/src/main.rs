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
    logs.with_ansi(is_colored()).init();
    match arguments.command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_colored() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    #[test]
    fn logs_can_be_colored() {
        // Without its feature this panics, or complains at each start in a terminal.
        let _logs = tracing_subscriber::fmt().with_ansi(true);
    }
}
