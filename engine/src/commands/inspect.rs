//! `foreshock inspect`: what lies on a topic, and the configuration that reads it.

mod findings;
mod report;
mod rows;
mod sample;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use codec::Limits;
use codec::detect::Detector;
use kafka::TopicScan;
use pipeline::settings::{Size, Span};

use self::report::Report;
use self::sample::Sample;
use super::{OutputFormat, print, setting};
use crate::config::Config;
use crate::engine::connection;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Look at the newest records of a topic and say what they are, what is wrong with them, and how to configure the topic
///
/// Reads outside of any consumer group and changes nothing.
#[derive(Args)]
pub struct Inspect {
    topic: String,
    /// The configuration, for the connection; the defaults if it is not given
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Brokers, in place of those in the configuration
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Records to read at the most
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    records_max: u32,
    /// Bytes to read at the most; they are held in memory
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = setting::<Size>)]
    bytes_max: Size,
    /// How long to read at the most
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = setting::<Span>)]
    time_max: Span,
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

impl Inspect {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        if let Some(brokers) = self.brokers {
            config.kafka.brokers = brokers;
        }
        let scan = TopicScan::new(&connection(&config), &self.topic, TIMEOUT)?;
        let time_max = Duration::from_millis(self.time_max.ms().unsigned_abs());
        let sample = Sample::read(&scan, self.records_max as usize, self.bytes_max.bytes(), time_max)?;
        let limits = Limits::default();
        let report = Report::of(&self.topic, &sample, &mut Detector::new(limits), limits, &config);
        print(&match self.output {
            OutputFormat::Json => serde_json::to_string(&report)? + "\n",
            OutputFormat::Text => report.text(),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
