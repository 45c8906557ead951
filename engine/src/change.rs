//! What is known of a service around a change: from a folder of telemetry, or from what ingest has written to `samples`.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use anyhow::Context;
use kafka::{ConnectionSettings, ScanEnd, TopicScan};
use model::{Labels, Telemetry};
use pipeline::settings::AnalysisSettings;
use pipeline::{Partitions, Router, ServicePoints};
use replay::History;
use verdict::{Blocks, Change, Criteria, Verdict};

use crate::config::Config;
use crate::engine::connection;
use crate::feed::Feed;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Reading takes no longer; with less than all the answer would be a guess.
const READ_TIME_MAX: Duration = Duration::from_secs(300);
/// Event time must be so far past what is compared before reading ends.
const PAST_MS: i64 = 60_000;
/// How far the rows of a partition may be out of order: calls come once their trace is complete.
const LATENESS_MS: i64 = 120_000;

/// The blocks of each series.
type Gathered = BTreeMap<Labels, Blocks>;

fn gather(points: &mut ServicePoints, time_ms: &Range<i64>, into: &mut Gathered) {
    for point in points.take() {
        if time_ms.contains(&point.time_ms) {
            into.entry(point.labels).or_default().add(point.time_ms, point.value);
        }
    }
}

/// The end of what is compared, if nobody says: half an hour after the change, if it is not later than what there is.
pub fn until_ms(since_ms: i64, now_ms: i64) -> i64 {
    since_ms.saturating_add(30 * 60_000).min(now_ms)
}

/// Judges by a folder.
pub fn judge_folder(
    history: &History,
    service: &str,
    change: Change,
    criteria: Criteria,
    settings: &AnalysisSettings,
) -> anyhow::Result<Verdict> {
    change.validate()?;
    let mut gathered = Gathered::new();
    for time_ms in change.times_ms() {
        let mut points = ServicePoints::new(service, settings, settings.allowed_lateness.ms())?;
        let mut feed = Feed::default();
        for row in &history.rows {
            if time_ms.contains(&row.time_us().div_euclid(1000)) {
                feed.row_to_points(&mut points, row);
                gather_some(&mut points, &time_ms, &mut gathered);
            }
        }
        points.finish(time_ms.end);
        gather(&mut points, &time_ms, &mut gathered);
    }
    Ok(verdict::judge(service, &gathered, change, criteria))
}

/// Judges by telemetry in the order in which ingest routes it. Spans from `since_ms` on take `slower` times as long, which is 1 but in
/// simulations.
pub fn judge_telemetry(
    telemetry: &[Telemetry],
    service: &str,
    change: Change,
    slower: f64,
    settings: &AnalysisSettings,
) -> anyhow::Result<Verdict> {
    change.validate()?;
    let [_, time_ms] = change.times_ms();
    let mut gathered = Gathered::new();
    let mut points = ServicePoints::new(service, settings, LATENESS_MS)?;
    for telemetry in telemetry {
        let Telemetry::Spans(batch) = telemetry else {
            points.on_telemetry(telemetry);
            continue;
        };
        for mut row in batch.rows() {
            if row.service == service && row.start_us >= change.since_ms.saturating_mul(1000) {
                row.duration_us = (row.duration_us as f64 * slower) as i64;
            }
            points.on_span(&row);
        }
        gather_some(&mut points, &time_ms, &mut gathered);
    }
    points.finish(time_ms.end);
    gather(&mut points, &time_ms, &mut gathered);
    Ok(verdict::judge(service, &gathered, change, Criteria::default()))
}

/// Now and then, so that points do not pile up.
fn gather_some(points: &mut ServicePoints, time_ms: &Range<i64>, into: &mut Gathered) {
    if points.waiting() >= 4096 {
        gather(points, time_ms, into);
    }
}

/// Where the rows of a running engine lie.
#[derive(Clone)]
pub struct ChangeReader {
    connection: ConnectionSettings,
    topic: String,
    tenant: String,
    settings: AnalysisSettings,
    /// Topics whose series do not lie on `samples`.
    keyed: Vec<String>,
}

