//! `foreshock.v1.RemarkService`: a thin adapter from requests to the [`Controls`].

use controls::{NewRemark, Remark, RemarkKind};
use proto::foreshock::v1;
use proto::foreshock::v1::remark_service_server::RemarkService;
use tonic::{Request, Response, Status};

use super::grpc::Services;
use super::writing::Writing;
use crate::controls::{Controls, Known};

/// The services that show incidents, and what may be written.
#[derive(Clone)]
pub struct Remarking {
    services: Services,
    writing: Writing,
}

impl Remarking {
    pub fn new(services: Services, writing: Writing) -> Self {
        Self { services, writing }
    }
}

/// The kind in the model; none for one that says nothing.
fn kind_of(kind: v1::RemarkKind) -> Option<RemarkKind> {
    match kind {
        v1::RemarkKind::Unspecified => None,
        v1::RemarkKind::Acknowledged => Some(RemarkKind::Acknowledged),
        v1::RemarkKind::Expected => Some(RemarkKind::Expected),
        v1::RemarkKind::Noise => Some(RemarkKind::Noise),
        v1::RemarkKind::Right => Some(RemarkKind::Right),
        v1::RemarkKind::WrongCause => Some(RemarkKind::WrongCause),
    }
}

pub fn message(remark: &Remark) -> v1::Remark {
    let kind = match remark.kind {
        RemarkKind::Acknowledged => v1::RemarkKind::Acknowledged,
        RemarkKind::Expected => v1::RemarkKind::Expected,
        RemarkKind::Noise => v1::RemarkKind::Noise,
        RemarkKind::Right => v1::RemarkKind::Right,
        RemarkKind::WrongCause => v1::RemarkKind::WrongCause,
    };
    v1::Remark {
        remark: remark.id.clone(),
        incident: remark.incident.clone(),
        kind: kind.into(),
        cause: remark.cause.clone().unwrap_or_default(),
        comment: remark.comment.clone(),
        author: remark.author.clone(),
        time_ms: remark.time_ms,
        undone_ms: remark.undone.as_ref().map(|undone| undone.time_ms),
        undone_by: remark.undone.as_ref().map(|undone| undone.author.clone()).unwrap_or_default(),
    }
}

fn is_read(known: &Known, remark: &Remark) -> bool {
    known.remarks.get(&remark.incident, &remark.id) == Some(remark)
}

#[tonic::async_trait]
impl RemarkService for Remarking {
    async fn add_remark(
        &self,
        request: Request<v1::AddRemarkRequest>,
    ) -> Result<Response<v1::AddRemarkResponse>, Status> {
        let request = request.into_inner();
        let kind = kind_of(request.kind());
        let kind = kind.ok_or_else(|| Status::invalid_argument("kind must be given"))?;
        self.services.known_incident(&request.incident).await?;
        let v1::AddRemarkRequest { incident, cause, comment, author, .. } = request;
        let new = NewRemark { incident, kind, cause: Some(cause), comment, author };
        let remark = self.writing.write(move |controls| controls.add_remark(new), is_read).await?;
        Ok(Response::new(v1::AddRemarkResponse { remark: Some(message(&remark)) }))
    }

    async fn undo_remark(
        &self,
        request: Request<v1::UndoRemarkRequest>,
    ) -> Result<Response<v1::UndoRemarkResponse>, Status> {
        let v1::UndoRemarkRequest { incident, remark, author } = request.into_inner();
        let undo = move |controls: &Controls| controls.undo_remark(&incident, &remark, &author);
        let remark = self.writing.write(undo, is_read).await?;
        Ok(Response::new(v1::UndoRemarkResponse { remark: Some(message(&remark)) }))
    }
}
