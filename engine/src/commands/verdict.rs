//! `foreshock verdict`: did this release make the service worse? For a pipeline that rolls out or back.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use pipeline::settings::Span;
use proto::foreshock::v1;
use proto::foreshock::v1::verdict_service_client::VerdictServiceClient;
use replay::History;

use super::client::{ClientArguments, said};
use super::{OutputFormat, setting, time_ms, time_text};
use crate::change;
use crate::config::Config;
use crate::service::verdicts::{asked, message};

/// Nothing is worse.
const PASS: u8 = 0;
/// Something is worse.
const FAIL: u8 = 1;
/// Too little is known; 2 is for wrong arguments.
const UNKNOWN: u8 = 3;
/// There is no answer: the engine or the folder cannot be read.
const NO_ANSWER: u8 = 4;
/// Series that are shown to people, of those that are the same.
const SHOWN_MAX: usize = 10;

/// Say whether a release made a service worse: compare all its series after with those before
///
/// Asks a running engine, which reads its topics, or reads a folder as `replay` does. Exit codes: 0 pass, 1 fail, 3 unknown (too little
/// data), 4 no answer (the engine or the folder cannot be read), 2 wrong arguments. T is RFC 3339, epoch milliseconds, or a time before
/// now such as -15m.
#[derive(Args)]
pub struct VerdictCommand {
    /// The service that was changed
    #[arg(long, value_name = "NAME")]
    service: String,
    /// When the change began
    #[arg(long, value_name = "T", value_parser = time_ms, allow_hyphen_values = true)]
    since: i64,
    /// The end of what is compared [default: half an hour after the change, or the last there is]
    #[arg(long, value_name = "T", value_parser = time_ms, allow_hyphen_values = true)]
    until: Option<i64>,
    /// How long before the change is compared with
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = setting::<Span>)]
    baseline: Span,
    /// How long after the change is left out: until it is everywhere, and warm
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = setting::<Span>)]
    settle: Span,
    /// How much higher failures and durations may be, relative to before
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, allow_negative_numbers = true)]
    tolerance: f64,
    /// A folder with telemetry, instead of a running engine
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// The configuration, with --input; the defaults if it is not given
    #[arg(short, long, value_name = "FILE", requires = "input")]
    config: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArguments,
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

impl VerdictCommand {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.verdict() {
            Ok(verdict) => {
                match self.output {
                    OutputFormat::Text => super::print(&text(&verdict))?,
                    OutputFormat::Json => super::print(&format!("{}\n", json(&verdict)))?,
                }
                Ok(ExitCode::from(match verdict.outcome() {
                    v1::VerdictOutcome::Pass => PASS,
                    v1::VerdictOutcome::Fail => FAIL,
                    v1::VerdictOutcome::Unknown | v1::VerdictOutcome::Unspecified => UNKNOWN,
                }))
            }
            // Not as other commands: 1 would say that the release is bad.
            Err(error) => {
                eprintln!("error: {error:#}");
                Ok(ExitCode::from(NO_ANSWER))
            }
        }
    }

    fn verdict(&self) -> anyhow::Result<v1::Verdict> {
        let mut request = v1::JudgeChangeRequest {
            service: self.service.clone(),
            since_ms: self.since,
            until_ms: self.until,
            baseline_ms: Some(self.baseline.ms()),
            settle_ms: Some(self.settle.ms()),
            tolerance: Some(self.tolerance),
        };
        let Some(folder) = &self.input else {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(async {
                let mut client = VerdictServiceClient::new(self.client.connect().await?);
                let response = client.judge_change(request).await.map_err(said)?.into_inner();
                response.verdict.context("the engine sent no verdict")
            });
        };
        let config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let history = History::read(folder)?;
        let last_ms = history.rows.last().map(|row| row.time_us().div_euclid(1000) + 1);
        let last_ms = last_ms.with_context(|| {
            format!(
                "{}: no telemetry; name a folder with metrics, traces or logs (.parquet or .csv)",
                folder.display()
            )
        })?;
        request.until_ms = request.until_ms.or_else(|| Some(change::until_ms(self.since, last_ms)));
        let (change, criteria) = asked(&request, last_ms).map_err(|error| {
            anyhow::anyhow!("{error}; the last that the folder holds is of {}", time_text(last_ms - 1))
        })?;
        Ok(message(change::judge_folder(&history, &self.service, change, criteria, &config.analysis)?))
    }
}

