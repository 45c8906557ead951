//! How new the picture is that a series gives, looked at in blocks of about five minutes.

use serde::{Deserialize, Serialize};

use super::absence::Absence;
use super::day::DayProfile;
use super::places::Places;
use super::{Constants, Pace, STATE_MAX, Setting, is_size, weight};
use crate::calendar::LocalTime;
use crate::prefetch;

/// The length of a block, about.
pub(super) const BLOCK_S: f64 = 300.0;
/// Resolution of places: steps in the range, at the most and at least half as many. A place may lie up to four ranges away.
const STEPS: f64 = 8192.0;
/// How often places that do not count any more are dropped.
const FORGET_BLOCKS: u32 = 4096;
const DAY_PARTS: usize = 48;
const DAY_WEIGHT: f64 = 0.2;
const SEASON_MEAN_WEIGHT: f64 = 0.002;
const SEASON_MS_MIN: i64 = 3 * 86_400_000;
/// Places that are kept: of values, of shapes on the linear and on the curved scale, and of the rest of the season.
const VALUES: usize = 64;
const LINEAR_SHAPES: usize = 192;
const CURVED_SHAPES: usize = 320;
const SEASON_VALUES: usize = 96;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Novelty {
    /// The block that is not complete.
    sum: f64,
    points: u32,
    /// Until offset and units are known.
    first: Vec<(i64, f64)>,
    picture: Option<Box<Picture>>,
}

impl Novelty {
    /// The most bytes that it takes besides its own.
    pub fn heap_bytes_max(constants: &Constants) -> usize {
        let first = constants.first_blocks.next_power_of_two() * size_of::<(i64, f64)>();
        let values = [VALUES, VALUES, SEASON_VALUES].map(Places::<1>::bytes_max);
        let shapes = [LINEAR_SHAPES, CURVED_SHAPES].map(Places::<2>::bytes_max);
        let places: usize = values.iter().chain(&shapes).sum();
        first.max(size_of::<Picture>() + places)
    }

    /// Takes a value in; returns the evidence of the block that it ends, else 0. 1 alerts.
    pub fn observe(&mut self, at: LocalTime, value: f64, setting: Setting) -> f64 {
        self.sum += value;
        self.points = self.points.saturating_add(1);
        if self.points < setting.pace.block_points {
            return 0.0;
        }
        let block = self.sum / f64::from(self.points);
        (self.sum, self.points) = (0.0, 0);
        if let Some(picture) = &mut self.picture {
            return picture.observe(at, block, setting);
        }
        self.first.push((at.local_ms, block));
        if self.first.len() == setting.constants.first_blocks {
            let first = std::mem::take(&mut self.first);
            let mut picture = Picture::of(&first, setting);
            let empty = (setting.constants.empty_share * first.len() as f64) as usize;
            for (i, (local_ms, block)) in first.into_iter().enumerate() {
                picture.observe(LocalTime { local_ms, is_holiday: false }, block, setting);
                if i + 1 == empty {
                    picture.distance = setting.constants.empty_distance;
                }
            }
            self.picture = Some(Box::new(picture));
        }
        0.0
    }

    /// Asks for what the next value will look at: first the picture, then the places in it.
    pub fn prefetch(&self, pace: Option<&Pace>, is_first: bool) {
        let ends_block = pace.is_some_and(|pace| self.points + 1 >= pace.block_points);
        match &self.picture {
            Some(picture) if ends_block && is_first => prefetch::value(&**picture),
            Some(picture) if ends_block => picture.prefetch(),
            _ => {}
        }
    }

    /// Whether the next value is the first of a block.
    pub fn begins_block(&self) -> bool {
        self.points == 0
    }

    pub fn is_sound(&self, constants: &Constants) -> bool {
        self.sum.abs() <= STATE_MAX
            && self.first.len() < constants.first_blocks
            && self.first.iter().all(|(_, block)| block.abs() <= STATE_MAX)
            && self.picture.as_ref().is_none_or(|picture| picture.is_sound())
    }
}

#[cfg(test)]
impl Novelty {
    pub fn heap_bytes(&self) -> usize {
        let first = self.first.capacity() * size_of::<(i64, f64)>();
        let picture = self.picture.as_ref().map_or(0, |picture| {
            let channels = [&picture.linear, &picture.curved];
            let places = channels.map(|channel| channel.values.heap_bytes() + channel.shapes.heap_bytes());
            size_of::<Picture>() + places.iter().sum::<usize>() + picture.seasonal.heap_bytes()
        });
        first + picture
    }
}

