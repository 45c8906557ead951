//! Operations that take longer by themselves, calls to others not counted.

use model::Evidence;

use super::counter::AsUsual;
use super::gap::slowdown;
use super::{Finding, Findings, View};
use crate::statistics::SELF_OFFSET_US;
use crate::symbols::Symbol;

const BEFORE_MIN: f64 = 5.0;
const SINCE_MIN: f64 = 2.0;
/// Spans from which the slow tail is judged too, and how much that counts.
const TAIL_MIN: f64 = 20.0;
const TAIL_FACTOR: f64 = 0.6;

pub(super) fn rank(view: &View<'_>) -> Findings {
    let mut findings = Findings::new();
    for (operation, since) in &view.since.operations {
        if view.client_operations.contains_key(operation) {
            continue;
        }
        let Some(before) = view.before.operations.get(operation) else { continue };
        let Some(&service) = view.store.operation_service.get(operation) else { continue };
        let count = since.self_time.count();
        if before.self_time.count() < BEFORE_MIN || count < SINCE_MIN {
            continue;
        }
        let Some(level) = since.self_time.quantile(0.5) else { continue };
        let Some(mut slower) = slowdown(&before.self_time, level, count, SELF_OFFSET_US) else { continue };
        if count >= TAIL_MIN
            && let (Some(usual), Some(tail), Some(median)) =
                (before.self_time.quantile(0.9), since.self_time.quantile(0.9), before.self_time.quantile(0.5))
            // The tail's excess over the usual tail, in the spread of the middle.
            && let Some((strength, _, _)) = slowdown(&before.self_time, median + tail - usual, count, SELF_OFFSET_US)
            && strength * TAIL_FACTOR > slower.0
        {
            let to_ms = |level: f64| ((level.exp() - SELF_OFFSET_US) / 1000.0).max(0.0);
            slower = (strength * TAIL_FACTOR, to_ms(usual), to_ms(tail));
        }
        let (strength, usual_ms, now_ms) = slower;
        if strength <= 0.0 {
            continue;
        }
        let name = view.name(*operation);
        let subject = name.split_once('|').map_or(name, |(_, operation)| operation).to_owned();
        let finding: &mut Finding = findings.entry(service).or_default();
        finding.strength = finding.strength.max(strength);
        finding.evidence.push(Evidence {
            kind: "self_time".to_owned(),
            summary: format!("{subject} itself takes {now_ms:.1} ms, usually {usual_ms:.1} ms"),
            score: strength,
            subject,
            baseline: Some(usual_ms),
            observed: Some(now_ms),
        });
    }
    findings
}

/// The operation of which there is most to see.
pub(super) fn as_usual(view: &View<'_>, service: Symbol) -> Option<AsUsual> {
    let of_service = view.since.operations.iter().filter(|(operation, _)| {
        view.store.operation_service.get(operation) == Some(&service)
            && !view.client_operations.contains_key(operation)
    });
    let measured = of_service.filter_map(|(operation, since)| {
        let before = &view.before.operations.get(operation)?.self_time;
        let count = since.self_time.count();
        (before.count() >= BEFORE_MIN && count >= SINCE_MIN).then_some((*operation, before, since, count))
    });
    let (operation, before, since, count) =
        measured.max_by(|a, b| a.3.total_cmp(&b.3).then_with(|| view.name(b.0).cmp(view.name(a.0))))?;
    let to_ms = |level: f64| ((level.exp() - SELF_OFFSET_US) / 1000.0).max(0.0);
    let (usual_ms, now_ms) = (to_ms(before.quantile(0.5)?), to_ms(since.self_time.quantile(0.5)?));
    let name = view.name(operation);
    let subject = name.split_once('|').map_or(name, |(_, operation)| operation).to_owned();
    let summary = format!(
        "{subject} itself takes {now_ms:.1} ms as usual ({usual_ms:.1} ms), and no operation takes longer by much"
    );
    Some(AsUsual { summary, subject, count, usual: Some(usual_ms), now: Some(now_ms) })
}
