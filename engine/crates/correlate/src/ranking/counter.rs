//! What speaks against a cause: what was measured of it and is as usual.

use model::Evidence;

use super::{MetricRole, View, gap, resource, self_time, structure};
use crate::symbols::Symbol;

/// A kind of evidence that would show if the service were the cause, and is less convincing than this, speaks against it.
pub(super) const UNCONVINCING: f64 = 0.1;

/// The sentence and numbers of a measurement that is as usual.
pub(super) struct AsUsual {
    pub summary: String,
    pub subject: String,
    /// How many were measured.
    pub count: f64,
    pub usual: Option<f64>,
    pub now: Option<f64>,
}

/// By the kind that found nothing; none if there was nothing to measure.
pub(super) fn against(kind: &str, view: &View<'_>, service: Symbol) -> Option<Evidence> {
    let as_usual = match kind {
        "gap" => gap::as_usual(view, service),
        "self_time" => self_time::as_usual(view, service),
        "structure" => structure::as_usual(view, service),
        "resource" => {
            let is_wanted = |role| matches!(role, MetricRole::Cpu | MetricRole::Memory);
            resource::as_usual(view, service, is_wanted)
        }
        _ => None,
    }?;
    let AsUsual { summary, subject, count, usual, now } = as_usual;
    Some(Evidence { kind: kind.to_owned(), summary, score: count, subject, baseline: usual, observed: now })
}
