//! What is usual at a time of day (UTC).

use serde::{Deserialize, Serialize};

use super::STATE_MAX;

const DAY_MS: i64 = 86_400_000;

/// A mean for each part of the day. The number of parts is the same with every call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DayProfile {
    means: Vec<f64>,
    /// How often each was learned, up to 255.
    visits: Vec<u8>,
}

impl DayProfile {
    pub fn new(parts: usize) -> Self {
        Self { means: vec![0.0; parts], visits: vec![0; parts] }
    }

    pub fn part(&self, time_ms: i64) -> usize {
        (time_ms.rem_euclid(DAY_MS) * self.means.len() as i64 / DAY_MS) as usize
    }

    /// The other part that this time is nearest to.
    pub fn neighbour(&self, time_ms: i64) -> usize {
        let parts = self.means.len();
        let halves = (time_ms.rem_euclid(DAY_MS) * 2 * parts as i64 / DAY_MS) as usize;
        let step = if halves.is_multiple_of(2) { parts - 1 } else { 1 };
        (halves / 2 + step) % parts
    }

    pub fn mean(&self, part: usize) -> f64 {
        self.means[part]
    }

    pub fn visits(&self, part: usize) -> u8 {
        self.visits[part]
    }

    /// Learns an error of the mean; while few are known, each counts alike.
    pub fn learn(&mut self, part: usize, error: f64, weight_min: f64) {
        let visits = self.visits[part].saturating_add(1);
        self.visits[part] = visits;
        self.means[part] += weight_min.max(1.0 / f64::from(visits)) * error;
    }

    pub fn is_sound(&self, parts: usize) -> bool {
        self.means.len() == parts
            && self.visits.len() == parts
            && self.means.iter().all(|mean| mean.abs() <= STATE_MAX)
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.means.capacity() * size_of::<f64>() + self.visits.capacity()
    }
}
