//! The end of an incident is not another one.
//!
//! What lasts becomes usual to a detector, so that its end is anomalous too: the series goes back to where it was expected before. Such
//! an anomaly opens no incident and prolongs none. For that the range is remembered in which a series was expected
//! when its trouble began, until [`REMEMBERED_MS`] after the last anomaly that was part of an incident.
//!
//! Limits: who fails by going back to what was usual two days ago is not seen by that; a series that is elsewhere at this time of the day
//! is told of as new.

use std::collections::BTreeMap;

use model::Anomaly;
use serde::{Deserialize, Serialize};

use super::{SeriesKey, Suspect};

const REMEMBERED_MS: i64 = 2 * 86_400_000;
const REMEMBERED_MAX: usize = 20_000;
/// So much of its width a range is taken to be wider on either side.
const MARGIN: f64 = 0.25;

/// Where a series was expected before it was in trouble.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Before {
    lower: f64,
    upper: f64,
    last_ms: i64,
}

/// Series that are or were in trouble.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Aftermath {
    before: BTreeMap<SeriesKey, Before>,
}

impl Aftermath {
    /// The suspect is part of an incident.
    pub fn remember(&mut self, key: SeriesKey, suspect: &Suspect) {
        let last_ms = suspect.last_ms;
        if let Some(before) = self.before.get_mut(&key) {
            before.last_ms = before.last_ms.max(last_ms);
        } else if self.before.len() < REMEMBERED_MAX {
            self.before.insert(key, Before { lower: suspect.lower, upper: suspect.upper, last_ms });
        }
    }

    /// Whether the series is where it was before its trouble, and only anomalous as that has become usual.
    pub fn is_return(&self, key: SeriesKey, anomaly: &Anomaly) -> bool {
        self.before.get(&key).is_some_and(|Before { lower, upper, .. }| {
            let margin = MARGIN * (upper - lower);
            let is_usual = (lower - margin..=upper + margin).contains(&anomaly.value);
            is_usual && !(*lower..=*upper).contains(&anomaly.expected)
        })
    }

    pub fn advance(&mut self, watermark_ms: i64) {
        self.before.retain(|_, before| watermark_ms.saturating_sub(before.last_ms) <= REMEMBERED_MS);
    }
}
