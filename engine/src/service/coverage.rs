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
        listed(self.view.coverage(), &request.into_inner(), now_ms()).map(Response::new)
    }
}

/// The page of `all` that was asked for at `now_ms`.
fn listed(
    mut all: Vec<ServiceCoverage>,
    request: &v1::ListCoverageRequest,
    now_ms: i64,
) -> Result<v1::ListCoverageResponse, Status> {
    if !request.service.is_empty() {
        all.retain(|coverage| coverage.service == request.service);
    }
    let messages = all.into_iter().map(|coverage| message(coverage, now_ms));
    let wanted = messages.filter(|message| !request.gaps_only || !message.not_caught.is_empty());
    let (coverage, next_page_token) =
        page(wanted.collect(), request.page_size, &request.page_token, |message| message.service.clone())?;
    Ok(v1::ListCoverageResponse { coverage, next_page_token })
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

#[cfg(test)]
mod tests {
    use model::Signals;

    use super::*;

    fn coverage(service: &str, learning: u64) -> ServiceCoverage {
        let seen = SignalCoverage { series: 1, unwatched: 0 };
        let signals = Signals { metrics: seen, spans: seen, calls: seen, logs: seen };
        let learning = StateCoverage { series: learning, listed: Vec::new() };
        let (service, modelled) = (service.to_owned(), 4);
        ServiceCoverage { service, signals, modelled, learning, ..ServiceCoverage::default() }
    }

    #[test]
    fn services_are_listed_by_name_by_gap_and_in_pages() {
        let all = || vec![coverage("cart", 0), coverage("stock", 2), coverage("web", 1)];
        let ask = |request: v1::ListCoverageRequest| {
            let response = listed(all(), &request, 0).expect("a sound request");
            let names: Vec<String> = response.coverage.into_iter().map(|coverage| coverage.service).collect();
            (names.join(" "), response.next_page_token)
        };
        let request = v1::ListCoverageRequest::default;
        assert_eq!(ask(request()), ("cart stock web".to_owned(), String::new()));
        let gaps = v1::ListCoverageRequest { gaps_only: true, ..request() };
        assert_eq!(ask(gaps), ("stock web".to_owned(), String::new()));
        let one = v1::ListCoverageRequest { service: "cart".to_owned(), ..request() };
        assert_eq!(ask(one.clone()).0, "cart");
        assert_eq!(ask(v1::ListCoverageRequest { gaps_only: true, ..one }).0, "");
        let page = v1::ListCoverageRequest { page_size: 2, ..request() };
        assert_eq!(ask(page.clone()), ("cart stock".to_owned(), "stock".to_owned()));
        let next = v1::ListCoverageRequest { page_token: "stock".to_owned(), ..page };
        assert_eq!(ask(next), ("web".to_owned(), String::new()));
        let wrong = v1::ListCoverageRequest { page_token: "nobody".to_owned(), ..request() };
        assert!(listed(all(), &wrong, 0).is_err());
        let gap = &listed(all(), &request(), 0).expect("sound").coverage[1].not_caught;
        assert_eq!(gap[..], ["2 series are learning".to_owned()]);
    }
}
