//! Whether the season of a series is absent: it has been flat where it used to rise and fall.
//!
//! The last hours are compared with what the time of day lets expect: of `x = b s + c`, with `s` the season and `x` the value, `b`
//! is about 1 as long as the season is there, whatever the level and its size within reason, and falls to 0 in some hours without.
//! How far it falls on the worst days of a series is learned, so that one whose season cannot be relied on is never told of.

use serde::{Deserialize, Serialize};

use super::STATE_MAX;

/// The weight of a block: most of what counts has come in the last eight hours.
const WEIGHT: f64 = 1.0 / 80.0;
/// The share of the season that must be missing, and how many times as much as on the second-worst day.
const MISSING_MIN: f64 = 0.75;
const WORSE: f64 = 1.25;
/// What a day leaves of the worst ones.
const KEPT_A_DAY: f64 = 0.966;
/// The share of the season's variance that the last hours must hold.
const VARIANCE_SHARE_MIN: f64 = 0.4;
const BLOCKS_A_DAY: u32 = 288;
/// Days before anything is told.
const DAYS_MIN: u32 = 7;
/// It is over when no more is missing.
const OVER: f64 = 0.4;
/// No square of what a state may hold is larger.
const VARIANCE_MAX: f64 = 1e305;
/// What the block that completes it counts: enough for an alert.
const EVIDENCE: f64 = 1.2;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Absence {
    /// Over the last hours: means of season and value, variance of the season, and what they have in common.
    season: f64,
    value: f64,
    variance: f64,
    covariance: f64,
    /// The season's variance at all times.
    usual: f64,
    /// The most that was missing on one of the days before, and on another, and today.
    worst: [f64; 2],
    today: f64,
    blocks: u32,
    is_told: bool,
}

impl Absence {
    /// Takes in a block, of which `season` was expected; returns the evidence, which is above 0 once for each absence.
    pub fn observe(&mut self, season: f64, value: f64, is_seasonal: bool) -> f64 {
        if self.blocks == 0 {
            (self.season, self.value) = (season, value);
        }
        self.blocks = self.blocks.saturating_add(1);
        let (of_season, of_value) = (season - self.season, value - self.value);
        self.season += WEIGHT * of_season;
        self.value += WEIGHT * of_value;
        // As in Welford's method, with weights.
        self.variance = (1.0 - WEIGHT) * (self.variance + WEIGHT * of_season * of_season);
        self.covariance = (1.0 - WEIGHT) * (self.covariance + WEIGHT * of_season * of_value);
        self.usual += (0.25 * WEIGHT).max(1.0 / f64::from(self.blocks)) * (self.variance - self.usual);
        let is_clear = self.variance > VARIANCE_SHARE_MIN * self.usual && self.variance > 0.0;
        let missing = if is_clear { (1.0 - self.covariance / self.variance).clamp(0.0, 2.0) } else { 0.0 };
        if self.blocks.is_multiple_of(BLOCKS_A_DAY) {
            self.end_day();
        }
        self.today = self.today.max(missing);
        if missing < OVER && is_clear {
            self.is_told = false;
        }
        let is_absent = missing > MISSING_MIN.max(WORSE * self.worst[1]);
        if self.is_told || !is_absent || !is_seasonal || self.blocks < DAYS_MIN * BLOCKS_A_DAY {
            return 0.0;
        }
        self.is_told = true;
        EVIDENCE
    }

    fn end_day(&mut self) {
        // An absence that goes on is one, and no habit of two days.
        if self.is_told {
            return;
        }
        let [worst, second] = self.worst.map(|missing| KEPT_A_DAY * missing);
        let today = std::mem::take(&mut self.today);
        // While the season is learned, nothing is known of what is missing.
        self.worst = if self.blocks <= 3 * BLOCKS_A_DAY {
            [0.0; 2]
        } else if today > worst {
            [today, worst]
        } else {
            [worst, second.max(today)]
        };
    }

    pub fn is_sound(&self) -> bool {
        let is_value = |value: f64| value.abs() <= STATE_MAX;
        let is_share = |share: f64| (0.0..=2.0).contains(&share);
        is_value(self.season)
            && is_value(self.value)
            && self.covariance.abs() <= VARIANCE_MAX
            && [self.variance, self.usual]
                .into_iter()
                .all(|variance| (0.0..=VARIANCE_MAX).contains(&variance))
            && is_share(self.today)
            && self.worst.into_iter().all(is_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn season(block: u32) -> f64 {
        10.0 * (f64::from(block) * std::f64::consts::TAU / f64::from(BLOCKS_A_DAY)).cos()
    }

    fn noise(block: u32) -> f64 {
        f64::from(block.wrapping_mul(2_654_435_761) >> 16) / 65_536.0 - 0.5
    }

    /// The days on which it was told.
    fn told(days: u32, value: impl Fn(u32) -> f64) -> Vec<u32> {
        let mut absence = Absence::default();
        let mut evidence = |block: u32| absence.observe(season(block), value(block), true);
        (0..days * BLOCKS_A_DAY)
            .filter(|block| evidence(*block) > 0.0)
            .map(|block| block / BLOCKS_A_DAY)
            .collect()
    }

    #[test]
    fn a_flat_day_is_told_once_and_so_is_the_next() {
        let is_flat = |block: u32| [15, 20].contains(&(block / BLOCKS_A_DAY));
        assert_eq!(
            told(30, |block| 3.0 * noise(block) + if is_flat(block) { 0.0 } else { season(block) }),
            [15, 20]
        );
    }

    #[test]
    fn a_season_that_is_smaller_higher_or_an_hour_late_is_there() {
        let factor = |block: u32| if block / BLOCKS_A_DAY % 7 >= 5 { 0.6 } else { 1.0 };
        assert_eq!(told(30, |block| factor(block) * season(block) + noise(block)), [0; 0]);
        let level = |block: u32| if block / BLOCKS_A_DAY >= 15 { 50.0 } else { 0.0 };
        let at_shift = told(30, |block| season(block) + level(block));
        assert!(at_shift.iter().all(|day| *day == 15), "a new level is seen elsewhere: {at_shift:?}");
        let late = |block: u32| if block / BLOCKS_A_DAY >= 15 { 12 } else { 0 };
        assert_eq!(told(30, |block| season(block - late(block)) + noise(block)), [0; 0]);
    }

    #[test]
    fn what_is_flat_every_week_is_not_told_in_the_end() {
        let is_flat = |block: u32| block / BLOCKS_A_DAY % 7 == 6;
        let days = told(70, |block| noise(block) + if is_flat(block) { 0.0 } else { season(block) });
        assert!(days.iter().all(|day| *day < 28), "{days:?}");
    }
}
