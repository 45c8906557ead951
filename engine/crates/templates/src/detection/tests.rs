use super::*;

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const INFO: u8 = 9;

fn line(time_ms: i64, source: u64, template_id: u32) -> LogLine {
    LogLine { time_ms, source, severity_number: INFO, mined: Mined { template_id, is_new: false } }
}

fn new_line(time_ms: i64, template_id: u32) -> LogLine {
    LogLine { mined: Mined { template_id, is_new: true }, ..line(time_ms, 0, template_id) }
}

fn observe_all(detector: &mut LogDetector, lines: impl IntoIterator<Item = LogLine>) -> Vec<Finding> {
    let mut findings = Vec::new();
    lines.into_iter().for_each(|line| detector.observe(&line, &mut findings));
    findings
}

fn advance(detector: &mut LogDetector, time_ms: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    detector.advance(time_ms, &mut findings);
    findings
}

/// `count` lines of one template, spread over the minute.
fn minute(minute: i64, count: i64, template_id: u32) -> impl Iterator<Item = LogLine> {
    (0..count).map(move |at| line(minute * MINUTE_MS + at * MINUTE_MS / count, 0, template_id))
}

#[test]
fn a_new_template_is_told_after_the_hold_off() {
    let mut detector = LogDetector::default();
    observe_all(&mut detector, [new_line(0, 1)]);
    let begun = 11 * MINUTE_MS;
    assert_eq!(observe_all(&mut detector, [new_line(begun, 2), line(begun + 5, 0, 2)]), []);
    assert_eq!(advance(&mut detector, begun + MINUTE_MS - 1), []);
    let told = Finding::NewTemplate { template_id: 2, first_ms: begun, lines: 2 };
    assert_eq!(advance(&mut detector, begun + MINUTE_MS), [told]);
    assert_eq!(observe_all(&mut detector, [line(begun + 2 * MINUTE_MS, 0, 2)]), []);
}

#[test]
fn what_is_new_at_the_start_or_was_merged_is_not_told() {
    let mut detector = LogDetector::default();
    observe_all(&mut detector, [new_line(0, 1), new_line(9 * MINUTE_MS, 2)]);
    observe_all(&mut detector, [new_line(11 * MINUTE_MS, 3), new_line(11 * MINUTE_MS + 1, 4)]);
    observe_all(&mut detector, [new_line(11 * MINUTE_MS + 2, 5)]);
    detector.merge(Merge { from: 3, into: 1 });
    detector.merge(Merge { from: 5, into: 4 });
    let told = Finding::NewTemplate { template_id: 4, first_ms: 11 * MINUTE_MS + 1, lines: 2 };
    assert_eq!(advance(&mut detector, 20 * MINUTE_MS), [told]);
}

#[test]
fn bursts_and_drops_are_told_once() {
    let mut detector = LogDetector::default();
    let counts = |at: i64| if (30..33).contains(&at) { 400 } else { 40 };
    let mut findings = Vec::new();
    for at in 0..40 {
        findings.extend(observe_all(&mut detector, minute(at, counts(at), 7).chain(minute(at, 0, 8))));
    }
    // The template falls silent, and another goes on.
    for at in 40..45 {
        findings.extend(observe_all(&mut detector, minute(at, 5, 8)));
    }
    let [
        Finding::Burst { template_id: 7, window_start_ms: burst_ms, lines: 400, lines_expected, score },
        drop,
    ] = findings[..]
    else {
        panic!("{findings:?}")
    };
    assert_eq!(burst_ms, 30 * MINUTE_MS);
    assert!((38.0..42.0).contains(&lines_expected) && score > 6.0, "{lines_expected} {score}");
    let Finding::Drop { template_id: 7, window_start_ms: drop_ms, lines: 0, score, .. } = drop else {
        panic!("{drop:?}")
    };
    assert!(drop_ms == 40 * MINUTE_MS && score < -6.0);
}

#[test]
fn a_silent_stream_is_no_drop() {
    let mut detector = LogDetector::default();
    for at in (0..30).chain(60..90) {
        assert_eq!(observe_all(&mut detector, minute(at, 40, 7)), []);
    }
}