/// Everything that was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Picture {
    blocks: u32,
    first_ms: i64,
    /// The smallest of the first blocks: values are measured from it.
    offset: f64,
    bend: f64,
    linear: Channel,
    curved: Channel,
    season: Season,
    seasonal: Places<1>,
    /// Mean distance from what was known.
    distance: f64,
    /// Falls from 1 to 0.
    unlearned: f64,
}

impl Picture {
    fn of(first: &[(i64, f64)], setting: Setting) -> Self {
        let blocks = || first.iter().map(|(_, block)| *block);
        let offset = blocks().fold(f64::INFINITY, f64::min);
        Self {
            first_ms: first.first().map_or(0, |(time_ms, _)| *time_ms),
            offset,
            bend: setting.constants.bend * blocks().map(|block| block - offset).sum::<f64>()
                / first.len() as f64,
            unlearned: 1.0,
            ..Self::default()
        }
    }

    fn prefetch(&self) {
        for Channel { values, shapes, .. } in [&self.linear, &self.curved] {
            values.prefetch();
            shapes.prefetch();
        }
        self.seasonal.prefetch();
    }

    fn observe(&mut self, at: LocalTime, block: f64, setting: Setting) -> f64 {
        let value = block - self.offset;
        if self.bend == 0.0 {
            self.bend = setting.constants.bend * value.abs();
        }
        let curved = if value == 0.0 { 0.0 } else { value.signum() * (value.abs() / self.bend).ln_1p() };
        let (rest, is_seasonal, absent) = self.season.observe(at, value, self.blocks, setting);
        let is_seasonal = is_seasonal && at.local_ms.saturating_sub(self.first_ms) > SEASON_MS_MIN;

        for _ in 0..self.linear.observe(value, self.blocks, setting) {
            self.seasonal.double_steps();
        }
        self.curved.observe(curved, self.blocks, setting);
        let mut distance = self.linear.distance(value, self.blocks, LINEAR_SHAPES, setting)
            + self.curved.distance(curved, self.blocks, CURVED_SHAPES, setting);
        if let Some(rest) = rest {
            let scale = self.linear.scale();
            let far = scale.distance(&mut self.seasonal, [rest], self.blocks, SEASON_VALUES, setting);
            distance += if is_seasonal { setting.constants.season_factor * far } else { 0.0 };
        }
        let evidence = distance / (1.0 + setting.constants.novelty_habituation * self.distance)
            * (1.0 - self.unlearned)
            * setting.pace.rate_weight.min(1.0);
        self.distance += weight(setting.pace.novelty_habit_weight, self.blocks) * (distance - self.distance);
        self.unlearned *= setting.pace.novelty_unlearned;
        self.blocks = self.blocks.saturating_add(1);
        if self.blocks.is_multiple_of(FORGET_BLOCKS) {
            self.linear.forget(self.blocks);
            self.curved.forget(self.blocks);
            self.seasonal.forget(self.blocks);
        }
        evidence / setting.constants.alert_ranges + absent
    }

    fn is_sound(&self) -> bool {
        self.offset.abs() <= STATE_MAX
            && is_size(self.bend)
            && self.linear.is_sound(LINEAR_SHAPES)
            && self.curved.is_sound(CURVED_SHAPES)
            && self.season.is_sound()
            && self.seasonal.is_sound(SEASON_VALUES)
            && is_size(self.distance)
            && (0.0..=1.0).contains(&self.unlearned)
    }
}

/// The series on one scale: its values, and its shape, which is mean and deviation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Channel {
    mean: f64,
    deviation: f64,
    low: f64,
    high: f64,
    /// Places are kept in steps of this length, [`STEPS`] of which are the range at the most. 0 while all values are alike.
    step: f64,
    values: Places<1>,
    shapes: Places<2>,
}

impl Channel {
    fn range(&self) -> f64 {
        self.high - self.low
    }

    /// Takes a value into the statistics; returns how often steps have become twice as long.
    fn observe(&mut self, value: f64, blocks: u32, setting: Setting) -> u32 {
        if blocks == 0 {
            (self.low, self.high, self.mean) = (value, value, value);
        }
        let by = weight(setting.constants.shape_weight, blocks);
        let apart = (value - self.mean).abs();
        self.mean += by * (value - self.mean);
        self.deviation += by * (apart - self.deviation);
        self.low = self.low.min(value);
        self.high = self.high.max(value);
        let range = self.range();
        if self.step == 0.0 {
            self.step = range / STEPS;
            return 0;
        }
        let mut doubled = 0;
        while range > STEPS * self.step {
            self.step *= 2.0;
            self.values.double_steps();
            self.shapes.double_steps();
            doubled += 1;
        }
        doubled
    }

