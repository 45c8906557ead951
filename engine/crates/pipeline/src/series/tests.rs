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

#[test]
fn series_that_find_no_room_are_named_with_their_service() {
    let settings = AnalysisSettings { series_max: 2, ..AnalysisSettings::default() };
    let mut stage = stage(&settings);
    let mut out = Vec::new();
    for step in 0..60 {
        for (metric, kind) in [
            ("a", MetricKind::Gauge),
            ("b", MetricKind::Counter),
            ("c", MetricKind::Gauge),
            ("d", MetricKind::Counter),
        ] {
            let labels = Labels::of("cart", metric).canonical();
            let (time_ms, value) = (step * STEP_MS, step as f64);
            stage.on_sample(&SampleRow { labels: &labels, kind, time_ms, start_ms: None, value }, &mut out);
        }
        stage.flush(&mut out);
        stage.advance(step * STEP_MS, &mut out);
    }
    let [cart] = &stage.coverage(60 * STEP_MS)[..] else { panic!("one service") };
    assert_eq!((cart.modelled, cart.refused.series, cart.signals.metrics.series), (2, 2, 4));
    let refused = cart.refused.listed.iter().map(|series| series.metric.as_str());
    let refused: BTreeSet<&str> = refused.collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(cart.not_caught(0).iter().any(|gap| gap.starts_with("2 series are refused")));
}

