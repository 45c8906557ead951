//! `foreshock.v1` over gRPC: thin adapters from requests to the [`View`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use proto::foreshock::v1;
use proto::foreshock::v1::alert_service_server::AlertService;
use proto::foreshock::v1::anomaly_service_server::AnomalyService;
use proto::foreshock::v1::incident_service_server::IncidentService;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{convert, remarks};
use crate::controls::Controls;
use crate::view::{Cursor, View, Watch};

const PAGE_SIZE: usize = 100;
const PAGE_SIZE_MAX: usize = 1_000;
/// Responses that wait for a slow client before it is told to resume.
const QUEUE_MAX: usize = 64;

/// How long an incident that is asked for may be on its way.
const GRACE_ATTEMPTS: u32 = 20;
const GRACE_STEP: Duration = Duration::from_millis(50);

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All services of `foreshock.v1`.
#[derive(Clone)]
pub struct Services {
    pub(super) view: Arc<View>,
    controls: Arc<Controls>,
}

impl Services {
    pub fn new(view: Arc<View>, controls: Arc<Controls>) -> Self {
        Self { view, controls }
    }
}

/// One page of `all` from where the token says, and the token of the next one.
///
/// A token names the last item that was returned, so that new items neither shift nor repeat a page.
pub(super) fn page<T>(
    all: Vec<T>,
    size: i32,
    token: &str,
    id: impl Fn(&T) -> String,
) -> Result<(Vec<T>, String), Status> {
    let size = match usize::try_from(size) {
        Ok(0) => PAGE_SIZE,
        Ok(size) => size.min(PAGE_SIZE_MAX),
        Err(_) => {
            return Err(Status::invalid_argument(
                "page_size must not be negative; 0 takes the default of 100",
            ));
        }
    };
    let start = match token {
        "" => 0,
        token => {
            let last = all.iter().position(|item| id(item) == token);
            let gone = || {
                Status::invalid_argument(
                    "page_token is not one of this list, or too old: start at the first page",
                )
            };
            last.ok_or_else(gone)? + 1
        }
    };
    let more = all.len() > start + size;
    let items: Vec<T> = all.into_iter().skip(start).take(size).collect();
    let next = items.last().filter(|_| more).map(&id).unwrap_or_default();
    Ok((items, next))
}

impl Services {
    /// With the silences that hold its alert back.
    fn incident(&self, incident: model::Incident) -> v1::Incident {
        let alert = self.view.newest_alert(&incident.incident);
        let silencing = |alert: &model::Alert| self.controls.silencing(&deliver::labels_of_now(alert));
        let silenced_by = alert.as_ref().map(silencing).unwrap_or_default();
        let inhibited_by = alert.map(|alert| self.view.inhibiting(&alert)).unwrap_or_default();
        let known = self.controls.known();
        let remarks = known.remarks.of(&incident.incident).into_iter().map(remarks::message).collect();
        v1::Incident { silenced_by, inhibited_by, remarks, ..convert::incident(incident) }
    }

    /// The incident of that id, or an error that says that there is none.
    pub(super) async fn known_incident(&self, id: &str) -> Result<model::Incident, Status> {
        let none =
            || Status::not_found(format!("there is no incident {id:?}; ListIncidents names those there are"));
        // An alert may have been read from its topic a moment before the incident was from its own.
        let mut found = self.view.incident(id);
        for _ in 0..GRACE_ATTEMPTS {
            if found.is_some() {
                break;
            }
            tokio::time::sleep(GRACE_STEP).await;
            found = self.view.incident(id);
        }
        found.ok_or_else(none)
    }
}

fn cursor(token: &str) -> Result<Option<Cursor>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = |()| {
        Status::invalid_argument(
            "resume_token is not one that this service gave; leave it empty to start now",
        )
    };
    token.parse().map(Some).map_err(wrong)
}

