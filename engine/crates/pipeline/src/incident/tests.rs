use model::{Labels, OutputTopic, Severity};

use super::*;
use crate::routing::{Partitions, Router};
use crate::wire::{Findings, SourceWatermark};

const STEP_MS: i64 = 10_000;
const START_MS: i64 = 1_700_000_000_000;

fn anomaly(metric: &str, time_ms: i64) -> Finding {
    Finding::Anomaly(Anomaly {
        id: format!("{metric}/{time_ms}"),
        labels: Labels::of("cart", metric),
        service: "cart".to_owned(),
        metric: metric.to_owned(),
        detector: "ewma".to_owned(),
        time_ms,
        value: 9.0,
        expected: 1.0,
        lower: 0.0,
        upper: 2.0,
        anomaly_score: 0.7,
        summary: String::new(),
        amended: false,
        exemplar_trace_ids: Vec::new(),
        severity: Severity::Warning,
    })
}

/// What two sources find in nine minutes, of which the third is bad: a record for each step of each.
fn found(source: usize) -> Vec<Findings> {
    let metric = ["threads", "queue"][source];
    let step = |step: i64| {
        let time_ms = START_MS + step * STEP_MS;
        let mut findings = vec![Finding::Point {
            service: "cart".to_owned(),
            metric: metric.to_owned(),
            time_ms,
            value: step as f64,
        }];
        if (12..18).contains(&step) {
            findings.push(anomaly(metric, time_ms));
        }
        let watermark = SourceWatermark { source: metric.to_owned(), watermark_ms: Some(time_ms - STEP_MS) };
        Findings { findings, known_ms: None, watermark: Some(watermark) }
    };
    (0..55).map(step).collect()
}

fn task() -> IncidentTask {
    IncidentTask::new(&AnalysisSettings::default(), &["threads", "queue"].map(str::to_owned))
}

fn give(task: &mut IncidentTask, findings: &Findings, written_ms: Option<i64>) -> Vec<Output> {
    let mut records = Vec::new();
    wire::findings(&Router::new("acme", Partitions::ONE), findings.clone(), &mut records);
    let record = &records[0];
    let headers: Vec<(&str, &[u8])> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let mut out = Vec::new();
    let record = SourceRecord {
        topic: "findings",
        partition: 0,
        offset: 0,
        timestamp_ms: written_ms,
        key: None,
        headers: &headers,
        payload: &record.payload,
    };
    task.on_record(record, &mut out);
    out
}

fn said<'a>(order: impl Iterator<Item = &'a Findings>, written_ms: impl Fn(&Findings) -> i64) -> Vec<Output> {
    let mut task = task();
    order.flat_map(|findings| give(&mut task, findings, Some(written_ms(findings)))).collect()
}

fn time_ms(findings: &Findings) -> i64 {
    findings.findings[0].time_ms().expect("a point")
}

#[test]
fn after_an_outage_all_is_said_as_if_one_had_been_there() {
    let (a, b) = (found(0), found(1));
    let live = said(a.iter().zip(&b).flat_map(|(a, b)| [a, b]), time_ms);
    assert!(live.iter().any(|output| output.topic == OutputTopic::Alerts));
    // One source is all read before the other.
    let long_after = |_: &Findings| START_MS + 86_400_000;
    assert_eq!(said(a.iter().chain(&b), long_after), live);
    assert_eq!(said(b[..20].iter().chain(&a).chain(&b[20..]), long_after), live);
}

#[test]
fn nobody_is_woken_later_because_one_source_is_slow() {
    let (a, b) = (found(0), found(1));
    let mut task = task();
    give(&mut task, &b[0], Some(time_ms(&b[0])));
    let opened = a.iter().find(|findings| {
        // Two series of the fast source, so that it can open an incident by itself.
        let mut both = (*findings).clone();
        if findings.findings.len() > 1 {
            both.findings.push(anomaly("disk", time_ms(findings)));
        }
        let out = give(&mut task, &both, Some(time_ms(findings)));
        out.iter().any(|output| output.topic == OutputTopic::Alerts)
    });
    assert_eq!(opened.map(time_ms), Some(START_MS + 13 * STEP_MS), "at the second bad point");
}

#[test]
fn what_waits_is_in_the_snapshot() {
    let (a, b) = (found(0), found(1));
    let mut whole = task();
    let mut out = Vec::new();
    a.iter().chain(&b).for_each(|findings| out.extend(give(&mut whole, findings, None)));
    let mut resumed = task();
    let mut again = Vec::new();
    for findings in a.iter().chain(&b) {
        again.extend(give(&mut resumed, findings, None));
        let mut next = task();
        next.restore(&resumed.snapshot()).expect("a snapshot can be taken up");
        resumed = next;
    }
    assert_eq!(again, out);
    assert!(!out.is_empty());
}

#[test]
fn beyond_the_bound_the_first_that_wait_are_taken_and_counted() {
    let (a, b) = (found(0), found(1));
    let mut bounded = task();
    bounded.waiting_bytes_max = b.iter().take(10).flat_map(|f| &f.findings).map(Finding::size_bytes).sum();
    let mut out = Vec::new();
    for findings in &a {
        out.extend(give(&mut bounded, findings, None));
        assert!(bounded.waiting_bytes <= bounded.waiting_bytes_max);
    }
    let all = a.iter().map(|findings| findings.findings.len() as u64).sum::<u64>();
    let early = bounded.status().findings_before_turn;
    assert_eq!(early + bounded.waiting.len() as u64, all, "none is lost");
    assert!((30..all).contains(&early), "{early}");
    let mut restored = task();
    restored.restore(&bounded.snapshot()).expect("a snapshot can be taken up");
    assert_eq!(restored.status(), bounded.status());
    assert_eq!(restored.waiting_bytes, bounded.waiting_bytes);
}

