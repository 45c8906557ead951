//! What is kept of the telemetry to answer "what changed at time t, and where".
//!
//! Statistics of traces lie in buckets of 10 s by the start of the trace. Buckets of the last 20 minutes are kept apart,
//! so that any trigger in that time splits them into before and after; older ones are folded into one long
//! baseline that forgets half of itself every hour. Everything is bounded, and what a bound turned away is counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{Change, RootCause, SpanRow};
use serde::{Deserialize, Serialize};

use crate::graph::ServiceGraph;
use crate::ranking::{self, Trigger};
use crate::sketch::Sketch;
use crate::symbols::{OVERFLOW, Symbol, Symbols};
use crate::traces::{Assembler, Span, SpanLog, Trace};

pub const BUCKET_MS: i64 = 10_000;
const RECENT_BUCKETS: i64 = 120;
/// Buckets after which the long baseline forgets half: one hour.
const FORGET_BUCKETS: i64 = 360;
/// Events kept of one span's sequence.
const SEQUENCE_MAX: usize = 200;
const GRAPH_FORGET_MS: i64 = 3_600_000;
const SERIES_POINTS: usize = 128;
const CHANGES_MAX: usize = 1_000;

/// Added to µs before the logarithm, so that noise of very short times does not count.
pub const GAP_OFFSET_US: f64 = 500.0;
pub const SELF_OFFSET_US: f64 = 200.0;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CorrelatorLimits {
    pub open_traces: usize,
    pub symbols: usize,
    pub series: usize,
    /// Keys (operations, edges, transitions) of one bucket.
    pub bucket_keys: usize,
    /// Keys of the long baseline.
    pub baseline_keys: usize,
}

impl Default for CorrelatorLimits {
    fn default() -> Self {
        Self {
            open_traces: 20_000,
            symbols: 200_000,
            series: 100_000,
            bucket_keys: 20_000,
            baseline_keys: 200_000,
        }
    }
}

/// Counts of what the limits turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Calls between services that nobody took.
    pub edge_calls: u64,
    pub keys: u64,
    pub points: u64,
    pub spans: u64,
    /// Traces that were taken as complete before their time.
    pub early_traces: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct OperationStats {
    pub spans: f32,
    /// Spans with a child in another service.
    pub with_remote: f32,
    /// Callee -> spans that called it.
    pub callees: BTreeMap<Symbol, f32>,
    /// ln(self time) of spans without a remote child.
    pub self_time: Sketch,
    /// ln(duration) of spans without a remote child.
    pub whole: Sketch,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TraceStats {
    pub operations: BTreeMap<Symbol, OperationStats>,
    /// (caller, callee) -> ln(gap).
    pub edges: BTreeMap<(Symbol, Symbol), Sketch>,
    /// (operation, event, next event) -> count.
    pub transitions: BTreeMap<(Symbol, Symbol, Symbol), f32>,
}

impl TraceStats {
    fn keys(&self) -> usize {
        self.operations.len() + self.edges.len() + self.transitions.len()
    }

    /// Adds another's counts; new keys past `keys_max` are dropped and counted.
    pub fn merge(&mut self, other: &Self, keys_max: usize) -> u64 {
        let mut room = keys_max.saturating_sub(self.keys());
        let mut dropped = 0;
        let mut admit = |known: bool| {
            if known {
                return true;
            }
            if room == 0 {
                dropped += 1;
                return false;
            }
            room -= 1;
            true
        };
        for (&operation, stats) in &other.operations {
            if admit(self.operations.contains_key(&operation)) {
                let own = self.operations.entry(operation).or_default();
                own.spans += stats.spans;
                own.with_remote += stats.with_remote;
                for (&callee, count) in &stats.callees {
                    *own.callees.entry(callee).or_default() += count;
                }
                own.self_time.merge(&stats.self_time);
                own.whole.merge(&stats.whole);
            }
        }
        for (&edge, gaps) in &other.edges {
            if admit(self.edges.contains_key(&edge)) {
                self.edges.entry(edge).or_default().merge(gaps);
            }
        }
        for (&transition, count) in &other.transitions {
            if admit(self.transitions.contains_key(&transition)) {
                *self.transitions.entry(transition).or_default() += count;
            }
        }
        dropped
    }

    fn scale(&mut self, factor: f32) {
        self.operations.retain(|_, stats| {
            stats.spans *= factor;
            stats.with_remote *= factor;
            stats.callees.retain(|_, count| {
                *count *= factor;
                *count >= 0.2
            });
            stats.self_time.scale(factor);
            stats.whole.scale(factor);
            stats.spans >= 0.2
        });
        self.edges.retain(|_, gaps| {
            gaps.scale(factor);
            !gaps.is_empty()
        });
        self.transitions.retain(|_, count| {
            *count *= factor;
            *count >= 0.2
        });
    }
}

/// Calls between services kept until somebody takes them.
const EDGE_CALLS_MAX: usize = 100_000;

/// One call of a service by another: the callee's span.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeCall {
    caller: Symbol,
    callee: Symbol,
    pub end_ms: i64,
    pub duration_us: i64,
    pub error: bool,
}

