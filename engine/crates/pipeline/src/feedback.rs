//! What people said of incidents, used for those alike that come later.
//!
//! *Expected* and *noise* damp: the severity of a later incident with the same first cause, once it is ranked, and at least half of its
//! services in common is one level lower, or *info* once it was said often. *Right*, and *wrong cause* with the cause that was, move the ranking of later
//! incidents with at least half of their services in common, by a bounded factor. All of it fades: what was said counts half after
//! [`HALF_LIFE_MS`] of event time, and what is taken back counts no more. It comes through the same topic as all findings, so a replay
//! or another process concludes the same.
//!
//! Bounds: the newest [`INCIDENTS_MAX`] incidents can be spoken of, and the newest [`SAID_MAX`] remarks count; what is older is forgotten.

use std::collections::BTreeMap;

use model::{Evidence, Incident, RootCause, Severity};
use serde::{Deserialize, Serialize};

/// Thirty days.
pub const HALF_LIFE_MS: i64 = 30 * 86_400_000;
pub const INCIDENTS_MAX: usize = 2_000;
pub const SAID_MAX: usize = 1_000;
/// The score of a cause is multiplied or divided by this at the most, so that a cause with more than its square times the score stays first.
pub const FACTOR_MAX: f64 = 1.5;
/// Services in common, of all of both.
const ALIKE_MIN: f64 = 0.5;
/// Said as often as this, as it has faded, an incident is one level less severe, and only worth knowing.
const DAMP_ONE_LEVEL: f64 = 0.5;
const DAMP_TO_INFO: f64 = 1.5;
/// Services of an incident that are remembered.
const SERVICES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Judgement {
    Expected,
    Noise,
    Right,
    WrongCause,
}

/// What somebody said of an incident, or took back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    pub id: String,
    pub incident: String,
    pub judgement: Judgement,
    /// The service that was the cause, with `WrongCause`.
    pub cause: Option<String>,
    /// When it was said, ms since the epoch.
    pub time_ms: i64,
    pub is_undone: bool,
}

/// What makes incidents alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shape {
    opened_ms: i64,
    /// Sorted.
    services: Vec<String>,
    cause: Option<String>,
}

impl Shape {
    fn of(incident: &Incident) -> Self {
        Self {
            opened_ms: incident.opened_ms,
            services: incident.services.iter().take(SERVICES_MAX).cloned().collect(),
            cause: incident.root_causes.first().map(|cause| cause.service.clone()),
        }
    }

    fn is_alike(&self, other: &Self) -> bool {
        let common = self.services.iter().filter(|service| other.services.contains(service)).count();
        let all = self.services.len() + other.services.len() - common;
        common as f64 >= ALIKE_MIN * all as f64 && common > 0
    }

    /// Until the causes of both are ranked, they may.
    fn may_share_its_cause_with(&self, other: &Self) -> bool {
        self.cause.is_none() || other.cause.is_none() || self.cause == other.cause
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Said {
    judgement: Judgement,
    cause: Option<String>,
    time_ms: i64,
    shape: Shape,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// As they were told last.
    incidents: BTreeMap<String, Shape>,
    /// By the id of the remark.
    said: BTreeMap<String, Said>,
}

impl Feedback {
    pub fn on_remark(&mut self, remark: &Remark) {
        if remark.is_undone {
            self.said.remove(&remark.id);
            return;
        }
        let Some(shape) = self.incidents.get(&remark.incident) else { return };
        let Remark { judgement, cause, time_ms, .. } = remark.clone();
        self.said.insert(remark.id.clone(), Said { judgement, cause, time_ms, shape: shape.clone() });
        if self.said.len() > SAID_MAX {
            let oldest = self.said.iter().min_by_key(|(id, said)| (said.time_ms, *id));
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.said.remove(&id);
            }
        }
    }

    /// Applies what was said of others to a version of an incident that is about to be told, and remembers it.
    pub fn apply(&mut self, incident: &mut Incident) {
        self.rank(incident);
        self.damp(incident);
        self.incidents.insert(incident.incident.clone(), Shape::of(incident));
        if self.incidents.len() > INCIDENTS_MAX {
            let oldest = self.incidents.iter().min_by_key(|(id, shape)| (shape.opened_ms, *id));
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.incidents.remove(&id);
            }
        }
    }

