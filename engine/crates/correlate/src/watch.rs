//! Whether something has changed at a service, told by evidence alone.
//!
//! Many faults show in no series: an operation that returns early is as fast as ever, and a slow call hides in the mean of all. So at each step
//! the last minute is compared with all before, kind by kind as in the ranking, and a change counts when chance does not explain it:
//!
//! - of traces ([`traces`]) when a test of two samples is more surprising than any of as many tests of equal samples would be, in both
//!   halves of the minute;
//! - of points ([`points`]) when the evidence is half convincing, as the ranking takes it, in all points of a minute, or in two reports
//!   on a given graph.
//!
//! Nothing is told before it is known what is usual.

pub(crate) mod points;
pub(crate) mod traces;

use crate::evidence::Correlator;

/// A service at which something has changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changed {
    pub service: String,
    /// What has changed, in words.
    pub subject: String,
    /// From 1 on it is a change.
    pub strength: f64,
    /// About since when, event time.
    pub since_ms: i64,
}

/// All services with a change in the time before `now_ms`, each once, the strongest first.
pub(crate) fn changed(store: &Correlator, now_ms: i64) -> Vec<Changed> {
    let mut changed = traces::changed(store, now_ms);
    changed.extend(points::changed(store, now_ms));
    changed.retain(|change| change.strength >= 1.0);
    changed.sort_by(|a, b| {
        let by_name = || (&a.service, &a.subject).cmp(&(&b.service, &b.subject));
        b.strength.total_cmp(&a.strength).then_with(by_name)
    });
    let mut seen = std::collections::BTreeSet::new();
    changed.retain(|change| seen.insert(change.service.clone()));
    changed
}

#[cfg(test)]
mod tests;
