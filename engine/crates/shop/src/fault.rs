//! Faults: what can be broken, and what a broken service does at a given time.

use std::fmt;

use rand::Rng;

use crate::draw::{Stream, stream};
use crate::graph::SERVICES;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Its own work takes 8 to 12 times as long, within seconds. Meant for a database.
    SlowDatabase,
    /// A deploy, and 3 s later 20 to 50 % of its calls fail. The end is another deploy, which rolls back.
    ErrorsAfterDeploy,
    /// Memory climbs to its limit within 60 to 100 s, the CPU to saturation with it, and the work waits.
    MemoryLeakWithCpuPressure,
}

/// Something broken from `start_ms` to `end_ms`, in ms since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// A name out of [`crate::service_names`].
    pub service: String,
    pub kind: FaultKind,
    pub start_ms: i64,
    pub end_ms: i64,
    /// How much of its usual strength it has: 1, or less for one that is hard to see.
    pub strength: f64,
}

/// Why a fault cannot be injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidFault {
    UnknownService(String),
    EndsBeforeItStarts,
}

impl fmt::Display for InvalidFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownService(name) => {
                let names: Vec<_> = SERVICES.iter().map(|service| service.name).collect();
                write!(formatter, "the shop has no service {name:?}; it has {}", names.join(", "))
            }
            Self::EndsBeforeItStarts => write!(
                formatter,
                "the fault must end after it starts, and after the time that the shop has reached"
            ),
        }
    }
}

impl std::error::Error for InvalidFault {}

/// A deploy is in effect this long after its event.
const DEPLOY_MS: f64 = 3_000.0;
const DATABASE_RAMP_MS: f64 = 4_000.0;
const RESTART_MS: f64 = 15_000.0;

/// A fault with its strength drawn.
#[derive(Debug)]
pub struct ActiveFault {
    pub service: usize,
    pub kind: FaultKind,
    pub start_ms: i64,
    pub end_ms: i64,
    strength: f64,
    work_factor: f64,
    error_rate: f64,
    leak_ms: f64,
}

impl ActiveFault {
    pub fn new(seed: u64, fault: &Fault, now_ms: i64) -> Result<Self, InvalidFault> {
        let position = SERVICES.iter().position(|service| service.name == fault.service);
        let service = position.ok_or_else(|| InvalidFault::UnknownService(fault.service.clone()))?;
        let start_ms = fault.start_ms.max(now_ms);
        if fault.end_ms <= start_ms {
            return Err(InvalidFault::EndsBeforeItStarts);
        }
        let mut rng = stream(seed, Stream::Fault { service, start_ms: fault.start_ms });
        Ok(Self {
            service,
            kind: fault.kind,
            start_ms,
            end_ms: fault.end_ms,
            strength: fault.strength,
            work_factor: rng.random_range(8.0..12.0),
            error_rate: rng.random_range(0.2..0.5),
            leak_ms: rng.random_range(60_000.0..100_000.0),
        })
    }

    /// What the own work of the service is multiplied with.
    pub fn work_factor(&self, now_ms: f64) -> f64 {
        match self.kind {
            FaultKind::SlowDatabase => {
                1.0 + self.strength
                    * (self.work_factor - 1.0)
                    * self.ramp(now_ms, DATABASE_RAMP_MS, DATABASE_RAMP_MS)
            }
            FaultKind::ErrorsAfterDeploy | FaultKind::MemoryLeakWithCpuPressure => 1.0,
        }
    }

    /// The share of calls that fail because of it.
    pub fn error_rate(&self, now_ms: f64) -> f64 {
        let from = self.start_ms as f64 + DEPLOY_MS;
        let to = self.end_ms as f64 + DEPLOY_MS;
        let broken = self.kind == FaultKind::ErrorsAfterDeploy && (from..to).contains(&now_ms);
        if broken { self.strength * self.error_rate } else { 0.0 }
    }

    /// The share of the free memory, and of the idle CPU, that it takes: 0 to 1.
    pub fn pressure(&self, now_ms: f64) -> f64 {
        match self.kind {
            FaultKind::MemoryLeakWithCpuPressure => {
                self.strength * self.ramp(now_ms, self.leak_ms, RESTART_MS)
            }
            FaultKind::SlowDatabase | FaultKind::ErrorsAfterDeploy => 0.0,
        }
    }

    /// 0 before the start, rising to 1 and, after the end, back to 0.
    fn ramp(&self, now_ms: f64, rise_ms: f64, fall_ms: f64) -> f64 {
        let risen = |at_ms: f64| ((at_ms - self.start_ms as f64) / rise_ms).clamp(0.0, 1.0);
        let end_ms = self.end_ms as f64;
        if now_ms <= end_ms {
            risen(now_ms)
        } else {
            risen(end_ms) * (1.0 - (now_ms - end_ms) / fall_ms).max(0.0)
        }
    }
}
