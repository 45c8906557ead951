//! `foreshock.v1.SilenceService`: a thin adapter from requests to the [`Controls`].

use std::sync::Arc;
use std::time::Duration;

use controls::{ChangeKind, NewSilence, Recurrence, Refused, Silence};
use proto::foreshock::v1;
use proto::foreshock::v1::silence_service_server::SilenceService;
use tonic::{Request, Response, Status};

use super::grpc::page;
use crate::controls::{ControlError, Controls, now_ms};

/// How long what was written may take to be read again.
const GRACE_ATTEMPTS: u32 = 100;
const GRACE_STEP: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Silencing {
    controls: Arc<Controls>,
    may_write: bool,
}

impl Silencing {
    /// Without `may_write` silences can be listed only.
    pub fn new(controls: Arc<Controls>, may_write: bool) -> Self {
        Self { controls, may_write }
    }

    /// Writes on a thread that may block, then waits until it was read again, so that who lists next sees it.
    async fn write(
        &self,
        write: impl FnOnce(&Controls) -> Result<Silence, ControlError> + Send + 'static,
    ) -> Result<v1::Silence, Status> {
        if !self.may_write {
            return Err(Status::permission_denied(
                "everybody in the network could silence alerts: set grpc.token_file, or listen on a loopback address",
            ));
        }
        let controls = Arc::clone(&self.controls);
        let written = tokio::task::spawn_blocking(move || write(&controls)).await;
        let silence = written.map_err(|error| Status::internal(error.to_string()))?.map_err(status)?;
        for _ in 0..GRACE_ATTEMPTS {
            if self.controls.silences().get(&silence.id) == Some(&silence) {
                break;
            }
            tokio::time::sleep(GRACE_STEP).await;
        }
        Ok(self.shown(&silence))
    }

    fn shown(&self, silence: &Silence) -> v1::Silence {
        let silences = self.controls.silences();
        let found = silences.list(now_ms()).into_iter().find(|(listed, ..)| listed.id == silence.id);
        let (_, holds, is_over) = found.unwrap_or((silence, false, false));
        message(silence, holds, is_over)
    }
}

fn status(error: ControlError) -> Status {
    match &error {
        ControlError::Refused(Refused::Unknown(_)) => Status::not_found(error.to_string()),
        ControlError::Refused(Refused::Invalid(_)) => Status::invalid_argument(error.to_string()),
        ControlError::Refused(Refused::TooMany) => Status::resource_exhausted(error.to_string()),
        ControlError::Write(_) => Status::unavailable(error.to_string()),
    }
}

fn message(silence: &Silence, holds: bool, is_over: bool) -> v1::Silence {
    let state = match (is_over, holds) {
        (true, _) => v1::SilenceState::Over,
        (false, true) => v1::SilenceState::Active,
        (false, false) => v1::SilenceState::Pending,
    };
    let changes = silence.changes.iter().map(|change| {
        let kind = match change.kind {
            ChangeKind::Added => v1::SilenceChangeKind::Added,
            ChangeKind::Expired => v1::SilenceChangeKind::Expired,
        };
        v1::SilenceChange {
            kind: kind.into(),
            time_ms: change.time_ms,
            author: change.author.clone(),
            comment: change.comment.clone(),
        }
    });
    v1::Silence {
        silence: silence.id.clone(),
        matchers: silence.matchers.clone(),
        starts_ms: silence.starts_ms,
        ends_ms: silence.ends_ms,
        recurrence: silence
            .recurrence
            .clone()
            .map(|recurrence| v1::Recurrence { rule: recurrence.rule, time_zone: recurrence.time_zone }),
        comment: silence.comment.clone(),
        author: silence.author.clone(),
        state: state.into(),
        expired_ms: silence.expired_ms,
        changes: changes.collect(),
    }
}

#[tonic::async_trait]
impl SilenceService for Silencing {
    async fn list_silences(
        &self,
        request: Request<v1::ListSilencesRequest>,
    ) -> Result<Response<v1::ListSilencesResponse>, Status> {
        let request = request.into_inner();
        let silences = self.controls.silences();
        let all =
            silences.list(now_ms()).into_iter().map(|(silence, holds, over)| message(silence, holds, over));
        let wanted =
            all.filter(|silence| request.states.is_empty() || request.states.contains(&silence.state));
        let (silences, next_page_token) =
            page(wanted.collect(), request.page_size, &request.page_token, |silence| {
                silence.silence.clone()
            })?;
        Ok(Response::new(v1::ListSilencesResponse { silences, next_page_token }))
    }

    async fn add_silence(
        &self,
        request: Request<v1::AddSilenceRequest>,
    ) -> Result<Response<v1::AddSilenceResponse>, Status> {
        let request = request.into_inner();
        let new = NewSilence {
            matchers: request.matchers,
            starts_ms: request.starts_ms.unwrap_or_else(now_ms),
            ends_ms: request.ends_ms,
            recurrence: request
                .recurrence
                .map(|recurrence| Recurrence { rule: recurrence.rule, time_zone: recurrence.time_zone }),
            comment: request.comment,
            author: request.author,
        };
        let silence = self.write(move |controls| controls.add_silence(new)).await?;
        Ok(Response::new(v1::AddSilenceResponse { silence: Some(silence) }))
    }

    async fn expire_silence(
        &self,
        request: Request<v1::ExpireSilenceRequest>,
    ) -> Result<Response<v1::ExpireSilenceResponse>, Status> {
        let request = request.into_inner();
        let silence = self
            .write(move |controls| {
                controls.expire_silence(&request.silence, &request.author, &request.comment)
            })
            .await?;
        Ok(Response::new(v1::ExpireSilenceResponse { silence: Some(silence) }))
    }
}
