//! Changes of what metrics tell: CPU, and on a given graph extra seconds and failed requests.

use std::collections::BTreeMap;

use super::Changed;
use crate::evidence::Correlator;
use crate::ranking::resource::{deviation, size};
use crate::ranking::{MetricRole, RANKERS, Trigger, View, impact, role_of};
use crate::symbols::Symbol;

/// All points of this time must be far from usual, two at the least.
const SUSTAINED_MS: i64 = 60_000;
const BEFORE_MIN: usize = 16;
/// Reports on a given graph, of which the last two are compared with those before.
const REPORTS_BEFORE_MIN: i64 = 12;

/// What each of both must show alone, of what both together must.
const ALONE_SHARE: f64 = 0.5;

/// Strength at which evidence of a kind is half convincing.
fn half(kind: &str) -> f64 {
    RANKERS.iter().find(|ranker| ranker.kind == kind).map_or(f64::MAX, |ranker| ranker.half)
}

pub(super) fn changed(store: &Correlator, now_ms: i64) -> Vec<Changed> {
    let mut changed = resources(store, now_ms);
    changed.extend(impacts(store, now_ms));
    changed
}

/// Memory that grows hurts nobody by itself.
fn resources(store: &Correlator, now_ms: i64) -> Vec<Changed> {
    let half = half("resource");
    let mut split = Vec::new();
    let mut largest: BTreeMap<Symbol, f64> = BTreeMap::new();
    for (&(service, metric), points) in &store.series {
        // Each step asks this of each series, so only of those that count are points looked at.
        if store.role_of(metric) != MetricRole::Cpu {
            continue;
        }
        let known = points.partition_point(|point| point.0 <= now_ms);
        let Some(newest_ms) = known.checked_sub(1).map(|last| points[last].0) else { continue };
        if newest_ms <= now_ms - SUSTAINED_MS {
            continue;
        }
        let since = points.partition_point(|point| point.0 < newest_ms - SUSTAINED_MS);
        let since = since.min(known.saturating_sub(2));
        if since < BEFORE_MIN {
            continue;
        }
        let before: Vec<f64> = points.range(..since).map(|point| point.1).collect();
        let largest = largest.entry(metric).or_insert(0.0);
        *largest = largest.max(size(&before));
        split.push((service, metric, before, points.range(since..known).copied().collect::<Vec<_>>()));
    }
    let changes = split.into_iter().filter_map(|(service, metric, before, since)| {
        let low = since.iter().map(|point| point.1).fold(f64::MAX, f64::min);
        let deviation = deviation(&before, low, low, largest.get(&metric).copied().unwrap_or(0.0))?;
        let service = store.symbols.name(service);
        (!View::is_excluded(service)).then(|| Changed {
            service: service.to_owned(),
            subject: store.symbols.name(metric).to_owned(),
            strength: deviation.up / half,
            since_ms: since[0].0,
        })
    });
    changes.collect()
}

fn impacts(store: &Correlator, now_ms: i64) -> Vec<Changed> {
    if store.given_edges.is_empty() {
        return Vec::new();
    }
    let mut intervals: Vec<i64> = Vec::new();
    let (mut oldest_ms, mut newest_ms) = (i64::MAX, i64::MIN);
    for ((_, metric), points) in &store.series {
        if role_of(store.symbols.name(*metric)) != MetricRole::Requests {
            continue;
        }
        let known = points.partition_point(|point| point.0 <= now_ms);
        if known < 2 {
            continue;
        }
        intervals.push(points[known - 1].0 - points[known - 2].0);
        oldest_ms = oldest_ms.min(points[0].0);
        newest_ms = newest_ms.max(points[known - 1].0);
    }
    intervals.sort_unstable();
    let Some(&interval_ms) = intervals.get(intervals.len() / 2) else { return Vec::new() };
    // Two reports of each, whoever of them is a little earlier.
    let between_ms = newest_ms - interval_ms / 2;
    let from_ms = between_ms - interval_ms.max(SUSTAINED_MS);
    if now_ms - newest_ms > 2 * interval_ms || from_ms - oldest_ms < REPORTS_BEFORE_MIN * interval_ms {
        return Vec::new();
    }
    let view_of = |time_ms: i64, to_ms: i64| View::new(store, Trigger { time_ms, family: None }, to_ms);
    let view = view_of(from_ms, now_ms);
    let half = half("impact");
    // Chance in one report is outweighed by no other.
    let alone = [view_of(from_ms, between_ms), view_of(between_ms, now_ms)].map(|view| impact::rank(&view));
    let is_in_both = |service: &Symbol| {
        alone.iter().all(|findings| findings.get(service).is_some_and(|it| it.strength >= ALONE_SHARE * half))
    };
    let findings = impact::rank(&view).into_iter().filter(|(service, _)| is_in_both(service));
    let changes = findings.filter_map(|(service, finding)| {
        let subject = finding.evidence.iter().max_by(|a, b| a.score.total_cmp(&b.score))?.subject.clone();
        let (service, strength) = (view.name(service).to_owned(), finding.strength / half);
        Some(Changed { service, subject, strength, since_ms: newest_ms - interval_ms })
    });
    changes.collect()
}
