//! How often `foreshock verdict` is wrong: releases of a simulated shop that change nothing, and such that slow a service down.
//!
//! `cargo run --release --example verdicts -- 1 20` for the seeds from 1 to 19.

use std::collections::BTreeMap;

use foreshock::change::judge_telemetry;
use foreshock::config::Config;
use foreshock::demo::telemetry;
use shop::{Fault, FaultKind, Scenario, ShopConfig};
use verdict::{Change, Finding};

const START_MS: i64 = 1_767_600_000_000;
const MINUTE_MS: i64 = 60_000;

fn main() -> anyhow::Result<()> {
    let bounds: Vec<u64> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [first, end] = bounds[..] else { anyhow::bail!("give the first seed and the one behind the last") };
    let settings = Config::default().analysis;
    let since_ms = START_MS + 65 * MINUTE_MS;
    let change = Change {
        since_ms,
        baseline_ms: 60 * MINUTE_MS,
        settle_ms: MINUTE_MS,
        until_ms: since_ms + 20 * MINUTE_MS,
    };
    let mut counts: BTreeMap<String, BTreeMap<&str, u32>> = BTreeMap::new();
    let mut count = |what: String, outcome: &'static str| {
        *counts.entry(what).or_default().entry(outcome).or_default() += 1;
    };
    for seed in first..end {
        let mut scenario = Scenario {
            config: ShopConfig::new(seed, START_MS),
            faults: vec![],
            end_ms: since_ms + 22 * MINUTE_MS,
        };
        let quiet = telemetry(&scenario);
        for service in shop::service_names() {
            for slower in [1.0, 1.2, 1.5, 2.0] {
                let verdict = judge_telemetry(&quiet, service, change, slower, &settings)?;
                if slower == 1.0 && verdict.outcome == verdict::Outcome::Fail {
                    for series in verdict.series.iter().filter(|series| series.finding == Finding::Worse) {
                        println!("seed {seed}, false fail: {series:?}");
                    }
                }
                count(format!("spans {slower} times as long"), verdict.outcome.as_str());
            }
        }
        let services = shop::service_names();
        let service = services[seed as usize % services.len()];
        for kind in [FaultKind::ErrorsAfterDeploy, FaultKind::MemoryLeakWithCpuPressure] {
            let end_ms = since_ms + 60 * MINUTE_MS;
            scenario.faults =
                vec![Fault { service: service.to_owned(), kind, start_ms: since_ms, end_ms, strength: 1.0 }];
            let verdict = judge_telemetry(&telemetry(&scenario), service, change, 1.0, &settings)?;
            count(format!("{kind:?}"), verdict.outcome.as_str());
        }
    }
    for (what, outcomes) in counts {
        println!("{what}: {outcomes:?}");
    }
    Ok(())
}
