use model::{LogRow, SpanRow};

use super::*;
use crate::collector::TraceCollector;
use crate::evidence::CorrelatorLimits;

const TRIGGER_MS: i64 = 600_000;
const END_MS: i64 = 780_000;

/// What goes wrong from the trigger on, by service.
#[derive(Clone, Copy, Default)]
struct Fault {
    /// Added between caller and server, µs.
    gap_us: i64,
    /// Added to the server's own time, µs.
    own_us: i64,
    error_log: bool,
    lost: bool,
}

/// web calls cart and ads every second; each has a client span in web and a server span of its own.
fn feed(correlator: &mut Correlator, step_ms: i64, fault: impl Fn(&str) -> Fault) {
    correlator.set_edges(&[]);
    let mut spans = Vec::new();
    for (second, trace_id) in (0..END_MS / 1000).zip(1_u128..) {
        let start_us = second * 1_000_000;
        let jitter_us = (second * 37 % 11) * 100;
        let mut at_us = start_us + 1_000;
        for (i, callee) in ["cart", "ads"].into_iter().enumerate() {
            let fault = if second * 1000 >= TRIGGER_MS { fault(callee) } else { Fault::default() };
            let ids = (trace_id as u64 * 10 + i as u64 * 2 + 2, trace_id as u64 * 10 + i as u64 * 2 + 3);
            let server_us = 5_000 + jitter_us + fault.own_us;
            let client_us = server_us + 1_000 + jitter_us + fault.gap_us;
            let operation = format!("call {callee}");
            spans.push((
                at_us,
                client_us,
                trace_id,
                ids.0,
                Some(trace_id as u64 * 10),
                "web",
                operation,
                false,
            ));
            if !fault.lost {
                spans.push((
                    at_us + 500,
                    server_us,
                    trace_id,
                    ids.1,
                    Some(ids.0),
                    callee,
                    "serve".to_owned(),
                    fault.error_log,
                ));
            }
            at_us += client_us + 100;
        }
        let fails = second * 1000 >= TRIGGER_MS && fault("web").error_log;
        let page = "page".to_owned();
        spans.push((start_us, at_us - start_us, trace_id, trace_id as u64 * 10, None, "web", page, fails));
    }
    spans.sort_by_key(|span| span.0 + span.1);
    let mut collector = TraceCollector::default();
    let mut advanced_ms = 0;
    let mut advance = |collector: &mut TraceCollector, to_ms| {
        collector.advance(to_ms);
        collector.take_evidence().iter().for_each(|evidence| correlator.absorb(evidence));
        correlator.advance(to_ms);
    };
    for (start_us, duration_us, trace_id, span_id, parent, service, operation, error_log) in spans {
        let end_ms = (start_us + duration_us) / 1000;
        while end_ms >= advanced_ms + step_ms {
            advanced_ms += step_ms;
            advance(&mut collector, advanced_ms);
        }
        let (operation, kind, error) = (operation.as_str(), 0, false);
        let span =
            SpanRow { start_us, duration_us, trace_id, span_id, parent, service, operation, kind, error };
        collector.observe_span(&span);
        if error_log {
            let (trace_id, span_id) = (Some(trace_id), Some(span_id));
            let (severity, body) = (17, "cannot read");
            collector.observe_log(&LogRow { time_ms: end_ms, service, severity, body, trace_id, span_id });
        }
    }
    advance(&mut collector, END_MS);
}

fn ranked(fault: impl Fn(&str) -> Fault) -> Vec<RootCause> {
    let mut correlator = Correlator::default();
    feed(&mut correlator, 1_000, fault);
    correlator.rank(TRIGGER_MS, END_MS)
}

fn check(causes: &[RootCause], service: &str, kind: &str) {
    assert_eq!(causes[0].service, service, "{causes:#?}");
    assert!(causes[0].evidence.iter().any(|evidence| evidence.kind == kind), "{causes:#?}");
}

