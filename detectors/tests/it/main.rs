//! Properties that every detector in the list must have.

mod generated;

use foreshock_detectors::{DETECTORS, DetectorBank, DetectorSpec, Point, Slot, Verdict};
use proptest::prelude::*;
use serde_json::json;

fn bank(spec: &DetectorSpec) -> Box<dyn DetectorBank> {
    (spec.build)(json!({})).expect("the defaults are valid")
}

fn points(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
    values.into_iter().enumerate().map(|(i, value)| Point { time_ms: i as i64 * 10_000, value }).collect()
}

fn observe(bank: &mut dyn DetectorBank, points: &[Point]) -> Vec<Option<Verdict>> {
    let mut verdicts = Vec::new();
    bank.observe(&vec![Slot(0); points.len()], points, &mut verdicts);
    verdicts
}

fn alarms(verdicts: &[Option<Verdict>]) -> Vec<usize> {
    let anomalous = |verdict: &Option<Verdict>| verdict.is_some_and(|verdict| verdict.anomaly_score > 0.5);
    verdicts.iter().enumerate().filter(|(_, verdict)| anomalous(verdict)).map(|(i, _)| i).collect()
}

fn noisy(len: usize) -> impl Iterator<Item = f64> {
    // A few incommensurable waves: bounded, and never twice the same.
    (0..len)
        .map(|i| i as f64)
        .map(|i| 100.0 + 3.0 * (i * 1.7).sin() + 2.0 * (i * 0.61).sin() + (i * 2.9).cos())
}

#[test]
fn names_are_unique_and_parameters_are_checked() {
    for (i, spec) in DETECTORS.iter().enumerate() {
        assert!(DETECTORS[..i].iter().all(|other| other.name != spec.name));
        let unknown = (spec.build)(json!({"nonsense": 1})).err().unwrap().to_string();
        assert!(unknown.contains("nonsense"), "{unknown}");
        let negative = (spec.build)(json!({"min_rel_dev": -1})).err().unwrap().to_string();
        assert!(negative.contains("min_rel_dev"), "{negative}");
    }
}

#[test]
fn a_constant_series_never_alarms() {
    for spec in DETECTORS {
        for level in [0.0, 1.0, -1e12, 1e-9] {
            assert_eq!(
                alarms(&observe(&mut *bank(spec), &points([level; 600]))),
                [0; 0],
                "{} {level}",
                spec.name
            );
        }
    }
}

#[test]
fn noise_does_not_alarm_and_an_incident_does() {
    for spec in DETECTORS {
        let mut values: Vec<f64> = noisy(600).collect();
        assert_eq!(alarms(&observe(&mut *bank(spec), &points(values.clone()))), [0; 0], "{}", spec.name);
        values[500..520].fill(400.0);
        let found = alarms(&observe(&mut *bank(spec), &points(values)));
        // A single point is no new level; every other detector sees it at once.
        let last = if spec.name == "level_shift" { 510 } else { 500 };
        assert!((500..=last).contains(found.first().unwrap()), "{}: {found:?}", spec.name);
    }
}

#[test]
fn a_lone_spike_is_one_anomaly_and_spoils_nothing() {
    for spec in DETECTORS {
        for size in [300.0, -300.0, 1e9] {
            let mut values: Vec<f64> = noisy(1200).collect();
            values[500] += size;
            let found = alarms(&observe(&mut *bank(spec), &points(values)));
            // It is no new level; every other detector tells of it, and of nothing that follows.
            let expected: &[usize] = if spec.name == "level_shift" { &[] } else { &[500] };
            assert_eq!(found, expected, "{} {size}", spec.name);
        }
    }
}

#[test]
fn there_is_no_verdict_during_warmup() {
    for spec in DETECTORS {
        let verdicts =
            observe(&mut *bank(spec), &points((0..29).map(|i| if i % 7 == 3 { 1e9 } else { 0.0 })));
        assert!(verdicts.iter().all(Option::is_none), "{}", spec.name);
    }
}

#[test]
fn the_first_verdict_comes_when_no_points_are_left() {
    for spec in DETECTORS {
        let mut bank = bank(spec);
        let needed = bank.points_left(Slot(0));
        assert!((2..=1_000).contains(&needed), "{} needs {needed} points", spec.name);
        let values = noisy(needed as usize + 50);
        for (i, point) in points(values).into_iter().enumerate() {
            let left = bank.points_left(Slot(0));
            assert_eq!(left, needed.saturating_sub(i as u32), "{}", spec.name);
            let verdict = observe(&mut *bank, &[point])[0];
            assert_eq!(verdict.is_some(), left == 0, "{} at point {i}", spec.name);
        }
        bank.forget(Slot(0));
        assert_eq!((bank.points_left(Slot(0)), bank.points_left(Slot(9))), (needed, needed), "{}", spec.name);
    }
}

