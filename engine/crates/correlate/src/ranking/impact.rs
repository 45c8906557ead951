//! Extra seconds and failed requests on a given call graph, for systems that report metrics per service but no traces.
//!
//! A service's impact counts only as far as its callees do not explain it.

use std::collections::BTreeMap;

use model::Evidence;

use super::structure::log_likelihood_ratio;
use super::{Family, Finding, Findings, MetricRole, View, pair_means, spread, sum};
use crate::symbols::Symbol;

const BEFORE_MIN: usize = 3;
const Z_MIN: f64 = 3.0;
const FAILURES_RATIO_MIN: f64 = 4.0;
/// Requests at which a service's impact counts half.
const HALF_REQUESTS: f64 = 20.0;
const ERROR_FACTOR: f64 = 10.0;
/// For the family that did not raise the alarm.
const OTHER_FAMILY_FACTOR: f64 = 0.3;
/// Share that a service keeps though its callees explain it.
const OWN_SHARE: f64 = 0.05;

struct Impact {
    /// Extra seconds, or failed requests, per reporting interval.
    amount: f64,
    usual: f64,
    level: f64,
}

pub(crate) fn rank(view: &View<'_>) -> Findings {
    let mut findings = Findings::new();
    if view.has_traces() || view.store.given_edges.is_empty() {
        return findings;
    }
    let mut series: BTreeMap<(Symbol, u8), (u8, Symbol)> = BTreeMap::new();
    for &(service, metric) in view.store.series.keys() {
        let role = match view.store.role_of(metric) {
            MetricRole::Latency => 0,
            MetricRole::Availability => 1,
            MetricRole::Requests => 2,
            _ => continue,
        };
        // Of several metrics of a kind take the mean, else the median, else the first by name.
        let name = view.name(metric).to_ascii_lowercase();
        let order = match name {
            name if ["average", "avg", "mean"].iter().any(|word| name.contains(word)) => 0,
            name if name.contains("p50") || name.contains("sum") => 1,
            _ => 2,
        };
        let candidate = (order, metric);
        let chosen = series.entry((service, role)).or_insert(candidate);
        if (candidate.0, view.name(candidate.1)) < (chosen.0, view.name(chosen.1)) {
            *chosen = candidate;
        }
    }
    let mut of_families = Vec::new();
    for family in [Family::Latency, Family::Errors] {
        let mut impacts: BTreeMap<Symbol, Impact> = BTreeMap::new();
        let mut scale: f64 = 0.0;
        for &service in &view.store.services {
            if !view.is_candidate(service) {
                continue;
            }
            let split = |role: u8| {
                let metric = series.get(&(service, role))?.1;
                view.store.series.get(&(service, metric)).map(|points| view.split(points))
            };
            let role = if family == Family::Latency { 0 } else { 1 };
            let (Some(values), Some(requests)) = (split(role), split(2)) else { continue };
            let (before, since) = values;
            if before.len() < BEFORE_MIN || since.is_empty() {
                continue;
            }
            let mean = |values: &[f64]| {
                if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
            };
            let (requests_before, requests_since) = (mean(&requests.0), mean(&requests.1));
            let impact = match family {
                Family::Latency => {
                    scale = scale.max(mean(&before) * requests_before);
                    slower(&before, &since, requests_since)
                }
                Family::Errors => {
                    scale = scale.max(requests_before);
                    failing(&before, &since, requests_before, requests_since)
                }
            };
            if let Some(mut impact) = impact {
                impact.amount *= requests_since / (requests_since + HALF_REQUESTS);
                impacts.insert(service, impact);
            }
        }
        if scale > 0.0 {
            of_families.push((family, impacts, scale));
        }
    }
    // Where nobody says what was violated, it is the failures if those who call from outside have more of them than chance gives.
    let is_entry = |service: &Symbol| view.store.given_edges.iter().all(|(_, callee)| callee != service);
    let fails_outside = of_families
        .iter()
        .any(|(family, impacts, _)| *family == Family::Errors && impacts.keys().any(is_entry));
    let violated = view.trigger.family.or(fails_outside.then_some(Family::Errors));
    for (family, impacts, scale) in of_families {
        let mut factor = if family == Family::Errors { ERROR_FACTOR } else { 1.0 };
        if violated.is_some_and(|violated| violated != family) {
            factor *= OTHER_FAMILY_FACTOR;
        }
        for (&service, impact) in &impacts {
            let callees = view.store.given_edges.range((service, Symbol::MIN)..=(service, Symbol::MAX));
            let explained = callees
                .filter_map(|(_, callee)| impacts.get(callee).filter(|_| *callee != service))
                .map(|callee| callee.amount.min(impact.amount));
            let explained = sum(explained);
            let exclusive = (impact.amount - explained).max(0.0) + OWN_SHARE * impact.amount;
            let strength = factor * exclusive / scale;
            let (usual, level, amount) = (impact.usual, impact.level, impact.amount);
            let (subject, summary) = match family {
                Family::Latency => (
                    "latency",
                    format!(
                        "latency is {level:.3}, usually {usual:.3}: {amount:.1} more in all requests of an interval"
                    ),
                ),
                Family::Errors => (
                    "errors",
                    format!(
                        "{:.2} % of requests fail, usually {:.2} %: {amount:.1} an interval",
                        100.0 * level,
                        100.0 * usual
                    ),
                ),
            };
            let finding: &mut Finding = findings.entry(service).or_default();
            finding.strength = finding.strength.max(strength);
            finding.evidence.push(Evidence {
                kind: "impact".to_owned(),
                summary,
                score: strength,
                subject: subject.to_owned(),
                baseline: Some(usual),
                observed: Some(level),
            });
        }
    }
    findings
}

