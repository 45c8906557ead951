//! Time lost between a client and its server: network, queues, a starved process.
//!
//! Each edge is compared with itself, then the endpoint that explains the slow edges is blamed: when all calls out of
//! a service are slow it is the service, when all calls into one are slow it is that one.

use std::collections::BTreeMap;

use model::Evidence;

use super::counter::AsUsual;
use super::{Finding, Findings, View, sum};
use crate::sketch::Sketch;
use crate::statistics::GAP_OFFSET_US;
use crate::symbols::Symbol;

const SPREAD_MIN: f64 = 0.12;
const Z_MAX: f64 = 30.0;
const BEFORE_MIN: f64 = 5.0;
const SINCE_MIN: f64 = 2.0;
/// Spans from which a median since the trigger counts in full.
const SINCE_FULL: f64 = 4.0;
/// Milliseconds at which a slowdown counts half.
const HALF_MS: f64 = 10.0;

/// How much slower than usual, damped by how little that is in ms; with the usual and the new level in ms.
pub(super) fn slowdown(
    before: &Sketch,
    since_level: f64,
    since_count: f64,
    offset_us: f64,
) -> Option<(f64, f64, f64)> {
    let (usual, spread) = before.median_and_spread()?;
    let z = (since_level - usual) / spread.max(SPREAD_MIN) * (since_count / SINCE_FULL).min(1.0);
    let lost_ms = (since_level.exp() - usual.exp()) / 1000.0;
    if z <= 0.0 || lost_ms <= 0.0 {
        return Some((0.0, 0.0, 0.0));
    }
    let to_ms = |level: f64| ((level.exp() - offset_us) / 1000.0).max(0.0);
    Some((z.min(Z_MAX) * lost_ms / (lost_ms + HALF_MS), to_ms(usual), to_ms(since_level)))
}

pub(super) fn rank(view: &View<'_>) -> Findings {
    let mut since: BTreeMap<(Symbol, Symbol), Sketch> = view.since.edges.clone();
    // A call that left no span at the other side took its whole time between the two.
    for (operation, stats) in &view.since.operations {
        if let Some(Some(callee)) = view.client_operations.get(operation)
            && let Some(&caller) = view.store.operation_service.get(operation)
            && !stats.whole.is_empty()
        {
            since.entry((caller, *callee)).or_default().merge(&stats.whole);
        }
    }
    let mut edges: Vec<(Symbol, Symbol, f64, f64, f64)> = Vec::new();
    for (&(caller, callee), gaps) in &since {
        let Some(before) = view.before.edges.get(&(caller, callee)) else { continue };
        let count = gaps.count();
        if before.count() < BEFORE_MIN || count < SINCE_MIN {
            continue;
        }
        if let Some(level) = gaps.quantile(0.5)
            && let Some((strength, usual_ms, now_ms)) = slowdown(before, level, count, GAP_OFFSET_US)
        {
            edges.push((caller, callee, strength, usual_ms, now_ms));
        }
    }
    let total = sum(edges.iter().map(|edge| edge.2));
    let mut findings = Findings::new();
    if total <= 0.0 {
        return findings;
    }
    let mut touching: BTreeMap<Symbol, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for &(caller, callee, strength, ..) in &edges {
        touching.entry(caller).or_default().1.push(strength);
        touching.entry(callee).or_default().0.push(strength);
    }
    let mean = |values: &[f64]| {
        if values.is_empty() { 0.0 } else { sum(values.iter().copied()) / values.len() as f64 }
    };
    for (&service, (incoming, outgoing)) in &touching {
        let all: Vec<f64> = incoming.iter().chain(outgoing).copied().collect();
        let outgoing_mean = if outgoing.len() >= 2 { mean(outgoing) } else { 0.0 };
        let precision = mean(incoming).max(outgoing_mean).max(mean(&all));
        let coverage = sum(all.iter().copied()) / total;
        findings.insert(service, Finding { strength: precision * coverage.sqrt(), evidence: Vec::new() });
    }
    for &(caller, callee, strength, usual_ms, now_ms) in edges.iter().filter(|edge| edge.2 > 0.0) {
        let subject = format!("{} -> {}", view.name(caller), view.name(callee));
        let summary =
            format!("calls {subject} lose {now_ms:.1} ms between the two, usually {usual_ms:.1} ms");
        for service in [caller, callee] {
            if let Some(finding) = findings.get_mut(&service) {
                finding.evidence.push(Evidence {
                    kind: "gap".to_owned(),
                    summary: summary.clone(),
                    score: strength,
                    subject: subject.clone(),
                    baseline: Some(usual_ms),
                    observed: Some(now_ms),
                });
            }
        }
    }
    findings
}

pub(super) fn as_usual(view: &View<'_>, service: Symbol) -> Option<AsUsual> {
    let touching = view.since.edges.iter().filter(|((caller, callee), gaps)| {
        let before = view.before.edges.get(&(*caller, *callee)).map_or(0.0, Sketch::count);
        (*caller == service || *callee == service) && before >= BEFORE_MIN && gaps.count() >= SINCE_MIN
    });
    let (edges, calls) =
        touching.fold((0, 0.0), |(edges, calls), (_, gaps)| (edges + 1, calls + gaps.count()));
    let others = if edges == 1 { "1 other service".to_owned() } else { format!("{edges} other services") };
    (edges > 0).then(|| AsUsual {
        summary: format!("calls between it and {others} lose no more time than usual ({calls:.0} calls)"),
        subject: view.name(service).to_owned(),
        count: calls,
        usual: None,
        now: None,
    })
}
