//! Statistics of traces that can be added up: how often, how long, in which order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::sketch::Sketch;
use crate::symbols::Symbol;

/// Added to µs before the logarithm, so that noise of very short times does not count.
pub const GAP_OFFSET_US: f64 = 500.0;
pub const SELF_OFFSET_US: f64 = 200.0;

/// What is measured several times in a trace is no news each time, so all of them weigh about as much as one. A whole number of
/// 64ths, so that sums do not depend on their order.
pub fn weight_in_trace(times: f32) -> f32 {
    (64.0 / times).round().max(1.0) / 64.0
}

/// Of the spans of one operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationStats {
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

impl OperationStats {
    fn add(&mut self, other: &Self, symbol: &impl Fn(Symbol) -> Symbol) {
        self.spans += other.spans;
        self.with_remote += other.with_remote;
        for (&callee, count) in &other.callees {
            *self.callees.entry(symbol(callee)).or_default() += count;
        }
        self.self_time.merge(&other.self_time);
        self.whole.merge(&other.whole);
    }
}

/// Of the traces that started in one span of time. Statistics of different times and of different collectors add up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceStats {
    pub operations: BTreeMap<Symbol, OperationStats>,
    /// (caller, callee) -> ln(gap).
    pub edges: BTreeMap<(Symbol, Symbol), Sketch>,
    /// (operation, event, next event) -> count.
    pub transitions: BTreeMap<(Symbol, Symbol, Symbol), f32>,
}

impl TraceStats {
    pub fn is_empty(&self) -> bool {
        self.keys() == 0
    }

    /// The same under other symbols; what becomes one is added up.
    pub fn renamed(&self, symbol: impl Fn(Symbol) -> Symbol) -> Self {
        let mut renamed = Self::default();
        for (&operation, stats) in &self.operations {
            let own = renamed.operations.entry(symbol(operation)).or_default();
            own.add(stats, &symbol);
        }
        for (&(caller, callee), gaps) in &self.edges {
            renamed.edges.entry((symbol(caller), symbol(callee))).or_default().merge(gaps);
        }
        for (&(operation, event, next), count) in &self.transitions {
            *renamed.transitions.entry((symbol(operation), symbol(event), symbol(next))).or_default() +=
                count;
        }
        renamed
    }

    /// The same in parts, of which none has much more than so many weights and counts.
    pub fn in_parts(self, weights_max: usize) -> Vec<Self> {
        let mut parts = vec![Self::default()];
        let mut weights = 0;
        let mut next = |parts: &mut Vec<Self>, more: usize| {
            if weights > 0 && weights + more > weights_max {
                parts.push(Self::default());
                weights = 0;
            }
            weights += more;
            parts.len() - 1
        };
        for (operation, stats) in self.operations {
            let at = next(&mut parts, stats.self_time.bins() + stats.whole.bins() + stats.callees.len());
            parts[at].operations.insert(operation, stats);
        }
        for (edge, gaps) in self.edges {
            let at = next(&mut parts, gaps.bins());
            parts[at].edges.insert(edge, gaps);
        }
        for (transition, count) in self.transitions {
            let at = next(&mut parts, 1);
            parts[at].transitions.insert(transition, count);
        }
        parts
    }

    /// About what it takes written down, without names.
    pub fn size_bytes(&self) -> usize {
        let of_operation = |stats: &OperationStats| {
            16 + 8 * (stats.callees.len() + stats.self_time.bins() + stats.whole.bins())
        };
        self.operations.values().map(of_operation).sum::<usize>()
            + self.edges.values().map(|gaps| 16 + 8 * gaps.bins()).sum::<usize>()
            + 16 * self.transitions.len()
    }

    /// All symbols in it, each once.
    pub fn symbols(&self) -> BTreeSet<Symbol> {
        let operations = self.operations.iter();
        let operations =
            operations.flat_map(|(&operation, stats)| stats.callees.keys().copied().chain([operation]));
        let edges = self.edges.keys().flat_map(|&(caller, callee)| [caller, callee]);
        let transitions =
            self.transitions.keys().flat_map(|&(operation, event, next)| [operation, event, next]);
        operations.chain(edges).chain(transitions).collect()
    }

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
                self.operations.entry(operation).or_default().add(stats, &|symbol| symbol);
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

    pub fn scale(&mut self, factor: f32) {
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
