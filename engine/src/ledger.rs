//! The coverage ledger, as it was read back from its topic.

use std::collections::BTreeMap;

use model::ServiceCoverage;

/// Records that are kept: services, once for each partition that has series of them.
pub const COVERAGE_MAX: usize = 20_000;
/// Each is written once a day at least. One that is so much older than the newest is of a partition that nobody reads any more.
const STALE_MS: i64 = 2 * 24 * 3_600_000;

/// The newest record of each service and partition, up to a bound.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By service and source.
    records: BTreeMap<(String, String), ServiceCoverage>,
    newest_ms: Option<i64>,
    left_out: u64,
}

impl Ledger {
    pub fn take(&mut self, record: ServiceCoverage) {
        self.newest_ms = self.newest_ms.max(Some(record.time_ms));
        let key = (record.service.clone(), record.source.clone());
        if self.records.len() >= COVERAGE_MAX && !self.records.contains_key(&key) {
            let oldest_ms = self.oldest_ms();
            self.records.retain(|_, record| record.time_ms >= oldest_ms);
            if self.records.len() >= COVERAGE_MAX {
                self.left_out += 1;
                return;
            }
        }
        self.records.insert(key, record);
    }

    /// Each service as a whole, by name.
    pub fn services(&self) -> Vec<ServiceCoverage> {
        let oldest_ms = self.oldest_ms();
        let mut services: Vec<ServiceCoverage> = Vec::new();
        for record in self.records.values().filter(|record| record.time_ms >= oldest_ms) {
            match services.last_mut() {
                Some(last) if last.service == record.service => last.absorb(record),
                _ => services.push(record.clone()),
            }
        }
        services
    }

    /// Records that were left out beyond the bound.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn oldest_ms(&self) -> i64 {
        self.newest_ms.map_or(i64::MIN, |newest_ms| newest_ms.saturating_sub(STALE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(service: &str, source: &str, time_ms: i64, modelled: u64) -> ServiceCoverage {
        let (service, source) = (service.to_owned(), source.to_owned());
        ServiceCoverage { service, source, time_ms, modelled, ..ServiceCoverage::default() }
    }

    fn seen(ledger: &Ledger) -> Vec<(String, u64)> {
        let services = ledger.services().into_iter();
        services.map(|coverage| (coverage.service, coverage.modelled)).collect()
    }

    #[test]
    fn the_newest_of_each_partition_counts_and_they_add_up() {
        let mut ledger = Ledger::default();
        for (service, source, modelled) in [
            ("web", "samples/0", 1),
            ("cart", "samples/1", 5),
            ("cart", "metrics/0", 7),
            ("cart", "samples/1", 4),
        ] {
            ledger.take(record(service, source, 1_000, modelled));
        }
        assert_eq!(seen(&ledger), [("cart".to_owned(), 11), ("web".to_owned(), 1)]);
    }

    #[test]
    fn what_nobody_writes_any_more_is_left_out() {
        let mut ledger = Ledger::default();
        ledger.take(record("cart", "old/0", 0, 1));
        ledger.take(record("cart", "samples/0", STALE_MS, 2));
        assert_eq!(seen(&ledger), [("cart".to_owned(), 3)]);
        ledger.take(record("web", "samples/0", STALE_MS + 1, 4));
        assert_eq!(seen(&ledger), [("cart".to_owned(), 2), ("web".to_owned(), 4)]);
    }

    #[test]
    fn a_bound_holds_and_what_is_beyond_is_counted() {
        let mut ledger = Ledger::default();
        for i in 0..COVERAGE_MAX {
            ledger.take(record(&format!("service_{i:06}"), "samples/0", i64::from(i > 0), 1));
        }
        ledger.take(record("service_000007", "samples/0", 2, 9));
        ledger.take(record("one_more", "samples/0", 2, 1));
        assert_eq!((ledger.services().len(), ledger.left_out()), (COVERAGE_MAX, 1));
        assert_eq!(ledger.services()[7].modelled, 9, "who is known goes on");
        // Old ones make room.
        ledger.take(record("one_more", "samples/0", STALE_MS + 1, 1));
        assert_eq!((ledger.services().len(), ledger.left_out()), (COVERAGE_MAX, 1));
        assert_eq!(ledger.services()[0].service, "one_more");
    }
}
