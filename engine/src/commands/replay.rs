//! `foreshock replay`: recorded telemetry through the same engine, faster than it happened.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use model::IncidentState;
use pipeline::{Analysis, Conclusion};
use replay::history::{History, Row};

use super::{OutputFormat, incident_text, time_ms};
use crate::config::Config;
use crate::feed::Feed;
use crate::service::coverage::message;

/// Run recorded telemetry through the engine and print the incidents that it would have raised
///
/// DIR holds any of metrics, traces and logs (.parquet or .csv) and graph.csv. T is RFC 3339, epoch milliseconds,
/// or a time before now such as -14d.
#[derive(Args)]
pub struct Replay {
    /// Folder with the telemetry
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// The configuration; the defaults if it is not given
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave out what is older
    #[arg(long, value_name = "T", value_parser = time_ms, allow_hyphen_values = true)]
    from: Option<i64>,
    /// Stop before this time: the last version of an incident is what was known by then
    #[arg(long, value_name = "T", value_parser = time_ms, allow_hyphen_values = true)]
    to: Option<i64>,
    /// Open an incident at this time by hand and rank every service for it
    #[arg(long, value_name = "T", value_parser = time_ms, allow_hyphen_values = true)]
    trigger_ms: Option<i64>,
    /// Print at the end what is watched of each service, and what would not be caught
    #[arg(long)]
    coverage: bool,
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

impl Replay {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        if let (Some(from), Some(to)) = (self.from, self.to) {
            anyhow::ensure!(from < to, "--from must be before --to");
        }
        let history = History::read(&self.input)?;
        let (from_ms, to_ms) = (self.from.unwrap_or(i64::MIN), self.to.unwrap_or(i64::MAX));
        let time_ms = |row: &Row| row.time_us().div_euclid(1000);
        let rows: Vec<&Row> =
            history.rows.iter().filter(|row| (from_ms..to_ms).contains(&time_ms(row))).collect();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            anyhow::bail!(
                "{}: no telemetry in that time; name a folder with metrics, traces or logs (.parquet or .csv)",
                self.input.display()
            );
        };
        let end_ms = self.to.unwrap_or(time_ms(last) + 1);
        if let Some(trigger_ms) = self.trigger_ms {
            let range = time_ms(first)..end_ms;
            anyhow::ensure!(
                range.contains(&trigger_ms),
                "--trigger-ms {trigger_ms} lies outside of the data, which covers {} to {end_ms}",
                range.start
            );
        }

        let mut analysis = Analysis::new(&config.analysis, &config.detectors)?;
        analysis.set_edges(&history.edges);
        let mut report = Report { output: self.output, incidents: 0, anomalies: 0, alerts: 0 };
        let mut feed = Feed::default();
        let mut trigger_ms = self.trigger_ms;
        let mut conclusions = Vec::new();
        let progress = super::progress("replaying", rows.len(), io::stderr().is_terminal());
        for (i, row) in rows.iter().enumerate() {
            if let Some(trigger_ms) = trigger_ms.take_if(|trigger_ms| time_ms(row) >= *trigger_ms) {
                analysis.open_at(trigger_ms, trigger_ms, &mut conclusions);
            }
            feed.row_to_analysis(&mut analysis, row, &mut conclusions);
            report.print(&mut conclusions)?;
            if i % 4096 == 0 {
                progress.set_position(i as u64);
            }
        }
        if let Some(trigger_ms) = trigger_ms {
            analysis.open_at(trigger_ms, trigger_ms, &mut conclusions);
        }
        analysis.finish(end_ms, &mut conclusions);
        report.print(&mut conclusions)?;
        progress.finish_and_clear();
        if self.coverage {
            let services = analysis.coverage(end_ms).into_iter().map(|service| message(service, end_ms));
            super::coverage::print(&services.collect::<Vec<_>>(), self.output, false)?;
        }
        if self.output == OutputFormat::Text {
            super::print(&format!(
                "{} rows, {} series: {} anomalies, {} incidents, {} alerts\n",
                rows.len(),
                analysis.status().series,
                report.anomalies,
                report.incidents,
                report.alerts
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

struct Report {
    output: OutputFormat,
    incidents: u64,
    anomalies: u64,
    alerts: u64,
}

impl Report {
    fn print(&mut self, conclusions: &mut Vec<Conclusion>) -> anyhow::Result<()> {
        for conclusion in conclusions.drain(..) {
            match conclusion {
                Conclusion::Anomaly(_) => self.anomalies += 1,
                Conclusion::Alert(_) => self.alerts += 1,
                Conclusion::Incident(incident) => {
                    self.incidents += u64::from(incident.state == IncidentState::Open);
                    match self.output {
                        OutputFormat::Json => {
                            super::print(&format!("{}\n", serde_json::to_string(&incident)?))?
                        }
                        OutputFormat::Text => super::print(&incident_text(&incident))?,
                    }
                }
            }
        }
        Ok(())
    }
}
