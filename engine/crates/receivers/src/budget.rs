//! Bytes of requests under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }
}

/// What a request has of the budget. Dropping it gives all of it back.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// Takes more, if there is so much.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.budget.max);
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Gives back what is beyond this.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let beyond = self.bytes.saturating_sub(bytes);
        self.budget.used.fetch_sub(beyond, Ordering::Relaxed);
        self.bytes -= beyond;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_there_is_and_all_comes_back() {
        let budget = Budget::new(10);
        let (mut a, mut b) = (budget.reserve(), budget.reserve());
        assert!(a.grow(6) && !b.grow(5) && b.grow(4) && !b.grow(1));
        assert!(!b.grow(usize::MAX));
        a.shrink_to(2);
        assert!(b.grow(4));
        assert_eq!(budget.used(), 10);
        drop(b);
        a.shrink_to(9);
        assert_eq!(budget.used(), 2);
        drop(a);
        assert_eq!(budget.used(), 0);
    }
}