/// The worse of the long median and the one of the last two rows that is closest to it.
fn base_of(before: &[f64]) -> Option<(f64, f64, f64)> {
    let (median, mad, std) = spread(before)?;
    let last = before[before.len().saturating_sub(2)..].iter().copied();
    let closest = last.min_by(|a, b| (a - median).abs().total_cmp(&(b - median).abs()))?;
    Some((median.max(closest), mad, std))
}

fn worst_pair(values: &[f64]) -> f64 {
    pair_means(values).into_iter().fold(f64::MIN, f64::max)
}

fn slower(before: &[f64], since: &[f64], requests: f64) -> Option<Impact> {
    let (usual, mad, std) = base_of(before)?;
    let level = worst_pair(since);
    let sd = mad.max(0.3 * std).max(0.06 * usual.abs()).max(f64::MIN_POSITIVE);
    let more = level - usual;
    (more / sd >= Z_MIN).then_some(Impact { amount: more * requests, usual, level })
}

/// Failed requests, if they are more than the usual share makes likely.
fn failing(before: &[f64], since: &[f64], requests_before: f64, requests_since: f64) -> Option<Impact> {
    // Availability comes as a share or in percent.
    let full = if before.iter().chain(since).any(|value| *value > 1.5) { 100.0 } else { 1.0 };
    let failed = |values: &[f64]| {
        values.iter().map(|value| (1.0 - value / full).clamp(0.0, 1.0)).collect::<Vec<f64>>()
    };
    let (before, since) = (failed(before), failed(since));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (rows_before, rows_since) = (before.len() as f64, since.len() as f64);
    let failures_before = mean(&before) * requests_before * rows_before;
    let failures_since = mean(&since) * requests_since * rows_since;
    let expected =
        (failures_before + 0.5) / (requests_before * rows_before + 1.0) * requests_since * rows_since;
    if failures_since <= expected || log_likelihood_ratio(failures_since, expected) < FAILURES_RATIO_MIN {
        return None;
    }
    let (usual, _, _) = base_of(&before)?;
    let level = worst_pair(&since);
    (level > usual).then_some(Impact { amount: (level - usual) * requests_since, usual, level })
}
