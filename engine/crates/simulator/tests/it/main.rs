//! Seeds in the hundreds at every test; `cargo run --release -p foreshock-simulator --example seeds` for more.

use foreshock_simulator::{Mutation, Report, replayed_after_hand_over, run};

#[test]
fn nothing_is_lost_doubled_or_stalled() {
    let mut sum = Report::default();
    for seed in 0..500 {
        match run(seed, None) {
            Ok(report) => sum += report,
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
    }
    // What is to be shown must have happened.
    for (what, count) in [
        ("commits", sum.commits),
        ("aborts", sum.aborts),
        ("crashes", sum.crashes),
        ("freezes", sum.freezes),
        ("moves", sum.moves),
        ("restores", sum.restores),
        ("cold starts", sum.cold_starts),
        ("replayed records", sum.replayed_records),
    ] {
        assert!(count > 300, "{what}: only {count} in {sum:?}");
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_read_again() {
    // Also where nothing came since the last commit.
    for behind in [0, 1, 7] {
        assert_eq!(replayed_after_hand_over(behind), 0, "{behind} records");
    }
}

#[test]
fn a_seed_gives_the_same_run() {
    assert_eq!(run(17, None), run(17, None));
}

#[test]
fn a_broker_that_breaks_its_promises_is_found_out() {
    for mutation in [Mutation::OutputsAtOnce, Mutation::OffsetsBeforeOutputs, Mutation::ZombiesCommit] {
        let found = (0..300).find_map(|seed| run(seed, Some(mutation)).err());
        assert!(found.is_some(), "{mutation:?} went unnoticed");
    }
}
