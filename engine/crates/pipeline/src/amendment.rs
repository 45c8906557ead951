//! Corrections of what was said of points that data which came late has changed since.
//!
//! Rates, error ratios and durations of a step are given again when rows come up to [`AMENDABLE_STEPS`] after it was closed. The new
//! value is judged as if it came now and teaches nothing. An anomaly that it still shows, or shows only now, is told with
//! `amended`; one that it shows no more is told so too, with the score of the new value, and counts no longer.

use std::collections::BTreeSet;

use model::Anomaly;
use serde::{Deserialize, Serialize};

use crate::derive::step::AMENDABLE_STEPS;
use crate::series::CALLS_DELAY_MS;

/// Anomalies that are remembered as told. Beyond, the oldest are forgotten: they are not taken back any more.
const TOLD_MAX: usize = 100_000;

/// An anomaly with `amended`, be it that it is one now or that it is none any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Amendment {
    pub anomaly: Anomaly,
    /// It was told as an anomaly before.
    pub was_told: bool,
}

impl Amendment {
    pub fn is_anomalous(&self) -> bool {
        self.anomaly.anomaly_score > 0.5
    }
}

/// What was told of points that may still be amended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ToldAnomalies {
    /// Time and id of each.
    told: BTreeSet<(i64, String)>,
}

impl ToldAnomalies {
    pub fn insert(&mut self, anomaly: &Anomaly) {
        self.told.insert((anomaly.time_ms, anomaly.id.clone()));
        if self.told.len() > TOLD_MAX {
            self.told.pop_first();
        }
    }

    /// What there is to tell of a point that was judged again and had the value `before`, unless it was normal and still is.
    pub fn amend(&mut self, anomaly: Anomaly, before: Option<f64>) -> Option<Amendment> {
        let was_told = self.told.remove(&(anomaly.time_ms, anomaly.id.clone()));
        // The detector has learned since: what it did not find odd in its time is no odder for being closer to what is expected.
        let off = |value: f64| (value - anomaly.expected).abs();
        let is_news = was_told || before.is_none_or(|before| off(anomaly.value) > off(before));
        let amendment = Amendment { anomaly, was_told };
        if amendment.is_anomalous() && is_news {
            self.insert(&amendment.anomaly);
        }
        (was_told || (amendment.is_anomalous() && is_news)).then_some(amendment)
    }

    /// Event time has come to `watermark_ms`: forgets what cannot be amended any more.
    pub fn advance(&mut self, watermark_ms: i64, step_ms: i64) {
        let amendable_ms = step_ms.saturating_mul(AMENDABLE_STEPS as i64 + 1).saturating_add(CALLS_DELAY_MS);
        let kept = self.told.split_off(&(watermark_ms.saturating_sub(amendable_ms), String::new()));
        self.told = kept;
    }
}
