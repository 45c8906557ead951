//! Simulated scenarios through the tasks of the engine: the demo's promise, without Kafka.

use std::collections::{BTreeMap, BTreeSet};

use foreshock::demo::{incidents, injected, judge, play, play_out_of_step};
use model::{Incident, Output, OutputTopic, ServiceCoverage};
use shop::{Fault, FaultKind, Scenario, ShopConfig};

const START_MS: i64 = 1_767_600_000_000;
const MINUTE_MS: i64 = 60_000;

#[test]
fn every_fault_is_found_and_its_service_is_ranked_first() {
    // Seeds that were not looked at while the defaults were chosen.
    for seed in [1001, 1002] {
        let scenario = Scenario::from_seed(seed, START_MS);
        let versions = incidents(&play(&scenario, None));
        for outcome in judge(&injected(&scenario), &versions) {
            assert_eq!(outcome.rank, Some(1), "seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn a_restart_from_a_snapshot_makes_no_difference() {
    let scenario = Scenario { end_ms: START_MS + 1_500_000, ..Scenario::from_seed(7, START_MS) };
    let whole = play(&scenario, None);
    assert!(!incidents(&whole).is_empty(), "the first fault is in it");
    for restart_every in [97, 5000] {
        assert!(play(&scenario, Some(restart_every)) == whole, "restarted every {restart_every} records");
    }
}

/// splitmix64
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn the_pace_of_sources_and_stages_makes_no_difference() {
    let scenario = Scenario { end_ms: START_MS + 1_500_000, ..Scenario::from_seed(7, START_MS) };
    let said = |outputs: &[Output]| {
        let of = |topic| outputs.iter().filter(move |output| output.topic == topic).cloned();
        let mut anomalies: Vec<Output> = of(OutputTopic::Anomalies).collect();
        anomalies.sort_by(|a, b| a.payload.cmp(&b.payload));
        let incidents: Vec<Output> = of(OutputTopic::Incidents).chain(of(OutputTopic::Alerts)).collect();
        (anomalies, incidents)
    };
    let in_step = said(&play(&scenario, None));
    assert!(!in_step.1.is_empty(), "the first fault is in it");
    for seed in 1..4 {
        let mut state = seed;
        // The first or the last of them are preferred, so that others fall far behind.
        let out = play_out_of_step(&scenario, |count| {
            let dice = next(&mut state);
            let (a, b) = ((dice % count as u64) as usize, ((dice >> 20) % count as u64) as usize);
            if (dice >> 40) % 3 == seed % 3 { a.max(b) } else { a.min(b) }
        });
        let said = said(&out);
        assert!(said.0 == in_step.0, "seed {seed}: {} anomalies, {} in step", said.0.len(), in_step.0.len());
        assert!(said.1 == in_step.1, "seed {seed}: {} versions, {} in step", said.1.len(), in_step.1.len());
    }
}

/// A shop whose faults are these, each for six minutes.
fn scenario(seed: u64, faults: &[(&str, FaultKind)], minutes: i64) -> Scenario {
    let start_ms = START_MS + 20 * MINUTE_MS;
    let fault = |(service, kind): &(&str, FaultKind)| Fault {
        service: (*service).to_owned(),
        kind: *kind,
        start_ms,
        end_ms: start_ms + 6 * MINUTE_MS,
        strength: 1.0,
    };
    let faults = faults.iter().map(fault).collect();
    Scenario { config: ShopConfig::new(seed, START_MS), faults, end_ms: START_MS + minutes * MINUTE_MS }
}

#[test]
fn all_services_of_the_shop_are_covered_within_a_quarter_of_an_hour() {
    let out = play(&scenario(2001, &[], 20), None);
    let told = out.iter().filter(|output| output.topic == OutputTopic::Coverage);
    let read =
        |output: &Output| -> ServiceCoverage { serde_json::from_slice(&output.payload).expect("JSON") };
    let mut newest = BTreeMap::new();
    for coverage in told.map(read) {
        assert!(coverage.time_ms <= START_MS + 20 * MINUTE_MS);
        newest.insert(coverage.service.clone(), coverage);
    }
    assert!(newest.len() >= 15, "{:?}", newest.keys());
    for coverage in newest.values() {
        assert!(coverage.modelled > 10 && coverage.refused.series == 0, "{coverage:?}");
        assert!(coverage.modelled > 5 * coverage.learning.series, "{coverage:?}");
    }
}

#[test]
fn an_hour_without_faults_opens_no_incident() {
    let versions = incidents(&play(&scenario(2001, &[], 80), None));
    assert!(versions.is_empty(), "{versions:?}");
}

#[test]
fn a_fault_that_cascades_through_six_services_is_one_incident_with_its_cause_first() {
    let versions = incidents(&play(&scenario(2002, &[("catalog-db", FaultKind::SlowDatabase)], 40), None));
    let ids: BTreeSet<&str> = versions.iter().map(|version| version.incident.as_str()).collect();
    assert_eq!(ids.len(), 1);
    let last = versions.last().expect("there is one");
    assert!(last.services.len() >= 4, "{:?}", last.services);
    assert_eq!(last.root_causes[0].service, "catalog-db");
}

/// The newest version of each incident that was not merged into another.
fn problems(versions: &[Incident]) -> Vec<&Incident> {
    let newest: BTreeMap<&str, &Incident> =
        versions.iter().map(|version| (version.incident.as_str(), version)).collect();
    newest.into_values().filter(|incident| incident.merged_into.is_none()).collect()
}

#[test]
fn two_faults_at_once_on_unrelated_services_are_two_incidents_each_with_its_own_cause() {
    use FaultKind::{ErrorsAfterDeploy, MemoryLeakWithCpuPressure, SlowDatabase};
    for (seed, faults) in [
        (2003, [("catalog-db", SlowDatabase), ("payment", ErrorsAfterDeploy)]),
        (2004, [("orders-db", SlowDatabase), ("ad", MemoryLeakWithCpuPressure)]),
        (2005, [("shipping", ErrorsAfterDeploy), ("currency", MemoryLeakWithCpuPressure)]),
    ] {
        let outputs = play(&scenario(seed, &faults, 40), None);
        let versions = incidents(&outputs);
        let problems = problems(&versions);
        let causes: BTreeSet<&str> =
            problems.iter().map(|incident| incident.root_causes[0].service.as_str()).collect();
        assert_eq!(causes, faults.iter().map(|fault| fault.0).collect(), "seed {seed}: {problems:?}");
        assert_eq!(problems.len(), 2, "seed {seed}: {problems:?}");
        // Each has an alert of its own that fires and ends.
        let alerts: Vec<model::Alert> = outputs
            .iter()
            .filter(|output| output.topic == OutputTopic::Alerts)
            .map(|output| serde_json::from_slice(&output.payload).expect("an alert"))
            .collect();
        for incident in problems {
            let of: Vec<&model::Alert> =
                alerts.iter().filter(|alert| alert.incident == incident.incident).collect();
            assert!(of.iter().all(|alert| alert.fingerprint == of[0].fingerprint));
            let states = [of[0].state, of[of.len() - 1].state];
            assert_eq!(states, [model::AlertState::Firing, model::AlertState::Resolved], "seed {seed}");
        }
    }
}
