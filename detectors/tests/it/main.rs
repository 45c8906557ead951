//! Properties that every detector in the list must have.

use foreshock_detectors::{DETECTORS, DetectorBank, DetectorSpec, Point, Slot, Verdict};
use proptest::prelude::*;

fn bank(spec: &DetectorSpec) -> Box<dyn DetectorBank> {
    (spec.build)(serde_json::json!({})).expect("the defaults are valid")
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
        let unknown = (spec.build)(serde_json::json!({"nonsense": 1})).err().unwrap().to_string();
        assert!(unknown.contains("nonsense"), "{unknown}");
        let negative = (spec.build)(serde_json::json!({"min_rel_dev": -1})).err().unwrap().to_string();
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
        for bytes in [&b""[..], b"\x02[]", b"\x01nonsense"] {
            assert!(bank(spec).restore(bytes).is_err(), "{}", spec.name);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

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
