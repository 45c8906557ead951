//! Ranks services by explained evidence.
//!
//! Each ranker of [`RANKERS`] looks at one kind of evidence and gives every service a strength >= 0. Strengths of
//! different kinds have different units, so each is squashed by its own scale and by the strongest service of
//! its kind before the weighted sum: a kind speaks loudly only when it is both strong and singular.

pub mod change;
pub(crate) mod confidence;
mod counter;
pub mod gap;
pub mod impact;
pub mod latency;
mod place;
pub mod resource;
pub mod self_time;
pub mod structure;

use std::collections::BTreeMap;

use model::{Evidence, RootCause};

use crate::evidence::{BUCKET_MS, Correlator};
use crate::statistics::TraceStats;
use crate::symbols::Symbol;

/// What kind of objective was violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Latency,
    Errors,
}

/// When, and as far as known what, went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Event time, ms. Better 30 s early than late: late puts the fault into the baseline.
    pub time_ms: i64,
    pub family: Option<Family>,
}

/// One kind of evidence.
pub struct Ranker {
    /// As in [`Evidence::kind`].
    pub kind: &'static str,
    pub weight: f64,
    /// Strength at which the evidence is half convincing.
    pub half: f64,
    pub rank: fn(&View<'_>) -> Findings,
}

/// Every ranker. To add one, write `ranking/<kind>.rs` and a line here.
pub const RANKERS: &[Ranker] = &[
    Ranker { kind: "gap", weight: 1.0, half: 5.0, rank: gap::rank },
    Ranker { kind: "self_time", weight: 0.8, half: 6.0, rank: self_time::rank },
    Ranker { kind: "structure", weight: 0.7, half: 8.0, rank: structure::rank },
    Ranker { kind: "resource", weight: 0.8, half: 10.0, rank: resource::rank },
    Ranker { kind: "impact", weight: 1.0, half: 0.05, rank: impact::rank },
    Ranker { kind: "latency", weight: 0.3, half: 10.0, rank: latency::rank },
    Ranker { kind: "change", weight: 0.2, half: 0.5, rank: change::rank },
];

/// Services that must not be blamed: entry objectives that are measured, not run.
const NOT_CANDIDATES: &[&str] = &["_sli", ""];
/// Pieces of evidence shown of one kind.
const SHOWN: usize = 3;
/// Candidates of which is said what speaks against them.
const EXPLAINED: usize = 8;
/// Evidence that convinces less is noise to a reader; it still counts.
const SHOWN_MIN: f64 = 0.02;

pub type Findings = BTreeMap<Symbol, Finding>;

/// What one ranker found about one service.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    pub strength: f64,
    /// Strongest first after fusion.
    pub evidence: Vec<Evidence>,
}

/// What rankers look at: statistics before and since the trigger.
pub struct View<'a> {
    pub(crate) store: &'a Correlator,
    pub(crate) trigger: Trigger,
    pub(crate) now_ms: i64,
    pub(crate) before: TraceStats,
    pub(crate) since: TraceStats,
    /// First bucket that belongs to the window.
    pub(crate) first_bucket: i64,
    /// Client operations -> the callee that they always call, if there is one.
    pub(crate) client_operations: BTreeMap<Symbol, Option<Symbol>>,
    /// A known cause: what goes on inside of who suffers from it says nothing about others that they call.
    pub(crate) known_cause: Option<String>,
}

/// Share of an operation's spans that call another service, from which it is a client operation.
const CLIENT_SHARE_MIN: f32 = 0.3;
/// Share of calls to one callee that counts as always.
const USUAL_SHARE_MIN: f32 = 0.98;