#[test]
fn nothing_wrong_scores_nothing() {
    let causes = ranked(|_| Fault::default());
    assert_eq!(causes.len(), 3);
    assert!(causes.iter().all(|cause| cause.score < 0.01), "{causes:#?}");
    assert_eq!(causes.iter().map(|cause| cause.service.as_str()).collect::<Vec<_>>(), ["ads", "cart", "web"]);
}

#[test]
fn gap_blames_the_end_that_explains_the_edges() {
    let on = |slow: &'static [&'static str]| {
        move |callee: &str| Fault {
            gap_us: if slow.contains(&callee) { 80_000 } else { 0 },
            ..Fault::default()
        }
    };
    check(&ranked(on(&["cart"])), "cart", "gap");
    check(&ranked(on(&["cart", "ads"])), "web", "gap");
    let lost = |callee: &str| Fault { lost: callee == "ads", gap_us: 500_000, ..Fault::default() };
    assert!(ranked(lost)[0].evidence.iter().any(|evidence| evidence.kind == "gap"));
}

#[test]
fn self_time_blames_the_slow_operation() {
    check(
        &ranked(|callee| Fault { own_us: if callee == "ads" { 90_000 } else { 0 }, ..Fault::default() }),
        "ads",
        "self_time",
    );
}

#[test]
fn structure_blames_new_error_logs() {
    let causes = ranked(|callee| Fault { error_log: callee == "cart", ..Fault::default() });
    check(&causes, "cart", "structure");
    assert!(causes[0].evidence[0].summary.contains("cannot read"), "{causes:#?}");
}

#[test]
fn batches_and_repetition_change_nothing() {
    let fault = |callee: &str| Fault {
        own_us: if callee == "ads" { 30_000 } else { 0 },
        error_log: callee == "cart",
        ..Fault::default()
    };
    let expected = ranked(fault);
    assert_eq!(ranked(fault), expected);
    for step_ms in [100, 7_000, 60_000] {
        let mut correlator = Correlator::default();
        feed(&mut correlator, step_ms, fault);
        assert_eq!(correlator.rank(TRIGGER_MS, END_MS), expected, "watermark steps of {step_ms} ms");
    }
}

#[test]
fn limits_hold_and_are_counted() {
    let limits = CorrelatorLimits { symbols: 64, series: 1, bucket_keys: 3, baseline_keys: 3 };
    let mut correlator = Correlator::new(limits);
    feed(&mut correlator, 1_000, |_| Fault::default());
    correlator.observe_point(1, "web", "cpu", 1.0);
    correlator.observe_point(1, "web", "mem", 1.0);
    let dropped = correlator.dropped();
    assert!(dropped.keys > 0 && dropped.points == 1, "{dropped:?}");
}

#[test]
fn resource_sees_rising_cpu_but_not_falling() {
    let mut correlator = Correlator::default();
    for minute in 0..13_i64 {
        let faulty = minute * 60_000 >= TRIGGER_MS;
        let noise = (minute % 3) as f64;
        for (service, cpu) in
            [("cart", if faulty { 90.0 } else { 20.0 }), ("ads", if faulty { 1.0 } else { 20.0 })]
        {
            correlator.observe_point(minute * 60_000, service, "container.cpu", cpu + noise);
        }
        correlator.observe_point(minute * 60_000, "_sli", "cpu", if faulty { 900.0 } else { 1.0 });
    }
    let causes = correlator.rank(TRIGGER_MS, END_MS);
    check(&causes, "cart", "resource");
    assert_eq!(causes.len(), 2);
    assert_eq!(causes[1].score, 0.0);
}

