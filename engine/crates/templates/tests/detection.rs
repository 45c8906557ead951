//! What holds for the detection on any lines.

use foreshock_templates::{DetectionConfig, Finding, Limits, LogDetector, LogLine, Merge, TemplateMiner};
use proptest::collection::vec;
use proptest::prelude::*;

/// Windows so short and bounds so tight that short streams reach all of them.
fn tight() -> DetectionConfig {
    DetectionConfig {
        window_ms: 10,
        warm_up_ms: 20,
        hold_off_ms: 15,
        score_min: 1.0,
        steps_min: 2,
        unseen_share_max: 0.6,
        templates_max: 4,
        sources_max: 3,
    }
}

fn config() -> impl Strategy<Value = DetectionConfig> {
    let roomy = DetectionConfig { templates_max: 100, sources_max: 100, ..tight() };
    prop_oneof![Just(tight()), Just(roomy), Just(DetectionConfig::default())]
}

/// What a caller does with a detector.
#[derive(Clone, Debug)]
enum Step {
    Line(LogLine),
    Merge(Merge),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let delta_ms = prop_oneof![8 => 0..6_i64, 1 => -30..0_i64, 1 => 0..200_i64];
    let line = (delta_ms, 0..5_u64, 0..24_u8, 0..9_u32, 0..6_u8);
    let extreme = prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), any::<i64>()];
    vec((line, 0..20_u8, extreme, any::<bool>()), 0..300).prop_map(|all| {
        let mut now_ms = 1_000_i64;
        let steps = all.into_iter().map(
            |((delta_ms, source, severity_number, id, newness), kind, extreme_ms, goes_far)| {
                if kind == 0 && id > 0 {
                    return Step::Merge(Merge { from: id, into: id - 1 });
                }
                now_ms += delta_ms;
                let time_ms = if kind == 1 && goes_far && newness == 0 { extreme_ms } else { now_ms };
                let mined = foreshock_templates::Mined { template_id: id, is_new: newness == 0 };
                Step::Line(LogLine { time_ms, source, severity_number, mined })
            },
        );
        steps.collect()
    })
}

fn take(detector: &mut LogDetector, steps: &[Step], findings: &mut Vec<Finding>) {
    for step in steps {
        match step {
            Step::Line(line) => detector.observe(line, findings),
            Step::Merge(merge) => detector.merge(*merge),
        }
    }
}

fn written(detector: &LogDetector) -> Vec<u8> {
    postcard::to_stdvec(detector).expect("plain data")
}

fn read(bytes: &[u8]) -> Result<LogDetector, postcard::Error> {
    postcard::from_bytes(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_detector_goes_on_as_if_nothing_had_been(
        steps in steps(),
        config in config(),
        split in any::<prop::sample::Index>(),
    ) {
        let (first_steps, second_steps) = steps.split_at(split.index(steps.len() + 1));
        let (mut whole, mut parts) = (LogDetector::new(config.clone()), LogDetector::new(config));
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        take(&mut whole, &steps, &mut expected);
        take(&mut parts, first_steps, &mut found);
        let bytes = written(&parts);
        let mut parts = read(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(written(&parts), bytes);
        take(&mut parts, second_steps, &mut found);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(parts.counters(), whole.counters());
        prop_assert_eq!(written(&parts), written(&whole));
    }

    #[test]
    fn how_time_is_cut_into_calls_does_not_matter(steps in steps(), config in config(), extra in vec(0..4_i64, 300)) {
        let (mut plain, mut cut) = (LogDetector::new(config.clone()), LogDetector::new(config));
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        let mut latest_ms = i64::MIN;
        for (step, extra) in steps.iter().zip(extra) {
            take(&mut plain, std::slice::from_ref(step), &mut expected);
            if let Step::Line(line) = step {
                latest_ms = latest_ms.max(line.time_ms);
            }
            take(&mut cut, std::slice::from_ref(step), &mut found);
            (0..extra).for_each(|_| cut.advance(latest_ms, &mut found));
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(written(&plain), written(&cut));
    }

    #[test]
    fn bounds_hold_after_every_step(steps in steps()) {
        let mut detector = LogDetector::new(tight());
        let mut findings = Vec::new();
        for step in &steps {
            take(&mut detector, std::slice::from_ref(step), &mut findings);
            let counters = detector.counters();
            prop_assert!(counters.templates <= 4 && counters.templates_with_order <= 4);
            prop_assert!(counters.sources <= 3 && counters.sources_with_severity <= 3);
            prop_assert!(counters.lines_late <= counters.lines);
        }
    }

    #[test]
    fn what_ended_by_a_merge_is_not_told(steps in steps(), config in config()) {
        let mut detector = LogDetector::new(config);
        let mut ended = Vec::new();
        for step in &steps {
            let mut findings = Vec::new();
            match step {
                // As with a miner, no line comes with an id that ended, and none is merged into one.
                Step::Line(line) if ended.contains(&line.mined.template_id) => continue,
                Step::Merge(merge) if ended.contains(&merge.into) || ended.contains(&merge.from) => continue,
                Step::Merge(merge) => ended.push(merge.from),
                Step::Line(_) => {}
            }
            take(&mut detector, std::slice::from_ref(step), &mut findings);
            let of_ended = findings.iter().any(|finding| match finding {
                Finding::NewTemplate { template_id, .. }
                | Finding::Burst { template_id, .. }
                | Finding::Drop { template_id, .. } => ended.contains(template_id),
                Finding::UnusualOrder { template_id, from_template_id, .. } => {
                    ended.contains(template_id) || ended.contains(from_template_id)
                }
                _ => false,
            });
            prop_assert!(!of_ended, "{findings:?} after the end of {ended:?}");
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_harmless(
        steps in steps(),
        config in config(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut detector = LogDetector::new(config);
        let mut findings = Vec::new();
        take(&mut detector, &steps[..steps.len() / 2], &mut findings);
        let mut bytes = written(&detector);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(mut detector) = read(&bytes) {
            take(&mut detector, &steps, &mut findings);
            detector.counters();
            prop_assert!(read(&written(&detector)).is_ok());
        }
    }
}

#[test]
fn a_miner_and_a_detector_together_tell_the_new_line_only() {
    let mut miner = TemplateMiner::new(Limits::default());
    let mut detector = LogDetector::default();
    let mut findings = Vec::new();
    let mut observe = |miner: &mut TemplateMiner, time_ms: i64, text: &str| {
        let mined = miner.observe(text);
        miner.drain_merges().for_each(|merge| detector.merge(merge));
        detector.observe(&LogLine { time_ms, source: 1, severity_number: 9, mined }, &mut findings);
    };
    let names = ["kestrel", "osprey", "merlin", "harrier", "goshawk", "buzzard"];
    for second in 0..1800_i64 {
        let name = if second < 900 { "kestrel" } else { names[second as usize % names.len()] };
        observe(&mut miner, second * 1000, &format!("user {name} opened session {second}"));
        if second == 1200 {
            observe(&mut miner, second * 1000, "disk /dev/sda1 is about to fail");
        }
    }
    let told: Vec<String> = findings
        .iter()
        .map(|finding| match finding {
            Finding::NewTemplate { template_id, .. } => miner.template(*template_id),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["disk <*> is about to fail"]);
}
