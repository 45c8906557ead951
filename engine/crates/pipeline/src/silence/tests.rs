use model::{MetricKind, SampleRow};

use super::*;
use crate::series::SeriesStage;
use crate::settings::AnalysisSettings;
use crate::wire::Finding;

const HOUR_MS: i64 = 60 * MINUTE_MS;
const STEP_MS: i64 = 15_000;

fn stage(parameters: &str) -> SeriesStage {
    let detectors = format!(r#"[{{"kind": "series_gone", "parameters": {parameters}}}]"#);
    SeriesStage::new(&AnalysisSettings::default(), &serde_json::from_str::<Vec<_>>(&detectors).unwrap())
        .unwrap()
}

fn labels(service: &str, metric: &str, more: &[(&str, &str)]) -> Labels {
    more.iter().fold(Labels::of(service, metric), |labels, (key, value)| labels.with(key, value))
}

fn sample(stage: &mut SeriesStage, labels: &Labels, time_ms: i64, out: &mut Vec<Finding>) {
    let (labels, kind) = (labels.canonical(), MetricKind::Gauge);
    stage.on_sample(&SampleRow { labels: &labels, time_ms, kind, start_ms: None, value: 1.0 }, out);
}

/// Runs a stage over series that have a point in 15 s as long as they are there; restarts it after so many steps. Returns what
/// was said of silences: when, of what, and the words, or "over".
fn run(
    parameters: &str,
    series: &[Labels],
    is_there: impl Fn(usize, i64) -> bool,
    hours: i64,
    restart_every: Option<i64>,
) -> Vec<(i64, String, String)> {
    let (mut stage, mut out) = (stage(parameters), Vec::new());
    let name = |labels: &Labels| format!("{} {}", labels.service(), metric_of(labels));
    for step in 0..hours * HOUR_MS / STEP_MS {
        let time_ms = step * STEP_MS;
        // So that time goes on, whoever is silent.
        sample(&mut stage, &labels("clock", "up", &[]), time_ms, &mut out);
        for (i, labels) in series.iter().enumerate().filter(|(i, _)| is_there(*i, time_ms)) {
            assert_ne!(labels.service(), "clock", "{i}");
            sample(&mut stage, labels, time_ms, &mut out);
        }
        stage.flush(&mut out);
        stage.advance(time_ms, &mut out);
        if restart_every.is_some_and(|every| step % every == 0) {
            let mut sections = stage.begin_snapshot();
            sections.extend(
                std::iter::repeat_with(|| stage.continue_snapshot(usize::MAX)).flatten().next().unwrap(),
            );
            stage = self::stage(parameters);
            assert_eq!(stage.restore(&sections).unwrap(), []);
        }
    }
    let said = out.into_iter().filter_map(|finding| match finding {
        Finding::Anomaly(anomaly) => {
            let known = series.iter().find(|labels| labels.service() == anomaly.service);
            Some((anomaly.time_ms, name(known.map_or(&anomaly.labels, |_| &anomaly.labels)), anomaly.summary))
        }
        Finding::Normal { time_ms, .. } => Some((time_ms, String::new(), "over".to_owned())),
        _ => None,
    });
    said.collect()
}

fn minutes(said: &[(i64, String, String)], from_ms: i64) -> Vec<(i64, &str)> {
    said.iter().map(|(time_ms, _, words)| ((time_ms - from_ms) / MINUTE_MS, words.as_str())).collect()
}

#[test]
fn a_service_that_is_gone_is_told_each_minute_until_it_is_back() {
    let series = [labels("cart", "cpu", &[]), labels("cart", "memory", &[])];
    let out_ms = 8 * HOUR_MS..8 * HOUR_MS + 10 * MINUTE_MS;
    for restart_every in [None, Some(1), Some(7), Some(100)] {
        let said = run("{}", &series, |_, time_ms| !out_ms.contains(&time_ms), 9, restart_every);
        let of_cpu: Vec<_> = said.iter().filter(|(_, name, _)| name == "cart cpu").cloned().collect();
        let minutes = minutes(&of_cpu, out_ms.start);
        // The last point was 15 s before.
        assert_eq!(
            minutes[0],
            (3, "no point for 3 min, expected every 15 s; 2 of the 2 series of the service are silent")
        );
        assert_eq!(
            minutes.iter().map(|(minute, _)| *minute).collect::<Vec<_>>(),
            (3..10).collect::<Vec<_>>()
        );
        assert_eq!(said.len(), 2 * 7 + 2, "and two are over: {said:?}");
        assert!(said[14..].iter().all(|(ms, _, words)| *ms == out_ms.end && words == "over"), "{said:?}");
    }
}

#[test]
fn one_of_many_is_told_of_once_and_what_was_meant_resolves() {
    let series: Vec<Labels> = (0..6).map(|i| labels("cart", &format!("metric_{i}"), &[])).collect();
    let said = run("{}", &series, |i, time_ms| i > 0 || time_ms < 8 * HOUR_MS, 11, None);
    assert_eq!(
        minutes(&said, 8 * HOUR_MS),
        [
            (3, "no point for 3 min, expected every 15 s; 1 of the 6 series of the service are silent"),
            (63, "over")
        ]
    );
    let said = run(r#"{"tell_s": 600}"#, &series, |_, time_ms| time_ms < 8 * HOUR_MS, 11, None);
    let (told, over): (Vec<_>, Vec<_>) = said.iter().partition(|(_, name, _)| !name.is_empty());
    assert_eq!((told.len(), over.len()), (6 * 10, 6), "scaled down on purpose: {said:?}");
}

#[test]
fn pods_come_and_go_and_their_workload_stays() {
    let pod = |i: usize| ("k8s.pod.name", ["cart-a", "cart-b", "cart-c"][i]);
    let series: Vec<Labels> =
        (0..3).map(|i| labels("cart", "cpu", &[pod(i), ("instance", ["1:80", "2:80", "3:80"][i])])).collect();
    // One after another; the last one ends after 21 hours.
    let is_there = |i: usize, time_ms: i64| (7 * i as i64..7 * (i as i64 + 1)).contains(&(time_ms / HOUR_MS));
    let said = run("{}", &series, is_there, 22, Some(1000));
    assert!(said.iter().all(|(time_ms, ..)| *time_ms > 21 * HOUR_MS) && said.len() >= 56, "{said:?}");
    assert_eq!(said[0].1, "cart cpu", "it is of the workload");
    // A host is what it is of.
    let hosts: Vec<Labels> =
        (0..3).map(|i| labels("node", "load", &[("instance", ["1", "2", "3"][i])])).collect();
    let said = run("{}", &hosts, |i, time_ms| i > 0 || time_ms < 8 * HOUR_MS, 9, None);
    assert_eq!(
        said.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>(),
        [r#"node load{instance="1"}"#]
    );
}

#[test]
fn time_that_passes_for_all_is_nobodys_silence() {
    let series = [labels("cart", "cpu", &[]), labels("cart", "memory", &[])];
    let (mut stage, mut out) = (stage("{}"), Vec::new());
    let mut go_on = |range: std::ops::Range<i64>, out: &mut Vec<Finding>| {
        for time_ms in range.step_by(STEP_MS as usize) {
            series.iter().for_each(|labels| sample(&mut stage, labels, time_ms, out));
            stage.flush(out);
            stage.advance(time_ms - 5_000, out);
        }
    };
    go_on(0..8 * HOUR_MS, &mut out);
    go_on(10 * HOUR_MS..12 * HOUR_MS, &mut out);
    assert!(!out.iter().any(|finding| matches!(finding, Finding::Anomaly(_))), "nobody was there");
}

#[test]
fn a_silence_is_told_alike_whether_its_end_was_seen_before_event_time_came_there() {
    let said = |ahead_ms: i64| {
        let (mut stage, mut out) = (stage("{}"), Vec::new());
        for time_ms in (0..9 * HOUR_MS).step_by(STEP_MS as usize) {
            if !(8 * HOUR_MS..8 * HOUR_MS + 8 * MINUTE_MS).contains(&time_ms) {
                sample(&mut stage, &labels("cart", "cpu", &[]), time_ms, &mut out);
            }
            stage.flush(&mut out);
            stage.advance(time_ms - ahead_ms, &mut out);
        }
        out.retain(|finding| matches!(finding, Finding::Anomaly(_) | Finding::Normal { .. }));
        out
    };
    assert_eq!(said(5_000).len(), 5 + 1);
    for ahead_ms in [MINUTE_MS, 5 * MINUTE_MS, 20 * MINUTE_MS] {
        assert_eq!(said(ahead_ms), said(5_000), "{ahead_ms}");
    }
}

#[test]
fn as_many_as_are_told_in_a_minute_are_bounded_and_the_rest_counted() {
    let series: Vec<Labels> =
        (0..TOLD_MAX + 10).map(|i| labels("cart", &format!("metric_{i}"), &[])).collect();
    let (mut stage, mut out) = (stage(r#"{"learn_s": 600}"#), Vec::new());
    for time_ms in (0..1_300_000).step_by(60_000) {
        if time_ms < 1_000_000 {
            series.iter().for_each(|labels| sample(&mut stage, labels, time_ms, &mut out));
        }
        stage.flush(&mut out);
        stage.advance(time_ms, &mut out);
    }
    let told = out.iter().filter(|finding| matches!(finding, Finding::Anomaly(_))).count();
    assert!(told > 0 && told.is_multiple_of(TOLD_MAX), "{told}");
    assert_eq!(stage.status().silences_untold as usize, 10 * told / TOLD_MAX);
}

#[test]
fn what_is_forgotten_or_not_watched_any_more_is_not_missed() {
    let sections = {
        let (mut stage, mut out) = (stage("{}"), Vec::new());
        for time_ms in (0..8 * HOUR_MS).step_by(STEP_MS as usize) {
            sample(&mut stage, &labels("cart", "cpu", &[]), time_ms, &mut out);
            stage.flush(&mut out);
            stage.advance(time_ms, &mut out);
        }
        let mut sections = stage.begin_snapshot();
        sections
            .extend(std::iter::repeat_with(|| stage.continue_snapshot(usize::MAX)).flatten().next().unwrap());
        sections
    };
    let told = |detectors: &str, sections: &[StateSection]| {
        let detectors: Vec<DetectorSettings> = serde_json::from_str(detectors).unwrap();
        let mut stage = SeriesStage::new(&AnalysisSettings::default(), &detectors).unwrap();
        stage.restore(sections).unwrap();
        let mut out = Vec::new();
        for minute in 0..30 {
            stage.advance(8 * HOUR_MS + minute * MINUTE_MS, &mut out);
        }
        out.iter().filter(|finding| matches!(finding, Finding::Anomaly(_))).count()
    };
    assert!(told(r#"[{"kind": "series_gone"}]"#, &sections) > 20);
    assert_eq!(told(r#"[{"kind": "series_gone", "match": ["__name__=other"]}]"#, &sections), 0);
    let without: Vec<StateSection> =
        sections.iter().filter(|section| section.name != SECTION).cloned().collect();
    assert_eq!(told(r#"[{"kind": "series_gone"}]"#, &without), 0, "a state from before is learned anew");
}

#[test]
fn parameters_are_checked() {
    let of = |parameters: &str| {
        let settings = format!(r#"{{"kind": "series_gone", "parameters": {parameters}}}"#);
        Rule::new(&serde_json::from_str(&settings).unwrap()).map_err(|error| error.to_string())
    };
    assert!(of(r#"{"tell_s": 600, "service_share": 0, "missing_points": 3, "instance_labels": []}"#).is_ok());
    for (parameters, named) in [
        (r#"{"tell_s": 1}"#, "tell_s"),
        (r#"{"service_share": 2}"#, "service_share"),
        (r#"{"tel_s": 600}"#, "`learn_s`, `tell_s`"),
        (r#"{"min_silence_s": -1}"#, "min_silence_s"),
        (r#"{"nonsense": 1}"#, "nonsense"),
    ] {
        assert!(of(parameters).unwrap_err().contains(named), "{parameters}");
    }
}
