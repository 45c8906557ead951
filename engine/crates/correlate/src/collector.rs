//! Puts traces together and says what they tell: statistics for the ranking, and the calls between services.
//!
//! A collector sees whole traces, but not all of them. What several collectors learn adds up, which is why it leaves them as
//! [`TraceEvidence`], with names instead of symbols.

use std::collections::{BTreeMap, BTreeSet};

use model::{LogRow, SpanRow};
use serde::{Deserialize, Serialize};

use crate::evidence::BUCKET_MS;
use crate::statistics::{GAP_OFFSET_US, SELF_OFFSET_US, TraceStats, weight_in_trace};
use crate::symbols::{OVERFLOW, Symbol, Symbols};
use crate::template::template_of;
use crate::traces::{Assembler, Span, SpanLog, Trace};

/// Events kept of one span's sequence.
const SEQUENCE_MAX: usize = 200;
/// Weights and counts in one part of the evidence.
const PART_WEIGHTS: usize = 2_000;
/// Calls between services kept until somebody takes them.
const EDGE_CALLS_MAX: usize = 100_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectorLimits {
    pub open_traces: usize,
    pub symbols: usize,
    /// Keys (operations, edges, transitions) of the traces that start in one bucket of time.
    pub bucket_keys: usize,
}

impl Default for CollectorLimits {
    fn default() -> Self {
        Self { open_traces: 20_000, symbols: 200_000, bucket_keys: 20_000 }
    }
}

/// Counts of what the limits turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorDropped {
    /// Calls between services that nobody took.
    pub edge_calls: u64,
    pub keys: u64,
    pub spans: u64,
    /// Traces that were taken as complete before their time.
    pub early_traces: u64,
}

/// The end of a span that failed and none of whose children has.
pub(crate) const FAILURE: &str = "!";

/// One call of a service by another: the callee's span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCall {
    pub caller: String,
    pub callee: String,
    pub end_ms: i64,
    pub duration_us: i64,
    pub error: bool,
    pub trace_id: u128,
}

/// What the traces that became complete tell. Symbols are positions in `names`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceEvidence {
    pub(crate) names: Vec<String>,
    /// Those in the statistics, with their services.
    pub(crate) operations: Vec<(Symbol, Symbol)>,
    /// (caller, callee, start of the last trace with such a call in ms).
    pub(crate) edges: Vec<(Symbol, Symbol, i64)>,
    /// By the number of the bucket in which the traces started.
    pub(crate) buckets: Vec<(i64, TraceStats)>,
}

