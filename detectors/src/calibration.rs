//! From scores to p-values, on one scale for all detectors.
//!
//! A sketch of what was seen before tells how often something at least as surprising comes without any reason. The p-value is that of
//! conformal prediction: (1 + as surprising ones) / (1 + all), which holds for every distribution as long as old and new ones can be
//! exchanged (Laxhammar, Falkman (2014), "Conformal anomaly detection"; Bates et al. (2023), "Testing for outliers with
//! conformal p-values"). Beyond the largest ones, where counting cannot tell rare from rarer, the tail is taken for that of a power law, whose
//! exponent is Hill's (1975).
//!
//! What is counted are logarithmic bins, those of a bin as if all were as surprising as the one that is looked at, so a p-value is
//! rather too large. Faults among the old ones make it larger too. What was seen counts half after two weeks.
//!
//! Limits: surprises below 1/16 are one bin, those above 2^30 another. State: at most 30 KB, with fine bins 500 KB, and little of that as a rule.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const DOUBLINGS: u32 = 34;
const SMALLEST: f64 = 1.0 / 16.0;

const HALF_LIFE_HOURS: f64 = 14.0 * 24.0;
const HOUR_MS: i64 = 3_600_000;
/// One time from far ahead must not make all that was seen fade.
const PAUSE_HOURS_MAX: i64 = 7 * 24;
/// What has faded so far is not kept.
const COUNT_MIN: f64 = 1e-3;
/// How many of the largest the tail is made from, and how many less there must be beyond for it to count.
const TAIL: f64 = 50.0;
const TAIL_COUNTED: f64 = 10.0;
/// A tail that falls faster than this is not believed, as it rests on few.
const TAIL_EXPONENT_MAX: f64 = 30.0;

/// Of how many bins a doubling consists, as a power of 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// 3 %: for what has a heavy tail, such as odds.
    #[default]
    Coarse,
    /// 0.2 %: for what has a light one, such as sums of logarithms.
    Fine,
}

impl Resolution {
    fn bits(self) -> u32 {
        match self {
            Self::Coarse => 5,
            Self::Fine => 9,
        }
    }

    /// Bits of a number that a bin does not look at.
    fn shift(self) -> u32 {
        f64::MANTISSA_DIGITS - 1 - self.bits()
    }

    fn bins(self) -> u32 {
        DOUBLINGS << self.bits()
    }

    fn bin_of(self, surprise: f64) -> Option<u32> {
        let above =
            (surprise.max(0.0).to_bits() >> self.shift()).checked_sub(SMALLEST.to_bits() >> self.shift())?;
        Some(u32::try_from(above).unwrap_or(u32::MAX).min(self.bins() - 1))
    }

    /// Where a bin begins.
    fn start_of(self, bin: u32) -> f64 {
        f64::from_bits(((SMALLEST.to_bits() >> self.shift()) + u64::from(bin)) << self.shift())
    }
}

/// How surprising things were, of any positive measure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    resolution: Resolution,
    /// Those below the smallest bin.
    below: f64,
    bins: BTreeMap<u32, f64>,
    total: f64,
    /// The hour of the last one.
    hour: i64,
}

/// What a score between 0 and 1 says, as odds.
pub fn odds(score: f64) -> f64 {
    score / (1.0 - score).max(1e-9)
}

impl Calibration {
    pub fn new(resolution: Resolution) -> Self {
        Self { resolution, ..Self::default() }
    }

    /// Counts one. Times from before the last one are taken for its own.
    pub fn observe(&mut self, time_ms: i64, surprise: f64) {
        self.observe_weighted(time_ms, surprise, 1.0);
    }

    /// Counts one as that much of one.
    pub fn observe_weighted(&mut self, time_ms: i64, surprise: f64, weight: f64) {
        let hour = time_ms.div_euclid(HOUR_MS);
        if self.total == 0.0 {
            self.hour = hour;
        } else if hour > self.hour {
            let hours = hour.saturating_sub(self.hour).min(PAUSE_HOURS_MAX);
            self.scale((-(hours as f64) / HALF_LIFE_HOURS).exp2());
            self.hour += hours;
        }
        self.total += weight;
        match self.resolution.bin_of(surprise) {
            Some(bin) => *self.bins.entry(bin).or_default() += weight,
            None => self.below += weight,
        }
    }

    /// Lets all that was seen so far count for such a share.
    pub fn scale(&mut self, kept: f64) {
        self.below *= kept;
        self.bins.retain(|_, count| {
            *count *= kept;
            *count >= COUNT_MIN
        });
        self.total = self.below + self.bins.values().sum::<f64>();
    }

    /// How many were counted, old ones in part.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// The chance that one is as surprising as this, if it comes from where the others came from. Above 0, 1 at the most.
    pub fn p_value(&self, surprise: f64) -> f64 {
        let (beyond, counted) = self.counted(surprise);
        if beyond >= TAIL_COUNTED { counted } else { counted.min(self.tail(surprise)) }
    }

    /// As [`p_value`](Self::p_value) from counts alone, without a tail beyond them: never smaller than by right, and never below one of all.
    pub fn counted_p_value(&self, surprise: f64) -> f64 {
        self.counted(surprise).1
    }

    /// How many are as surprising, and the p-value that follows from that.
    fn counted(&self, surprise: f64) -> (f64, f64) {
        let Some(bin) = self.resolution.bin_of(surprise) else { return (self.total, 1.0) };
        let beyond: f64 = self.bins.range(bin..).map(|(_, count)| count).sum();
        (beyond, ((1.0 + beyond) / (1.0 + self.total)).min(1.0))
    }

