//! What the ensemble is made with.

use serde::{Deserialize, Serialize};

use super::WEEK_S;
use super::novelty::BLOCK_S;

/// The numbers in the ensemble, the same for every series. They are no parameters: nothing in a configuration sets them.
/// They can be set from Rust so that a bench can tell what each is worth, and what a choice made on other series would give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constants {
    /// Points to see before the first verdict. Level, scale and interval are taken from them.
    pub first_points: usize,
    /// How much less evidence counts where points are dense: the interval in units of 5 minutes, to this power. It lies
    /// between no budget (0) and one that is the same for each week (1).
    pub rate_exponent: f64,
    /// Evidence halves in this time, for what must be exceeded to count again.
    pub hold_half_life_s: f64,
    /// Evidence alerts again when it is so many times what is held: one incident that grows slowly is one alert.
    pub hold_factor: f64,
    /// Novelty counts for so much less with each alert of the last week: what is always new is not news.
    pub novelty_per_alert: f64,

    /// The weight of a new value in level and scale.
    pub level_weight: f64,
    pub scale_weight: f64,
    /// A residual is learned as if it were at most this many scales.
    pub clip_scales: f64,
    /// Sigmas beyond this are no evidence.
    pub usual_sigmas: f64,
    /// Sigmas beyond the usual ones that alert, for a series that never had any.
    pub alert_sigmas: f64,
    /// How much the mean excess of the series counts against an excess.
    pub level_habituation: f64,
    pub level_habit_half_life_points: f64,
    /// Evidence counts in full after a few times as many points.
    pub level_ramp_points: f64,
    /// The mean excess that a series is taken to have while its own is not learned: about that of the series which the example
    /// `generated` makes.
    pub usual_excess: f64,
    /// Evidence that rests on the usual excess counts this much at the most: less than an alert.
    pub provisional_max: f64,
    /// How fast a part of the day is learned.
    pub level_day_weight: f64,
    /// Sigma is at least this share of the sigma of residuals at that time of day.
    pub day_sigma_share: f64,
    /// What steps from one value to the next count in a series that is smooth.
    pub step_factor: f64,

    /// Blocks from which offset and units are taken.
    pub first_blocks: usize,
    /// In this share of them the picture is as good as empty: how new they look is a matter of where the recording began, and no habit.
    pub empty_share: f64,
    /// The mean novelty that they are taken to have, in ranges. With care: nine in ten series of the example `generated` have less in
    /// as many blocks; how much more was chosen among a dozen values on the public data sets, so their figures flatter it.
    pub empty_distance: f64,
    /// What lies nearer to a visited place than this share of the range is the same place.
    pub radius: f64,
    /// The curved channel bends at this share of the mean.
    pub bend: f64,
    /// The weight of a new value in mean and deviation.
    pub shape_weight: f64,
    /// By how much the deviation is larger on the map than it is.
    pub deviation_factor: f64,
    /// What novelty of the rest of the season counts.
    pub season_factor: f64,
    /// The share of the deviations that the time of day must explain.
    pub season_strength_min: f64,
    /// Novelty that alerts in a series that never had any, in ranges.
    pub alert_ranges: f64,
    /// How much the mean novelty of the series counts against novelty.
    pub novelty_habituation: f64,
    pub novelty_habit_half_life_blocks: f64,
    /// Evidence counts in full after a few times as many blocks.
    pub novelty_ramp_blocks: f64,
}

impl Default for Constants {
    fn default() -> Self {
        Self {
            first_points: 50,
            rate_exponent: 1.0 / 3.0,
            hold_half_life_s: 4.0 * 3600.0,
            hold_factor: 1.25,
            novelty_per_alert: 0.05,
            level_weight: 0.03,
            scale_weight: 0.01,
            clip_scales: 15.0,
            usual_sigmas: 2.0,
            alert_sigmas: 3.5,
            level_habituation: 30.0,
            level_habit_half_life_points: 2000.0,
            level_ramp_points: 300.0,
            usual_excess: 0.06,
            provisional_max: 0.8,
            level_day_weight: 0.1,
            day_sigma_share: 0.5,
            step_factor: 0.6,
            first_blocks: 100,
            empty_share: 0.1,
            empty_distance: 0.4,
            radius: 0.0178,
            bend: 0.3,
            shape_weight: 0.06,
            deviation_factor: 2.0,
            season_factor: 0.25,
            season_strength_min: 0.35,
            alert_ranges: 0.0125,
            novelty_habituation: 300.0,
            novelty_habit_half_life_blocks: 2000.0,
            novelty_ramp_blocks: 300.0,
        }
    }
}

/// What the constants come to at the interval of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pace {
    pub interval_s: f64,
    pub block_points: u32,
    /// What evidence is multiplied with: 1 for a point in five minutes, less for more.
    pub rate_weight: f64,
    /// The weight of a new value in what the series does all the time.
    pub habit_weight: f64,
    pub novelty_habit_weight: f64,
    /// How much the mean excess counts at this pace.
    pub level_habituation: f64,
    /// What a point and a block leave of what is not learned.
    pub level_unlearned: f64,
    pub novelty_unlearned: f64,
    /// What an interval leaves of what is held, and of alerts.
    held: f64,
    alerts: f64,
}

/// That with the constants.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub pace: &'a Pace,
    pub constants: &'a Constants,
}

/// What a time leaves of what counts half after another.
fn faded(elapsed_s: f64, half_life_s: f64) -> f64 {
    (-elapsed_s / half_life_s).exp2()
}

impl Pace {
    pub fn of(interval_s: f64, constants: &Constants) -> Self {
        let intervals = interval_s / 300.0;
        let rate_weight = if constants.rate_exponent == 1.0 / 3.0 {
            intervals.cbrt()
        } else {
            intervals.powf(constants.rate_exponent)
        };
        let habit_points = constants.level_habit_half_life_points.max(WEEK_S / interval_s);
        Self {
            interval_s,
            block_points: (BLOCK_S / interval_s).round().max(1.0) as u32,
            rate_weight,
            habit_weight: 1.0 - faded(1.0, habit_points),
            level_habituation: constants.level_habituation / rate_weight,
            novelty_habit_weight: 1.0 - faded(1.0, constants.novelty_habit_half_life_blocks),
            level_unlearned: (-1.0 / constants.level_ramp_points).exp(),
            novelty_unlearned: (-1.0 / constants.novelty_ramp_blocks).exp(),
            held: faded(interval_s, constants.hold_half_life_s.max(interval_s)),
            alerts: faded(interval_s, WEEK_S.max(interval_s)),
        }
    }
}

impl Setting<'_> {
    /// What a time leaves of what is held. Almost always it is the interval, for which it is known.
    pub fn held(self, elapsed_s: f64) -> f64 {
        let interval_s = self.pace.interval_s;
        if elapsed_s == interval_s {
            self.pace.held
        } else {
            faded(elapsed_s, self.constants.hold_half_life_s.max(interval_s))
        }
    }

    /// What it leaves of alerts.
    pub fn alerts(self, elapsed_s: f64) -> f64 {
        let interval_s = self.pace.interval_s;
        if elapsed_s == interval_s { self.pace.alerts } else { faded(elapsed_s, WEEK_S.max(interval_s)) }
    }
}