impl TraceEvidence {
    /// About what it takes in a record.
    pub fn size_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| 8 + name.len()).sum();
        let known = 16 * (self.operations.len() + self.edges.len());
        names + known + self.buckets.iter().map(|(_, stats)| 16 + stats.size_bytes()).sum::<usize>()
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Operation {
    service: Symbol,
    /// The event of calling it, `>service|operation`.
    call: Symbol,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceCollector {
    limits: CollectorLimits,
    symbols: Symbols,
    operations: BTreeMap<Symbol, Operation>,
    assembler: Assembler,
    /// What was learned since evidence was last taken.
    edges: BTreeMap<(Symbol, Symbol), i64>,
    buckets: BTreeMap<i64, TraceStats>,
    edge_calls: Vec<EdgeCall>,
    dropped: CollectorDropped,
    start: Symbol,
    end: Symbol,
}

impl Default for TraceCollector {
    fn default() -> Self {
        Self::new(CollectorLimits::default())
    }
}

impl TraceCollector {
    pub fn new(limits: CollectorLimits) -> Self {
        let mut symbols = Symbols::new(limits.symbols.max(16));
        let (start, end) = (symbols.intern("^"), symbols.intern("$"));
        Self {
            symbols,
            operations: BTreeMap::new(),
            assembler: Assembler::new(limits.open_traces),
            edges: BTreeMap::new(),
            buckets: BTreeMap::new(),
            edge_calls: Vec::new(),
            dropped: CollectorDropped::default(),
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

    /// A finished span. Ids of 0 mean none.
    pub fn observe_span(&mut self, span: &SpanRow<'_>) {
        let SpanRow { start_us, duration_us, trace_id, span_id, parent, service, operation, error, .. } =
            *span;
        let service = self.symbols.intern(service);
        let operation = self.symbols.intern(&format!("{}|{operation}", self.symbols.name(service)));
        if operation != OVERFLOW && !self.operations.contains_key(&operation) {
            // Interned on arrival, so that symbols do not depend on when traces are taken in.
            let call = self.symbols.intern(&format!(">{}", self.symbols.name(operation)));
            self.operations.insert(operation, Operation { service, call });
        }
        if error {
            self.symbols.intern(FAILURE);
        }
        let duration_us = duration_us.max(0);
        let span = Span { start_us, duration_us, span_id, parent, service, operation, error };
        if let Some(trace) = self.assembler.span(trace_id, span) {
            self.take(&trace);
        }
    }

    /// A log line; one without trace and span tells nothing here.
    pub fn observe_log(&mut self, log: &LogRow<'_>) {
        let (Some(trace_id), Some(span_id)) = (log.trace_id, log.span_id) else { return };
        if trace_id == 0 || span_id == 0 {
            return;
        }
        // A step inside a span wants a name that no later line changes, and the place in the code if the line begins with it.
        let event = self.symbols.intern(&format!("L:{}:{}", log.severity, template_of(log.body)));
        let log = SpanLog { time_us: log.time_ms.saturating_mul(1000), span_id, event };
        if let Some(trace) = self.assembler.log(trace_id, log) {
            self.take(&trace);
        }
    }

    /// Event time has reached `watermark_ms`: traces that have been quiet long enough are taken in.
    pub fn advance(&mut self, watermark_ms: i64) {
        for trace in self.assembler.complete(watermark_ms) {
            self.take(&trace);
        }
    }

    /// What was learned since the last time, in parts that fit into records.
    pub fn take_evidence(&mut self) -> Vec<TraceEvidence> {
        let mut all = Vec::new();
        let symbols = &self.symbols;
        let new = || Local { symbols, names: Vec::new(), index: BTreeMap::new() };
        let mut edges = std::mem::take(&mut self.edges).into_iter().peekable();
        while edges.peek().is_some() {
            let mut local = new();
            let edges = edges.by_ref().take(PART_WEIGHTS);
            let edges =
                edges.map(|((caller, callee), ms)| (local.of(caller), local.of(callee), ms)).collect();
            all.push(TraceEvidence { edges, names: local.names, ..TraceEvidence::default() });
        }
        for (bucket, stats) in std::mem::take(&mut self.buckets) {
            for stats in stats.in_parts(PART_WEIGHTS) {
                let mut local = new();
                let index: BTreeMap<Symbol, Symbol> =
                    stats.symbols().into_iter().map(|symbol| (symbol, local.of(symbol))).collect();
                // With each part, so that it says all there is to it, whatever its reader has forgotten.
                let operations = stats.operations.keys().filter_map(|operation| {
                    let service = self.operations.get(operation)?.service;
                    Some((index[operation], local.of(service)))
                });
                let operations = operations.collect();
                let buckets = vec![(bucket, stats.renamed(|symbol| index[&symbol]))];
                all.push(TraceEvidence { operations, buckets, edges: Vec::new(), names: local.names });
            }
        }
        all
    }

    /// The calls between services in the traces that became complete since the last time.
    pub fn take_edge_calls(&mut self) -> Vec<EdgeCall> {
        std::mem::take(&mut self.edge_calls)
    }

    pub fn dropped(&self) -> CollectorDropped {
        let early_traces = self.assembler.early_traces;
        CollectorDropped { spans: self.assembler.dropped_spans, early_traces, ..self.dropped }
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
        let callees_of = |i: usize| {
            let service = trace.spans[i].service;
            let remote = children[i].iter().map(|&child| trace.spans[child].service);
            remote.filter(|&other| other != service).collect::<BTreeSet<Symbol>>()
        };
        // How often there is what is measured.
        let mut calls: BTreeMap<(Symbol, Symbol), f32> = BTreeMap::new();
        let mut alone: BTreeMap<Symbol, f32> = BTreeMap::new();
        for (i, span) in trace.spans.iter().enumerate() {
            let caller = parents[i].map(|parent| trace.spans[parent].service);
            if let Some(caller) = caller.filter(|&caller| caller != span.service) {
                *calls.entry((caller, span.service)).or_default() += 1.0;
            }
            if callees_of(i).is_empty() {
                *alone.entry(span.operation).or_default() += 1.0;
            }
        }
        let mut stats = TraceStats::default();
        // A failure that a child has had already is only passed on.
        let failed = trace.spans.iter().zip(&parents).filter(|(span, _)| span.error);
        let passes_on: BTreeSet<usize> = failed.filter_map(|(_, parent)| *parent).collect();
        let failure = self.symbols.find(FAILURE);
        for (i, span) in trace.spans.iter().enumerate() {
            if let Some(parent) = parents[i].map(|parent| &trace.spans[parent])
                && parent.service != span.service
            {
                self.call(parent.service, span, trace.trace_id);
                let gap_us = (parent.duration_us - span.duration_us).max(0) as f64;
                let edge = (parent.service, span.service);
                let gaps = stats.edges.entry(edge).or_default();
                gaps.add((gap_us + GAP_OFFSET_US).ln(), weight_in_trace(calls[&edge]));
                let seen_ms = self.edges.entry(edge).or_insert(start_ms);
                *seen_ms = (*seen_ms).max(start_ms);
            }
            let own = stats.operations.entry(span.operation).or_default();
            own.spans += 1.0;
            let callees = callees_of(i);
            if callees.is_empty() {
                let weight = weight_in_trace(alone[&span.operation]);
                own.self_time.add((trace.self_us(i, &children[i]) as f64 + SELF_OFFSET_US).ln(), weight);
                own.whole.add((span.duration_us as f64 + GAP_OFFSET_US).ln(), weight);
            } else {
                own.with_remote += 1.0;
                for callee in callees {
                    *own.callees.entry(callee).or_default() += 1.0;
                }
            }
            let mut sequence: Vec<(i64, Symbol)> = Vec::new();
            for &child in &children[i] {
                let child = &trace.spans[child];
                let call = self.operations.get(&child.operation).map_or(OVERFLOW, |operation| operation.call);
                sequence.push((child.start_us, call));
            }
            sequence.extend(logs.get(&span.span_id).into_iter().flatten());
            sequence.sort_by_key(|event| event.0);
            sequence.truncate(SEQUENCE_MAX);
            let mut previous = self.start;
            let failure = failure.filter(|_| span.error && !passes_on.contains(&i));
            let end = failure.unwrap_or(self.end);
            for event in sequence.into_iter().map(|(_, event)| event).chain([end]) {
                *stats.transitions.entry((span.operation, previous, event)).or_default() += 1.0;
                previous = event;
            }
        }
        let bucket = self.buckets.entry(start_ms.div_euclid(BUCKET_MS)).or_default();
        self.dropped.keys += bucket.merge(&stats, self.limits.bucket_keys);
    }

    fn call(&mut self, caller: Symbol, span: &Span, trace_id: u128) {
        if self.edge_calls.len() >= EDGE_CALLS_MAX {
            self.dropped.edge_calls += 1;
            return;
        }
        self.edge_calls.push(EdgeCall {
            caller: self.symbols.name(caller).to_owned(),
            callee: self.symbols.name(span.service).to_owned(),
            end_ms: span.end_us().div_euclid(1000),
            duration_us: span.duration_us,
            error: span.error,
            trace_id,
        });
    }
}

/// Names the symbols of one piece of evidence.
struct Local<'a> {
    symbols: &'a Symbols,
    names: Vec<String>,
    index: BTreeMap<Symbol, Symbol>,
}

impl Local<'_> {
    fn of(&mut self, symbol: Symbol) -> Symbol {
        *self.index.entry(symbol).or_insert_with(|| {
            self.names.push(self.symbols.name(symbol).to_owned());
            (self.names.len() - 1) as Symbol
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Correlator, CorrelatorLimits};

    /// A trace of two spans, which its own collector sees whole.
    fn observe(collector: &mut TraceCollector, trace_id: u128) {
        let start_us = trace_id as i64 * 1_000_000;
        let (kind, error) = (0, false);
        let operation = if trace_id.is_multiple_of(3) { "page" } else { "buy" };
        let (span_id, parent, service) = (trace_id as u64 * 2, None, "web");
        let duration_us = 9_000 + trace_id as i64;
        let page =
            SpanRow { start_us, duration_us, trace_id, span_id, parent, service, operation, kind, error };
        let (span_id, parent, service, duration_us) = (span_id + 1, Some(span_id), "cart", 5_000);
        collector.observe_span(&page);
        collector.observe_span(&SpanRow { span_id, parent, service, duration_us, ..page });
    }

    #[test]
    fn what_several_collectors_learn_adds_up() {
        let learned = |collectors: usize| {
            let mut all: Vec<TraceCollector> = (0..collectors).map(|_| TraceCollector::default()).collect();
            let mut correlator = Correlator::new(CorrelatorLimits::default());
            let mut calls = Vec::new();
            for trace_id in 1..=60 {
                observe(&mut all[trace_id as usize % collectors], trace_id);
                for collector in &mut all {
                    collector.advance(trace_id as i64 * 1_000 - 5_000);
                    collector.take_evidence().iter().for_each(|evidence| correlator.absorb(evidence));
                    calls.extend(collector.take_edge_calls());
                }
            }
            calls.sort_by_key(|call| call.end_ms);
            // By name, since symbols are numbered as they come.
            let name = |symbol: &Symbol| correlator.symbols.name(*symbol).to_owned();
            let buckets = correlator.recent.iter().map(|(bucket, stats)| {
                let transitions = stats.transitions.iter();
                let transitions: BTreeMap<_, f32> =
                    transitions.map(|((a, b, c), count)| ((name(a), name(b), name(c)), *count)).collect();
                let edges: Vec<_> =
                    stats.edges.values().map(|gaps| (gaps.count(), gaps.quantile(0.5))).collect();
                (*bucket, transitions, edges)
            });
            let services: BTreeSet<String> = correlator.services.iter().map(name).collect();
            let edges: Vec<(String, String)> =
                correlator.graph().edges().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            (buckets.collect::<Vec<_>>(), services, edges, calls)
        };
        let one = learned(1);
        assert_eq!(one.2, [("web".to_owned(), "cart".to_owned())]);
        assert!(one.3.len() > 30 && one.3.iter().all(|call| call.caller == "web" && call.callee == "cart"));
        assert_eq!(learned(4), one);
    }

    #[test]
    fn a_lot_of_evidence_comes_in_parts() {
        let mut collector = TraceCollector::default();
        for trace_id in 1..=5_000_u128 {
            let operation = format!("operation {}", trace_id % 3_000);
            let (span_id, parent, service, kind, error) = (trace_id as u64, None, "web", 0, false);
            let (start_us, duration_us, operation) = (trace_id as i64, 5_000, operation.as_str());
            let span =
                SpanRow { start_us, duration_us, trace_id, span_id, parent, service, operation, kind, error };
            collector.observe_span(&span);
        }
        collector.advance(1_000_000);
        let parts = collector.take_evidence();
        assert!(parts.len() > 3 && parts.iter().all(|part| part.size_bytes() < 300_000));
        let mut correlator = Correlator::new(CorrelatorLimits::default());
        parts.iter().for_each(|part| correlator.absorb(part));
        let operations = correlator.recent.values().flat_map(|stats| stats.operations.values());
        assert_eq!(operations.map(|stats| stats.spans).sum::<f32>(), 5_000.0);
        assert!(collector.take_evidence().is_empty());
    }

    #[test]
    fn calls_that_never_end_do_not_overflow() {
        let mut collector = TraceCollector::default();
        let (start_us, duration_us, trace_id, span_id, parent) = (10, i64::MAX, 1, 2, None);
        let (service, operation, kind, error) = ("web", "page", 0, false);
        let page =
            SpanRow { start_us, duration_us, trace_id, span_id, parent, service, operation, kind, error };
        collector.observe_span(&page);
        collector.observe_span(&SpanRow { span_id: 3, parent: Some(2), service: "cart", ..page });
        collector.advance(i64::MAX);
        assert_eq!(collector.take_edge_calls()[0].end_ms, i64::MAX / 1_000);
    }

    #[test]
    fn limits_hold_and_are_counted() {
        let limits = CollectorLimits { open_traces: 4, symbols: 64, bucket_keys: 1 };
        let mut collector = TraceCollector::new(limits);
        (1..=40).for_each(|trace_id| observe(&mut collector, trace_id));
        let dropped = collector.dropped();
        assert!(dropped.early_traces > 0 && dropped.keys > 0, "{dropped:?}");
        assert_eq!(dropped.edge_calls, 0);
    }
}
