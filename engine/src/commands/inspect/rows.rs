//! What the rows in the records say: series, entities, times.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use model::{MetricKind, Telemetry, labels};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

/// Distinct things that are counted; beyond, their number is a lower bound.
const DISTINCT_MAX: usize = 1_000_000;
const ENTITIES_SHOWN_MAX: usize = 10;
/// Entities that are told apart to find those with the most rows.
const ENTITIES_MAX: usize = 10_000;
const UNKNOWN: &str = "unknown_service";

/// A number of distinct things.
#[derive(Default)]
struct Distinct(HashSet<u64>);

impl Distinct {
    fn add(&mut self, text: &str) {
        if self.0.len() < DISTINCT_MAX {
            self.0.insert(xxh3_64(text.as_bytes()));
        }
    }
}

#[derive(Default)]
pub(super) struct RowCounts {
    pub(super) rows: u64,
    pub(super) unknown_entity: u64,
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
    series: Distinct,
    operations: Distinct,
    entities: BTreeMap<String, u64>,
    kinds: BTreeMap<&'static str, u64>,
}

/// What is shown of it.
#[derive(Debug, Serialize)]
pub(super) struct RowReport {
    pub(super) rows: u64,
    /// Points by their kind, spans, logs, events.
    pub(super) kinds: BTreeMap<&'static str, u64>,
    /// Distinct series of metrics.
    pub(super) series: usize,
    /// Distinct operations of spans.
    pub(super) operations: usize,
    /// Distinct services.
    pub(super) entities: usize,
    /// Those with the most rows.
    pub(super) entities_most: Vec<(String, u64)>,
    /// Of the rows.
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
}

impl RowCounts {
    /// Counts the rows of a batch; `each` gets the time of each row, as the engine counts it.
    pub(super) fn add(&mut self, telemetry: &Telemetry, mut each: impl FnMut(i64)) {
        match telemetry {
            Telemetry::Samples(batch) => {
                for row in batch.rows() {
                    let kind = match row.kind {
                        MetricKind::Gauge => "gauge points",
                        MetricKind::Counter => "counter points",
                        MetricKind::Delta => "delta points",
                    };
                    self.series.add(row.labels);
                    each(row.time_ms);
                    self.row(kind, &labels::value_in(row.labels, labels::SERVICE), row.time_ms);
                }
            }
            Telemetry::Histograms(batch) => {
                for row in batch.rows() {
                    self.series.add(row.labels);
                    each(row.time_ms);
                    self.row("histogram points", &labels::value_in(row.labels, labels::SERVICE), row.time_ms);
                }
            }
            Telemetry::Spans(batch) => {
                for row in batch.rows() {
                    let end_ms = row.start_us.saturating_add(row.duration_us).div_euclid(1000);
                    self.operations.add(&format!("{}\n{}", row.service, row.operation));
                    each(end_ms);
                    self.row("spans", row.service, end_ms);
                }
            }
            Telemetry::Logs(batch) => {
                for row in batch.rows() {
                    each(row.time_ms);
                    self.row("log records", row.service, row.time_ms);
                }
            }
            Telemetry::Events(batch) => {
                for row in batch.rows() {
                    each(row.time_ms);
                    self.row("events", row.service, row.time_ms);
                }
            }
        }
    }

    fn row(&mut self, kind: &'static str, service: &str, time_ms: i64) {
        self.rows += 1;
        *self.kinds.entry(kind).or_default() += 1;
        let service: Cow<'_, str> = if service.is_empty() { UNKNOWN.into() } else { service.into() };
        self.unknown_entity += u64::from(service == UNKNOWN);
        let has_room = self.entities.len() < ENTITIES_MAX;
        match self.entities.get_mut(service.as_ref()) {
            Some(rows) => *rows += 1,
            None if has_room => drop(self.entities.insert(service.into_owned(), 1)),
            None => {}
        }
        self.first_ms = Some(self.first_ms.map_or(time_ms, |first| first.min(time_ms)));
        self.last_ms = Some(self.last_ms.map_or(time_ms, |last| last.max(time_ms)));
    }

    pub(super) fn report(&self) -> RowReport {
        let mut most: Vec<(String, u64)> =
            self.entities.iter().map(|(name, rows)| (name.clone(), *rows)).collect();
        most.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        most.truncate(ENTITIES_SHOWN_MAX);
        RowReport {
            rows: self.rows,
            kinds: self.kinds.clone(),
            series: self.series.0.len(),
            operations: self.operations.0.len(),
            entities: self.entities.len(),
            entities_most: most,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
        }
    }
}