#[test]
fn a_forgotten_slot_starts_anew() {
    for spec in DETECTORS {
        let (mut used, mut fresh) = (bank(spec), bank(spec));
        observe(&mut *used, &points(noisy(300)));
        used.forget(Slot(0));
        let next = points((0..300).map(f64::from));
        assert_eq!(observe(&mut *used, &next), observe(&mut *fresh, &next), "{}", spec.name);
    }
}

#[test]
fn other_snapshots_are_refused() {
    for spec in DETECTORS {
        for bytes in [&b""[..], b"\x06", b"\x06nonsense", b"\x06\xff\xff\xff\xff\x0f"] {
            assert!(bank(spec).restore(bytes).is_err(), "{}", spec.name);
        }
        // Of another version nothing is read, even if its content could be.
        let mut known = bank(spec);
        observe(&mut *known, &points(noisy(300)));
        for version in [1, 2, 3, 4, 5, 7] {
            let mut bytes = known.snapshot();
            bytes[0] = version;
            let mut fresh = bank(spec);
            let error = fresh.restore(&bytes).unwrap_err().to_string();
            assert_eq!(error, format!("the snapshot has version {version}, this build reads version 6"));
            assert!(fresh.snapshot() == bank(spec).snapshot(), "{}: it is unchanged", spec.name);
        }
        for other in DETECTORS {
            let restored = bank(spec).restore(&bank(other).snapshot());
            assert_eq!(restored.is_ok(), other.name == spec.name, "{} of {}", spec.name, other.name);
            if let Err(error) = restored {
                let text = error.to_string();
                assert!(text.contains(spec.name) && text.contains(other.name), "{text}");
            }
        }
    }
}

/// Snapshots that differ from this one in a few bytes or in length. Beginning and end stand for what lies between.
fn damaged(snapshot: &[u8]) -> Vec<Vec<u8>> {
    let len = snapshot.len();
    let mut all: Vec<Vec<u8>> = vec![[snapshot, &snapshot[..1]].concat(), [snapshot, snapshot].concat()];
    for at in (0..len).filter(|at| *at < 120 || at + 120 > len || at % 61 == 0) {
        let (before, after) = snapshot.split_at(at);
        all.push(before.to_vec());
        all.push([before, &after[1..]].concat());
        all.push([before, &[0], after].concat());
        let numbers = [-1.0, 1e38, -1e300, f64::INFINITY, f64::NAN].map(f64::to_le_bytes);
        let small = [f32::INFINITY, f32::NAN].map(f32::to_le_bytes);
        let bytes: [&[u8]; 5] = [&[0], &[1], &[0x7f], &[0x80], &[0xff; 9]];
        for other in
            bytes.into_iter().chain(small.iter().map(|n| &n[..])).chain(numbers.iter().map(|n| &n[..]))
        {
            let end = (at + other.len()).min(len);
            all.push([before, other, &snapshot[end..]].concat());
        }
    }
    all.retain(|bytes| bytes != snapshot);
    all
}

#[test]
fn a_damaged_snapshot_is_refused_or_harmless() {
    for spec in DETECTORS {
        let (mut good, mut refused, mut harmless) = (bank(spec), 0, 0);
        // Half an hour apart, for six days: the season is known.
        let slowly =
            |len: usize| points(noisy(len)).into_iter().map(|p| Point { time_ms: p.time_ms * 180, ..p });
        let known: Vec<Point> = slowly(288).collect();
        observe(&mut *good, &known);
        let next: Vec<Point> = slowly(360).skip(288).collect();
        for bytes in damaged(&good.snapshot()) {
            let mut restored = bank(spec);
            if restored.restore(&bytes).is_err() {
                refused += 1;
                assert!(restored.snapshot() == bank(spec).snapshot(), "{}: it is unchanged", spec.name);
                continue;
            }
            harmless += 1;
            for verdict in observe(&mut *restored, &next).into_iter().flatten() {
                let numbers = [verdict.expected, verdict.lower, verdict.upper, verdict.anomaly_score];
                assert!(numbers.iter().all(|number| number.is_finite()), "{}: {verdict:?}", spec.name);
            }
            bank(spec).restore(&restored.snapshot()).unwrap();
        }
        assert!(refused > 100 && harmless > 10, "{}: {refused}, {harmless}", spec.name);
    }
}

