//! Simulated scenarios through the tasks of the engine: the demo's promise, without Kafka.

use foreshock::demo::{injected, judge, versions_of};
use shop::Scenario;

const START_MS: i64 = 1_767_600_000_000;

#[test]
fn every_fault_is_found_and_its_service_is_ranked_first() {
    // Seeds that were not looked at while the defaults were chosen.
    for seed in [1001, 1002] {
        let scenario = Scenario::from_seed(seed, START_MS);
        let versions = versions_of(&scenario, 1);
        for outcome in judge(&injected(&scenario), &versions) {
            assert_eq!(outcome.rank, Some(1), "seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn the_last_record_of_an_epoch_makes_no_difference() {
    let scenario = Scenario { end_ms: START_MS + 1_500_000, ..Scenario::from_seed(7, START_MS) };
    let often = versions_of(&scenario, 1);
    assert!(!often.is_empty(), "the first fault is in it");
    assert_eq!(versions_of(&scenario, 1000), often);
}
