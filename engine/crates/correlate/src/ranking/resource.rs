//! CPU and memory of a service far from their usual level.

use std::collections::BTreeMap;

use model::Evidence;

use super::counter::AsUsual;
use super::{Finding, Findings, MetricRole, View, pair_means, quantile, readable, spread};
use crate::symbols::Symbol;

const BEFORE_MIN: usize = 3;
/// The level of just before the trigger, for series that drift.
const RECENT: usize = 5;
/// From so many points a quantile of the window is its level.
const MANY: usize = 8;
/// Falling memory (a restart) counts half.
const FALL_FACTOR: f64 = 0.5;

pub(super) fn rank(view: &View<'_>) -> Findings {
    let wanted = |role| matches!(role, MetricRole::Cpu | MetricRole::Memory);
    let mut findings = Findings::new();
    for deviation in deviations(view, wanted) {
        let kind = "resource";
        let fall = if deviation.role == MetricRole::Memory { FALL_FACTOR * deviation.down } else { 0.0 };
        note(&mut findings, view, kind, &deviation, deviation.up.max(fall));
    }
    findings
}

pub(super) struct Deviation {
    pub service: Symbol,
    pub metric: Symbol,
    pub role: MetricRole,
    /// Standard deviations above and below the usual level, the smaller of long and recent view.
    pub up: f64,
    pub down: f64,
    usual: f64,
    high: f64,
    low: f64,
}

/// How far levels are from what was before.
pub(crate) struct Distance {
    /// Standard deviations above and below the usual level, the smaller of long and recent view.
    pub up: f64,
    pub down: f64,
    pub usual: f64,
}

/// What a metric comes to at a service, to tell what is too small to matter.
pub(crate) fn size(before: &[f64]) -> f64 {
    quantile(before, 0.95).unwrap_or(0.0)
}

/// `largest` is the largest [`size`] of the metric among all services.
pub(crate) fn deviation(before: &[f64], high: f64, low: f64, largest: f64) -> Option<Distance> {
    let floor = 0.02 * largest.abs();
    let (mut up, mut down) = (f64::MAX, f64::MAX);
    let (usual, _, _) = spread(before)?;
    for values in [before, &before[before.len().saturating_sub(RECENT)..]] {
        let (median, mad, std) = spread(values)?;
        let sd = mad.max(0.3 * std).max(0.03 * median.abs()).max(floor).max(f64::MIN_POSITIVE);
        up = up.min((high - median) / sd);
        down = down.min((median - low) / sd);
    }
    // A series that was always zero has no scale: any finite cap will do.
    Some(Distance { up: up.clamp(0.0, 1000.0), down: down.clamp(0.0, 1000.0), usual })
}

pub(super) fn note(
    findings: &mut Findings,
    view: &View<'_>,
    kind: &str,
    deviation: &Deviation,
    strength: f64,
) {
    if strength <= 0.0 {
        return;
    }
    let finding: &mut Finding = findings.entry(deviation.service).or_default();
    finding.strength = finding.strength.max(strength);
    let level = if deviation.up >= deviation.down { deviation.high } else { deviation.low };
    let subject = view.name(deviation.metric).to_owned();
    finding.evidence.push(Evidence {
        kind: kind.to_owned(),
        summary: format!(
            "{subject} is at {}, usually {} ({strength:.1} deviations)",
            readable(level),
            readable(deviation.usual)
        ),
        score: strength,
        subject,
        baseline: Some(deviation.usual),
        observed: Some(level),
    });
}

pub(super) fn deviations(view: &View<'_>, wanted: impl Fn(MetricRole) -> bool) -> Vec<Deviation> {
    let mut split = Vec::new();
    // A metric's size among all services tells what is too small to matter.
    let mut largest: BTreeMap<Symbol, f64> = BTreeMap::new();
    for (&(service, metric), points) in &view.store.series {
        let role = view.store.role_of(metric);
        if !wanted(role) || !view.is_candidate(service) {
            continue;
        }
        let (before, since) = view.split(points);
        if before.len() < BEFORE_MIN || since.is_empty() {
            continue;
        }
        let high = size(&before);
        let entry = largest.entry(metric).or_insert(high);
        *entry = entry.max(high);
        split.push((service, metric, role, before, since));
    }
    let mut deviations = Vec::new();
    for (service, metric, role, before, since) in split {
        let (high, low) = if since.len() >= MANY {
            (quantile(&since, 0.75).unwrap_or(0.0), quantile(&since, 0.25).unwrap_or(0.0))
        } else {
            let pairs = pair_means(&since);
            (pairs.iter().copied().fold(f64::MIN, f64::max), pairs.iter().copied().fold(f64::MAX, f64::min))
        };
        let largest = largest.get(&metric).copied().unwrap_or(0.0);
        let Some(Distance { up, down, usual }) = deviation(&before, high, low, largest) else { continue };
        deviations.push(Deviation { service, metric, role, up, down, usual, high, low });
    }
    deviations
}

/// The metric that deviates most, of those that do not by much.
pub(super) fn as_usual(
    view: &View<'_>,
    service: Symbol,
    wanted: impl Fn(MetricRole) -> bool,
) -> Option<AsUsual> {
    let own: Vec<Deviation> =
        deviations(view, wanted).into_iter().filter(|deviation| deviation.service == service).collect();
    let size = |deviation: &Deviation| deviation.up.max(deviation.down);
    let most = own.iter().max_by(|a, b| {
        size(a).total_cmp(&size(b)).then_with(|| view.name(b.metric).cmp(view.name(a.metric)))
    })?;
    let level = if most.up >= most.down { most.high } else { most.low };
    Some(AsUsual {
        summary: format!(
            "{} is at {}, usually {}: no more than {:.1} deviations in {} metrics of CPU and memory",
            view.name(most.metric),
            readable(level),
            readable(most.usual),
            size(most),
            own.len()
        ),
        subject: view.name(most.metric).to_owned(),
        count: own.len() as f64,
        usual: Some(most.usual),
        now: Some(level),
    })
}