#[test]
fn merged_templates_have_the_rate_of_both() {
    let mut detector = LogDetector::default();
    for at in 0..30 {
        assert_eq!(observe_all(&mut detector, minute(at, 40, 7)), []);
        assert_eq!(
            observe_all(
                &mut detector,
                minute(at, 40, 9).map(|one| line((at + 1) * MINUTE_MS - 1, 0, one.mined.template_id))
            ),
            []
        );
    }
    detector.merge(Merge { from: 9, into: 7 });
    for at in 30..60 {
        assert_eq!(observe_all(&mut detector, minute(at, 80, 7)), []);
    }
    assert_eq!(detector.counters().templates, 1);
}

#[test]
fn a_step_that_never_was_is_told_and_learned() {
    let mut detector = LogDetector::default();
    let cycle = |at: i64| [1, 2, 3].map(|id| line(at * 10 + i64::from(id), at as u64 % 4, id));
    assert_eq!(observe_all(&mut detector, (0..400).flat_map(cycle)), []);
    let skip = [line(5000, 0, 1), line(5001, 0, 3)];
    let told =
        Finding::UnusualOrder { source: 0, time_ms: 5001, from_template_id: 1, template_id: 3, steps: 400 };
    assert_eq!(observe_all(&mut detector, skip), [told]);
    assert_eq!(observe_all(&mut detector, [line(5002, 1, 1), line(5003, 1, 3)]), []);
}

#[test]
fn lines_that_interleave_at_random_have_no_order() {
    let mut detector = LogDetector::default();
    let mut state = 1_u64;
    let lines = (0..20_000).map(|at| {
        state = crate::hashing::mix(state);
        // Some templates are far rarer than others.
        line(at, 0, (state % 1000).isqrt() as u32)
    });
    assert_eq!(observe_all(&mut detector, lines), []);
}

#[test]
fn merged_templates_have_the_steps_of_both() {
    let mut detector = LogDetector::default();
    let cycle =
        |at: i64| [1, 2, if at % 2 == 0 { 3 } else { 4 }].map(|id| line(at * 10 + i64::from(id), 0, id));
    assert_eq!(observe_all(&mut detector, (0..400).flat_map(cycle)), []);
    detector.merge(Merge { from: 4, into: 3 });
    let cycle = |at: i64| [1, 2, 3].map(|id| line(at * 10 + i64::from(id), 0, id));
    assert_eq!(observe_all(&mut detector, (400..800).flat_map(cycle)), []);
    assert_eq!(observe_all(&mut detector, [line(8001, 0, 1), line(8002, 0, 3)]).len(), 1);
}

#[test]
fn a_shift_of_severity_is_told_once_each_way() {
    let mut detector = LogDetector::default();
    let mut findings = Vec::new();
    for at in 0..60 {
        let is_bad = (30..32).contains(&at);
        let lines = (0..50).map(|n| LogLine {
            severity_number: if is_bad && n % 2 == 0 || n == 0 { 17 } else { INFO },
            ..line(at * MINUTE_MS + n, 5, 1)
        });
        findings.extend(observe_all(&mut detector, lines));
    }
    assert_eq!(findings.len(), 2, "{findings:?}");
    for (finding, expected) in
        findings.iter().zip([SeverityClass::WarningOrWorse, SeverityClass::ErrorOrWorse])
    {
        let Finding::SeverityShift { source: 5, window_start_ms, class, share, score, .. } = *finding else {
            panic!("{finding:?}")
        };
        assert!(window_start_ms == 30 * MINUTE_MS && class == expected && share == 0.5 && score > 6.0);
    }
}

#[test]
fn late_lines_are_counted_only() {
    let mut detector = LogDetector::default();
    observe_all(&mut detector, [line(10 * MINUTE_MS, 0, 1), line(MINUTE_MS, 0, 2), line(i64::MIN, 0, 3)]);
    let counters = detector.counters();
    assert_eq!((counters.lines, counters.lines_late, counters.templates), (3, 2, 1));
}

#[test]
fn a_config_out_of_reason_is_brought_into_it() {
    let config = DetectionConfig {
        window_ms: i64::MIN,
        warm_up_ms: i64::MAX,
        hold_off_ms: -1,
        score_min: f64::NAN,
        steps_min: 0,
        unseen_share_max: f64::INFINITY,
        templates_max: 0,
        sources_max: usize::MAX,
    }
    .within_reason();
    assert_eq!(config, config.clone().within_reason());
    assert!(config.window_ms > 0 && config.score_min.is_finite() && config.templates_max > 0);
}
