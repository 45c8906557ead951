use model::{LogRow, SpanRow};

use super::*;
use crate::collector::TraceCollector;

const FAULT_S: i64 = 600;
const END_S: i64 = 720;

/// What goes wrong at `cart` from the fault on.
#[derive(Clone, Copy, Default)]
struct Fault {
    own_us: i64,
    gap_us: i64,
    /// The log line of every so-many-th request is another one.
    other_log_every: Option<i64>,
    /// … until then.
    until_s: Option<i64>,
}

/// `web` calls `cart` twice a second, each of which calls and logs in one of two ways by chance.
fn shop(fault: Fault) -> Correlator {
    let mut correlator = Correlator::default();
    let mut collector = TraceCollector::default();
    for request in 0..END_S * 2 {
        let at_s = request / 2;
        let start_us = request * 500_000;
        let is_bad = at_s >= FAULT_S && at_s < fault.until_s.unwrap_or(END_S);
        let (own_us, gap_us) = if is_bad { (fault.own_us, fault.gap_us) } else { (0, 0) };
        let trace_id = request as u128 + 1;
        let (root, server) = (trace_id as u64 * 2, trace_id as u64 * 2 + 1);
        let server_us = 5_000 + request * 37 % 11 * 100 + own_us;
        let client_us = server_us + 1_000 + request * 29 % 7 * 100 + gap_us;
        let (kind, error, operation) = (0, false, "page");
        let page = SpanRow {
            start_us,
            duration_us: client_us,
            trace_id,
            span_id: root,
            parent: None,
            service: "web",
            operation,
            kind,
            error,
        };
        let serve = SpanRow {
            start_us: start_us + 500,
            duration_us: server_us,
            span_id: server,
            parent: Some(root),
            service: "cart",
            operation: "serve",
            ..page
        };
        collector.observe_span(&page);
        collector.observe_span(&serve);
        let is_other = is_bad && fault.other_log_every.is_some_and(|every| request % every == 0);
        let body = match request * 31 % 5 {
            _ if is_other => "returned early",
            0 => "found in cache",
            _ => "read from store",
        };
        let (time_ms, trace_id, span_id) = (start_us / 1000 + 1, Some(trace_id), Some(server));
        collector.observe_log(&LogRow { time_ms, service: "cart", severity: 9, body, trace_id, span_id });
    }
    collector.advance(END_S * 1000 + 60_000);
    collector.take_evidence().iter().for_each(|evidence| correlator.absorb(evidence));
    correlator
}

/// When a change is seen first, with what is seen then.
fn first(correlator: &Correlator) -> Option<(i64, Vec<Changed>)> {
    let steps = (0..=END_S).step_by(10).map(|at_s| (at_s, changed(correlator, at_s * 1000)));
    steps.into_iter().find(|(_, changes)| !changes.is_empty())
}

fn check(fault: Fault, subject: &str) {
    let (at_s, changes) = first(&shop(fault)).expect("it is seen");
    assert!((FAULT_S + 10..=FAULT_S + 60).contains(&at_s), "{at_s}: {changes:?}");
    let cart = changes.iter().find(|change| change.service == "cart").expect("at the one that is broken");
    assert_eq!(cart.subject, subject, "{changes:?}");
    assert!((cart.since_ms - FAULT_S * 1000).abs() <= 10_000, "{changes:?}");
}

#[test]
fn chance_is_no_change() {
    assert_eq!(first(&shop(Fault::default())), None);
}

#[test]
fn what_no_series_shows_is_a_change() {
    check(Fault { other_log_every: Some(1), ..Fault::default() }, "the course of requests");
    check(Fault { other_log_every: Some(3), ..Fault::default() }, "the course of requests");
    check(Fault { own_us: 80_000, ..Fault::default() }, "own time");
    check(Fault { gap_us: 80_000, ..Fault::default() }, "time between services");
}

#[test]
fn a_pause_and_a_shift_of_little_are_no_change() {
    assert_eq!(first(&shop(Fault { own_us: 80_000, until_s: Some(FAULT_S + 3), ..Fault::default() })), None);
    assert_eq!(first(&shop(Fault { own_us: 300, ..Fault::default() })), None);
}

#[test]
fn nothing_is_told_before_it_is_known_what_is_usual() {
    let correlator = shop(Fault { own_us: 80_000, ..Fault::default() });
    let mut young = correlator.clone();
    young.recent.retain(|bucket, _| *bucket >= FAULT_S / 10 - 12);
    assert!(first(&correlator).is_some());
    assert_eq!(first(&young), None);
}

#[test]
fn cpu_must_be_high_for_a_minute() {
    let seen = |high_s: i64| {
        let mut correlator = Correlator::default();
        for at_s in (0..=END_S).step_by(10) {
            let is_high = (FAULT_S..FAULT_S + high_s).contains(&at_s);
            let value = if is_high { 0.9 } else { 0.2 } + [0.0, 0.01, 0.02][(at_s / 10 % 3) as usize];
            correlator.observe_point(at_s * 1000, "cart", "cpu", value);
            correlator.observe_point(at_s * 1000, "cart", "memory", 100.0 * value);
        }
        first(&correlator)
    };
    assert_eq!(seen(50), None);
    let (at_s, changes) = seen(120).expect("it is seen");
    assert_eq!((at_s, changes.len(), changes[0].subject.as_str()), (FAULT_S + 60, 1, "cpu"));
    assert_eq!(changes[0].since_ms, FAULT_S * 1000);
}

#[test]
fn on_a_given_graph_two_reports_must_show_it() {
    let seen = |bad: &[i64]| {
        let mut correlator = Correlator::default();
        correlator.set_edges(&[("web".to_owned(), "cart".to_owned())]);
        for report in 0..40 {
            let latency = if bad.contains(&report) { 0.9 } else { 0.1 + [0.0, 0.002][(report % 2) as usize] };
            for service in ["web", "cart"] {
                correlator.observe_point(report * 300_000, service, "latency_avg", latency);
                correlator.observe_point(report * 300_000, service, "requests", 200.0);
            }
        }
        let reports = (0..40).map(|report| (report, changed(&correlator, report * 300_000 + 10_000)));
        reports.into_iter().find(|(_, changes)| !changes.is_empty())
    };
    assert_eq!(seen(&[30]), None);
    assert_eq!(seen(&[5, 6]), None, "what is usual is not known yet");
    let (report, changes) = seen(&[30, 31]).expect("it is seen");
    assert_eq!((report, changes[0].service.as_str()), (31, "cart"));
}
