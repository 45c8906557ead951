//! Who calls whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

/// Edges that nobody has seen for a while disappear; the number of edges is bounded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceGraph {
    /// (caller, callee) -> event time of the last sighting; `i64::MAX` for edges that were given.
    edges: BTreeMap<(String, String), i64>,
    neighbours: BTreeMap<String, BTreeSet<String>>,
    edges_max: usize,
    dropped: u64,
}

impl Default for ServiceGraph {
    fn default() -> Self {
        Self::new(20_000)
    }
}

impl ServiceGraph {
    pub fn new(edges_max: usize) -> Self {
        Self { edges: BTreeMap::new(), neighbours: BTreeMap::new(), edges_max, dropped: 0 }
    }

    /// An edge that stays whether or not spans show it.
    pub fn set(&mut self, caller: &str, callee: &str) {
        self.observe(i64::MAX, caller, callee);
    }

    pub fn observe(&mut self, time_ms: i64, caller: &str, callee: &str) {
        if caller == callee {
            return;
        }
        let key = (caller.to_owned(), callee.to_owned());
        if let Some(seen_ms) = self.edges.get_mut(&key) {
            *seen_ms = (*seen_ms).max(time_ms);
            return;
        }
        if self.edges.len() >= self.edges_max {
            self.dropped += 1;
            return;
        }
        self.edges.insert(key, time_ms);
        self.neighbours.entry(caller.to_owned()).or_default().insert(callee.to_owned());
        self.neighbours.entry(callee.to_owned()).or_default().insert(caller.to_owned());
    }

    /// Forgets edges last seen before `time_ms`.
    pub fn decay(&mut self, time_ms: i64) {
        let before = self.edges.len();
        self.edges.retain(|_, seen_ms| *seen_ms >= time_ms);
        if self.edges.len() == before {
            return;
        }
        self.neighbours.clear();
        for (caller, callee) in self.edges.keys() {
            self.neighbours.entry(caller.clone()).or_default().insert(callee.clone());
            self.neighbours.entry(callee.clone()).or_default().insert(caller.clone());
        }
    }

    /// (caller, callee), sorted.
    pub fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.edges.keys().map(|(caller, callee)| (caller.as_str(), callee.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Edges that were not taken in because the graph was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The services from which any of these can be reached over calls in either direction, they themselves included.
    pub fn connected<'a>(&'a self, services: &'a [String]) -> BTreeSet<&'a str> {
        let mut seen: BTreeSet<&str> = services.iter().map(String::as_str).collect();
        let mut queue: Vec<&str> = seen.iter().copied().collect();
        while let Some(service) = queue.pop() {
            for next in self.neighbours.get(service).into_iter().flatten() {
                if seen.insert(next) {
                    queue.push(next);
                }
            }
        }
        seen
    }

    /// Whether trouble of `cause` can show at `service`: trouble goes from callee to caller.
    pub(crate) fn explains(&self, cause: &str, service: &str) -> bool {
        service == cause || self.downstream(service).contains(cause)
    }

    /// Whether one of the two may suffer from the other.
    pub(crate) fn are_related(&self, a: &str, b: &str) -> bool {
        self.explains(a, b) || self.explains(b, a)
    }

    /// What `service` calls, directly or over others; not itself unless it is called again.
    pub fn downstream<'a>(&'a self, service: &str) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut queue = vec![service];
        while let Some(caller) = queue.pop() {
            let from = (caller.to_owned(), String::new());
            let calls = self.edges.range(from..).map(|(edge, _)| edge);
            for (_, callee) in calls.take_while(|(other, _)| other == caller) {
                if seen.insert(callee.as_str()) {
                    queue.push(callee);
                }
            }
        }
        seen
    }

    /// Hops between two services in either direction, if at most `hops_max`.
    pub fn distance(&self, from: &str, to: &str, hops_max: usize) -> Option<usize> {
        if from == to {
            return Some(0);
        }
        let mut seen = BTreeSet::from([from]);
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((service, hops)) = queue.pop_front() {
            if hops == hops_max {
                continue;
            }
            for next in self.neighbours.get(service).into_iter().flatten() {
                if next == to {
                    return Some(hops + 1);
                }
                if seen.insert(next) {
                    queue.push_back((next, hops + 1));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_ignores_direction_and_decay_forgets() {
        let mut graph = ServiceGraph::new(3);
        graph.observe(10, "web", "cart");
        graph.observe(20, "cart", "store");
        graph.set("web", "ads");
        graph.observe(30, "web", "one too many");
        assert_eq!(graph.dropped(), 1);
        assert_eq!(graph.distance("store", "web", 2), Some(2));
        assert_eq!(graph.distance("store", "ads", 2), None);
        let (start, alone) = (["store".to_owned()], ["batch".to_owned()]);
        assert_eq!(graph.connected(&start), BTreeSet::from(["ads", "cart", "store", "web"]));
        assert_eq!(graph.connected(&alone), BTreeSet::from(["batch"]));
        assert_eq!(graph.downstream("web"), BTreeSet::from(["ads", "cart", "store"]));
        assert!(graph.downstream("store").is_empty());
        graph.decay(15);
        assert_eq!(graph.distance("store", "web", 5), None);
        assert_eq!(graph.distance("ads", "web", 1), Some(1));
    }
}