fn outcome_text(outcome: v1::VerdictOutcome) -> &'static str {
    match outcome {
        v1::VerdictOutcome::Pass => "pass",
        v1::VerdictOutcome::Fail => "fail",
        v1::VerdictOutcome::Unknown | v1::VerdictOutcome::Unspecified => "unknown",
    }
}

fn finding_text(finding: v1::SeriesFinding) -> &'static str {
    match finding {
        v1::SeriesFinding::Worse => "worse",
        v1::SeriesFinding::Changed => "changed",
        v1::SeriesFinding::Same => "same",
        v1::SeriesFinding::TooFew | v1::SeriesFinding::Unspecified => "too_few",
    }
}

fn role_text(role: v1::SeriesRole) -> &'static str {
    match role {
        v1::SeriesRole::Symptom => "symptom",
        v1::SeriesRole::Traffic => "traffic",
        v1::SeriesRole::Resource => "resource",
        v1::SeriesRole::Downstream => "downstream",
        v1::SeriesRole::Other | v1::SeriesRole::Unspecified => "other",
    }
}

/// A number as people read it.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value == 0.0 || (1e-3..1e6).contains(&value.abs()) => {
            let decimals = if value.abs() >= 100.0 { 0 } else { 3 };
            format!("{value:.decimals$}")
        }
        Some(value) => format!("{value:.2e}"),
    }
}

fn text(verdict: &v1::Verdict) -> String {
    let mut lines = format!(
        "{}: {} since {}\n",
        outcome_text(verdict.outcome()),
        verdict.service,
        time_text(verdict.since_ms)
    );
    for reason in &verdict.reasons {
        lines += &format!("  {reason}\n");
    }
    lines += &format!(
        "  before: from {}; after: from {} to {}\n",
        time_text(verdict.before_from_ms),
        time_text(verdict.after_from_ms),
        time_text(verdict.until_ms)
    );
    let told = |series: &&v1::SeriesComparison| {
        matches!(series.finding(), v1::SeriesFinding::Worse | v1::SeriesFinding::Changed)
    };
    let same = |series: &&v1::SeriesComparison| series.finding() == v1::SeriesFinding::Same;
    for series in verdict.series.iter().filter(told).chain(verdict.series.iter().filter(same).take(SHOWN_MAX))
    {
        lines += &format!(
            "  {:8} {}: {} -> {} (p {:.1e}, of all {:.1e}; effect {:+.2}; usually up to {}; day before {}; {} and {} minutes)\n",
            finding_text(series.finding()),
            model::Labels::from(series.labels.clone()),
            number(series.before),
            number(series.after),
            series.p_value,
            series.p_adjusted,
            series.effect,
            number(series.usual_difference),
            number(series.day_before),
            series.before_minutes,
            series.after_minutes
        );
    }
    let more = verdict.series.iter().filter(same).count().saturating_sub(SHOWN_MAX);
    if more > 0 {
        lines += &format!("  {more} more are the same; --output json has all\n");
    }
    for (what, series) in [("only after", &verdict.appeared), ("only before", &verdict.vanished)] {
        for name in series.iter().take(SHOWN_MAX) {
            lines += &format!("  {what}: {name}\n");
        }
        if series.len() > SHOWN_MAX {
            lines += &format!("  {what}: {} more\n", series.len() - SHOWN_MAX);
        }
    }
    for missing in &verdict.missing {
        lines += &format!("  missing: {missing}\n");
    }
    lines
}

fn json(verdict: &v1::Verdict) -> serde_json::Value {
    let series = |series: &v1::SeriesComparison| {
        serde_json::json!({
            "labels": series.labels,
            "role": role_text(series.role()),
            "finding": finding_text(series.finding()),
            "before": series.before,
            "after": series.after,
            "difference": series.difference,
            "effect": series.effect,
            "p_value": series.p_value,
            "p_adjusted": series.p_adjusted,
            "before_minutes": series.before_minutes,
            "after_minutes": series.after_minutes,
            "usual_difference": series.usual_difference,
            "day_before": series.day_before,
        })
    };
    serde_json::json!({
        "service": verdict.service,
        "outcome": outcome_text(verdict.outcome()),
        "reasons": verdict.reasons,
        "missing": verdict.missing,
        "before_from_ms": verdict.before_from_ms,
        "since_ms": verdict.since_ms,
        "after_from_ms": verdict.after_from_ms,
        "until_ms": verdict.until_ms,
        "series": verdict.series.iter().map(series).collect::<Vec<_>>(),
        "appeared": verdict.appeared,
        "vanished": verdict.vanished,
    })
}
