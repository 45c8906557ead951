//! Ranks the services of recorded faults, for `rca_score.py`.
//!
//! `rank_cases FOLDER` reads `FOLDER/<dataset>/<case>/` with a `truth.json` that holds `inject_ms`, `eval_end_ms` and for some
//! datasets `target.metric`, the objective that was violated. It prints one JSON line for each case; with
//! `--evidence` the evidence for the first three services goes to standard error.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use correlate::{Correlator, Family, Trigger, template_of};
use foreshock_replay::{History, Row};
use serde_json::{Value, json};

const STEP_MS: i64 = 1_000;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let with_evidence = arguments.iter().any(|argument| argument == "--evidence");
    arguments.retain(|argument| argument != "--evidence");
    let [folder] = arguments.as_slice() else {
        eprintln!("usage: rank_cases FOLDER [--evidence]");
        return ExitCode::FAILURE;
    };
    match run(Path::new(folder), with_evidence) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rank_cases: {error}");
            ExitCode::FAILURE
        }
    }
}

fn folders(of: &Path) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    let entries = std::fs::read_dir(of)?.collect::<Result<Vec<_>, _>>()?;
    let mut folders: Vec<PathBuf> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn run(root: &Path, with_evidence: bool) -> Result<(), Box<dyn std::error::Error>> {
    for dataset in folders(root)? {
        for case in folders(&dataset)? {
            let truth: Value = serde_json::from_slice(&std::fs::read(case.join("truth.json"))?)?;
            let number =
                |key: &str| truth[key].as_i64().ok_or_else(|| format!("{}: no {key}", case.display()));
            let (inject_ms, end_ms) = (number("inject_ms")?, number("eval_end_ms")?);
            let family = match truth["target"]["metric"].as_str() {
                Some("latency") => Some(Family::Latency),
                Some("availability") => Some(Family::Errors),
                _ => None,
            };
            let correlator = feed(&History::read(&case)?, end_ms);
            let causes = correlator.rank_for(&Trigger { time_ms: inject_ms, family }, end_ms);
            if with_evidence {
                eprintln!("{} {}: cause {}", truth["dataset"], truth["case"], truth["root_cause_service"]);
                for cause in causes.iter().take(3) {
                    eprintln!("  {:.3} {}", cause.score, cause.service);
                    for evidence in &cause.evidence {
                        eprintln!("      {:9} {:6.2} {}", evidence.kind, evidence.score, evidence.summary);
                    }
                }
            }
            let ranked: Vec<&str> = causes.iter().map(|cause| cause.service.as_str()).collect();
            println!("{}", json!({"dataset": truth["dataset"], "case": truth["case"], "ranked": ranked}));
        }
    }
    Ok(())
}

/// Feeds the rows before `end_ms` as they would have arrived.
fn feed(history: &History, end_ms: i64) -> Correlator {
    let mut correlator = Correlator::default();
    correlator.set_edges(&history.edges);
    let mut advanced_ms = i64::MIN;
    for row in &history.rows {
        let time_ms = row.time_us().div_euclid(1000);
        if time_ms >= end_ms {
            break;
        }
        if time_ms >= advanced_ms.saturating_add(STEP_MS) {
            correlator.advance(time_ms);
            advanced_ms = time_ms;
        }
        match row {
            Row::Point { time_ms, service, metric, value } => {
                correlator.observe_point(*time_ms, service, metric, *value);
            }
            Row::Span { start_us, duration_us, trace_id, span_id, parent, service, operation, error } => {
                correlator.observe_span(
                    *start_us,
                    *duration_us,
                    *trace_id,
                    *span_id,
                    *parent,
                    service,
                    operation,
                    *error,
                )
            }
            Row::Log { time_ms, service, severity, body, trace_id, span_id } => {
                correlator.observe_log(*time_ms, service, *severity, &template_of(body), *trace_id, *span_id);
            }
        }
    }
    correlator.advance(end_ms);
    correlator
}
