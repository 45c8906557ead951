//! What is kept of the telemetry to answer "what changed at time t, and where".
//!
//! Statistics of traces lie in buckets of 10 s by the start of the trace. Buckets of the last 20 minutes are kept apart,
//! so that any trigger in that time splits them into before and after; older ones are folded into one long
//! baseline that forgets half of itself every hour. Everything is bounded, and what a bound turned away is counted.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{Change, RootCause};
use serde::{Deserialize, Serialize};

use crate::collector::TraceEvidence;
use crate::graph::ServiceGraph;
use crate::ranking::{self, MetricRole, Ranked, Trigger, role_of};
use crate::statistics::TraceStats;
use crate::symbols::{OVERFLOW, Symbol, Symbols};

pub const BUCKET_MS: i64 = 10_000;
const RECENT_BUCKETS: i64 = 120;
/// Buckets after which the long baseline forgets half: one hour.
const FORGET_BUCKETS: i64 = 360;
/// So many in a row are added up once, so that what was usual before some bucket need not be added up from all of them.
const BLOCK_BUCKETS: i64 = 10;
const GRAPH_FORGET_MS: i64 = 3_600_000;
const SERIES_POINTS: usize = 128;
const CHANGES_MAX: usize = 1_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CorrelatorLimits {
    pub symbols: usize,
    pub series: usize,
    /// Keys (operations, edges, transitions) of one bucket.
    pub bucket_keys: usize,
    /// Keys of the long baseline.
    pub baseline_keys: usize,
}

impl Default for CorrelatorLimits {
    fn default() -> Self {
        Self { symbols: 200_000, series: 100_000, bucket_keys: 20_000, baseline_keys: 200_000 }
    }
}

fn block_of(bucket: i64) -> i64 {
    bucket.div_euclid(BLOCK_BUCKETS)
}

/// Counts of what the limits turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub keys: u64,
    pub points: u64,
}

/// Watches telemetry and ranks services by how much of a disturbance they explain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Correlator {
    limits: CorrelatorLimits,
    pub(crate) symbols: Symbols,
    pub(crate) services: BTreeSet<Symbol>,
    /// Operation -> its service.
    pub(crate) operation_service: BTreeMap<Symbol, Symbol>,
    pub(crate) past: TraceStats,
    /// Bucket number -> statistics of the traces that started in it.
    pub(crate) recent: BTreeMap<i64, TraceStats>,
    /// Block number -> the sum of its buckets in `recent`, of some blocks; which follows from those.
    #[serde(skip)]
    blocks: BTreeMap<i64, TraceStats>,
    /// (service, metric) -> (time, value), oldest first.
    pub(crate) series: BTreeMap<(Symbol, Symbol), VecDeque<(i64, f64)>>,
    /// What metrics of these measure, of those that measure something known. Follows from the names.
    #[serde(skip)]
    roles: BTreeMap<Symbol, MetricRole>,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) given_edges: BTreeSet<(Symbol, Symbol)>,
    graph: ServiceGraph,
    watermark_ms: i64,
    dropped: Dropped,
}

impl Default for Correlator {
    fn default() -> Self {
        Self::new(CorrelatorLimits::default())
    }
}

impl Correlator {
    pub fn new(limits: CorrelatorLimits) -> Self {
        Self {
            symbols: Symbols::new(limits.symbols.max(16)),
            services: BTreeSet::new(),
            operation_service: BTreeMap::new(),
            past: TraceStats::default(),
            recent: BTreeMap::new(),
            blocks: BTreeMap::new(),
            series: BTreeMap::new(),
            roles: BTreeMap::new(),
            changes: VecDeque::new(),
            given_edges: BTreeSet::new(),
            graph: ServiceGraph::default(),
            watermark_ms: i64::MIN,
            dropped: Dropped::default(),
            limits,
        }
    }

    /// Goes on from the state of another, under its own bounds.
    pub fn restore(&mut self, mut state: Self) {
        state.symbols.set_limit(self.limits.symbols.max(16));
        let roles = state.series.keys().map(|(_, metric)| (*metric, role_of(state.symbols.name(*metric))));
        let roles = roles.filter(|(_, role)| *role != MetricRole::Other).collect();
        *self = Self { limits: self.limits.clone(), roles, ..state };
    }

    fn service(&mut self, name: &str) -> Symbol {
        let service = self.symbols.intern(name);
        if service != OVERFLOW {
            self.services.insert(service);
        }
        service
    }

    /// A service that exists, whatever else is known of it.
    pub fn observe_service(&mut self, name: &str) {
        self.service(name);
    }

