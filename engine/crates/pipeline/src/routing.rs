//! Which partition a row goes to: series of one entity together, spans of one trace together.

use model::OutputTopic;
use model::labels::{SERVICE, value_in};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How many partitions the topics between the stages have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    pub samples: i32,
    pub spans: i32,
    pub findings: i32,
}

impl Partitions {
    pub const ONE: Self = Self { samples: 1, spans: 1, findings: 1 };
}

/// The partitions of a topic as sources of what is read from them.
pub fn names(topic: &str, partitions: i32) -> impl Iterator<Item = String> {
    (0..partitions).map(move |partition| format!("{topic}/{partition}"))
}

/// Stable: state lies where its rows go, so a row must go there for ever.
#[derive(Clone, Debug)]
pub struct Router {
    tenant: String,
    seed: u64,
    partitions: Partitions,
}

impl Router {
    pub fn new(tenant: &str, partitions: Partitions) -> Self {
        assert!(
            partitions.samples > 0 && partitions.spans > 0 && partitions.findings > 0,
            "topics have partitions"
        );
        Self { tenant: tenant.to_owned(), seed: xxh3_64(tenant.as_bytes()), partitions }
    }

    /// The key of records between stages.
    pub fn tenant(&self) -> &[u8] {
        self.tenant.as_bytes()
    }

    /// Of a topic between stages; others have none that a task would know.
    pub fn partitions(&self, topic: OutputTopic) -> i32 {
        match topic {
            OutputTopic::Samples => self.partitions.samples,
            OutputTopic::Spans => self.partitions.spans,
            OutputTopic::Findings => self.partitions.findings,
            _ => 0,
        }
    }

    fn hashed(&self, bytes: &[u8], partitions: i32) -> i32 {
        (xxh3_64_with_seed(bytes, self.seed) % partitions.unsigned_abs() as u64) as i32
    }

    /// Of `samples`, for what belongs to a service.
    pub fn entity(&self, service: &str) -> i32 {
        self.hashed(service.as_bytes(), self.partitions.samples)
    }

    /// Of `samples`, for a series by its canonical labels. Series without a service have nothing in common and are spread.
    pub fn series(&self, labels: &str) -> i32 {
        match value_in(labels, SERVICE) {
            service if service.is_empty() => self.entity(labels),
            service => self.entity(&service),
        }
    }

    /// Of `spans`.
    pub fn trace(&self, trace_id: u128) -> i32 {
        self.hashed(&trace_id.to_be_bytes(), self.partitions.spans)
    }

    /// Of `findings`: all of a tenant in one order.
    pub fn findings(&self) -> i32 {
        self.hashed(b"", self.partitions.findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_pinned() {
        let router = Router::new("default", Partitions { samples: 64, spans: 64, findings: 8 });
        let labels = model::Labels::of("cart", "cpu").canonical();
        assert_eq!(router.series(&labels), router.entity("cart"));
        let places = (router.entity("cart"), router.entity("email"), router.trace(7), router.findings());
        assert_eq!(places, (2, 32, 18, 0));
    }

    #[test]
    fn series_without_a_service_are_spread() {
        let router = Router::new("default", Partitions { samples: 8, ..Partitions::ONE });
        let places: std::collections::BTreeSet<i32> =
            (0..100).map(|i| router.series(&format!("__name__=m{i}"))).collect();
        assert_eq!(places.len(), 8);
    }
}
