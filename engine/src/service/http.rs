//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What HTTP needs to know of the engine.
pub trait Status: Send + Sync + 'static {
    /// Why the engine is not ready yet, or `None`.
    fn not_ready(&self) -> Option<String>;
    /// Why the engine does not work any more, or `None`.
    fn failed(&self) -> Option<String>;
    fn metrics(&self) -> Vec<Metric>;
}

/// One metric of the engine, with its labels.
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub value: MetricValue,
    pub labels: Vec<(&'static str, String)>,
}

pub enum MetricValue {
    Counter(u64),
    Gauge(f64),
}

pub fn router(status: Arc<dyn Status>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(status)
}

async fn livez(State(status): State<Arc<dyn Status>>) -> (StatusCode, String) {
    answer(status.failed())
}

async fn readyz(State(status): State<Arc<dyn Status>>) -> (StatusCode, String) {
    answer(status.failed().or_else(|| status.not_ready()))
}

fn answer(problem: Option<String>) -> (StatusCode, String) {
    match problem {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
    }
}

async fn metrics(State(status): State<Arc<dyn Status>>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match encode(status.metrics()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (StatusCode::INTERNAL_SERVER_ERROR, kind, format!("{error}\n"))
        }
    }
}

/// Metrics of one name must follow each other.
#[derive(Debug)]
struct Collected(std::sync::Mutex<Vec<Metric>>);

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl prometheus_client::collector::Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let metrics = self.0.lock().map_err(|_| std::fmt::Error)?;
        for same_name in metrics.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = same_name.first() else { continue };
            let kind = match first.value {
                MetricValue::Counter(_) => prometheus_client::metrics::MetricType::Counter,
                MetricValue::Gauge(_) => prometheus_client::metrics::MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(first.name, first.help, None, kind)?;
            for metric in same_name {
                let labelled = family.encode_family(&metric.labels)?;
                match metric.value {
                    MetricValue::Counter(value) => ConstCounter::new(value).encode(labelled)?,
                    MetricValue::Gauge(value) => ConstGauge::new(value).encode(labelled)?,
                }
            }
        }
        Ok(())
    }
}

fn encode(metrics: Vec<Metric>) -> Result<String, std::fmt::Error> {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(Collected(metrics.into())));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_open_metrics() {
        let metric = |worker: &str, value| Metric {
            name: "foreshock_records",
            help: "Records read",
            value: MetricValue::Counter(value),
            labels: vec![("worker", worker.to_owned())],
        };
        let text = encode(vec![metric("ingest", 3), metric("analysis", 4)]).unwrap();
        let expected = "# HELP foreshock_records Records read\n\
            # TYPE foreshock_records counter\n\
            foreshock_records_total{worker=\"ingest\"} 3\n\
            foreshock_records_total{worker=\"analysis\"} 4\n\
            # EOF\n";
        assert_eq!(text, expected);
    }
}
