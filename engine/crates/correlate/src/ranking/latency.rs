//! Latency and availability metrics, weak evidence: callers of a slow service look slow too. Used only when neither
//! traces nor a call graph tell the cause from its victims.

use super::resource::{deviations, note};
use super::{Findings, MetricRole, View};

pub(super) fn rank(view: &View<'_>) -> Findings {
    let mut findings = Findings::new();
    if view.has_traces() || !view.store.given_edges.is_empty() {
        return findings;
    }
    let wanted = |role| matches!(role, MetricRole::Latency | MetricRole::Availability);
    for deviation in deviations(view, wanted) {
        let strength = if deviation.role == MetricRole::Latency { deviation.up } else { deviation.down };
        note(&mut findings, view, "latency", &deviation, strength);
    }
    findings
}