/// Watches telemetry and ranks services by how much of a disturbance they explain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Correlator {
    limits: CorrelatorLimits,
    pub(crate) symbols: Symbols,
    pub(crate) services: BTreeSet<Symbol>,
    /// Operation -> its service.
    pub(crate) operation_service: BTreeMap<Symbol, Symbol>,
    /// Operation -> the event of calling it, `>service|operation`.
    calls: BTreeMap<Symbol, Symbol>,
    assembler: Assembler,
    pub(crate) past: TraceStats,
    /// Bucket number -> statistics of the traces that started in it.
    pub(crate) recent: BTreeMap<i64, TraceStats>,
    /// (service, metric) -> (time, value), oldest first.
    pub(crate) series: BTreeMap<(Symbol, Symbol), VecDeque<(i64, f64)>>,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) given_edges: BTreeSet<(Symbol, Symbol)>,
    graph: ServiceGraph,
    watermark_ms: i64,
    dropped: Dropped,
    start: Symbol,
    end: Symbol,
    edge_calls: Vec<EdgeCall>,
}

impl Default for Correlator {
    fn default() -> Self {
        Self::new(CorrelatorLimits::default())
    }
}

impl Correlator {
    pub fn new(limits: CorrelatorLimits) -> Self {
        let mut symbols = Symbols::new(limits.symbols.max(16));
        let (start, end) = (symbols.intern("^"), symbols.intern("$"));
        Self {
            symbols,
            services: BTreeSet::new(),
            operation_service: BTreeMap::new(),
            calls: BTreeMap::new(),
            assembler: Assembler::new(limits.open_traces),
            past: TraceStats::default(),
            recent: BTreeMap::new(),
            series: BTreeMap::new(),
            changes: VecDeque::new(),
            edge_calls: Vec::new(),
            given_edges: BTreeSet::new(),
            graph: ServiceGraph::default(),
            watermark_ms: i64::MIN,
            dropped: Dropped::default(),
            start,
            end,
            limits,
        }
    }

    /// Goes on from the state of another, under its own bounds.
    pub fn restore(&mut self, mut state: Self) {
        state.symbols.set_limit(self.limits.symbols.max(16));
        state.assembler.set_limit(self.limits.open_traces);
        *self = Self { limits: self.limits.clone(), ..state };
    }

    fn service(&mut self, name: &str) -> Symbol {
        let service = self.symbols.intern(name);
        if service != OVERFLOW {
            self.services.insert(service);
        }
        service
    }

    /// A finished span. Ids of 0 mean none.
    pub fn observe_span(&mut self, span: &SpanRow<'_>) {
        let SpanRow { start_us, duration_us, trace_id, span_id, parent, service, operation, error, .. } =
            *span;
        let service = self.service(service);
        let operation = self.symbols.intern(&format!("{}|{operation}", self.symbols.name(service)));
        if operation != OVERFLOW && !self.operation_service.contains_key(&operation) {
            self.operation_service.insert(operation, service);
            // Interned on arrival, so that symbols do not depend on when traces are taken in.
            let call = self.symbols.intern(&format!(">{}", self.symbols.name(operation)));
            self.calls.insert(operation, call);
        }
        let duration_us = duration_us.max(0);
        let span = Span { start_us, duration_us, span_id, parent, service, operation, error };
        if let Some(trace) = self.assembler.span(trace_id, span) {
            self.take(&trace);
        }
    }

    /// A log line; `severity` is OpenTelemetry's number. Lines without trace and span add only their service.
    pub fn observe_log(
        &mut self,
        time_ms: i64,
        service: &str,
        severity: u8,
        template: &str,
        trace_id: u128,
        span_id: u64,
    ) {
        self.service(service);
        if trace_id == 0 || span_id == 0 {
            return;
        }
        let event = self.symbols.intern(&format!("L:{severity}:{template}"));
        let log = SpanLog { time_us: time_ms.saturating_mul(1000), span_id, event };
        if let Some(trace) = self.assembler.log(trace_id, log) {
            self.take(&trace);
        }
    }

    /// A point of the one series that `service` and `metric` name: where there are several, name them apart.
    pub fn observe_point(&mut self, time_ms: i64, service: &str, metric: &str, value: f64) {
        if !value.is_finite() {
            return;
        }
        let key = (self.service(service), self.symbols.intern(metric));
        if !self.series.contains_key(&key) && self.series.len() >= self.limits.series {
            self.dropped.points += 1;
            return;
        }
        let points = self.series.entry(key).or_default();
        // Late points go to their place, so that order of arrival between series does not matter.
        let at = points.partition_point(|point| point.0 <= time_ms);
        points.insert(at, (time_ms, value));
        if points.len() > SERIES_POINTS {
            points.pop_front();
        }
    }