    /// Of incidents alike, with how much it still counts.
    fn alike<'a>(&'a self, shape: &'a Shape) -> impl Iterator<Item = (&'a Said, f64)> {
        let said = self.said.values().filter(|said| said.shape.is_alike(shape));
        said.map(|said| {
            let age_ms = shape.opened_ms.saturating_sub(said.time_ms).max(0);
            (said, (-(age_ms as f64) / HALF_LIFE_MS as f64).exp2())
        })
    }

    fn rank(&self, incident: &mut Incident) {
        if self.said.is_empty() {
            return;
        }
        let shape = Shape::of(incident);
        // By service: how often it was the cause less how often it was not, and the remarks behind it.
        let mut moved: BTreeMap<String, (f64, usize)> = BTreeMap::new();
        let mut count = |service: Option<&'_ str>, weight: f64| {
            if let Some(service) = service {
                let (sum, remarks) = moved.entry(service.to_owned()).or_default();
                *sum += weight;
                *remarks += 1;
            }
        };
        for (said, weight) in self.alike(&shape) {
            let first = said.shape.cause.as_deref();
            match said.judgement {
                Judgement::Right => count(first, weight),
                Judgement::WrongCause => {
                    if said.shape.cause != said.cause {
                        count(first, -weight);
                    }
                    count(said.cause.as_deref(), weight);
                }
                Judgement::Expected | Judgement::Noise => {}
            }
        }
        for cause in &mut incident.root_causes {
            let Some((sum, remarks)) = moved.get(cause.service.as_str()) else { continue };
            let factor = FACTOR_MAX.powf(sum.clamp(-1.0, 1.0));
            cause.score *= factor;
            let what = if *sum >= 0.0 { "the cause" } else { "not the cause" };
            cause.evidence.push(Evidence {
                kind: "feedback".to_owned(),
                summary: format!(
                    "people called it {what} in incidents alike ({remarks} remarks): score x {factor:.2}"
                ),
                score: sum.abs(),
                subject: cause.service.clone(),
                baseline: None,
                observed: None,
            });
        }
        // What the causes that are not moved have, and that it is none of them, stays as it is beside.
        let odds = |cause: &RootCause| {
            let sum = moved.get(cause.service.as_str()).map_or(0.0, |(sum, _)| *sum);
            cause.confidence * FACTOR_MAX.powf(sum.clamp(-1.0, 1.0))
        };
        let unmoved: f64 = incident.root_causes.iter().map(|cause| cause.confidence).sum();
        let total: f64 = (1.0 - unmoved).max(0.0) + incident.root_causes.iter().map(odds).sum::<f64>();
        for cause in incident.root_causes.iter_mut().filter(|_| total > 0.0) {
            cause.confidence = odds(cause) / total;
        }
        // Stable: of equals, who was first stays first.
        incident.root_causes.sort_by(|a, b| b.score.total_cmp(&a.score));
    }

    fn damp(&self, incident: &mut Incident) {
        let shape = Shape::of(incident);
        let (mut sum, mut count) = (0.0, 0_usize);
        for (said, weight) in
            self.alike(&shape).filter(|(said, _)| said.shape.may_share_its_cause_with(&shape))
        {
            match said.judgement {
                Judgement::Expected | Judgement::Noise => {
                    sum += weight;
                    count += 1;
                }
                // Somebody took it for real.
                Judgement::Right | Judgement::WrongCause => sum -= weight,
            }
        }
        let damped = match incident.severity {
            _ if sum >= DAMP_TO_INFO => Severity::Info,
            Severity::Critical if sum >= DAMP_ONE_LEVEL => Severity::Warning,
            Severity::Warning if sum >= DAMP_ONE_LEVEL => Severity::Info,
            same => same,
        };
        if damped != incident.severity {
            let before = incident.severity.as_str();
            incident.title +=
                &format!(" (was {before}: incidents alike were called noise or expected, {count} remarks)");
            incident.severity = damped;
        }
    }
}

#[cfg(test)]
mod tests;
