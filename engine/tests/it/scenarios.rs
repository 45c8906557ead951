//! Simulated scenarios through the tasks of the engine: the demo's promise, without Kafka.

use foreshock::demo::{incidents, injected, judge, play};
use shop::Scenario;

const START_MS: i64 = 1_767_600_000_000;

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
