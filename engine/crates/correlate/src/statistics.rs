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
        let mut room = Room { keys: keys_max.saturating_sub(self.keys()), dropped: 0 };
        let add_operation =
            |own: &mut OperationStats, other: &OperationStats| own.add(other, &|symbol| symbol);
        merge(&mut self.operations, &other.operations, &mut room, add_operation);
        merge(&mut self.edges, &other.edges, &mut room, Sketch::merge);
        merge(&mut self.transitions, &other.transitions, &mut room, |own, other| *own += other);
        room.dropped
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

/// What may be taken in yet, and what was not.
struct Room {
    keys: usize,
    dropped: u64,
}

/// What is so many times smaller is looked up key by key, since going along all of the other takes longer.
const MUCH_SMALLER: usize = 8;

/// Adds up what both have; what is new goes in as long as there is room, by its order.
fn merge<Key: Ord + Copy, Value: Clone>(
    own: &mut BTreeMap<Key, Value>,
    other: &BTreeMap<Key, Value>,
    room: &mut Room,
    add: impl Fn(&mut Value, &Value),
) {
    let mut new: Vec<(Key, &Value)> = Vec::new();
    if other.len() * MUCH_SMALLER < own.len() {
        for (key, value) in other {
            match own.get_mut(key) {
                Some(known) => add(known, value),
                None => new.push((*key, value)),
            }
        }
    } else {
        let mut known = own.iter_mut().peekable();
        for (key, value) in other {
            while known.next_if(|(own_key, _)| *own_key < key).is_some() {}
            match known.next_if(|(own_key, _)| *own_key == key) {
                Some((_, known)) => add(known, value),
                None => new.push((*key, value)),
            }
        }
    }
    let admitted = room.keys.min(new.len());
    room.keys -= admitted;
    room.dropped += (new.len() - admitted) as u64;
    own.extend(new.into_iter().take(admitted).map(|(key, value)| (key, value.clone())));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Transition = (Symbol, Symbol, Symbol);

    fn of(transitions: &[(Transition, u8)]) -> TraceStats {
        let mut stats = TraceStats::default();
        for ((operation, from, to), count) in transitions {
            *stats.transitions.entry((*operation, *from, *to)).or_default() += f32::from(*count);
            let own = stats.operations.entry(*operation).or_default();
            own.spans += 1.0;
            own.self_time.add(f64::from(*count), 1.0);
            stats.edges.entry((*operation, *to)).or_default().add(f64::from(*from), 1.0);
        }
        stats
    }

    proptest! {
        #[test]
        fn merging_is_adding_up(
            own in prop::collection::vec(((0..30_u32, 0..4_u32, 0..4_u32), 0..9_u8), 0..80),
            other in prop::collection::vec(((0..30_u32, 0..4_u32, 0..4_u32), 0..9_u8), 0..80),
        ) {
            let mut merged = of(&own);
            prop_assert_eq!(merged.merge(&of(&other), usize::MAX), 0);
            prop_assert_eq!(merged, of(&[own, other].concat()));
        }

        #[test]
        fn what_there_is_no_room_for_is_counted_and_what_is_known_is_added(
            own in prop::collection::vec(((0..30_u32, 0..4_u32, 0..4_u32), 0..9_u8), 0..80),
            other in prop::collection::vec(((0..30_u32, 0..4_u32, 0..4_u32), 0..9_u8), 0..80),
            keys_max in 0..200_usize,
        ) {
            let (all, other) = (of(&[own.clone(), other.clone()].concat()), of(&other));
            let mut merged = of(&own);
            let known = merged.clone();
            let dropped = merged.merge(&other, keys_max) as usize;
            prop_assert_eq!(merged.keys() + dropped, all.keys());
            prop_assert!(merged.keys() <= keys_max.max(known.keys()));
            prop_assert!(known.keys() == all.keys() || dropped == 0 || merged.keys() >= keys_max);
            for (key, count) in &merged.transitions {
                prop_assert_eq!(count, &all.transitions[key]);
            }
        }
    }
}