    pub fn observe_change(&mut self, change: Change) {
        self.service(&change.service);
        self.changes.push_back(change);
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }

    /// Calls between services in the traces that became complete since the last time, as (caller, callee, call).
    pub fn take_edge_calls(&mut self, mut each: impl FnMut(&str, &str, EdgeCall)) {
        for call in self.edge_calls.drain(..) {
            each(self.symbols.name(call.caller), self.symbols.name(call.callee), call);
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

    /// Event time has reached `watermark_ms`: traces that have been quiet long enough are taken in, old buckets folded.
    pub fn advance(&mut self, watermark_ms: i64) {
        let is_new_bucket = watermark_ms.div_euclid(BUCKET_MS) > self.watermark_ms.div_euclid(BUCKET_MS);
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
        for trace in self.assembler.complete(self.watermark_ms) {
            self.take(&trace);
        }
        let oldest = self.watermark_ms.div_euclid(BUCKET_MS) - RECENT_BUCKETS;
        while let Some(entry) = self.recent.first_entry()
            && *entry.key() < oldest
        {
            let (bucket, stats) = entry.remove_entry();
            if bucket.rem_euclid(FORGET_BUCKETS) == 0 {
                self.past.scale(0.5);
            }
            self.dropped.keys += self.past.merge(&stats, self.limits.baseline_keys);
        }
        if is_new_bucket {
            self.graph.decay(self.watermark_ms.saturating_sub(GRAPH_FORGET_MS));
        }
    }

    fn take(&mut self, trace: &Trace) {
        if trace.spans.is_empty() {
            return;
        }
        let start_ms = trace.start_us().div_euclid(1000);
        let (parents, children) = trace.links();
        let mut logs: BTreeMap<u64, Vec<(i64, Symbol)>> = BTreeMap::new();
        for log in &trace.logs {
            logs.entry(log.span_id).or_default().push((log.time_us, log.event));
        }
        let mut stats = TraceStats::default();
        for (i, span) in trace.spans.iter().enumerate() {
            if let Some(parent) = parents[i].map(|parent| &trace.spans[parent])
                && parent.service != span.service
            {
                if self.edge_calls.len() < EDGE_CALLS_MAX {
                    self.edge_calls.push(EdgeCall {
                        caller: parent.service,
                        callee: span.service,
                        end_ms: (span.start_us + span.duration_us).div_euclid(1000),
                        duration_us: span.duration_us,
                        error: span.error,
                    });
                } else {
                    self.dropped.edge_calls += 1;
                }
                let gap_us = (parent.duration_us - span.duration_us).max(0) as f64;
                stats
                    .edges
                    .entry((parent.service, span.service))
                    .or_default()
                    .add((gap_us + GAP_OFFSET_US).ln());
                self.graph.observe(
                    start_ms,
                    self.symbols.name(parent.service),
                    self.symbols.name(span.service),
                );
            }
            let own = stats.operations.entry(span.operation).or_default();
            own.spans += 1.0;
            let remote = children[i].iter().map(|&child| trace.spans[child].service);
            let callees: BTreeSet<Symbol> = remote.filter(|&service| service != span.service).collect();
            if callees.is_empty() {
                own.self_time.add((trace.self_us(i, &children[i]) as f64 + SELF_OFFSET_US).ln());
                own.whole.add((span.duration_us as f64 + GAP_OFFSET_US).ln());
            } else {
                own.with_remote += 1.0;
                for callee in callees {
                    *own.callees.entry(callee).or_default() += 1.0;
                }
            }
            let mut sequence: Vec<(i64, Symbol)> = Vec::new();
            for &child in &children[i] {
                let child = &trace.spans[child];
                let call = self.calls.get(&child.operation).copied().unwrap_or(OVERFLOW);
                sequence.push((child.start_us, call));
            }
            sequence.extend(logs.get(&span.span_id).into_iter().flatten());
            sequence.sort_by_key(|event| event.0);
            sequence.truncate(SEQUENCE_MAX);
            let mut previous = self.start;
            for event in sequence.into_iter().map(|(_, event)| event).chain([self.end]) {
                *stats.transitions.entry((span.operation, previous, event)).or_default() += 1.0;
                previous = event;
            }
        }
        let bucket = start_ms.div_euclid(BUCKET_MS);
        let oldest = self.watermark_ms.div_euclid(BUCKET_MS) - RECENT_BUCKETS;
        self.dropped.keys += if bucket < oldest {
            self.past.merge(&stats, self.limits.baseline_keys)
        } else {
            self.recent.entry(bucket).or_default().merge(&stats, self.limits.bucket_keys)
        };
    }

    /// The call graph: edges of spans of the last hour and those that were given.
    pub fn graph(&self) -> &ServiceGraph {
        &self.graph
    }

    pub fn dropped(&self) -> Dropped {
        let early_traces = self.assembler.early_traces;
        Dropped { spans: self.assembler.dropped_spans, early_traces, ..self.dropped }
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
        ranking::rank(self, trigger, now_ms)
    }
}
