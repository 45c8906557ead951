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
    /// Whether this run was evidence already: repetitions make themselves more usual, and a run that was odd could become so
    /// again.
    is_told: bool,
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
            (self.value, self.run, self.is_told) = (value, 0, false);
            return 0.0;
        }
        self.run = self.run.saturating_add(1);
        let run = f64::from(self.run);
        let is_odd = share <= SHARE_MAX
            && run * -share.ln() >= RARITY_MIN
            && run >= LONGER * (self.longest + 1.0)
            && run * setting.pace.interval_s >= DURATION_S_MIN;
        if self.is_told || !is_odd {
            return 0.0;
        }
        self.is_told = true;
        EVIDENCE
    }

    pub fn is_sound(&self) -> bool {
        self.value.abs() <= STATE_MAX
            && (0.0..=1.0).contains(&self.share)
            && (0.0..=4.3e9).contains(&self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Constants, Pace};
    use super::*;

    #[test]
    fn a_run_is_evidence_once() {
        let constants = Constants::default();
        let pace = Pace::of(300.0, &constants);
        let setting = Setting { pace: &pace, constants: &constants };
        let mut told = 0;
        for lead in 100..3000_u32 {
            let mut still = Still::default();
            let mut observe = |points: u32, value: f64| still.observe(value, points, setting);
            // A few repetitions among the first, so that the share is of any size.
            let lone: f64 = (0..lead).map(|i| observe(i, f64::from(i - u32::from(i % 50 == 1)))).sum();
            assert_eq!(lone, 0.0, "{lead}");
            let of_run: f64 = (lead..lead + 500).map(|i| observe(i, -1.0)).sum();
            assert!(of_run == 0.0 || of_run == EVIDENCE, "{of_run} after {lead} points");
            told += u32::from(of_run > 0.0);
        }
        assert!(told > 1000, "{told}");
    }
}
