use model::{MetricKind, SampleRow};

use super::*;
use crate::series::SeriesStage;
use crate::settings::AnalysisSettings;
use crate::wire::Finding;

const HOUR_MS: i64 = 60 * MINUTE_MS;

fn rules(json: &str) -> Vec<MissingRule> {
    serde_json::from_str(json).unwrap()
}

/// A series of one slot that is filled, with points at these times and of these values.
fn fills(policy: &str, points: impl IntoIterator<Item = (i64, f64)>) -> Fills {
    let mut fills = Fills::new(&rules(&format!(r#"[{{"policy": "{policy}"}}]"#)));
    fills.admit(0, &Labels::of("cart", "failed"));
    points.into_iter().for_each(|(time_ms, value)| fills.observe(0, time_ms, value));
    fills
}

fn minutes(from: i64, to: i64) -> impl Iterator<Item = (i64, f64)> {
    (from..to).map(|minute| (minute * MINUTE_MS, 7.0))
}

#[test]
fn what_is_missing_is_filled_at_the_interval_of_the_series() {
    for (policy, value) in [("hold", 7.0), ("zero", 0.0)] {
        let mut fills = fills(policy, minutes(0, 10));
        assert_eq!(fills.advance(10 * MINUTE_MS), [], "the next one may still come");
        let filled: Vec<Filled> =
            (11..=15).flat_map(|minute| fills.advance(minute * MINUTE_MS + 5_000)).collect();
        let expected = (10..=14).map(|minute| Filled { time_ms: minute * MINUTE_MS, slot: 0, value });
        assert_eq!(filled, expected.collect::<Vec<_>>());
        // It is back, and missing again.
        fills.observe(0, 15 * MINUTE_MS, 9.0);
        let filled = fills.advance(18 * MINUTE_MS);
        let value = if policy == "hold" { 9.0 } else { 0.0 };
        assert!(filled.iter().all(|filled| filled.value == value), "{filled:?}");
        assert_eq!(filled.iter().map(|filled| filled.time_ms / MINUTE_MS).collect::<Vec<_>>(), [16]);
        assert_eq!(fills.filled(), 6);
    }
}

#[test]
fn who_pauses_often_is_known_by_points_that_follow_each_other() {
    let often = minutes(0, 600).filter(|(time_ms, _)| time_ms / MINUTE_MS % 7 < 3);
    let mut fills = fills("zero", often);
    let filled: usize = (598..=603).map(|minute| fills.advance(minute * MINUTE_MS).len()).sum();
    assert!((1..=5).contains(&filled), "{filled}");
    let interval_ms = fills.fills[0].as_ref().map_or(0, Fill::interval_ms);
    assert!((MINUTE_MS..MINUTE_MS * 5 / 4).contains(&interval_ms), "{interval_ms}");
}

#[test]
fn event_time_decides_and_not_its_steps() {
    let run = |step_ms: i64| {
        let mut fills = fills("zero", minutes(0, 10));
        fills.advance(10 * MINUTE_MS);
        let steps = 1..=(5 * MINUTE_MS / step_ms);
        let filled = steps.flat_map(|step| fills.advance(10 * MINUTE_MS + step * step_ms)).collect();
        (filled, fills.state())
    };
    let (expected, state): (Vec<Filled>, _) = run(1_000);
    assert_eq!(expected.len(), 5);
    assert_eq!(run(MINUTE_MS), (expected.clone(), state.clone()));
    assert_eq!(run(5 * MINUTE_MS), (expected, state));
    // What passed for all at once is nobody's.
    let mut fills = fills("zero", minutes(0, 10));
    fills.advance(10 * MINUTE_MS);
    assert_eq!(fills.advance(9 * HOUR_MS), []);
    assert_eq!(fills.advance(9 * HOUR_MS + 2 * MINUTE_MS).len(), 2);
}

#[test]
fn times_at_the_ends_of_the_range_and_bad_states_are_borne() {
    let mut given = fills("zero", [i64::MIN, -1, 0, 1, i64::MAX].map(|time_ms| (time_ms, 1.0)));
    given.advance(i64::MAX);
    let mut section = given.state().unwrap();
    let mut restored = Fills::new(&rules(r#"[{"policy": "zero"}]"#));
    restored.restore(std::slice::from_ref(&section)).unwrap();
    assert_eq!(restored.state(), Some(section.clone()));
    section.bytes.pop();
    assert!(restored.restore(std::slice::from_ref(&section)).is_err());
    restored.restore(&[]).unwrap();
    let mut unsound = fills("zero", [(0, 1.0)]);
    unsound.fills[0].as_mut().unwrap().interval_ms = f64::NAN;
    assert!(restored.restore(&[unsound.state().unwrap()]).is_err());
}

/// A day of a series with a point each 15 s that is silent in the last hour but one; restarts after so many steps. Returns what the anomalies of
/// that hour were of, by detector, and the points that were filled in.
fn hour_of_silence(policy: &str, restart_every: Option<i64>) -> (Vec<(String, i64)>, u64) {
    const STEP_MS: i64 = 15_000;
    let on_missing = rules(&format!(r#"[{{"match": ["__name__=failed"], "policy": "{policy}"}}]"#));
    let settings = AnalysisSettings { on_missing, ..AnalysisSettings::default() };
    let detectors: Vec<_> = serde_json::from_str(r#"[{"kind": "ewma"}, {"kind": "series_gone"}]"#).unwrap();
    let new = || SeriesStage::new(&settings, &detectors).unwrap();
    let (mut stage, mut out) = (new(), Vec::new());
    let silent_ms = 22 * HOUR_MS..23 * HOUR_MS;
    for step in 0..24 * HOUR_MS / STEP_MS {
        let time_ms = step * STEP_MS;
        for name in ["failed", "passed"] {
            if name == "failed" && silent_ms.contains(&time_ms) {
                continue;
            }
            let labels = Labels::of("cart", name).canonical();
            let value = [90.0, 105.0, 110.0, 95.0][(step % 4) as usize];
            let row = SampleRow { labels: &labels, time_ms, kind: MetricKind::Gauge, start_ms: None, value };
            stage.on_sample(&row, &mut out);
        }
        stage.flush(&mut out);
        stage.advance(time_ms, &mut out);
        if restart_every.is_some_and(|every| step % every == 0) {
            let mut sections = stage.begin_snapshot();
            let rest = || stage.continue_snapshot(usize::MAX);
            sections.extend(std::iter::repeat_with(rest).flatten().next().unwrap());
            stage = new();
            assert_eq!(stage.restore(&sections).unwrap(), []);
        }
    }
    let anomalies = out.into_iter().filter_map(|finding| match finding {
        Finding::Anomaly(anomaly) if silent_ms.contains(&anomaly.time_ms) => {
            Some((anomaly.detector, anomaly.value as i64))
        }
        _ => None,
    });
    let mut anomalies: Vec<_> = anomalies.collect();
    anomalies.dedup_by(|a, b| a.0 == b.0);
    (anomalies, stage.status().points_filled)
}

#[test]
fn each_policy_makes_its_own_of_an_hour_of_silence() {
    let gone = |anomalies: &[(String, i64)]| anomalies.iter().any(|(detector, _)| detector == "series_gone");
    let (alert, filled) = hour_of_silence("alert", None);
    assert!(gone(&alert) && filled == 0, "{alert:?}");
    let (skip, filled) = hour_of_silence("skip", None);
    assert!(skip.is_empty() && filled == 0, "{skip:?}");
    let (hold, filled) = hour_of_silence("hold", None);
    assert!(hold.is_empty() && (235..=240).contains(&filled), "{hold:?} {filled}");
    let (zero, filled) = hour_of_silence("zero", None);
    assert_eq!(zero, [("ewma".to_owned(), 0)]);
    assert!((235..=240).contains(&filled), "{filled}");
    // A state holds all of it.
    assert_eq!(hour_of_silence("zero", Some(7)), (zero, filled));
}
