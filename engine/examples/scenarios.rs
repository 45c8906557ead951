//! Runs simulated scenarios through the tasks of the engine, without Kafka: how each fault was found, and what was a false alarm.
//!
//! `cargo run --release -p foreshock --example scenarios -- FIRST_SEED COUNT`

use std::collections::BTreeMap;

use foreshock::demo::{anomalies, incidents, injected, judge, play};
use model::Incident;
use shop::Scenario;

const START_MS: i64 = 1_767_600_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (first, count) = (arguments.next().unwrap_or(1_u64), arguments.next().unwrap_or(10));
    let verbose = std::env::var("VERBOSE").is_ok();
    let (mut found, mut first_ranked, mut faults, mut other) = (0, 0, 0, 0);
    for seed in first..first + count {
        let scenario = Scenario::from_seed(seed, START_MS);
        let outputs = play(&scenario, None);
        let versions = incidents(&outputs);
        let outcomes = judge(&injected(&scenario), &versions);
        let opened: Vec<&Incident> = versions.iter().filter(|version| version.version == 1).collect();
        let matched = outcomes.iter().filter(|outcome| outcome.incident.is_some()).count();
        for outcome in &outcomes {
            println!("seed {seed}: {}", serde_json::to_string(outcome).expect("plain data"));
            found += usize::from(!outcome.is_missed());
            first_ranked += usize::from(outcome.rank == Some(1));
            faults += 1;
        }
        other += opened.len() - matched;
        if verbose {
            let is_quiet = |time_ms: i64| {
                scenario
                    .faults
                    .iter()
                    .all(|fault| time_ms < fault.start_ms || time_ms > fault.end_ms + 60_000)
            };
            let mut loud = BTreeMap::<(String, String), Vec<i64>>::new();
            for anomaly in anomalies(&outputs).iter().filter(|anomaly| is_quiet(anomaly.time_ms)) {
                let key = (anomaly.detector.clone(), format!("{} {}", anomaly.service, anomaly.metric));
                loud.entry(key).or_default().push((anomaly.time_ms - START_MS) / 1000);
            }
            for ((detector, series), times) in loud.iter().filter(|(_, times)| times.len() > 1) {
                println!(
                    "  without a fault: {detector} {series}: {} times, at {:?}",
                    times.len(),
                    &times[..times.len().min(12)]
                );
            }
            for version in &versions {
                let at_s = |ms: i64| (ms - START_MS) / 1000;
                let causes: Vec<String> = version
                    .root_causes
                    .iter()
                    .take(3)
                    .map(|cause| format!("{} {:.2}", cause.service, cause.score))
                    .collect();
                println!(
                    "  {} v{} {} opened {} at {}: {} [{}]",
                    version.incident,
                    version.version,
                    version.state.as_str(),
                    at_s(version.opened_ms),
                    at_s(version.updated_ms),
                    version.title,
                    causes.join(", ")
                );
            }
            for fault in &scenario.faults {
                println!(
                    "  fault {} {:?} from {} to {}",
                    fault.service,
                    fault.kind,
                    (fault.start_ms - START_MS) / 1000,
                    (fault.end_ms - START_MS) / 1000
                );
            }
        }
    }
    println!(
        "{faults} faults: {found} found, {first_ranked} ranked first; {other} other incidents in {count} scenarios"
    );
}