#[test]
fn a_state_that_is_as_it_began_is_one_byte() {
    for spec in DETECTORS {
        let mut bank = bank(spec);
        let empty = bank.snapshot().len();
        bank.observe(&[Slot(99)], &points([1.0]), &mut Vec::new());
        bank.forget(Slot(99));
        assert_eq!(bank.snapshot().len(), empty + 100, "{}", spec.name);
        let mut restored = (spec.build)(json!({})).unwrap();
        restored.restore(&bank.snapshot()).unwrap();
        assert_eq!(restored.snapshot(), bank.snapshot(), "{}", spec.name);
    }
}

#[test]
fn batches_and_snapshots_between_them_change_nothing_on_a_long_series() {
    for spec in DETECTORS {
        let mut points = points(noisy(1000));
        for point in points.iter_mut().filter(|point| point.time_ms % 2_370_000 > 2_270_000) {
            point.value = 400.0;
        }
        let whole = observe(&mut *bank(spec), &points);
        assert!(!alarms(&whole).is_empty(), "{}", spec.name);
        for size in [1, 7, 64, 333] {
            let (mut split, mut parts) = (bank(spec), Vec::new());
            for batch in points.chunks(size) {
                parts.extend(observe(&mut *split, batch));
                if size > 60 {
                    let snapshot = split.snapshot();
                    split = bank(spec);
                    split.restore(&snapshot).unwrap();
                }
            }
            assert_eq!(parts, whole, "{} in batches of {size}", spec.name);
        }
    }
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -100.0..100.0,
        1 => any::<f64>(),
        1 => Just(f64::MAX),
        1 => Just(f64::NAN),
        1 => Just(0.0),
        1 => -1e-300..1e-300_f64,
        1 => Just(5e-324),
    ]
}

