//! Properties that every detector in the list must have.

use foreshock_detectors::{DETECTORS, DetectorBank, DetectorSpec, Point, Slot, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

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
fn noise_does_not_alarm_and_a_spike_does() {
    for spec in DETECTORS {
        let mut values: Vec<f64> = noisy(600).collect();
        assert_eq!(alarms(&observe(&mut *bank(spec), &points(values.clone()))), [0; 0], "{}", spec.name);
        values[500] = 400.0;
        assert!(alarms(&observe(&mut *bank(spec), &points(values))).contains(&500), "{}", spec.name);
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
        for bytes in [&b""[..], b"\x01[]", b"\x02[]", b"\x02{}", b"\x02nonsense"] {
            assert!(bank(spec).restore(bytes).is_err(), "{}", spec.name);
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

/// Every JSON that differs from `value` in one number or in the length of one list.
fn damaged(value: &Value) -> Vec<Value> {
    match value {
        Value::Number(number) => {
            let mut others = vec![json!(0), json!(-1), json!(65535), json!(1e38), json!(-1e300), Value::Null];
            others.retain(|other| *other != Value::Number(number.clone()));
            others
        }
        Value::Array(items) => {
            let mut all = vec![json!([])];
            if let Some((last, rest)) = items.split_last() {
                all.push(json!(rest));
                all.push(items.iter().chain([last]).cloned().collect());
            }
            // The first and the last few stand for the rest.
            for i in (0..items.len()).filter(|i| *i < 3 || i + 3 > items.len()) {
                for item in damaged(&items[i]) {
                    let mut items = items.clone();
                    items[i] = item;
                    all.push(Value::Array(items));
                }
            }
            all
        }
        Value::Object(fields) => {
            let change = |(key, field): (&String, &Value)| {
                let mut all = Vec::new();
                for field in damaged(field) {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), field);
                    all.push(Value::Object(fields));
                }
                all
            };
            fields.iter().flat_map(change).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_damaged_snapshot_is_refused_or_harmless() {
    for spec in DETECTORS {
        let (mut good, mut refused) = (bank(spec), 0);
        // Half an hour apart, for six days: the season is known.
        let slowly =
            |len: usize| points(noisy(len)).into_iter().map(|p| Point { time_ms: p.time_ms * 180, ..p });
        let known: Vec<Point> = slowly(288).collect();
        observe(&mut *good, &known);
        let snapshot = good.snapshot();
        let content: Value = serde_json::from_slice(&snapshot[1..]).unwrap();
        let next: Vec<Point> = slowly(360).skip(288).collect();
        for content in damaged(&content) {
            let mut bytes = vec![snapshot[0]];
            serde_json::to_writer(&mut bytes, &content).unwrap();
            let mut restored = bank(spec);
            if restored.restore(&bytes).is_err() {
                refused += 1;
                assert!(restored.snapshot() == bank(spec).snapshot(), "{}: it is unchanged", spec.name);
                continue;
            }
            for verdict in observe(&mut *restored, &next).into_iter().flatten() {
                let numbers = [verdict.expected, verdict.lower, verdict.upper, verdict.anomaly_score];
                assert!(numbers.iter().all(|number| number.is_finite()), "{}: {verdict:?}", spec.name);
            }
            bank(spec).restore(&restored.snapshot()).unwrap();
        }
        assert!(refused > 10, "{}: {refused}", spec.name);
    }
}

#[test]
fn batches_and_snapshots_between_them_change_nothing_on_a_long_series() {
    for spec in DETECTORS {
        let mut points = points(noisy(1000));
        for point in points.iter_mut().filter(|point| point.time_ms % 1_370_000 == 0) {
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
}
