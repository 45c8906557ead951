//! Whether the members of an incident are one problem or several, judged by what their causes can explain.
//!
//! Trouble goes from callee to caller, so a cause explains itself and what calls it, directly or over others. Members that the
//! first cause does not explain, among them one with convincing evidence of its own, are a second problem. What goes on inside of who suffers
//! from the first cause is no such evidence: a request that fails at one call no longer makes the others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::evidence::{BUCKET_MS, Correlator};
use crate::ranking::{Ranked, Trigger};
use model::Severity;

/// Evidence by itself (see [`Ranked::conviction`]) from which a service is a cause beside another.
pub(super) const CONVINCING: f64 = 0.5;
/// One that was taken for a cause of its own and falls below is not.
pub(super) const UNCONVINCING: f64 = 0.2;

/// A service with anomalies in an incident.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub first_ms: i64,
    pub last_ms: i64,
    pub anomalies: u64,
    pub severity: Severity,
    /// Of its first anomaly.
    pub metric: String,
    /// Traces that show its newest anomaly with any.
    #[serde(default)]
    pub trace_ids: Vec<String>,
}

pub(super) type Members = BTreeMap<String, Member>;

/// A cause beside the first one, and since when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Separate {
    pub cause: String,
    pub first_ms: i64,
}

/// The causes that have to do neither with `first` nor with each other, in the order of their evidence.
pub(super) fn separate_causes(
    members: &Members,
    first: &Ranked,
    trigger: Trigger,
    guard_ms: i64,
    now_ms: i64,
    correlator: &Correlator,
) -> Vec<Separate> {
    let graph = correlator.graph();
    let first_cause = &first.cause.service;
    if graph.is_empty() || first.conviction < CONVINCING {
        return Vec::new();
    }
    let mut unexplained: BTreeSet<&str> = members.keys().map(String::as_str).collect();
    unexplained.retain(|service| !graph.are_related(first_cause, service));
    // Of an incident that the first cause has nothing to do with nothing would be left.
    if unexplained.len() == members.len() {
        return Vec::new();
    }
    let Some(since_ms) = unexplained.iter().map(|service| members[*service].first_ms).min() else {
        return Vec::new();
    };
    // What began later is compared with what was usual before it, not before the incident.
    let later_ms = since_ms - guard_ms;
    let trigger = if later_ms >= trigger.time_ms + BUCKET_MS {
        Trigger { time_ms: later_ms, family: None }
    } else {
        trigger
    };
    let ranked = correlator.ranked_beside(first_cause, &trigger, now_ms);
    let conviction: BTreeMap<&str, f64> =
        ranked.iter().map(|ranked| (ranked.cause.service.as_str(), ranked.conviction)).collect();
    let of_first = graph.downstream(first_cause);
    let mut separate = Vec::new();
    for candidate in ranked.iter().filter(|ranked| ranked.conviction >= CONVINCING) {
        let service = candidate.cause.service.as_str();
        let is_shared = || {
            let of_both = graph.downstream(service);
            let mut of_both = of_both.intersection(&of_first).map(|callee| (*callee, conviction.get(callee)));
            of_both.any(|(callee, strength)| {
                // The abort of a call is put down to who was called, so without trouble of its own it must be the stronger one.
                let share = if members.contains_key(callee) { 0.5 } else { 1.0 };
                strength.is_some_and(|strength| *strength >= share * candidate.conviction)
            })
        };
        // What both call and is about as suspicious may be what both suffer from.
        if !unexplained.contains(service) || is_shared() {
            continue;
        }
        let explained = unexplained.iter().filter(|other| graph.explains(service, other));
        let first_ms = explained.map(|other| members[*other].first_ms).min().unwrap_or(since_ms);
        separate.push(Separate { cause: service.to_owned(), first_ms });
        unexplained.retain(|other| !graph.are_related(service, other));
    }
    separate
}