/// Steps in time, most of them as small as time can be told apart.
fn any_step_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -2..3_i64,
        2 => 1000..900_000_i64,
        1 => 3_600_000..200_000_000_i64,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn milliseconds_and_huge_values_leave_states_that_can_be_restored(
        steps in proptest::collection::vec((any_value(), any_step_ms()), 1..400),
    ) {
        for spec in DETECTORS {
            let (mut bank, mut time_ms) = (bank(spec), 0);
            for part in steps.chunks(40) {
                let points: Vec<Point> = part
                    .iter()
                    .map(|(value, step_ms)| {
                        time_ms += step_ms;
                        Point { time_ms, value: *value }
                    })
                    .collect();
                for verdict in observe(&mut *bank, &points).into_iter().flatten() {
                    let numbers = [verdict.expected, verdict.lower, verdict.upper, verdict.anomaly_score];
                    prop_assert!(numbers.iter().all(|n| n.is_finite()), "{} {:?}", spec.name, verdict);
                    prop_assert!(verdict.lower <= verdict.expected && verdict.expected <= verdict.upper);
                }
                let snapshot = bank.snapshot();
                bank = (spec.build)(json!({})).unwrap();
                bank.restore(&snapshot).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert!(bank.snapshot() == snapshot, "{}", spec.name);
            }
        }
    }

    #[test]
    fn a_point_is_judged_exactly_when_no_points_are_left(
        steps in proptest::collection::vec((any_value(), any_step_ms()), 1..400),
        cut in 0..400_usize,
    ) {
        for spec in DETECTORS {
            let (mut bank, mut time_ms) = (bank(spec), 0);
            for (i, (value, step_ms)) in steps.iter().enumerate() {
                time_ms += step_ms;
                let left = bank.points_left(Slot(0));
                let verdict = observe(&mut *bank, &[Point { time_ms, value: *value }])[0];
                prop_assert_eq!(verdict.is_some(), left == 0 && value.is_finite(), "{} at {}", spec.name, i);
                let counts = u32::from(left > 0 && value.is_finite());
                prop_assert_eq!(bank.points_left(Slot(0)), left - counts, "{} at {}", spec.name, i);
                if i == cut {
                    let snapshot = bank.snapshot();
                    bank = (spec.build)(json!({})).unwrap();
                    bank.restore(&snapshot).map_err(|error| TestCaseError::fail(error.to_string()))?;
                }
            }
        }
    }

    #[test]
    fn any_input_gives_sound_verdicts_and_batches_and_snapshots_change_nothing(
        values in proptest::collection::vec((any_value(), any::<i32>(), 0..3_u32), 1..300),
        cut in 0..300_usize,
    ) {
        for spec in DETECTORS {
            let slots: Vec<Slot> = values.iter().map(|(_, _, slot)| Slot(*slot)).collect();
            let points: Vec<Point> =
                values.iter().map(|(value, time, _)| Point { time_ms: i64::from(*time) * 1000, value: *value }).collect();
            let mut whole = Vec::new();
            bank(spec).observe(&slots, &points, &mut whole);
            prop_assert_eq!(whole.len(), points.len());
            for (point, verdict) in points.iter().zip(&whole) {
                if let Some(verdict) = verdict {
                    prop_assert!(point.value.is_finite());
                    prop_assert!((0.0..=1.0).contains(&verdict.anomaly_score), "{} {:?}", spec.name, verdict);
                }
            }
            let cut = cut.min(points.len());
            let (mut first, mut second, mut parts) = (bank(spec), bank(spec), Vec::new());
            first.observe(&slots[..cut], &points[..cut], &mut parts);
            second.restore(&first.snapshot()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            second.observe(&slots[cut..], &points[cut..], &mut parts);
            prop_assert_eq!(&parts, &whole, "{}", spec.name);
        }
    }

    #[test]
    fn a_snapshot_in_slices_is_that_of_when_it_began(
        before in proptest::collection::vec((any_value(), any_step_ms(), 0..12_u32), 1..200),
        during in proptest::collection::vec((any_value(), 0..16_u32, 0..5_usize, any::<bool>()), 0..60),
    ) {
        for spec in DETECTORS {
            let (mut bank, mut undisturbed, mut time_ms) = (bank(spec), bank(spec), 0);
            for (value, step_ms, slot) in &before {
                time_ms += step_ms;
                bank.observe(&[Slot(*slot)], &[Point { time_ms, value: *value }], &mut Vec::new());
            }
            let whole = bank.snapshot();
            undisturbed.restore(&whole).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(bank.continue_snapshot(1).is_none(), "none was begun");
            bank.begin_snapshot();
            let mut written = None;
            for (value, slot, slice, forgets) in &during {
                time_ms += 1;
                let points = [Point { time_ms, value: *value }];
                let (mut verdicts, mut expected) = (Vec::new(), Vec::new());
                bank.observe(&[Slot(*slot)], &points, &mut verdicts);
                undisturbed.observe(&[Slot(*slot)], &points, &mut expected);
                prop_assert_eq!(verdicts, expected, "{}", spec.name);
                if *forgets {
                    bank.forget(Slot(slot + 1));
                    undisturbed.forget(Slot(slot + 1));
                }
                written = written.or_else(|| bank.continue_snapshot(*slice));
            }
            let written = written.or_else(|| bank.continue_snapshot(usize::MAX));
            prop_assert!(written.as_ref() == Some(&whole), "{}", spec.name);
            prop_assert!(bank.snapshot() == undisturbed.snapshot(), "{}", spec.name);
        }
    }

    #[test]
    fn a_restored_snapshot_is_the_same_and_arbitrary_bytes_never_panic(
        steps in proptest::collection::vec((any_value(), any_step_ms(), 0..3_u32), 1..400),
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        for spec in DETECTORS {
            let (mut first, mut second, mut time_ms) = (bank(spec), bank(spec), 0);
            for (value, step_ms, slot) in &steps {
                time_ms += step_ms;
                first.observe(&[Slot(*slot)], &[Point { time_ms, value: *value }], &mut Vec::new());
            }
            let snapshot = first.snapshot();
            second.restore(&snapshot).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(second.snapshot() == snapshot, "{}", spec.name);
            prop_assert!(second.restore(&snapshot[..snapshot.len() - 1]).is_err());
            // Behind what begins a snapshot of this detector, and a number of states, there may be anything.
            let empty = bank(spec).snapshot();
            let count = (bytes.len() / 20 + 1) as u8;
            let content = [&empty[..empty.len() - 1], &[count], &bytes].concat();
            for bytes in [content, [&[empty[0]], &bytes[..]].concat(), bytes.clone()] {
                let mut third = bank(spec);
                if third.restore(&bytes).is_ok() {
                    observe(&mut *third, &points(noisy(100)));
                }
            }
        }
    }
}
