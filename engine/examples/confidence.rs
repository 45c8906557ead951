//! How often a cause is right that is said to be so with a given confidence: simulated faults of many strengths, and times without a
//! fault, of each of which an incident is opened by hand where it began.
//!
//! `cargo run --release -p foreshock --example confidence -- FIRST_SEED COUNT`
//!
//! Prints a line of JSON a case, and at the end a table: of the candidates with a confidence in a range, how many were the cause.

use foreshock::demo::telemetry;
use model::{Incident, Telemetry};
use pipeline::settings::AnalysisSettings;
use pipeline::{Analysis, Conclusion};
use shop::{Fault, FaultKind, Scenario, ShopConfig};

const START_MS: i64 = 1_767_600_000_000;
const MINUTE_MS: i64 = 60_000;
const FAULT_START_MS: i64 = START_MS + 10 * MINUTE_MS;
const END_MS: i64 = FAULT_START_MS + 3 * MINUTE_MS;
const RANGES: usize = 5;

/// A number from 0 to 1 that follows from the seed.
fn draw(seed: u64, number: u64) -> f64 {
    let mut mixed = (seed ^ number << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// One in four is without a fault.
fn fault(seed: u64) -> Option<Fault> {
    use FaultKind::{ErrorsAfterDeploy, MemoryLeakWithCpuPressure, SlowDatabase};
    let of = |services: &[&str], kind| {
        let service = services[(draw(seed, 1) * services.len() as f64) as usize].to_owned();
        // From a hundredth of its usual strength on, as many of each magnitude.
        let strength = 10_f64.powf(-2.0 * draw(seed, 2));
        Some(Fault { service, kind, start_ms: FAULT_START_MS, end_ms: END_MS, strength })
    };
    let called = ["checkout", "cart", "payment", "shipping", "currency", "inventory", "user"];
    match (draw(seed, 0) * 4.0) as u8 {
        0 => None,
        1 => of(&["orders-db", "catalog-db"], SlowDatabase),
        2 => of(&called, ErrorsAfterDeploy),
        _ => of(&called, MemoryLeakWithCpuPressure),
    }
}

fn ranked(seed: u64, fault: Option<&Fault>) -> Option<Incident> {
    let mut config = ShopConfig::new(seed, START_MS);
    // Of busy systems more is known than of quiet ones.
    config.requests_per_second *= 4_f64.powf(2.0 * draw(seed, 3) - 1.0);
    let scenario = Scenario { config, faults: fault.cloned().into_iter().collect(), end_ms: END_MS };
    let mut analysis = Analysis::new(&AnalysisSettings::default(), &[]).expect("no detectors");
    let mut said = Vec::new();
    let mut is_open = false;
    for batch in telemetry(&scenario) {
        let mut at = |analysis: &mut Analysis, time_ms: i64, said: &mut Vec<Conclusion>| {
            if time_ms >= FAULT_START_MS && !std::mem::replace(&mut is_open, time_ms >= FAULT_START_MS) {
                analysis.open_at(FAULT_START_MS, FAULT_START_MS, said);
            }
        };
        match &batch {
            Telemetry::Samples(rows) => rows.rows().for_each(|row| {
                at(&mut analysis, row.time_ms, &mut said);
                analysis.on_sample(&row, &mut said);
            }),
            Telemetry::Spans(rows) => rows.rows().for_each(|row| {
                at(&mut analysis, row.start_us / 1000, &mut said);
                analysis.on_span(&row, &mut said);
            }),
            Telemetry::Logs(rows) => rows.rows().for_each(|row| {
                at(&mut analysis, row.time_ms, &mut said);
                analysis.on_log(&row, &mut said);
            }),
            Telemetry::Histograms(_) | Telemetry::Events(_) => {}
        }
    }
    analysis.finish(END_MS, &mut said);
    said.into_iter().rev().find_map(|said| match said {
        Conclusion::Incident(incident) => Some(incident),
        _ => None,
    })
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (first, count) = (arguments.next().unwrap_or(1_u64), arguments.next().unwrap_or(40));
    // Of the candidates by confidence: how many, the sum of their confidences, and how many were the cause.
    let mut table = [(0_usize, 0.0, 0_usize); RANGES];
    let mut squares = 0.0;
    for seed in first..first + count {
        let fault = fault(seed);
        let Some(incident) = ranked(seed, fault.as_ref()) else { continue };
        let cause = fault.as_ref().map(|fault| fault.service.as_str());
        let candidates: Vec<_> = incident
            .root_causes
            .iter()
            .filter(|candidate| candidate.score > 0.0)
            .map(|candidate| (candidate.service.as_str(), candidate.score, candidate.confidence))
            .collect();
        let strength = fault.as_ref().map(|fault| fault.strength);
        let kind = fault.as_ref().map(|fault| format!("{:?}", fault.kind));
        let case = serde_json::json!({
            "seed": seed, "kind": kind, "strength": strength, "cause": cause, "candidates": candidates
        });
        println!("{case}");
        if std::env::var("VERBOSE").is_ok() {
            for cause in incident.root_causes.iter().take(3) {
                for evidence in &cause.evidence {
                    println!(
                        "  {} {} {:.1}: {}",
                        cause.service, evidence.kind, evidence.score, evidence.summary
                    );
                }
            }
        }
        for candidate in incident.root_causes.iter().filter(|candidate| candidate.score > 0.0) {
            let is_cause = cause == Some(candidate.service.as_str());
            let range = ((candidate.confidence * RANGES as f64) as usize).min(RANGES - 1);
            let (number, sum, right) = &mut table[range];
            *number += 1;
            *sum += candidate.confidence;
            *right += usize::from(is_cause);
            squares += (candidate.confidence - f64::from(u8::from(is_cause))).powi(2);
        }
    }
    eprintln!("confidence   candidates   mean confidence   were the cause");
    for (range, (number, sum, right)) in table.into_iter().enumerate() {
        let (from, to) = (range as f64 / RANGES as f64, (range + 1) as f64 / RANGES as f64);
        let share = |part: f64| if number == 0 { 0.0 } else { part / number as f64 };
        eprintln!("{from:.1} to {to:.1} {number:>12} {:>17.3} {:>16.3}", share(sum), share(right as f64));
    }
    let number: usize = table.iter().map(|(number, ..)| number).sum();
    eprintln!("Brier score over {number} candidates: {:.4}", squares / number.max(1) as f64);
}
