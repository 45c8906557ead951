//! How long to wait before a receiver is tried again.

use xxhash_rust::xxh3::xxh3_64;

const FIRST_MS: u64 = 1_000;
/// The longest wait between two tries that the receiver did not ask for.
pub const WAIT_MAX_MS: u64 = 60_000;
/// What a receiver may ask for with `Retry-After`; more is cut to this.
pub const RETRY_AFTER_MAX_MS: i64 = 900_000;

/// Doubles with each failure, with jitter over its upper half, so that those who failed together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    seed: String,
    failures: u32,
    until_ms: i64,
}

impl Backoff {
    /// `seed` tells receivers and processes apart.
    pub(crate) fn new(seed: String) -> Self {
        Self { seed, failures: 0, until_ms: i64::MIN }
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it is time to try.
    pub(crate) fn is_over(&self, now_ms: i64) -> bool {
        now_ms >= self.until_ms
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.until_ms = i64::MIN;
    }

    /// Returns how long to wait.
    pub(crate) fn failed(&mut self, now_ms: i64, retry_after_ms: Option<i64>) -> i64 {
        self.failures = self.failures.saturating_add(1);
        let whole_ms = FIRST_MS.saturating_mul(1 << (self.failures - 1).min(20)).min(WAIT_MAX_MS);
        let random = xxh3_64(format!("{}/{}/{now_ms}", self.seed, self.failures).as_bytes());
        let wait_ms = i64::try_from(whole_ms / 2 + random % (whole_ms / 2 + 1)).unwrap_or(i64::MAX);
        let wait_ms = wait_ms.max(retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MAX_MS));
        self.until_ms = now_ms.saturating_add(wait_ms);
        wait_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ_between_receivers() {
        let waits = |seed: &str| {
            let mut backoff = Backoff::new(seed.to_owned());
            (0..40).map(|_| backoff.failed(0, None)).collect::<Vec<i64>>()
        };
        let one = waits("one");
        for (n, wait_ms) in one.iter().enumerate() {
            let whole_ms = (1_000_i64 << n.min(20)).min(60_000);
            assert!((whole_ms / 2..=whole_ms).contains(wait_ms), "{n}: {wait_ms}");
        }
        assert_ne!(one, waits("two"));
    }

    #[test]
    fn what_the_receiver_asks_for_counts_within_a_bound() {
        let mut backoff = Backoff::new(String::new());
        assert_eq!(backoff.failed(0, Some(30_000)), 30_000);
        assert!(!backoff.is_over(29_999) && backoff.is_over(30_000));
        assert_eq!(backoff.failed(0, Some(i64::MAX)), RETRY_AFTER_MAX_MS);
        backoff.succeeded();
        assert!(backoff.is_over(0) && backoff.failures() == 0);
    }
}
