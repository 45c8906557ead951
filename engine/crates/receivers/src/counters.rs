//! What has come through the doors.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::refusal::Refusal;

/// Of one door, as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorCounters {
    /// Requests that were accepted, at least in part.
    pub requests: u64,
    /// Points, log records and spans that were written.
    pub items: u64,
    /// Of accepted requests, those that were not.
    pub items_rejected: u64,
    pub refusals: Refusals,
}

/// Requests that were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    pub unauthenticated: u64,
    /// Too many bytes were under way.
    pub busy: u64,
    pub too_large: u64,
    /// No such request: what it holds, its type, its path.
    pub invalid: u64,
    pub slow: u64,
    /// The destination did not take the records.
    pub undelivered: u64,
}

impl Refusals {
    /// By the names of the reasons.
    pub fn by_reason(&self) -> [(&'static str, u64); 6] {
        [
            ("unauthenticated", self.unauthenticated),
            ("busy", self.busy),
            ("too_large", self.too_large),
            ("invalid", self.invalid),
            ("slow", self.slow),
            ("undelivered", self.undelivered),
        ]
    }
}

/// Of all doors, as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub otlp_grpc: DoorCounters,
    pub otlp_http: DoorCounters,
    pub remote_write: DoorCounters,
    pub in_flight_bytes: u64,
    pub connections: u64,
    pub connections_refused: u64,
}

impl Counters {
    /// By the names of the doors.
    pub fn by_door(&self) -> [(&'static str, DoorCounters); 3] {
        [("otlp_grpc", self.otlp_grpc), ("otlp_http", self.otlp_http), ("remote_write", self.remote_write)]
    }
}

/// Of one door, while it counts.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    requests: AtomicU64,
    items: AtomicU64,
    items_rejected: AtomicU64,
    unauthenticated: AtomicU64,
    busy: AtomicU64,
    too_large: AtomicU64,
    invalid: AtomicU64,
    slow: AtomicU64,
    undelivered: AtomicU64,
}

impl Counting {
    pub(crate) fn accepted(&self, items: u64, rejected: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.items.fetch_add(items, Ordering::Relaxed);
        self.items_rejected.fetch_add(rejected, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::Unauthenticated => &self.unauthenticated,
            Refusal::Busy => &self.busy,
            Refusal::TooLarge { .. } => &self.too_large,
            Refusal::Slow => &self.slow,
            Refusal::Undelivered(_) | Refusal::Undeliverable(_) => &self.undelivered,
            Refusal::NoSource { .. }
            | Refusal::NoSuchPath
            | Refusal::Method
            | Refusal::ContentType(..)
            | Refusal::ContentEncoding(..)
            | Refusal::Malformed(_) => &self.invalid,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn values(&self) -> DoorCounters {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DoorCounters {
            requests: value(&self.requests),
            items: value(&self.items),
            items_rejected: value(&self.items_rejected),
            refusals: Refusals {
                unauthenticated: value(&self.unauthenticated),
                busy: value(&self.busy),
                too_large: value(&self.too_large),
                invalid: value(&self.invalid),
                slow: value(&self.slow),
                undelivered: value(&self.undelivered),
            },
        }
    }
}
