use super::*;
use crate::settings::Size;

const STEP_MS: i64 = 10_000;
const GROUPS: i64 = 6;
const SERIES_OF_A_GROUP: i64 = 10;
/// Steps that a group is active before the next is.
const TURN: i64 = 180;

fn stage(settings: &AnalysisSettings) -> SeriesStage {
    let detectors = r#"[{"kind": "ewma"}, {"kind": "seasonal", "match": ["__name__!=cpu_3"]}]"#;
    SeriesStage::new(settings, &serde_json::from_str::<Vec<DetectorSettings>>(detectors).unwrap()).unwrap()
}

/// Room for two groups and a bit, where all of them take three times as much.
fn small() -> AnalysisSettings {
    AnalysisSettings { series_memory: Size::from_bytes(90_000), ..AnalysisSettings::default() }
}

/// The next step: of each active series a point, every second one a counter, some of them broken.
fn give(stage: &mut SeriesStage, step: i64, out: &mut Vec<Finding>) {
    let time_ms = step * STEP_MS;
    for i in 0..SERIES_OF_A_GROUP {
        let group = step / TURN % GROUPS;
        let labels = Labels::of(&format!("service_{group}"), &format!("cpu_{i}")).canonical();
        let is_broken = step % TURN > 100 && (step / TURN + i) % 4 == 0;
        let value = [9.0, 10.5, 11.0, 9.5][(step % 4) as usize] + if is_broken { 90.0 } else { 0.0 };
        let is_counter = i % 2 == 0;
        let kind = if is_counter { MetricKind::Counter } else { MetricKind::Gauge };
        let value = if is_counter { value + (step * 100 + i) as f64 } else { value };
        stage.on_sample(&SampleRow { labels: &labels, kind, time_ms, start_ms: None, value }, out);
    }
    stage.flush(out);
    stage.advance(time_ms, out);
}

fn run(stage: &mut SeriesStage, steps: std::ops::Range<i64>) -> Vec<Finding> {
    let mut out = Vec::new();
    for step in steps {
        give(stage, step, &mut out);
    }
    out
}

fn snapshot(stage: &mut SeriesStage) -> Vec<StateSection> {
    let mut sections = stage.begin_snapshot();
    sections.extend(std::iter::repeat_with(|| stage.continue_snapshot(7)).flatten().next().unwrap());
    sections
}

#[test]
fn to_lie_on_disk_for_a_while_changes_nothing() {
    let steps = 0..TURN * GROUPS * 3;
    let mut roomy = stage(&AnalysisSettings::default());
    let expected = run(&mut roomy, steps.clone());
    assert!(expected.iter().filter(|finding| matches!(finding, Finding::Anomaly(_))).count() > 100);
    assert!(expected.iter().any(|finding| matches!(finding, Finding::Normal { .. })));

    let mut tight = stage(&small());
    let mut findings = Vec::new();
    let mut aside_max = 0;
    for step in steps {
        give(&mut tight, step, &mut findings);
        aside_max = tight.status().series_aside.max(aside_max);
        if step % 777 == 0 {
            let sections = snapshot(&mut tight);
            tight = stage(&small());
            assert_eq!(tight.restore(&sections).unwrap(), []);
            assert_eq!(snapshot(&mut tight), sections);
        }
    }
    assert!(aside_max >= 30, "only {aside_max} lay on disk");
    let status = tight.status();
    assert_eq!((status.series_refused, status.series_forgotten), (0, 0));
    assert_eq!(status.series + status.series_aside, roomy.status().series);
    assert!(findings == expected, "{} and {} findings", findings.len(), expected.len());
}

#[test]
fn without_a_disk_they_are_forgotten_and_counted() {
    let folder = Some("/nowhere/at/all".into());
    let mut tight = stage(&AnalysisSettings { series_disk_folder: folder, ..small() });
    run(&mut tight, 0..TURN * GROUPS);
    let status = tight.status();
    assert!(status.series_forgotten > 30 && status.series_aside == 0, "{status:?}");
    assert!(status.series_bytes <= 100_000, "{status:?}");
}
