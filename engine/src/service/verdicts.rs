//! `foreshock.v1.VerdictService`: an adapter from requests to the [`ChangeReader`].

use std::sync::Arc;

use proto::foreshock::v1;
use proto::foreshock::v1::verdict_service_server::VerdictService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use verdict::{Change, Criteria, Finding, Outcome, Role, SeriesReport, Verdict};

use crate::change::{self, ChangeReader};
use crate::controls::now_ms;

const BASELINE_MS: i64 = 3_600_000;
const SETTLE_MS: i64 = 60_000;
/// Of a name of a service.
const SERVICE_BYTES_MAX: usize = 1024;

#[derive(Clone)]
pub struct Judging {
    reader: ChangeReader,
    /// One at a time: each reads hours of a topic.
    turn: Arc<Semaphore>,
}

impl Judging {
    pub fn new(reader: ChangeReader) -> Self {
        Self { reader, turn: Arc::new(Semaphore::new(1)) }
    }
}

/// What is asked for, with the defaults.
pub fn asked(request: &v1::JudgeChangeRequest, now_ms: i64) -> Result<(Change, Criteria), String> {
    if request.service.is_empty() || request.service.len() > SERVICE_BYTES_MAX {
        return Err(format!("service must be given, with at most {SERVICE_BYTES_MAX} bytes"));
    }
    let since_ms = request.since_ms;
    let change = Change {
        since_ms,
        baseline_ms: request.baseline_ms.unwrap_or(BASELINE_MS),
        settle_ms: request.settle_ms.unwrap_or(SETTLE_MS),
        until_ms: request.until_ms.unwrap_or_else(|| change::until_ms(since_ms, now_ms)),
    };
    change.validate().map_err(|error| error.to_string())?;
    let mut criteria = Criteria::default();
    if let Some(tolerance) = request.tolerance {
        if !(0.0..=10.0).contains(&tolerance) {
            return Err("tolerance must be from 0 to 10, such as 0.1 for a tenth".to_owned());
        }
        criteria.resource_tolerance = criteria.resource_tolerance.max(tolerance);
        criteria.tolerance = tolerance;
    }
    Ok((change, criteria))
}

pub fn message(verdict: Verdict) -> v1::Verdict {
    let outcome = match verdict.outcome {
        Outcome::Pass => v1::VerdictOutcome::Pass,
        Outcome::Fail => v1::VerdictOutcome::Fail,
        Outcome::Unknown => v1::VerdictOutcome::Unknown,
    };
    let (before, after) = (verdict.change.before_ms(), verdict.change.after_ms());
    v1::Verdict {
        service: verdict.service,
        outcome: outcome.into(),
        reasons: verdict.reasons,
        missing: verdict.missing,
        before_from_ms: before.start,
        since_ms: before.end,
        after_from_ms: after.start,
        until_ms: after.end,
        series: verdict.series.into_iter().map(series).collect(),
        appeared: verdict.appeared.iter().map(ToString::to_string).collect(),
        vanished: verdict.vanished.iter().map(ToString::to_string).collect(),
    }
}

fn series(report: SeriesReport) -> v1::SeriesComparison {
    let role = match report.role {
        Role::Symptom => v1::SeriesRole::Symptom,
        Role::Traffic => v1::SeriesRole::Traffic,
        Role::Resource => v1::SeriesRole::Resource,
        Role::Downstream => v1::SeriesRole::Downstream,
        Role::Other => v1::SeriesRole::Other,
    };
    let finding = match report.finding {
        Finding::Worse => v1::SeriesFinding::Worse,
        Finding::Changed => v1::SeriesFinding::Changed,
        Finding::Same => v1::SeriesFinding::Same,
        Finding::TooFew => v1::SeriesFinding::TooFew,
    };
    let count = |blocks: usize| u32::try_from(blocks).unwrap_or(u32::MAX);
    v1::SeriesComparison {
        labels: report.labels.into(),
        role: role.into(),
        finding: finding.into(),
        before: report.before,
        after: report.after,
        difference: report.difference,
        effect: report.effect,
        p_value: report.p_value,
        p_adjusted: report.p_adjusted,
        before_minutes: count(report.before_blocks),
        after_minutes: count(report.after_blocks),
        usual_difference: report.usual_difference,
        day_before: report.day_before,
    }
}

#[tonic::async_trait]
impl VerdictService for Judging {
    async fn judge_change(
        &self,
        request: Request<v1::JudgeChangeRequest>,
    ) -> Result<Response<v1::JudgeChangeResponse>, Status> {
        let request = request.into_inner();
        let (change, criteria) = asked(&request, now_ms()).map_err(Status::invalid_argument)?;
        // Held until the reading has ended, also when nobody waits for it any more.
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("another change is being judged; try again in a moment")
        })?;
        let reader = self.reader.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let judged = reader.judge(&request.service, change, criteria);
            drop(turn);
            judged
        });
        let judged = judged.await.map_err(|error| Status::internal(error.to_string()))?;
        let verdict = judged.map_err(|error| Status::unavailable(format!("{error:#}")))?;
        Ok(Response::new(v1::JudgeChangeResponse { verdict: Some(message(verdict)) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_wrong_requests() {
        let request = v1::JudgeChangeRequest {
            service: "cart".to_owned(),
            since_ms: 1_767_600_000_000,
            ..v1::JudgeChangeRequest::default()
        };
        let (change, criteria) = asked(&request, 1_767_600_600_000).unwrap();
        assert_eq!(
            (change.until_ms, change.baseline_ms, criteria),
            (1_767_600_600_000, 3_600_000, Criteria::default())
        );
        let later = asked(&request, i64::MAX).unwrap().0;
        assert_eq!(later.until_ms, 1_767_601_800_000);
        for (wrong, part) in [
            (v1::JudgeChangeRequest { service: String::new(), ..request.clone() }, "service"),
            (v1::JudgeChangeRequest { since_ms: i64::MIN, ..request.clone() }, "since"),
            (v1::JudgeChangeRequest { since_ms: 1_767_600_600_000, ..request.clone() }, "until"),
            (v1::JudgeChangeRequest { tolerance: Some(f64::NAN), ..request.clone() }, "tolerance"),
            (v1::JudgeChangeRequest { baseline_ms: Some(1), ..request }, "baseline"),
        ] {
            let message = asked(&wrong, 1_767_600_600_000).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