    /// How far the value and the shape lie from what was seen, in ranges; they count as seen then.
    fn distance(&mut self, value: f64, now: u32, shapes_max: usize, setting: Setting) -> f64 {
        let scale = self.scale();
        let shape = [self.mean, setting.constants.deviation_factor * self.deviation];
        scale.distance(&mut self.values, [value], now, VALUES, setting)
            + scale.distance(&mut self.shapes, shape, now, shapes_max, setting)
    }

    fn scale(&self) -> Scale {
        Scale { step: self.step, range: self.range() }
    }

    fn forget(&mut self, now: u32) {
        self.values.forget(now);
        self.shapes.forget(now);
    }

    fn is_sound(&self, shapes_max: usize) -> bool {
        [self.deviation, self.step].into_iter().all(is_size)
            && [self.mean, self.low, self.high].into_iter().all(|value| value.abs() <= STATE_MAX)
            && self.range() <= STEPS * self.step
            && (self.step > 0.0) == (self.range() > 0.0)
            && self.values.is_sound(VALUES)
            && self.shapes.is_sound(shapes_max)
    }
}

#[derive(Clone, Copy)]
struct Scale {
    step: f64,
    range: f64,
}

impl Scale {
    /// How far a place lies from those that were visited, in ranges; 0 while all values are alike.
    fn distance<const AXES: usize>(
        self,
        places: &mut Places<AXES>,
        at: [f64; AXES],
        now: u32,
        capacity: usize,
        setting: Setting,
    ) -> f64 {
        if self.step == 0.0 {
            return 0.0;
        }
        let steps = self.range / self.step;
        places.visit(
            at.map(|coordinate| coordinate / self.step),
            setting.constants.radius * steps,
            now,
            capacity,
        ) / steps
    }
}

/// What the time of day says of the values, and whether it says anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Season {
    day: DayProfile<DAY_PARTS>,
    level: f64,
    /// Mean deviations from the level and from the time of day.
    around_level: f64,
    around_day: f64,
    absence: Absence,
}

impl Season {
    /// The deviation from what is usual at this time of day, if that is known, whether the series is a seasonal one, and the
    /// evidence that its season is absent.
    fn observe(
        &mut self,
        at: LocalTime,
        value: f64,
        blocks: u32,
        setting: Setting,
    ) -> (Option<f64>, bool, f64) {
        if blocks == 0 {
            self.level = value;
        }
        if at.is_holiday {
            return (None, false, 0.0);
        }
        let by = weight(SEASON_MEAN_WEIGHT, blocks);
        let part = self.day.part(at.local_ms);
        let error = value - self.day.mean(part);
        let rest = (self.day.visits(part) > 0).then_some(error);
        if let Some(rest) = rest {
            self.around_day += by * (rest.abs() - self.around_day);
            self.around_level += by * ((value - self.level).abs() - self.around_level);
        }
        self.level += by * (value - self.level);
        self.day.learn(part, error, DAY_WEIGHT);
        let strong = self.around_day < (1.0 - setting.constants.season_strength_min) * self.around_level;
        let absent = rest.map_or(0.0, |rest| self.absence.observe(value - rest, value, strong));
        (rest, strong, absent)
    }

    fn is_sound(&self) -> bool {
        self.day.is_sound()
            && self.level.abs() <= STATE_MAX
            && is_size(self.around_level)
            && is_size(self.around_day)
            && self.absence.is_sound()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_recording_begins_hardly_decides_what_is_usual() {
        let value = |i: u32| {
            let noise = f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
            10.0 * (f64::from(i) / 40.0).sin() + 4.0 * noise
        };
        // How far apart the mean distances are, of forty beginnings.
        let spread = |constants: Constants| {
            let pace = Pace::of(BLOCK_S, &constants);
            let distance = |begins: u32| {
                let mut novelty = Novelty::default();
                for i in begins..begins + 300 {
                    let at = LocalTime { local_ms: i64::from(i) * 300_000, is_holiday: false };
                    novelty.observe(at, value(i), Setting { pace: &pace, constants: &constants });
                }
                novelty.picture.map_or(0.0, |picture| picture.distance)
            };
            let mut distances: Vec<f64> = (0..40).map(distance).collect();
            distances.sort_by(f64::total_cmp);
            distances[39] / distances[0]
        };
        let with = spread(Constants::default());
        let without = spread(Constants { empty_share: 0.0, ..Constants::default() });
        assert!(with < 2.0 && without > 3.0, "{with}, {without}");
    }
}