/// Thirty minutes of a service that logs ten lines a second; those of the given steps come so many steps later. Returns
/// what is found, restarting after each step if `restarts`.
fn log_lines(
    late: std::ops::Range<i64>,
    by: i64,
    lines: impl Fn(i64) -> i64,
    restarts: bool,
) -> (Vec<Finding>, TaskStatus) {
    let new = || {
        let detectors: Vec<DetectorSettings> = serde_json::from_str(r#"[{"kind": "ewma"}]"#).unwrap();
        SeriesStage::new(&AnalysisSettings::default(), &detectors).unwrap()
    };
    let mut stage = new();
    let mut out = Vec::new();
    for step in 0..180 {
        let own = (!late.contains(&step)).then_some(step);
        let others = late.contains(&(step - by)).then_some(step - by);
        for of in own.into_iter().chain(others) {
            for line in 0..lines(of) {
                let (time_ms, body, severity) = (of * STEP_MS + line * 10, "order placed", 9);
                let row = LogRow { service: "cart", time_ms, severity, body, trace_id: None, span_id: None };
                stage.on_log(&row, &mut out);
            }
        }
        stage.advance((step + 1) * STEP_MS, &mut out);
        if restarts {
            let sections = snapshot(&mut stage);
            stage = new();
            assert_eq!(stage.restore(&sections).unwrap(), []);
        }
    }
    (out, stage.status())
}

/// The newest that was said of each point: id to whether it is an anomaly.
fn verdicts(findings: &[Finding]) -> std::collections::BTreeMap<&str, bool> {
    let anomalies = findings.iter().filter_map(Finding::anomaly);
    anomalies.map(|anomaly| (anomaly.id.as_str(), anomaly.anomaly_score > 0.5)).collect()
}

/// About a hundred, not always the same.
fn usual(step: i64) -> i64 {
    98 + step * 7 % 5
}

#[test]
fn an_anomaly_for_want_of_lines_is_taken_back_when_they_come() {
    let (found, status) = log_lines(120..123, 4, usual, false);
    assert_eq!((status.late_rows, status.amended_rows > 250), (0, true));
    let told = found.iter().filter(|finding| matches!(finding, Finding::Anomaly(_))).count();
    assert!(told > 0, "the hole was seen");
    let taken_back = found.iter().filter_map(|finding| match finding {
        Finding::Amended(amendment) => Some(amendment),
        _ => None,
    });
    let taken_back: Vec<_> = taken_back.collect();
    assert!(!taken_back.is_empty());
    for amendment in taken_back {
        assert!(amendment.was_told && amendment.anomaly.amended, "{amendment:?}");
    }
    let of_the_hole = |id: &str| {
        found.iter().filter_map(Finding::anomaly).any(|anomaly| {
            anomaly.id == id && anomaly.time_ms > 120 * STEP_MS && anomaly.time_ms <= 124 * STEP_MS
        })
    };
    let left: Vec<_> = verdicts(&found).into_iter().filter(|(id, is)| *is && of_the_hole(id)).collect();
    assert_eq!(left, [], "nothing of it is left");
    assert!(found == log_lines(120..123, 4, usual, true).0, "a restart makes no difference");
}

#[test]
fn an_anomaly_of_lines_that_came_late_is_told_late() {
    let burst = |step: i64| if (120..123).contains(&step) { 900 } else { usual(step) };
    let (in_time, _) = log_lines(0..0, 0, burst, false);
    let (late, status) = log_lines(120..123, 3, burst, false);
    assert_eq!(status.late_rows, 0);
    let told_late = late.iter().filter_map(|finding| match finding {
        Finding::Amended(amendment) if !amendment.was_told => Some(&amendment.anomaly),
        _ => None,
    });
    let told_late: Vec<&model::Anomaly> = told_late.collect();
    assert!(!told_late.is_empty() && told_late.iter().all(|anomaly| anomaly.amended && anomaly.value > 15.0));
    let first = |findings: &[Finding]| {
        let high = findings.iter().filter_map(Finding::anomaly).filter(|anomaly| anomaly.value > 15.0);
        high.map(|anomaly| anomaly.time_ms).min()
    };
    assert_eq!(first(&late), first(&in_time), "of the same points");
}

#[test]
fn a_state_from_before_there_were_amendments_is_taken_up() {
    let mut before = stage(&AnalysisSettings::default());
    run(&mut before, 0..50);
    let mut sections = snapshot(&mut before);
    sections.retain(|section| section.name != AMENDMENTS && section.name != "coverage");
    // Detectors number their own sections.
    let ours = sections.iter_mut().filter(|section| !section.name.starts_with("detector/"));
    for section in ours.filter(|section| section.bytes.first() == Some(&state::VERSION)) {
        section.bytes[0] = 5;
    }
    let mut after = stage(&AnalysisSettings::default());
    assert_eq!(after.restore(&sections).unwrap(), []);
    assert_eq!(run(&mut after, 50..60), run(&mut before, 50..60));
}

/// Half an hour of ten requests a second, of which some in the last minutes are slow and fail, each with its line; a restart now and then
/// if so told.
fn requests(restart_every: i64) -> Vec<Finding> {
    let new = || {
        let detectors: Vec<DetectorSettings> = serde_json::from_str(r#"[{"kind": "ewma"}]"#).unwrap();
        SeriesStage::new(&AnalysisSettings::default(), &detectors).unwrap()
    };
    let mut stage = new();
    let mut out = Vec::new();
    for step in 0..180 {
        for request in 0..100 {
            let (time_ms, trace_id) = (step * STEP_MS + request * 100, (step * 1_000 + request + 1) as u128);
            let is_hit = step >= 150 && request % 3 == 0;
            let duration_us = if is_hit { 900_000 + request } else { 10_000 + request * 97 % 1_000 };
            let (end_ms, caller, callee) = (time_ms + 5, "web".to_owned(), "cart".to_owned());
            stage.on_span(&SpanRow {
                start_us: (end_ms * 1_000) - duration_us,
                duration_us,
                trace_id,
                span_id: 0,
                parent: None,
                service: "cart",
                operation: "buy",
                kind: 2,
                error: is_hit,
            });
            stage.on_call(&EdgeCall { caller, callee, end_ms, duration_us, error: is_hit, trace_id });
            let (severity, body) = if is_hit { (17, "cannot reach stock") } else { (9, "bought") };
            let (trace_id, span_id) = (Some(trace_id), None);
            stage.on_log(&LogRow { time_ms, service: "cart", severity, body, trace_id, span_id }, &mut out);
        }
        stage.advance((step + 1) * STEP_MS, &mut out);
        stage.close_calls((step + 1) * STEP_MS, &mut out);
        if step % restart_every == restart_every - 1 {
            let sections = snapshot(&mut stage);
            stage = new();
            assert_eq!(stage.restore(&sections).unwrap(), []);
        }
    }
    out
}

#[test]
fn an_anomaly_names_traces_that_show_it() {
    let found = requests(1_000);
    let anomalies = found.iter().filter_map(Finding::anomaly);
    let anomalies: Vec<_> = anomalies.filter(|anomaly| anomaly.time_ms > 150 * STEP_MS).collect();
    for metric in ["spans.duration.p95", "spans.error_ratio", "calls.duration.p95", "calls.error_ratio"] {
        let of_metric = || anomalies.iter().filter(|anomaly| anomaly.labels.name() == metric);
        assert!(of_metric().count() > 0, "{metric}");
        for anomaly in of_metric() {
            assert_eq!(anomaly.exemplar_trace_ids.len(), 3, "{metric}");
            for trace_id in &anomaly.exemplar_trace_ids {
                let id = i64::from_str_radix(trace_id, 16).expect("as it is written");
                let (step, request) = ((id - 1) / 1_000, (id - 1) % 1_000);
                assert!(
                    step >= 150 && request % 3 == 0,
                    "{metric}: {trace_id} is one of those that were hit"
                );
            }
        }
    }
    let lines = anomalies.iter().filter(|anomaly| anomaly.labels.name() == "logs.rate");
    assert!(lines.clone().count() > 0 && lines.clone().all(|line| line.exemplar_trace_ids.len() == 3));
    assert!(requests(7) == found, "restarts change nothing");
}
