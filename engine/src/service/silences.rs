//! `foreshock.v1.SilenceService`: a thin adapter from requests to the [`Controls`].

use controls::{ChangeKind, NewSilence, Recurrence, Silence};
use proto::foreshock::v1;
use proto::foreshock::v1::silence_service_server::SilenceService;
use tonic::{Request, Response, Status};

use super::grpc::page;
use super::writing::Writing;
use crate::controls::{ControlError, Controls, Known, now_ms};

#[derive(Clone)]
pub struct Silencing {
    writing: Writing,
}

impl Silencing {
    pub fn new(writing: Writing) -> Self {
        Self { writing }
    }

    async fn write(
        &self,
        write: impl FnOnce(&Controls) -> Result<Silence, ControlError> + Send + 'static,
    ) -> Result<v1::Silence, Status> {
        let is_read = |known: &Known, silence: &Silence| known.silences.get(&silence.id) == Some(silence);
        let silence = self.writing.write(write, is_read).await?;
        let known = self.writing.controls().known();
        let listed = known.silences.list(now_ms());
        let found = listed.into_iter().find(|(listed, ..)| listed.id == silence.id);
        let (_, holds, is_over) = found.unwrap_or((&silence, false, false));
        Ok(message(&silence, holds, is_over))
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
        let known = self.writing.controls().known();
        let all = known
            .silences
            .list(now_ms())
            .into_iter()
            .map(|(silence, holds, over)| message(silence, holds, over));
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