    /// What a collector learned from traces.
    pub fn absorb(&mut self, evidence: &TraceEvidence) {
        let names: Vec<Symbol> = evidence.names.iter().map(|name| self.symbols.intern(name)).collect();
        let symbol = |local: Symbol| names.get(local as usize).copied().unwrap_or(OVERFLOW);
        for &(operation, service) in &evidence.operations {
            let (operation, service) = (symbol(operation), symbol(service));
            if operation != OVERFLOW && service != OVERFLOW {
                self.services.insert(service);
                self.operation_service.entry(operation).or_insert(service);
            }
        }
        for &(caller, callee, start_ms) in &evidence.edges {
            let (caller, callee) = (symbol(caller), symbol(callee));
            self.graph.observe(start_ms, self.symbols.name(caller), self.symbols.name(callee));
        }
        let oldest = self.watermark_ms.div_euclid(BUCKET_MS) - RECENT_BUCKETS;
        for (bucket, stats) in &evidence.buckets {
            let stats = stats.renamed(symbol);
            self.dropped.keys += if *bucket < oldest {
                self.past.merge(&stats, self.limits.baseline_keys)
            } else {
                self.blocks.remove(&block_of(*bucket));
                self.recent.entry(*bucket).or_default().merge(&stats, self.limits.bucket_keys)
            };
        }
    }