fn graph_of_metrics(metric: &str, usual: f64, faulty: f64, with_edges: bool) -> Correlator {
    let mut correlator = Correlator::default();
    if with_edges {
        correlator
            .set_edges(&[("web".to_owned(), "cart".to_owned()), ("cart".to_owned(), "store".to_owned())]);
    }
    for minute in 0..13_i64 {
        for service in ["web", "cart", "store"] {
            let broken = minute * 60_000 >= TRIGGER_MS && service != "store";
            let value = if broken { faulty } else { usual };
            correlator.observe_point(minute * 60_000, service, metric, value);
            correlator.observe_point(minute * 60_000, service, "requests", 200.0);
        }
    }
    correlator
}

#[test]
fn impact_blames_the_deepest_service_that_is_worse() {
    check(&graph_of_metrics("latency_avg", 0.1, 0.5, true).rank(TRIGGER_MS, END_MS), "cart", "impact");
    let errors = graph_of_metrics("availability", 99.9, 80.0, true);
    let trigger = Trigger { time_ms: TRIGGER_MS, family: Some(Family::Errors) };
    check(&errors.rank_for(&trigger, END_MS), "cart", "impact");
}

/// `store` is slower and `cart` fails more often: which counts is told by whether `web`, the entry, fails too.
#[test]
fn failures_at_the_entry_say_what_was_violated() {
    let first = |entry_fails: bool| {
        let mut correlator = graph_of_metrics("requests_in", 1.0, 1.0, true);
        for minute in 0..13_i64 {
            let is_broken = minute * 60_000 >= TRIGGER_MS;
            let wobble = [0.0, 0.01, 0.02][(minute % 3) as usize];
            for service in ["web", "cart", "store"] {
                let fails = is_broken && (service == "cart" || (service == "web" && entry_fails));
                let latency = if is_broken && service == "store" { 0.17 } else { 0.1 } + wobble / 10.0;
                let availability = if fails { 95.0 } else { 99.9 } - wobble;
                correlator.observe_point(minute * 60_000, service, "latency_avg", latency);
                correlator.observe_point(minute * 60_000, service, "availability", availability);
            }
        }
        correlator.rank(TRIGGER_MS, END_MS).remove(0)
    };
    assert_eq!(first(false).service, "store");
    assert_eq!(first(true).service, "cart");
}

#[test]
fn latency_speaks_only_without_graph_and_traces() {
    let alone = graph_of_metrics("latency_avg", 0.1, 0.5, false).rank(TRIGGER_MS, END_MS);
    assert!(alone[0].evidence.iter().any(|evidence| evidence.kind == "latency"), "{alone:#?}");
    let with_graph = graph_of_metrics("latency_avg", 0.1, 0.5, true).rank(TRIGGER_MS, END_MS);
    assert!(with_graph.iter().flat_map(|cause| &cause.evidence).all(|evidence| evidence.kind != "latency"));
}

#[test]
fn change_breaks_a_tie() {
    let mut correlator = graph_of_metrics("latency_avg", 0.1, 0.1, true);
    correlator.observe_change(model::Change {
        service: "store".to_owned(),
        kind: "deploy".to_owned(),
        summary: "v7".to_owned(),
        time_ms: TRIGGER_MS - 60_000,
    });
    check(&correlator.rank(TRIGGER_MS, END_MS), "store", "change");
}

#[test]
fn what_goes_on_inside_of_who_suffers_from_a_cause_is_no_evidence_beside_it() {
    let mut correlator = Correlator::default();
    // The page logs that something failed, and the last that it called is ads.
    feed(&mut correlator, 1_000, |service| Fault { error_log: service == "web", ..Fault::default() });
    let trigger = Trigger { time_ms: TRIGGER_MS, family: None };
    let of_ads = |ranked: Vec<Ranked>| {
        ranked.into_iter().find(|ranked| ranked.cause.service == "ads").map(|ranked| ranked.conviction)
    };
    assert!(of_ads(correlator.ranked_for(&trigger, END_MS)) > Some(0.5));
    assert_eq!(of_ads(correlator.ranked_beside("cart", &trigger, END_MS)), Some(0.0));
}