    /// The median of what was counted and of `prior` more that were as surprising as `surprise`.
    pub fn median_with(&self, prior: f64, surprise: f64) -> f64 {
        let half = (self.total + prior) / 2.0;
        let mut count = self.below;
        let mut prior = Some(prior);
        for (bin, here) in &self.bins {
            let start = self.resolution.start_of(*bin);
            if start > surprise {
                count += prior.take().unwrap_or(0.0);
                if count >= half {
                    return surprise;
                }
            }
            count += here;
            if count >= half {
                return start;
            }
        }
        surprise
    }

    /// By the power law that the largest ones follow, 1 if there are too few.
    fn tail(&self, surprise: f64) -> f64 {
        let (mut count, mut logs, mut from) = (0.0, 0.0, None);
        for (bin, here) in self.bins.iter().rev() {
            count += here;
            logs += here * self.resolution.start_of(bin + 1).ln();
            if count >= TAIL {
                from = Some(self.resolution.start_of(*bin));
                break;
            }
        }
        let Some(from) = from else { return 1.0 };
        // All at once where they begin would fall without end.
        let mean = logs / count - from.ln();
        let exponent = (1.0 / mean).min(TAIL_EXPONENT_MAX);
        let share = (1.0 + count) / (1.0 + self.total);
        (share * (surprise / from).max(1.0).powf(-exponent)).min(1.0)
    }

    /// Whether it may come from where a snapshot was.
    pub fn is_sound(&self) -> bool {
        let is_count = |count: &f64| count.is_finite() && *count >= 0.0;
        self.bins.keys().all(|bin| *bin < self.resolution.bins())
            && self.bins.values().chain([&self.below, &self.total]).all(is_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform in 0..1, the same for each index.
    fn uniform(i: u64) -> f64 {
        let mut mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The shares of the second half whose p-values are at most so large.
    fn shares(len: u64, of: impl Fn(f64) -> f64, levels: &[f64]) -> Vec<f64> {
        let mut calibration = Calibration::default();
        let mut p_values = Vec::new();
        for i in 0..len {
            let surprise = of(uniform(i));
            if i >= len / 2 {
                p_values.push(calibration.p_value(surprise));
            }
            calibration.observe(i as i64 * 10_000, surprise);
        }
        let share = |level: &f64| p_values.iter().filter(|p| *p <= level).count() as f64;
        levels.iter().map(|level| share(level) / p_values.len() as f64).collect()
    }

    #[test]
    fn p_values_are_what_they_say_whatever_the_distribution() {
        let levels = [0.3, 0.1, 0.01, 0.001];
        let normal_like = |u: f64| 3.0 + (u / (1.0 - u)).ln();
        let heavy = |u: f64| (1.0 - u).powf(-1.0);
        let light = |u: f64| -(1.0 - u).ln();
        let mostly_nothing = |u: f64| if u < 0.9 { 0.0 } else { 1.0 / (1.0 - u) };
        for (name, of) in [
            ("logistic", &normal_like as &dyn Fn(f64) -> f64),
            ("heavy", &heavy),
            ("light", &light),
            ("mostly nothing", &mostly_nothing),
        ] {
            for (share, level) in shares(400_000, of, &levels).into_iter().zip(levels) {
                let is_near = share <= 1.3 * level && (share >= 0.5 * level || level > 0.1);
                assert!(is_near, "{name}: {share} where {level} is right");
            }
        }
    }

    #[test]
    fn ties_are_never_rare() {
        for share in shares(2_000, |_| 5.0, &[0.01, 0.5]) {
            assert_eq!(share, 0.0);
        }
    }

    #[test]
    fn what_is_far_beyond_is_rarer_than_counting_can_tell() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.p_value(1e9), 1.0, "nothing is known");
        (0..2_000).for_each(|i| calibration.observe(i, -(1.0 - uniform(i as u64)).ln()));
        let [largest, far, farther] = [9.0, 40.0, 400.0].map(|surprise| calibration.p_value(surprise));
        assert!(far < largest / 5.0 && farther < far / 100.0 && farther > 0.0, "{largest} {far} {farther}");
    }

    #[test]
    fn what_was_seen_fades() {
        let mut calibration = Calibration::default();
        (0..1000).for_each(|i| calibration.observe(i, 100.0));
        let weeks = |weeks: i64| weeks * 7 * 24 * HOUR_MS;
        (1..20).for_each(|week| calibration.observe(weeks(week), 1.0));
        (0..1000).for_each(|i| calibration.observe(weeks(20) + i, 1.0));
        assert!(calibration.p_value(50.0) < 0.01, "{}", calibration.p_value(50.0));
        assert!((990.0..1100.0).contains(&calibration.total()));
        // Late ones take nothing back, and times from far ahead do little harm.
        calibration.observe(0, 1.0);
        calibration.observe(i64::MAX, 1.0);
        assert!(calibration.is_sound() && calibration.total() > 500.0);
    }

    #[test]
    fn bins_are_narrow_and_in_order() {
        for (resolution, width) in [(Resolution::Coarse, 1.04), (Resolution::Fine, 1.002)] {
            let (bin_of, start_of) = (|s| resolution.bin_of(s), |bin| resolution.start_of(bin));
            for bin in 0..resolution.bins() - 1 {
                let (start, next) = (start_of(bin), start_of(bin + 1));
                assert!(start < next && next / start < width);
                assert_eq!((bin_of(start), bin_of(next)), (Some(bin), Some(bin + 1)));
            }
            assert_eq!([0.0, -1.0, f64::NAN].map(bin_of), [None; 3]);
            assert_eq!(bin_of(f64::INFINITY), Some(resolution.bins() - 1));
        }
    }
}
