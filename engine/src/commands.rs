//! The sub-commands. Each returns its exit code, or an error that says what to do.

mod client;
mod completion;
mod coverage;
mod dead_letter;
mod demo;
mod incidents;
mod inspect;
mod produce;
mod replay;
mod run;
mod score;
mod silences;
mod snapshot;
mod templates;
mod validate;
mod verdict;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use model::Incident;

/// Learns what is normal for every series on your Kafka topics, and says what broke, where it started and why.
#[derive(Parser)]
#[command(name = "foreshock", version, propagate_version = true, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Validate(validate::Validate),
    Replay(replay::Replay),
    Score(score::Score),
    Produce(produce::Produce),
    Incidents(incidents::Incidents),
    Coverage(coverage::Coverage),
    Silences(silences::SilencesCommand),
    Verdict(verdict::VerdictCommand),
    Snapshot(snapshot::Snapshot),
    Templates(templates::Templates),
    Inspect(inspect::Inspect),
    DeadLetter(dead_letter::DeadLetter),
    Completion(completion::Completion),
}

impl Command {
    /// What is logged unless `FORESHOCK_LOG` says otherwise: the demo has a screen of its own.
    pub fn default_log_level(&self) -> &'static str {
        if matches!(self, Self::Demo(_)) { "error" } else { "info" }
    }

    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(command) => command.run(),
            Self::Run(command) => command.run(),
            Self::Validate(command) => command.run(),
            Self::Replay(command) => command.run(),
            Self::Score(command) => command.run(),
            Self::Produce(command) => command.run(),
            Self::Incidents(command) => command.run(),
            Self::Coverage(command) => command.run(),
            Self::Silences(command) => command.run(),
            Self::Verdict(command) => command.run(),
            Self::Snapshot(command) => command.run(),
            Self::Templates(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::DeadLetter(command) => command.run(),
            Self::Completion(command) => command.run(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Text,
    /// For programs: a line of JSON for each thing, such as each version of each incident
    Json,
}

/// Progress over so many rows, on standard error; nothing where nobody looks.
fn progress(doing: &str, rows: usize, is_terminal: bool) -> ProgressBar {
    if !is_terminal {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {percent:>3}%, {eta} left");
    let bar = ProgressBar::new(rows as u64).with_message(doing.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Prints to standard output; a full disk or a closed pipe behind it is an error with advice and not a panic.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write to standard output; is the disk full, or has the reader gone?")
}

/// A value as it stands in the configuration.
fn setting<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// RFC 3339, epoch milliseconds, or a length of time before now such as `-14d`.
fn time_ms(text: &str) -> Result<i64, String> {
    if let Some(before) = text.strip_prefix('-')
        && before.ends_with(|last: char| last.is_ascii_alphabetic())
    {
        let span: pipeline::settings::Span = setting(before)?;
        return Ok(jiff::Timestamp::now().as_millisecond() - span.ms());
    }
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| time.as_millisecond()).map_err(|_| {
        "give RFC 3339 (2026-01-31T12:00:00Z), epoch milliseconds, or a time before now (-14d)".to_owned()
    })
}

fn time_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or(ms.to_string(), |time| time.to_string())
}

/// What one wants to know of an incident on a terminal.
fn incident_text(incident: &Incident) -> String {
    let mut lines = format!(
        "{} {:8} {} v{} {}: {}\n",
        time_text(incident.updated_ms),
        incident.state.as_str(),
        incident.incident,
        incident.version,
        incident.severity.as_str(),
        incident.title
    );
    if let Some(from) = &incident.split_from {
        lines += &format!("    a problem of its own, with another cause than incident {from}\n");
    }
    if let Some(into) = &incident.merged_into {
        lines += &format!("    goes on as a part of incident {into}, which has the same cause\n");
    }
    if incident.amended && incident.anomalies == 0 {
        lines += "    was none: data that came late showed that nothing was wrong\n";
    } else if incident.amended {
        lines += "    amended: data that came late corrected what was said before\n";
    }
    for (rank, cause) in incident.root_causes.iter().take(3).enumerate() {
        lines += &format!("    {}. {} ({:.0} %)\n", rank + 1, cause.service, 100.0 * cause.confidence);
        for evidence in cause.evidence.iter().take(3) {
            lines += &format!("         {}: {}\n", evidence.kind, evidence.summary);
        }
        for evidence in cause.counter_evidence.iter().take(1) {
            lines += &format!("         against it: {}\n", evidence.summary);
        }
    }
    for change in &incident.changes {
        lines += &format!(
            "    changed: {} on {} at {}\n",
            change.summary,
            change.service,
            time_text(change.time_ms)
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use model::{IncidentState, Severity};

    use super::*;

    #[test]
    fn an_incident_says_what_it_was_split_from_and_where_it_goes_on() {
        let incident = Incident {
            incident: "inc-2".to_owned(),
            version: 3,
            state: IncidentState::Resolved,
            severity: Severity::Critical,
            title: "slow".to_owned(),
            opened_ms: 0,
            updated_ms: 0,
            resolved_ms: Some(0),
            services: vec![],
            root_causes: vec![],
            changes: vec![],
            anomalies: 3,
            split_from: Some("inc-1".to_owned()),
            merged_into: Some("inc-0".to_owned()),
            exemplar_trace_ids: vec![],
            amended: true,
        };
        let text = incident_text(&incident);
        assert!(text.contains("incident inc-1") && text.contains("incident inc-0"), "{text}");
        assert!(text.contains("amended"), "{text}");
        let plain =
            incident_text(&Incident { split_from: None, merged_into: None, amended: false, ..incident });
        assert_eq!(plain.lines().count(), 1, "{plain}");
    }
}
