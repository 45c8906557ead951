//! Puts the spans and logs of a trace together and says when the trace is complete.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::symbols::Symbol;

/// A trace is complete once the watermark is this far past its last span.
pub const SETTLE_MS: i64 = 15_000;
/// So long after the end of a bucket all of its traces are there, unless they are late.
pub const COMPLETE_AFTER_MS: i64 = 30_000;
const SPANS_MAX: usize = 2_000;
const LOGS_MAX: usize = 4_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Span {
    pub start_us: i64,
    pub duration_us: i64,
    pub span_id: u64,
    pub parent: Option<u64>,
    pub service: Symbol,
    /// Symbol of `service|operation`.
    pub operation: Symbol,
    pub error: bool,
}

impl Span {
    pub fn end_us(&self) -> i64 {
        self.start_us.saturating_add(self.duration_us)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpanLog {
    pub time_us: i64,
    pub span_id: u64,
    /// Symbol of `L:severity:template`.
    pub event: Symbol,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trace {
    pub spans: Vec<Span>,
    pub logs: Vec<SpanLog>,
    last_ms: i64,
    /// Told by whoever puts the trace together.
    #[serde(skip)]
    pub trace_id: u128,
}

impl Trace {
    /// Start of the root, or of the earliest span when the root is missing.
    pub fn start_us(&self) -> i64 {
        let roots = self.spans.iter().filter(|span| span.parent.is_none()).map(|span| span.start_us);
        roots.min().or_else(|| self.spans.iter().map(|span| span.start_us).min()).unwrap_or(0)
    }

    /// Index of the parent of each span, if it was kept, and the children of each span by start time.
    pub fn links(&self) -> (Vec<Option<usize>>, Vec<Vec<usize>>) {
        let index: BTreeMap<u64, usize> =
            self.spans.iter().enumerate().map(|(i, span)| (span.span_id, i)).collect();
        let mut children = vec![Vec::new(); self.spans.len()];
        let mut parents = vec![None; self.spans.len()];
        for (i, span) in self.spans.iter().enumerate() {
            if let Some(&parent) = span.parent.and_then(|parent| index.get(&parent))
                && parent != i
            {
                parents[i] = Some(parent);
                children[parent].push(i);
            }
        }
        for list in &mut children {
            list.sort_by_key(|&i| (self.spans[i].start_us, self.spans[i].span_id));
        }
        (parents, children)
    }

    /// Duration of span `i` that none of its children covers, in µs.
    pub fn self_us(&self, i: usize, children: &[usize]) -> i64 {
        let span = &self.spans[i];
        let (start, end) = (span.start_us, span.end_us());
        let (mut covered, mut reached) = (0, start);
        for &child in children {
            let child = &self.spans[child];
            let from = child.start_us.clamp(reached, end.max(reached));
            let to = child.end_us().clamp(from, end.max(from));
            covered += to - from;
            reached = reached.max(to);
        }
        (span.duration_us - covered).max(0)
    }
}

/// Open traces, at most `traces_max`: past that the one that has been quiet longest is emitted as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assembler {
    open: BTreeMap<u128, Trace>,
    /// (time of the last span, trace), the order in which traces become complete.
    quiet: BTreeSet<(i64, u128)>,
    traces_max: usize,
    pub dropped_spans: u64,
    pub early_traces: u64,
}

impl Assembler {
    pub fn set_limit(&mut self, traces_max: usize) {
        self.traces_max = traces_max.max(1);
    }

    pub fn new(traces_max: usize) -> Self {
        let traces_max = traces_max.max(1);
        Self { open: BTreeMap::new(), quiet: BTreeSet::new(), traces_max, dropped_spans: 0, early_traces: 0 }
    }

    /// Takes a span in; returns a trace that had to make room.
    pub fn span(&mut self, trace_id: u128, span: Span) -> Option<Trace> {
        let end_ms = span.end_us().div_euclid(1000);
        let trace = self.open.entry(trace_id).or_default();
        if trace.spans.len() >= SPANS_MAX {
            self.dropped_spans += 1;
            return None;
        }
        let was = (!trace.spans.is_empty() || !trace.logs.is_empty()).then_some(trace.last_ms);
        trace.spans.push(span);
        self.touch(trace_id, was, end_ms)
    }

    pub fn log(&mut self, trace_id: u128, log: SpanLog) -> Option<Trace> {
        let time_ms = log.time_us.div_euclid(1000);
        let trace = self.open.entry(trace_id).or_default();
        if trace.logs.len() >= LOGS_MAX {
            return None;
        }
        let was = (!trace.spans.is_empty() || !trace.logs.is_empty()).then_some(trace.last_ms);
        trace.logs.push(log);
        self.touch(trace_id, was, time_ms)
    }

    fn touch(&mut self, trace_id: u128, was: Option<i64>, time_ms: i64) -> Option<Trace> {
        let last_ms = was.map_or(time_ms, |was| was.max(time_ms));
        if let Some(was) = was {
            self.quiet.remove(&(was, trace_id));
        }
        self.quiet.insert((last_ms, trace_id));
        if let Some(trace) = self.open.get_mut(&trace_id) {
            trace.last_ms = last_ms;
        }
        if self.open.len() <= self.traces_max {
            return None;
        }
        self.early_traces += 1;
        let (_, oldest) = self.quiet.pop_first()?;
        self.take(oldest)
    }

    /// The traces that are complete at `watermark_ms`, in the order in which they became so.
    pub fn complete(&mut self, watermark_ms: i64) -> Vec<Trace> {
        let mut complete = Vec::new();
        while let Some(&(last_ms, trace_id)) = self.quiet.first() {
            if last_ms.saturating_add(SETTLE_MS) > watermark_ms {
                break;
            }
            self.quiet.pop_first();
            complete.extend(self.take(trace_id));
        }
        complete
    }

    fn take(&mut self, trace_id: u128) -> Option<Trace> {
        Some(Trace { trace_id, ..self.open.remove(&trace_id)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(span_id: u64, parent: Option<u64>, start_us: i64, duration_us: i64) -> Span {
        Span { start_us, duration_us, span_id, parent, service: 1, operation: 2, error: false }
    }

    #[test]
    fn self_time_is_what_children_do_not_cover() {
        let mut assembler = Assembler::new(10);
        for part in [
            span(1, None, 0, 100),
            span(2, Some(1), 10, 30),
            span(3, Some(1), 20, 30),
            span(4, Some(1), 90, 50),
        ] {
            assert!(assembler.span(7, part).is_none());
        }
        assert!(assembler.complete(SETTLE_MS - 1).is_empty());
        let traces = assembler.complete(SETTLE_MS);
        let (parents, children) = traces[0].links();
        assert_eq!(parents, [None, Some(0), Some(0), Some(0)]);
        assert_eq!(traces[0].self_us(0, &children[0]), 100 - 40 - 10);
    }

    #[test]
    fn times_at_the_end_of_their_range_do_not_overflow() {
        let mut assembler = Assembler::new(10);
        for part in
            [span(1, None, 10, i64::MAX), span(2, Some(1), 20, i64::MAX), span(3, Some(1), i64::MAX, 1)]
        {
            assert!(assembler.span(7, part).is_none());
        }
        let traces = assembler.complete(i64::MAX);
        let (_, children) = traces[0].links();
        assert_eq!(
            traces[0].self_us(0, &children[0]),
            20,
            "the ten before its child, and ten behind the range"
        );
    }

    #[test]
    fn a_full_assembler_lets_the_quietest_trace_go() {
        let mut assembler = Assembler::new(1);
        assert!(assembler.span(1, span(1, None, 0, 1)).is_none());
        let early = assembler.span(2, span(2, None, 5_000, 1)).expect("the first trace makes room");
        assert_eq!((early.trace_id, early.spans[0].span_id), (1, 1));
        assert_eq!(assembler.early_traces, 1);
    }
}
