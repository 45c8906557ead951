//! Whether a series stands still that never did: a sensor that is stuck, an exporter that repeats itself.

use serde::{Deserialize, Serialize};

use super::{STATE_MAX, Setting};

/// How improbable a run of the same value must be, in powers of e, if repetitions came by chance.
const RARITY_MIN: f64 = 40.0;
/// A series that repeats itself more often than this stands still as a matter of course.
const SHARE_MAX: f64 = 0.1;
/// How many times longer than any before it must be.
const LONGER: f64 = 3.0;
const DURATION_S_MIN: f64 = 1800.0;
/// Points over which repetitions are counted.
const MEMORY_POINTS: f64 = 2000.0;
/// The longest run is forgotten by so much with each that ends.
const RUN_KEPT: f64 = 0.99;
/// What the point that completes such a run counts: enough for an alert.
const EVIDENCE: f64 = 1.2;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Still {
    value: f64,
    /// Points that repeated it.
    run: u32,
    /// The longest of the runs before.
    longest: f64,
    /// The share of points that repeat the one before.
    share: f64,
}

impl Still {
    /// Takes a value in; returns the evidence, which is above 0 for one point of a run.
    pub fn observe(&mut self, value: f64, points: u32, setting: Setting) -> f64 {
        let repeats = value == self.value;
        let share = self.share.max(1.0 / (f64::from(points) + 1.0));
        let by = (1.0 / MEMORY_POINTS).max(1.0 / (f64::from(points) + 1.0));
        self.share += by * (f64::from(u8::from(repeats)) - self.share);
        if !repeats {
            if self.run > 0 {
                self.longest = (RUN_KEPT * self.longest).max(f64::from(self.run));
            }
            (self.value, self.run) = (value, 0);
            return 0.0;
        }
        self.run = self.run.saturating_add(1);
        let is_odd = |run: f64| {
            share <= SHARE_MAX
                && run * -share.ln() >= RARITY_MIN
                && run >= LONGER * (self.longest + 1.0)
                && run * setting.interval_s >= DURATION_S_MIN
        };
        let run = f64::from(self.run);
        if is_odd(run) && !is_odd(run - 1.0) { EVIDENCE } else { 0.0 }
    }

    pub fn is_sound(&self) -> bool {
        self.value.abs() <= STATE_MAX
            && (0.0..=1.0).contains(&self.share)
            && (0.0..=4.3e9).contains(&self.longest)
    }
}