#[test]
fn an_incident_whose_anomalies_are_taken_back_ends_and_says_so() {
    let mut task = task();
    let mut out = Vec::new();
    let both = found(0).into_iter().zip(found(1)).flat_map(|(a, b)| [a, b]);
    let both: Vec<Findings> =
        both.take_while(|findings| time_ms(findings) <= START_MS + 14 * STEP_MS).collect();
    both.iter().for_each(|findings| out.extend(give(&mut task, findings, Some(time_ms(findings)))));
    assert!(out.iter().any(|output| output.topic == OutputTopic::Alerts), "it was told");
    let taken_back = |finding: &Finding| match finding {
        Finding::Anomaly(anomaly) => {
            let anomaly = Anomaly { anomaly_score: 0.1, amended: true, ..anomaly.clone() };
            Some(Finding::Amended(Amendment { anomaly, was_told: true }))
        }
        _ => None,
    };
    let findings = both.iter().flat_map(|told| &told.findings).filter_map(taken_back).collect();
    let amended = Findings { findings, known_ms: None, watermark: None };
    out.clear();
    out.extend(give(&mut task, &amended, Some(START_MS + 14 * STEP_MS)));
    let mut next = self::task();
    next.restore(&task.snapshot()).expect("a snapshot can be taken up");
    for source in [0, 1] {
        let step = found(source).swap_remove(20);
        out.extend(give(&mut next, &step, Some(time_ms(&step))));
    }
    let incidents = out.iter().filter(|output| output.topic == OutputTopic::Incidents);
    let incidents: Vec<Incident> =
        incidents.map(|output| serde_json::from_slice(&output.payload).unwrap()).collect();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let last = &incidents[0];
    assert_eq!((last.state, last.amended, last.anomalies), (model::IncidentState::Resolved, true, 0));
    assert_eq!(last.services, ["cart"], "one sees what it was about");
    let alerts = out.iter().filter(|output| output.topic == OutputTopic::Alerts);
    let alerts: Vec<Alert> = alerts.map(|output| serde_json::from_slice(&output.payload).unwrap()).collect();
    assert_eq!((alerts.len(), alerts[0].state), (1, model::AlertState::Resolved));
    assert!(alerts[0].annotations["amended"].contains("nothing was wrong"), "{:?}", alerts[0]);
}

/// The same, later.
fn later(findings: &Findings, by_ms: i64) -> Findings {
    let mut findings = findings.clone();
    for finding in &mut findings.findings {
        match finding {
            Finding::Point { time_ms, .. } => *time_ms += by_ms,
            Finding::Anomaly(anomaly) => {
                anomaly.time_ms += by_ms;
                anomaly.id += "/later";
            }
            _ => {}
        }
    }
    if let Some(SourceWatermark { watermark_ms: Some(ms), .. }) = &mut findings.watermark {
        *ms += by_ms;
    }
    findings
}

#[test]
fn what_was_called_noise_is_less_severe_the_next_time_also_after_a_restart() {
    const LATER_MS: i64 = 7_200_000;
    let both = || found(0).into_iter().zip(found(1)).flat_map(|(a, b)| [a, b]);
    let incidents = |out: &[Output]| -> Vec<Incident> {
        let said = out.iter().filter(|output| output.topic == OutputTopic::Incidents);
        said.map(|output| serde_json::from_slice(&output.payload).unwrap()).collect()
    };
    // With nothing said, with a remark, with one that was taken back; with a restart before the second time.
    let run = |remarks: &[bool], restarts: bool| {
        let mut task = task();
        let mut out = Vec::new();
        both().for_each(|findings| out.extend(give(&mut task, &findings, Some(time_ms(&findings)))));
        let first = incidents(&out);
        for is_undone in remarks {
            let remark = crate::feedback::Remark {
                id: "r".to_owned(),
                incident: first[0].incident.clone(),
                judgement: crate::feedback::Judgement::Noise,
                cause: None,
                time_ms: START_MS + 3_600_000,
                is_undone: *is_undone,
            };
            let findings =
                Findings { findings: vec![Finding::Remark(remark)], known_ms: None, watermark: None };
            assert!(give(&mut task, &findings, Some(START_MS + 3_600_000)).is_empty());
        }
        if restarts {
            let mut next = self::task();
            next.restore(&task.snapshot()).expect("a snapshot can be taken up");
            task = next;
        }
        let mut out = Vec::new();
        for findings in both().map(|findings| later(&findings, LATER_MS)) {
            out.extend(give(&mut task, &findings, Some(time_ms(&findings))));
        }
        out
    };
    let plain = incidents(&run(&[], false));
    let damped = run(&[false], false);
    let worst = |incidents: &[Incident]| incidents.iter().map(|incident| incident.severity).max();
    assert!(worst(&plain) > worst(&incidents(&damped)), "{:?} {:?}", worst(&plain), incidents(&damped));
    assert_eq!(run(&[false], true), damped, "a restart makes no difference");
    assert_eq!(incidents(&run(&[false, true], true)), plain, "what is taken back counts no more");
}

#[test]
fn a_state_from_before_there_was_feedback_is_taken_up() {
    let mut before = task();
    found(0).iter().for_each(|findings| drop(give(&mut before, findings, None)));
    let mut sections = before.snapshot();
    sections.retain(|section| section.name != FEEDBACK);
    task().restore(&sections).expect("it can be taken up");
}
