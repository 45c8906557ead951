//! `foreshock validate`: checks a configuration without running it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::{Config, DEFAULT_YAML};

/// Check a configuration without running it
#[derive(Args)]
pub struct Validate {
    /// The configuration to check
    #[arg(short, long, value_name = "FILE", required_unless_present = "print_default")]
    config: Option<PathBuf>,
    /// Print every setting with its default and a comment
    #[arg(long)]
    print_default: bool,
}

impl Validate {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.print_default {
            super::print(DEFAULT_YAML)?;
        }
        let Some(path) = self.config else { return Ok(ExitCode::SUCCESS) };
        let config = Config::load(&path)?;
        let sources: Vec<&str> = config.sources.iter().map(|source| source.topic.as_str()).collect();
        let detectors: Vec<&str> =
            config.detectors.iter().map(|d| d.name.as_deref().unwrap_or(&d.kind)).collect();
        eprintln!(
            "{} is valid: reads {} from {}, detects with {}",
            path.display(),
            sources.join(", "),
            config.kafka.brokers,
            if detectors.is_empty() { "nothing".to_owned() } else { detectors.join(", ") },
        );
        Ok(ExitCode::SUCCESS)
    }
}