/// Sends the backlog, then what comes; a client that falls behind is told to resume.
fn follow<T, R>(
    watch: Watch<T>,
    cursor: Option<Cursor>,
    response: impl Fn(T, String) -> R + Send + 'static,
) -> ResponseStream<R>
where
    T: Clone + Send + 'static,
    R: Send + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let Watch { backlog, receiver: mut news } = watch;
    tokio::spawn(async move {
        let mut cursor = cursor.unwrap_or_default();
        for placed in backlog {
            cursor.pass(&placed);
            if sender.send(Ok(response(placed.value, cursor.to_string()))).await.is_err() {
                return;
            }
        }
        loop {
            let next = tokio::select! {
                next = news.recv() => next,
                () = sender.closed() => return,
            };
            let answer = match next {
                Ok(placed) if cursor.is_news(&placed) => {
                    cursor.pass(&placed);
                    Ok(response(placed.value, cursor.to_string()))
                }
                Ok(_) => continue,
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(missed)) => Err(Status::unavailable(format!(
                    "the client is {missed} messages behind: call again with the last resume_token"
                ))),
            };
            let is_last = answer.is_err();
            if sender.send(answer).await.is_err() || is_last {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

#[tonic::async_trait]
impl IncidentService for Services {
    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        let request = request.into_inner();
        let found = self.view.incidents(|incident| {
            let state = i32::from(convert::incident_state(incident.state));
            (request.states.is_empty() || request.states.contains(&state))
                && (request.service.is_empty() || incident.services.contains(&request.service))
        });
        let (page, next_page_token) =
            page(found, request.page_size, &request.page_token, |incident| incident.incident.clone())?;
        let incidents = page.into_iter().map(|incident| self.incident(incident)).collect();
        Ok(Response::new(v1::ListIncidentsResponse { incidents, next_page_token }))
    }

    async fn get_incident(
        &self,
        request: Request<v1::GetIncidentRequest>,
    ) -> Result<Response<v1::GetIncidentResponse>, Status> {
        let incident = self.known_incident(&request.into_inner().incident).await?;
        Ok(Response::new(v1::GetIncidentResponse { incident: Some(self.incident(incident)) }))
    }

    type WatchIncidentsStream = ResponseStream<v1::WatchIncidentsResponse>;

    async fn watch_incidents(
        &self,
        request: Request<v1::WatchIncidentsRequest>,
    ) -> Result<Response<Self::WatchIncidentsStream>, Status> {
        let cursor = cursor(&request.into_inner().resume_token)?;
        let watch = self.view.watch_incidents(cursor.as_ref());
        let services = self.clone();
        let response = move |incident, resume_token| {
            let incident = Some(services.incident(incident));
            v1::WatchIncidentsResponse { incident, resume_token }
        };
        Ok(Response::new(follow(watch, cursor, response)))
    }
}

#[tonic::async_trait]
impl AnomalyService for Services {
    async fn list_anomalies(
        &self,
        request: Request<v1::ListAnomaliesRequest>,
    ) -> Result<Response<v1::ListAnomaliesResponse>, Status> {
        let request = request.into_inner();
        let found = self.view.anomalies(|anomaly| {
            (request.service.is_empty() || anomaly.service == request.service)
                && request.from_ms.is_none_or(|from_ms| anomaly.time_ms >= from_ms)
                && request.to_ms.is_none_or(|to_ms| anomaly.time_ms < to_ms)
        });
        let (page, next_page_token) =
            page(found, request.page_size, &request.page_token, |anomaly| anomaly.id.clone())?;
        let anomalies = page.into_iter().map(convert::anomaly).collect();
        Ok(Response::new(v1::ListAnomaliesResponse { anomalies, next_page_token }))
    }
}

#[tonic::async_trait]
impl AlertService for Services {
    type WatchAlertsStream = ResponseStream<v1::WatchAlertsResponse>;

    async fn watch_alerts(
        &self,
        request: Request<v1::WatchAlertsRequest>,
    ) -> Result<Response<Self::WatchAlertsStream>, Status> {
        let cursor = cursor(&request.into_inner().resume_token)?;
        let watch = self.view.watch_alerts(cursor.as_ref());
        let (controls, view) = (Arc::clone(&self.controls), Arc::clone(&self.view));
        let response = move |alert: model::Alert, resume_token| {
            let silenced_by = controls.silencing(&deliver::labels_of_now(&alert));
            let inhibited_by = view.inhibiting(&alert);
            let alert = Some(v1::Alert { silenced_by, inhibited_by, ..alerts::message(alert) });
            v1::WatchAlertsResponse { alert, resume_token }
        };
        Ok(Response::new(follow(watch, cursor, response)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_after_the_last_item_also_when_new_ones_came() {
        let id = |item: &u32| item.to_string();
        let (first, token) = page(vec![5, 4, 3, 2, 1], 2, "", id).unwrap();
        assert_eq!((first, token.as_str()), (vec![5, 4], "4"));
        let (second, token) = page(vec![6, 5, 4, 3, 2, 1], 2, &token, id).unwrap();
        assert_eq!((second, token.as_str()), (vec![3, 2], "2"));
        let (last, token) = page(vec![6, 5, 4, 3, 2, 1], 2, &token, id).unwrap();
        assert_eq!((last, token.as_str()), (vec![1], ""));
        assert!(page(vec![1], -1, "", id).is_err() && page(vec![1], 1, "9", id).is_err());
    }
}
