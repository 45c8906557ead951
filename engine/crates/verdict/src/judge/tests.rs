use super::*;

const MINUTE_MS: i64 = BLOCK_MS;
const SINCE_MS: i64 = 1_767_600_000_000;

fn change(after_minutes: i64) -> Change {
    Change {
        since_ms: SINCE_MS,
        baseline_ms: 60 * MINUTE_MS,
        settle_ms: 0,
        until_ms: SINCE_MS + after_minutes * MINUTE_MS,
    }
}

/// splitmix64, as a number from 0 to 1.
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Noise around a level; each value keeps a part of the one before.
fn series(seed: u64, minutes: Range<i64>, kept: f64, level: impl Fn(i64) -> f64) -> Blocks {
    let (mut state, mut noise) = (seed, 0.0);
    let mut blocks = Blocks::default();
    for minute in minutes {
        let drawn: f64 = (0..12).map(|_| uniform(&mut state)).sum::<f64>() - 6.0;
        noise = kept * noise + drawn * (1.0 - kept * kept).sqrt();
        blocks.add(SINCE_MS + minute * MINUTE_MS, level(minute) * (1.0 + 0.05 * noise));
    }
    blocks
}

fn outcome(named: &[(&str, Blocks)], change: Change) -> Verdict {
    let series = named.iter().map(|(name, blocks)| (Labels::of("cart", name), blocks.clone())).collect();
    judge("cart", &series, change, Criteria::default())
}

const SLOWER: &str = "spans.duration.p95";

#[test]
fn a_slower_service_fails_with_numbers() {
    let slow = series(1, -60..20, 0.3, |minute| if minute < 0 { 100.0 } else { 140.0 });
    let cpu = series(2, -60..20, 0.3, |_| 0.4);
    let verdict = outcome(&[("cpu.utilization", cpu), (SLOWER, slow)], change(20));
    assert_eq!(verdict.outcome, Outcome::Fail, "{verdict:?}");
    let first = &verdict.series[0];
    assert_eq!((first.labels.name(), first.finding), (SLOWER, Finding::Worse));
    assert!((35.0..45.0).contains(&first.difference.unwrap()) && first.effect > 0.9, "{first:?}");
    assert!(first.p_adjusted < 0.005 && first.p_adjusted >= first.p_value);
    assert_eq!(verdict.series[1].finding, Finding::Same);
}

#[test]
fn what_is_faster_passes() {
    let fast = series(1, -60..20, 0.3, |minute| if minute < 0 { 100.0 } else { 60.0 });
    assert_eq!(outcome(&[(SLOWER, fast)], change(20)).outcome, Outcome::Pass);
}

#[test]
fn changes_of_nothing_seldom_fail() {
    let mut fails = 0;
    for seed in 0..2000 {
        let kept = [0.0, 0.3, 0.6, 0.9][seed as usize % 4];
        let named: Vec<(String, Blocks)> = (0..10_u64)
            .map(|i| (format!("operation_{i}.duration"), series(seed * 100 + i, -60..20, kept, |_| 100.0)))
            .collect();
        let named: Vec<(&str, Blocks)> =
            named.iter().map(|(name, blocks)| (name.as_str(), blocks.clone())).collect();
        fails += u32::from(outcome(&named, change(20)).outcome == Outcome::Fail);
    }
    // The rate is held to 1 %; by chance up to 34 of 2,000 would be seen with a probability of 99.9 %.
    assert!(fails <= 34, "{fails} of 2000");
}