impl<'a> View<'a> {
    pub(crate) fn new(store: &'a Correlator, trigger: Trigger, now_ms: i64) -> Self {
        // The bucket in which the trigger lies goes to the window: early is cheaper than late.
        let first_bucket = trigger.time_ms.div_euclid(BUCKET_MS);
        let before = store.before(first_bucket);
        let mut since = TraceStats::default();
        for (_, stats) in store.recent.range(first_bucket..=now_ms.div_euclid(BUCKET_MS).max(first_bucket)) {
            since.merge(stats, usize::MAX);
        }
        let mut client_operations = BTreeMap::new();
        for (&operation, stats) in &before.operations {
            if stats.with_remote >= CLIENT_SHARE_MIN * stats.spans {
                let usual = stats.callees.iter().max_by(|a, b| {
                    a.1.total_cmp(b.1).then_with(|| store.symbols.name(*b.0).cmp(store.symbols.name(*a.0)))
                });
                let total: f32 = stats.callees.values().sum();
                let usual =
                    usual.filter(|(_, count)| **count >= USUAL_SHARE_MIN * total).map(|(callee, _)| *callee);
                client_operations.insert(operation, usual);
            }
        }
        let known_cause = None;
        Self { store, trigger, now_ms, before, since, first_bucket, client_operations, known_cause }
    }

    pub(crate) fn has_traces(&self) -> bool {
        !self.before.operations.is_empty()
    }

    pub(crate) fn name(&self, symbol: Symbol) -> &str {
        self.store.symbols.name(symbol)
    }

    pub(crate) fn is_candidate(&self, service: Symbol) -> bool {
        !Self::is_excluded(self.name(service))
    }

    /// Whether a known cause explains what goes on inside of a service.
    pub(crate) fn is_explained(&self, service: Symbol) -> bool {
        let cause = self.known_cause.as_deref();
        cause.is_some_and(|cause| self.store.graph().explains(cause, self.name(service)))
    }

    /// Whether a service must not be blamed.
    pub(crate) fn is_excluded(service: &str) -> bool {
        NOT_CANDIDATES.contains(&service)
    }

    /// Values of a series before the trigger and since, oldest first.
    pub(crate) fn split(&self, points: &std::collections::VecDeque<(i64, f64)>) -> (Vec<f64>, Vec<f64>) {
        let before = points.iter().filter(|point| point.0 < self.trigger.time_ms).map(|point| point.1);
        let since = points.iter().filter(|point| (self.trigger.time_ms..=self.now_ms).contains(&point.0));
        (before.collect(), since.map(|point| point.1).collect())
    }
}

/// A sum that does not depend on the order, which symbols have from whoever was seen first.
pub(crate) fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.iter().sum()
}

/// A candidate, and how convincing its evidence is by itself: unlike its score, which the strongest of each kind takes down, this does
/// not depend on what else is wrong. The weighted sum over the kinds of 0 to 1.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    pub cause: RootCause,
    pub conviction: f64,
}

pub(crate) fn rank(store: &Correlator, trigger: &Trigger, now_ms: i64) -> Vec<Ranked> {
    rank_view(&View::new(store, *trigger, now_ms))
}

/// As [`rank`], for what `cause` does not explain.
pub(crate) fn rank_beside(store: &Correlator, trigger: &Trigger, now_ms: i64, cause: &str) -> Vec<Ranked> {
    rank_view(&View { known_cause: Some(cause.to_owned()), ..View::new(store, *trigger, now_ms) })
}

fn rank_view(view: &View<'_>) -> Vec<Ranked> {
    let store = view.store;
    let mut causes: BTreeMap<Symbol, Ranked> = store
        .services
        .iter()
        .filter(|&&service| view.is_candidate(service))
        .map(|&service| {
            let service_name = view.name(service).to_owned();
            let cause = RootCause { service: service_name, ..RootCause::default() };
            (service, Ranked { cause, conviction: 0.0 })
        })
        .collect();
    // Of each service how convincing which kind is, and what its strongest kind adds to the score.
    let mut convincing_of: BTreeMap<(Symbol, &str), f64> = BTreeMap::new();
    let mut strongest_kind: BTreeMap<Symbol, f64> = BTreeMap::new();
    for ranker in RANKERS {
        let mut findings = (ranker.rank)(view);
        findings.retain(|service, finding| finding.strength > 0.0 && causes.contains_key(service));
        let strongest = findings.values().map(|finding| finding.strength).fold(0.0, f64::max);
        for (service, finding) in findings {
            let Some(Ranked { cause, conviction }) = causes.get_mut(&service) else { continue };
            let square = finding.strength * finding.strength;
            let convincing = square / (square + ranker.half * ranker.half);
            let share = ranker.weight * convincing * finding.strength / strongest;
            cause.score += share;
            convincing_of.insert((service, ranker.kind), convincing);
            *conviction += ranker.weight * convincing;
            if convincing < SHOWN_MIN {
                continue;
            }
            let mut evidence = finding.evidence;
            evidence.sort_by(|a, b| {
                let by_name = || (&a.subject, &a.summary).cmp(&(&b.subject, &b.summary));
                b.score.total_cmp(&a.score).then_with(by_name)
            });
            evidence.truncate(SHOWN);
            let kinds_share = strongest_kind.entry(service).or_default();
            if share > *kinds_share {
                *kinds_share = share;
                cause.place = evidence.first().and_then(place::of);
            }
            cause.evidence.extend(evidence);
        }
    }
    explain(view, &mut causes, &convincing_of);
    let mut ranked: Vec<Ranked> = causes.into_values().collect();
    ranked.sort_by(|Ranked { cause: a, .. }, Ranked { cause: b, .. }| {
        b.score.total_cmp(&a.score).then_with(|| a.service.cmp(&b.service))
    });
    ranked
}

