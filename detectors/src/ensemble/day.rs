//! What is usual at a time of day (UTC).

use serde::{Deserialize, Serialize};

use super::{STATE_MAX, weight};

const DAY_MS: i64 = 86_400_000;

/// A mean for each part of the day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DayProfile<const PARTS: usize> {
    #[serde(with = "written")]
    means: [f64; PARTS],
    /// How often each was learned, up to 255.
    #[serde(with = "written")]
    visits: [u8; PARTS],
}

impl<const PARTS: usize> Default for DayProfile<PARTS> {
    fn default() -> Self {
        Self { means: [0.0; PARTS], visits: [0; PARTS] }
    }
}

/// Arrays of any length, as vectors are written.
pub(super) mod written {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(parts: &[impl Serialize], serializer: S) -> Result<S::Ok, S::Error> {
        parts.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>, const PARTS: usize>(
        deserializer: D,
    ) -> Result<[T; PARTS], D::Error> {
        let parts = Vec::deserialize(deserializer)?;
        parts.try_into().map_err(|parts: Vec<T>| D::Error::invalid_length(parts.len(), &"one for each part"))
    }
}

impl<const PARTS: usize> DayProfile<PARTS> {
    pub fn part(&self, time_ms: i64) -> usize {
        (time_ms.rem_euclid(DAY_MS) * PARTS as i64 / DAY_MS) as usize
    }

    /// The other part that this time is nearest to.
    pub fn neighbour(&self, time_ms: i64) -> usize {
        let halves = (time_ms.rem_euclid(DAY_MS) * 2 * PARTS as i64 / DAY_MS) as usize;
        let step = if halves.is_multiple_of(2) { PARTS - 1 } else { 1 };
        (halves / 2 + step) % PARTS
    }

    pub fn mean(&self, part: usize) -> f64 {
        self.means[part]
    }

    pub fn visits(&self, part: usize) -> u8 {
        self.visits[part]
    }

    /// Learns an error of the mean, and returns its weight; while few are known, each counts alike.
    pub fn learn(&mut self, part: usize, error: f64, weight_min: f64) -> f64 {
        let weight = weight(weight_min, self.visits[part].into());
        self.visits[part] = self.visits[part].saturating_add(1);
        self.means[part] += weight * error;
        weight
    }

    pub fn is_sound(&self) -> bool {
        self.means.iter().all(|mean| mean.abs() <= STATE_MAX)
    }
}