    /// A point of the one series that `service` and `metric` name: where there are several, name them apart.
    pub fn observe_point(&mut self, time_ms: i64, service: &str, metric: &str, value: f64) {
        if !value.is_finite() {
            return;
        }
        let key = (self.service(service), self.symbols.intern(metric));
        let series_max = self.limits.series;
        let series = self.series.len();
        let points = match self.series.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if series >= series_max => {
                self.dropped.points += 1;
                return;
            }
            Entry::Vacant(entry) => {
                let role = role_of(metric);
                if role != MetricRole::Other && key.1 != OVERFLOW {
                    self.roles.insert(key.1, role);
                }
                entry.insert(VecDeque::new())
            }
        };
        if points.back().is_none_or(|last| last.0 <= time_ms) {
            points.push_back((time_ms, value));
        } else {
            // Late points go to their place, so that order of arrival between series does not matter.
            let at = points.partition_point(|point| point.0 <= time_ms);
            points.insert(at, (time_ms, value));
        }
        if points.len() > SERIES_POINTS {
            points.pop_front();
        }
    }

    pub(crate) fn role_of(&self, metric: Symbol) -> MetricRole {
        self.roles.get(&metric).copied().unwrap_or(MetricRole::Other)
    }

    pub fn observe_change(&mut self, change: Change) {
        self.service(&change.service);
        self.changes.push_back(change);
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }

    /// Edges known from elsewhere than spans, (caller, callee).
    pub fn set_edges(&mut self, edges: &[(String, String)]) {
        for (caller, callee) in edges {
            self.graph.set(caller, callee);
            let edge = (self.service(caller), self.service(callee));
            self.given_edges.insert(edge);
        }
    }

    /// How far event time has come, as was told.
    pub fn watermark_ms(&self) -> i64 {
        self.watermark_ms
    }

    /// Event time has reached `watermark_ms`: old buckets are folded, old edges forgotten.
    pub fn advance(&mut self, watermark_ms: i64) {
        let is_new_bucket = watermark_ms.div_euclid(BUCKET_MS) > self.watermark_ms.div_euclid(BUCKET_MS);
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
        let oldest = self.watermark_ms.div_euclid(BUCKET_MS) - RECENT_BUCKETS;
        while let Some(entry) = self.recent.first_entry()
            && *entry.key() < oldest
        {
            let (bucket, stats) = entry.remove_entry();
            self.blocks.remove(&block_of(bucket));
            if bucket.rem_euclid(FORGET_BUCKETS) == 0 {
                self.past.scale(0.5);
            }
            self.dropped.keys += self.past.merge(&stats, self.limits.baseline_keys);
        }
        if is_new_bucket {
            self.graph.decay(self.watermark_ms.saturating_sub(GRAPH_FORGET_MS));
            self.sum_blocks();
        }
    }

    /// Adds blocks up that are over.
    fn sum_blocks(&mut self) {
        let now = block_of(self.watermark_ms.div_euclid(BUCKET_MS)) * BLOCK_BUCKETS;
        for block in self.blocks_before(now) {
            if !self.blocks.contains_key(&block) {
                self.blocks.insert(block, self.sum_of(block));
            }
        }
    }

    /// All blocks with buckets before that one, by time.
    fn blocks_before(&self, bucket: i64) -> Vec<i64> {
        let mut blocks: Vec<i64> = self.recent.range(..bucket).map(|(bucket, _)| block_of(*bucket)).collect();
        blocks.dedup();
        blocks
    }

    fn sum_of(&self, block: i64) -> TraceStats {
        let mut sum = TraceStats::default();
        for (_, stats) in self.recent.range(block * BLOCK_BUCKETS..(block + 1) * BLOCK_BUCKETS) {
            sum.merge(stats, usize::MAX);
        }
        sum
    }

    /// What is known of the time before a bucket. Blocks are added up first, whether that was done already or not, since the order decides
    /// how sums are rounded.
    pub(crate) fn before(&self, bucket: i64) -> TraceStats {
        let mut before = self.past.clone();
        let begun = block_of(bucket) * BLOCK_BUCKETS;
        for block in self.blocks_before(begun) {
            match self.blocks.get(&block) {
                Some(sum) => before.merge(sum, usize::MAX),
                None => before.merge(&self.sum_of(block), usize::MAX),
            };
        }
        for (_, stats) in self.recent.range(begun..bucket) {
            before.merge(stats, usize::MAX);
        }
        before
    }

    /// The call graph: edges of spans of the last hour and those that were given.
    pub fn graph(&self) -> &ServiceGraph {
        &self.graph
    }

    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    pub(crate) fn has_traces(&self) -> bool {
        !self.past.is_empty() || !self.recent.is_empty()
    }

    /// Whether a service is judged by what it reports on a given call graph, for want of traces.
    pub(crate) fn has_reports(&self, service: &str) -> bool {
        if self.given_edges.is_empty() || self.has_traces() {
            return false;
        }
        let Some(service) = self.symbols.find(service) else { return false };
        let mut metrics = self.series.range((service, Symbol::MIN)..=(service, Symbol::MAX));
        metrics.any(|((_, metric), _)| self.role_of(*metric) == MetricRole::Requests)
    }

    /// Changes from `before_ms` before `time_ms` until `now_ms`, by time.
    pub fn changes_near(&self, time_ms: i64, before_ms: i64, now_ms: i64) -> Vec<Change> {
        let from_ms = time_ms.saturating_sub(before_ms);
        let near = self.changes.iter().filter(|change| (from_ms..=now_ms).contains(&change.time_ms));
        let mut near: Vec<Change> = near.cloned().collect();
        near.sort_by(|a, b| (a.time_ms, &a.service, &a.summary).cmp(&(b.time_ms, &b.service, &b.summary)));
        near
    }

    /// All known services, the likeliest cause first; equal scores by name.
    pub fn rank(&self, trigger_ms: i64, now_ms: i64) -> Vec<RootCause> {
        self.rank_for(&Trigger { time_ms: trigger_ms, family: None }, now_ms)
    }

    /// As [`Correlator::rank`], knowing what kind of objective was violated.
    pub fn rank_for(&self, trigger: &Trigger, now_ms: i64) -> Vec<RootCause> {
        self.ranked_for(trigger, now_ms).into_iter().map(|ranked| ranked.cause).collect()
    }

    pub(crate) fn ranked_for(&self, trigger: &Trigger, now_ms: i64) -> Vec<Ranked> {
        ranking::rank(self, trigger, now_ms)
    }

    /// As [`Correlator::ranked_for`], for what `cause` does not explain.
    pub(crate) fn ranked_beside(&self, cause: &str, trigger: &Trigger, now_ms: i64) -> Vec<Ranked> {
        ranking::rank_beside(self, trigger, now_ms, cause)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence(bucket: i64, count: u8) -> TraceEvidence {
        let mut stats = TraceStats::default();
        stats.transitions.insert((1, u32::from(count) % 3, 0), f32::from(count));
        TraceEvidence {
            names: ["a", "b", "c"].map(str::to_owned).to_vec(),
            buckets: [(bucket, stats)].into(),
            ..TraceEvidence::default()
        }
    }

    proptest! {
        #[test]
        fn what_was_before_is_the_sum_of_all_whatever_came_late_or_was_restored(
            steps in prop::collection::vec((-30..10_i64, 1..9_u8, any::<bool>()), 1..200),
            back in 0..40_i64,
        ) {
            let mut correlator = Correlator::default();
            let mut sum = 0.0;
            // No multiple of an hour, at which the past is halved, is among them.
            let start = 3 * FORGET_BUCKETS + 40;
            let first = start + steps.len() as i64 - back;
            for (step, (lag, count, is_restored)) in (start..).zip(&steps) {
                correlator.absorb(&evidence(step + lag, *count));
                correlator.advance(step * BUCKET_MS);
                sum += if step + lag < first { f32::from(*count) } else { 0.0 };
                if *is_restored {
                    correlator.blocks.clear();
                }
            }
            let before: f32 = correlator.before(first).transitions.values().sum();
            prop_assert_eq!(before, sum);
        }
    }

    #[test]
    fn times_that_are_far_apart_are_summed_as_well() {
        let mut correlator = Correlator::default();
        for bucket in [-900_000_000_000_i64, 0, 900_000_000_000] {
            correlator.absorb(&evidence(bucket, 1));
        }
        let count = |bucket| correlator.before(bucket).transitions.values().sum::<f32>();
        assert_eq!((count(1), count(i64::MAX / BUCKET_MS)), (2.0, 3.0));
    }
}
