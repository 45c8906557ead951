//! What one receiver counts.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) silenced: AtomicU64,
    pub(crate) inhibited: AtomicU64,
    pub(crate) unmatched: AtomicU64,
    pub(crate) unwanted: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) resent: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) attempts_failed: AtomicU64,
    pub(crate) attempts_refused: AtomicU64,
    pub(crate) members_failed: AtomicU64,
    pub(crate) template_failures: AtomicU64,
    pub(crate) forgotten: AtomicU64,
    pub(crate) log_failures: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) firing: AtomicU64,
    pub(crate) held: AtomicU64,
    /// When the alert that waits longest was written; 0 for none.
    pub(crate) oldest_waiting_ms: AtomicI64,
}

/// The values at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Alerts that the receiver has accepted.
    pub accepted: u64,
    /// Alerts that went to the dead-letter topic: refused, or given up.
    pub dead: u64,
    /// Alerts that were held back by a silence.
    pub silenced: u64,
    /// Alerts that were held back by others that fire.
    pub inhibited: u64,
    /// Alerts that the matchers do not choose.
    pub unmatched: u64,
    /// Ends of alerts that the receiver does not want or was never told of.
    pub unwanted: u64,
    /// Records that are no alerts.
    pub unreadable: u64,
    /// Alerts that were sent again because they still fire.
    pub resent: u64,
    pub attempts: u64,
    pub attempts_failed: u64,
    pub attempts_refused: u64,
    /// Requests that another member of the cluster has accepted, but not this one.
    pub members_failed: u64,
    /// Annotations whose template failed.
    pub template_failures: u64,
    /// Alerts that fire and were forgotten, because there are too many.
    pub forgotten: u64,
    /// Times that the topic could not be read, or an offset not be committed.
    pub log_failures: u64,
    /// Alerts that wait to be delivered, of those that were read.
    pub waiting: u64,
    /// Alerts that fire and were told.
    pub firing: u64,
    /// Alerts that fire and are held back by a silence.
    pub held: u64,
    /// When the alert that waits longest was written.
    pub oldest_waiting_ms: Option<i64>,
}

impl Counters {
    pub fn values(&self) -> CounterValues {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let oldest_waiting_ms = self.oldest_waiting_ms.load(Ordering::Relaxed);
        CounterValues {
            accepted: of(&self.accepted),
            dead: of(&self.dead),
            silenced: of(&self.silenced),
            inhibited: of(&self.inhibited),
            unmatched: of(&self.unmatched),
            unwanted: of(&self.unwanted),
            unreadable: of(&self.unreadable),
            resent: of(&self.resent),
            attempts: of(&self.attempts),
            attempts_failed: of(&self.attempts_failed),
            attempts_refused: of(&self.attempts_refused),
            members_failed: of(&self.members_failed),
            template_failures: of(&self.template_failures),
            forgotten: of(&self.forgotten),
            log_failures: of(&self.log_failures),
            waiting: of(&self.waiting),
            firing: of(&self.firing),
            held: of(&self.held),
            oldest_waiting_ms: (oldest_waiting_ms != 0).then_some(oldest_waiting_ms),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