/// Says what speaks against the best candidates.
fn explain(
    view: &View<'_>,
    causes: &mut BTreeMap<Symbol, Ranked>,
    convincing_of: &BTreeMap<(Symbol, &str), f64>,
) {
    let mut best: Vec<(Symbol, f64)> =
        causes.iter().map(|(service, ranked)| (*service, ranked.cause.score)).collect();
    best.retain(|(_, score)| *score > 0.0);
    best.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| view.name(a.0).cmp(view.name(b.0))));
    for (service, _) in best.into_iter().take(EXPLAINED) {
        let Some(Ranked { cause, .. }) = causes.get_mut(&service) else { continue };
        let silent = RANKERS.iter().filter(|ranker| {
            convincing_of.get(&(service, ranker.kind)).copied().unwrap_or(0.0) < counter::UNCONVINCING
        });
        cause.counter_evidence =
            silent.filter_map(|ranker| counter::against(ranker.kind, view, service)).collect();
    }
}

/// Linear interpolation between the closest ranks of unsorted values; `None` when there are none.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let position = share * last as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64))
}

/// Median, 1.4826 times the median absolute deviation, and standard deviation.
pub(crate) fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
    let median = quantile(values, 0.5)?;
    let deviations: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    Some((median, 1.4826 * quantile(&deviations, 0.5)?, variance.sqrt()))
}

/// Means of adjacent values; a single value stands for itself.
pub(crate) fn pair_means(values: &[f64]) -> Vec<f64> {
    match values {
        [] => Vec::new(),
        [only] => vec![*only],
        many => many.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect(),
    }
}

/// What a metric measures, judged by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricRole {
    Cpu,
    Memory,
    Latency,
    Availability,
    Requests,
    Other,
}

/// Whether a name in small letters is that of a node, which several services share, and not of a Node.js runtime.
pub(crate) fn is_of_node(name: &str) -> bool {
    name.contains("node") && !name.contains("nodejs")
}

pub(crate) fn role_of(metric: &str) -> MetricRole {
    let name = metric.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if is_of_node(&name) || has(&["limit", "idle"]) {
        MetricRole::Other
    } else if has(&["cpu"]) {
        MetricRole::Cpu
    } else if has(&["mem"]) {
        MetricRole::Memory
    } else if has(&["latency", "duration"]) {
        MetricRole::Latency
    } else if has(&["availab", "success"]) {
        MetricRole::Availability
    } else if has(&["request"]) {
        MetricRole::Requests
    } else {
        MetricRole::Other
    }
}

/// A number of any size with what one can take in of it: `0.0042`, `12.3`, `318 M`.
pub(crate) fn readable(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 1e9 => format!("{:.1} G", value / 1e9),
        _ if size >= 1e6 => format!("{:.1} M", value / 1e6),
        _ if size >= 1e4 => format!("{:.1} k", value / 1e3),
        _ if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        _ if size >= 1.0 => format!("{value:.1}"),
        _ if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests;
