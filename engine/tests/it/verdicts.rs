//! Releases of the simulated shop, judged.

use foreshock::change::judge_telemetry;
use foreshock::config::Config;
use foreshock::demo::telemetry;
use shop::{Fault, FaultKind, Scenario, ShopConfig};
use verdict::{Change, Outcome};

const START_MS: i64 = 1_767_600_000_000;
const MINUTE_MS: i64 = 60_000;
const SINCE_MS: i64 = START_MS + 65 * MINUTE_MS;

fn change() -> Change {
    Change {
        since_ms: SINCE_MS,
        baseline_ms: 60 * MINUTE_MS,
        settle_ms: MINUTE_MS,
        until_ms: SINCE_MS + 20 * MINUTE_MS,
    }
}

fn scenario(seed: u64, faults: Vec<Fault>) -> Scenario {
    Scenario { config: ShopConfig::new(seed, START_MS), faults, end_ms: SINCE_MS + 22 * MINUTE_MS }
}

#[test]
fn a_release_that_changes_nothing_passes_and_one_that_slows_its_service_fails() {
    let settings = Config::default().analysis;
    let quiet = telemetry(&scenario(3001, vec![]));
    let services: Vec<&str> = shop::service_names().into_iter().step_by(3).collect();
    let judged = |slower| {
        let mut outcomes = [0; 3];
        for service in &services {
            let verdict = judge_telemetry(&quiet, service, change(), slower, &settings).unwrap();
            outcomes[verdict.outcome as usize] += 1;
        }
        outcomes
    };
    assert_eq!(judged(1.0), [services.len(), 0, 0], "nothing has changed");
    let [pass, fail, unknown] = judged(2.0);
    assert_eq!(fail, services.len(), "slower: {pass} pass, {unknown} unknown");
}

#[test]
fn a_release_that_brings_errors_fails_for_its_service() {
    let fault = Fault {
        service: "payment".to_owned(),
        kind: FaultKind::ErrorsAfterDeploy,
        start_ms: SINCE_MS,
        end_ms: SINCE_MS + 60 * MINUTE_MS,
        strength: 1.0,
    };
    let broken = telemetry(&scenario(3002, vec![fault]));
    let settings = Config::default().analysis;
    let verdict = judge_telemetry(&broken, "payment", change(), 1.0, &settings).unwrap();
    assert_eq!(verdict.outcome, Outcome::Fail, "{verdict:?}");
    assert!(verdict.series[0].p_adjusted <= 0.005, "{:?}", verdict.series[0]);
    let verdict = judge_telemetry(&broken, "ad", change(), 1.0, &settings).unwrap();
    assert_ne!(verdict.outcome, Outcome::Fail, "it has nothing to do with it: {verdict:?}");
}
