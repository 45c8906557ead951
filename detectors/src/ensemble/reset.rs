//! The falls of a saw-tooth: memory that is given back at a restart or a collection, and has risen slowly until then.

use serde::{Deserialize, Serialize};

use super::STATE_MAX;

/// A step is sharp if it is so many times as large as steps usually are.
const SHARP_SCALES: f64 = 8.0;
/// It leads to the same place as one before if it misses it by at most this share of itself.
const MISS_MAX: f64 = 0.15;
/// So many before it make it one of a saw-tooth.
const COUNT_MIN: f32 = 1.9;
const COUNT_MAX: f32 = 4.0;
/// A fall may take so many points.
const POINTS_MAX: u32 = 3;
/// How fast the place follows.
const WEIGHT: f64 = 0.3;

/// What a saw-tooth is known by: sharp steps of one direction that lead to one place, and between them none of the other. What falls and
/// sharply rises again, as with an incident and its end, is none, however often it comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reset {
    last: f64,
    /// Where sharp steps led.
    place: f64,
    is_fall: bool,
    count: f32,
    /// Points since the last sharp step.
    points: u32,
}

impl Reset {
    /// Takes a value in; returns whether it is where the saw-tooth begins again. `scale` is that of usual steps.
    pub fn observe(&mut self, value: f64, scale: f64) -> bool {
        let step = value - std::mem::replace(&mut self.last, value);
        self.points = self.points.saturating_add(1);
        if scale <= 0.0 || step.abs() < SHARP_SCALES * scale {
            return false;
        }
        let is_fall = step < 0.0;
        let goes_on = self.points <= POINTS_MAX;
        self.points = 0;
        if is_fall != self.is_fall {
            // An end of something, or the begin.
            self.count *= 0.5;
            if self.count < 1.0 {
                (self.is_fall, self.place, self.count) = (is_fall, value, 1.0);
            }
            return false;
        }
        let miss = value - self.place;
        if miss.abs() > MISS_MAX * step.abs() {
            // The rest of a fall that takes several points is no other one.
            if !goes_on {
                self.count *= 0.5;
            }
            if self.count <= 1.0 {
                (self.place, self.count) = (value, 1.0);
            }
            return false;
        }
        let is_known = self.count >= COUNT_MIN;
        self.place += WEIGHT * miss;
        self.count = (self.count + 1.0).min(COUNT_MAX);
        is_known
    }

    pub fn is_sound(&self) -> bool {
        [self.last, self.place].into_iter().all(|value| value.abs() <= STATE_MAX)
            && (0.0..=COUNT_MAX).contains(&self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resets(len: i64, value: impl Fn(i64) -> f64) -> Vec<i64> {
        let mut reset = Reset::default();
        reset.observe(value(0), 0.0);
        (1..len).filter(|i| reset.observe(value(*i), 1.0)).collect()
    }

    #[test]
    fn a_saw_tooth_is_known_after_its_second_fall_and_other_falls_are_none() {
        let saw = |i: i64| (i % 100) as f64 + ((i * 7919) % 13) as f64 / 13.0;
        assert_eq!(resets(600, saw), [300, 400, 500]);
        assert_eq!(resets(600, |i| -saw(i)), [300, 400, 500], "upside down");
        let deeper = |i: i64| if i == 450 { -100.0 } else { saw(i) };
        assert!(!resets(451, deeper).contains(&450), "a fall to another place is news");
        let incident = |i: i64| if (50..70).contains(&(i % 100)) { 0.0 } else { 100.0 };
        assert_eq!(resets(2000, incident), [0; 0], "what ends as sharply as it begins comes again as news");
    }
}