/// How far reading has come: the partition of the service tells by its event time, whenever that was written, and the others are read
/// as long.
struct Passed {
    /// When the record was written with which event time had passed.
    written_ms: Option<i64>,
    partitions: Vec<bool>,
}

impl Passed {
    fn new(partitions: usize) -> Self {
        Self { written_ms: None, partitions: vec![false; partitions] }
    }

    fn on_record(&mut self, slot: usize, written_ms: Option<i64>, is_own_past: bool) -> ControlFlow<()> {
        if is_own_past && self.written_ms.is_none() {
            self.written_ms = written_ms;
        }
        if let (Some(passed_ms), Some(written_ms)) = (self.written_ms, written_ms) {
            self.partitions[slot] |= written_ms > passed_ms + PAST_MS;
        }
        if self.partitions.iter().all(|passed| *passed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl ChangeReader {
    pub fn new(config: &Config) -> Self {
        let keyed = config.sources.iter().filter(|source| source.keyed.is_some());
        Self {
            connection: connection(config),
            topic: config.topics.samples.clone(),
            tenant: config.tenant.clone(),
            settings: config.analysis.clone(),
            keyed: keyed.map(|source| source.topic.clone()).collect(),
        }
    }

    /// Reads what lies there and judges. Blocks, for minutes where there is much.
    pub fn judge(&self, service: &str, change: Change, criteria: Criteria) -> anyhow::Result<Verdict> {
        change.validate()?;
        let began = Instant::now();
        let scan = TopicScan::new(&self.connection, &self.topic, TIMEOUT)?;
        let partitions = i32::try_from(scan.extents().len()).context("too many partitions")?;
        let router = Router::new(&self.tenant, Partitions { samples: partitions, ..Partitions::ONE });
        let own = router.entity(service);
        let mut gathered = Gathered::new();
        let (mut unreadable, mut refused) = (0, 0);
        for time_ms in change.times_ms() {
            let left = READ_TIME_MAX.saturating_sub(began.elapsed());
            let starts = scan.since(time_ms.start)?;
            let new = |_| ServicePoints::new(service, &self.settings, LATENESS_MS);
            let mut of_partitions: Vec<ServicePoints> = (0..partitions).map(new).collect::<Result<_, _>>()?;
            let mut passed = Passed::new(of_partitions.len());
            let end = scan.read(&starts, left, |record| {
                let slot = usize::try_from(record.partition).unwrap_or(usize::MAX);
                let Some(points) = of_partitions.get_mut(slot) else { return ControlFlow::Continue(()) };
                points.on_record(record, record.partition != own);
                gather_some(points, &time_ms, &mut gathered);
                let is_own_past =
                    record.partition == own && points.reached_ms() > Some(time_ms.end + PAST_MS);
                passed.on_record(slot, record.timestamp_ms, is_own_past)
            })?;
            anyhow::ensure!(
                end != ScanEnd::OutOfTime,
                "{} could not be read within {} s; ask for a shorter time",
                self.topic,
                READ_TIME_MAX.as_secs()
            );
            for mut points in of_partitions {
                points.finish(time_ms.end);
                gather(&mut points, &time_ms, &mut gathered);
                unreadable += points.unreadable();
                refused += points.refused();
            }
        }
        let mut verdict = verdict::judge(service, &gathered, change, criteria);
        for topic in &self.keyed {
            verdict.missing.push(format!(
                "the metrics of {topic}: it is keyed by entity, so they do not lie on {}",
                self.topic
            ));
        }
        if unreadable > 0 {
            verdict.missing.push(format!("{unreadable} records of {} that could not be read", self.topic));
        }
        if refused > 0 {
            verdict.missing.push(format!(
                "{refused} rows or points that came too late, or beyond the limits of series and keys"
            ));
        }
        Ok(verdict)
    }
}