#[test]
fn what_happens_at_this_time_every_day_is_no_harm() {
    let level = |minute: i64| if minute.rem_euclid(1440) < 60 { 150.0 } else { 100.0 };
    let daily = |from: i64| {
        let mut blocks = series(3, -60..20, 0.3, level);
        let before = series(4, from..-1420, 0.3, level);
        for minute in from..-1420 {
            let at = SINCE_MS + minute * MINUTE_MS;
            before.means(&(at..at + MINUTE_MS)).into_iter().for_each(|value| blocks.add(at, value));
        }
        outcome(&[(SLOWER, blocks)], change(20))
    };
    let known = daily(-1500);
    assert_eq!(known.outcome, Outcome::Pass, "{known:?}");
    assert!(known.missing.iter().all(|missing| !missing.contains("day before")), "{:?}", known.missing);
    let unknown = daily(-1420);
    assert_eq!(unknown.outcome, Outcome::Fail);
    assert!(unknown.missing.iter().any(|missing| missing.contains("day before")), "{:?}", unknown.missing);
}

#[test]
fn a_drift_that_began_before_is_not_the_change() {
    let drift = series(5, -60..20, 0.0, |minute| 100.0 * (1.0 + (minute as f64 / 12.0).sin() / 3.0));
    let steady = ("error.latency", series(6, -60..10, 0.0, |_| 100.0));
    let verdict = outcome(&[(SLOWER, drift), steady], change(10));
    assert_eq!(verdict.outcome, Outcome::Pass, "{verdict:?}");
    let first = verdict.series.iter().find(|report| report.labels.name() == SLOWER).unwrap();
    assert!(
        first.difference > Some(0.0) && first.finding == Finding::TooFew,
        "its minutes are too much alike: {first:?}"
    );
}

#[test]
fn too_little_is_unknown() {
    for (minutes, after) in [(-60..3, 3), (-10..20, 20)] {
        let verdict = outcome(&[(SLOWER, series(6, minutes, 0.0, |_| 100.0))], change(after));
        assert_eq!(verdict.outcome, Outcome::Unknown, "{verdict:?}");
    }
    let silent = outcome(&[(SLOWER, series(6, -60..0, 0.0, |_| 100.0))], change(20));
    assert_eq!(silent.outcome, Outcome::Unknown);
    assert!(silent.reasons[0].contains("does it run"), "{:?}", silent.reasons);
    assert_eq!(outcome(&[], change(20)).outcome, Outcome::Unknown);
    let no_symptom = outcome(&[("orders", series(6, -60..20, 0.0, |_| 100.0))], change(20));
    assert_eq!(no_symptom.outcome, Outcome::Unknown, "nothing that would show a harm");
}

#[test]
fn error_lines_that_were_never_written_before_fail() {
    let fast = series(1, -60..20, 0.3, |_| 100.0);
    let lines = Labels::of("cart", "logs.rate").with("severity", "ERROR");
    let series: BTreeMap<Labels, Blocks> =
        [(Labels::of("cart", SLOWER), fast), (lines.clone(), series(2, 0..20, 0.0, |_| 0.5))].into();
    let verdict = judge("cart", &series, change(20), Criteria::default());
    assert_eq!((verdict.outcome, &verdict.series[0].labels), (Outcome::Fail, &lines), "{verdict:?}");
}

#[test]
fn traffic_that_goes_away_fails_and_more_of_it_does_not() {
    let of = |level: f64| {
        let rate = series(1, -60..20, 0.3, |minute| if minute < 0 { 100.0 } else { level });
        outcome(&[("spans.rate", rate), (SLOWER, series(2, -60..20, 0.3, |_| 100.0))], change(20)).outcome
    };
    assert_eq!((of(20.0), of(80.0), of(300.0)), (Outcome::Fail, Outcome::Pass, Outcome::Pass));
}

#[test]
fn wrong_times_are_refused() {
    assert!(change(20).validate().is_ok());
    for wrong in [
        Change { until_ms: SINCE_MS, ..change(20) },
        Change { baseline_ms: 0, ..change(20) },
        Change { settle_ms: -1, ..change(20) },
        Change { since_ms: i64::MIN, ..change(20) },
        Change { until_ms: i64::MAX, ..change(20) },
    ] {
        assert!(wrong.validate().is_err(), "{wrong:?}");
    }
}
