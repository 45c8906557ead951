//! `foreshock.v1.CoverageService`: a thin adapter from requests to the [`View`](crate::view::View).

use model::{ServiceCoverage, SignalCoverage, StateCoverage};
use proto::foreshock::v1;
use proto::foreshock::v1::coverage_service_server::CoverageService;
use tonic::{Request, Response, Status};

use super::grpc::{Services, page};
use crate::controls::now_ms;

#[tonic::async_trait]
impl CoverageService for Services {
    async fn list_coverage(
        &self,
        request: Request<v1::ListCoverageRequest>,
    ) -> Result<Response<v1::ListCoverageResponse>, Status> {
        let request = request.into_inner();
        let mut found = self.view.coverage();
        if !request.service.is_empty() {
            found.retain(|coverage| coverage.service == request.service);
        }
        let now_ms = now_ms();
        let messages = found.into_iter().map(|coverage| message(coverage, now_ms));
        let wanted = messages.filter(|message| !request.gaps_only || !message.not_caught.is_empty());
        let (coverage, next_page_token) =
            page(wanted.collect(), request.page_size, &request.page_token, |message| {
                message.service.clone()
            })?;
        Ok(Response::new(v1::ListCoverageResponse { coverage, next_page_token }))
    }
}

/// With what would not be caught at `now_ms`.
pub fn message(coverage: ServiceCoverage, now_ms: i64) -> v1::ServiceCoverage {
    let not_caught = coverage.not_caught(now_ms);
    let signal = |SignalCoverage { series, unwatched }| Some(v1::SignalCoverage { series, unwatched });
    let state = |StateCoverage { series, listed }: StateCoverage| {
        let listed = listed.into_iter().map(|series| v1::ListedSeries {
            metric: series.metric,
            points_left: series.points_left,
            ready_ms: series.ready_ms,
        });
        Some(v1::StateCoverage { series, listed: listed.collect() })
    };
    v1::ServiceCoverage {
        service: coverage.service,
        time_ms: coverage.time_ms,
        metrics: signal(coverage.signals.metrics),
        spans: signal(coverage.signals.spans),
        calls: signal(coverage.signals.calls),
        logs: signal(coverage.signals.logs),
        modelled: coverage.modelled,
        learning: state(coverage.learning),
        ready_ms: coverage.ready_ms,
        too_sparse: state(coverage.too_sparse),
        unwatched: state(coverage.unwatched),
        refused: state(coverage.refused),
        refused_more: coverage.refused_more,
        not_caught,
    }
}
