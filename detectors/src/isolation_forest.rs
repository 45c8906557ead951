//! Isolation forest over the last values of a series.
//!
//! Finds points that are easily set apart from the rest by random cuts, without assuming a distribution: extreme
//! values and, less surely, unusual successions (cuts along one axis see them poorly). After Liu, Ting and Zhou (2008),
//! "Isolation Forest"; the forgetting follows Ding and Fei (2013), "An anomaly detection approach based on isolation forest
//! algorithm for streaming data using sliding window": every [`IsolationForest::rebuild_points`] points the oldest tree is
//! grown anew from a sample of the window.
//!
//! A point is the shingle of the last [`SHINGLE`] values. Its isolation score is compared with the scores of the series' own
//! past, so that one threshold serves all series. A tree is seeded by the parameters and by the number of points seen: the
//! same points give the same forest, however they are batched.
//! Limits: one series at a time, about 8 KB of state for each; a level that stays is normal once the trees know it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{Detector, Deviation, Direction, InvalidParameters, Point, Verdict};

/// Values in a shingle.
pub const SHINGLE: usize = 2;
const WINDOW: usize = 256;
const SAMPLE: usize = 64;
const TREES: usize = 24;
const DEPTH_MAX: u32 = 10;
/// Cuts reach beyond the sample by this share of its range on either side, as in Tan, Ting and Liu (2011), "Fast anomaly
/// detection for streaming data": else a value beyond all that was seen would look like the largest that was seen.
const MARGIN: f64 = 1.0;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IsolationForest {
    /// A tree is grown anew after this many points.
    pub rebuild_points: u32,
    /// Points to see before the first verdict; at least the sample of a tree.
    pub warmup_points: u32,
    /// How far the isolation score must lie above its own mean.
    pub threshold_sigmas: f64,
    pub direction: Direction,
    pub min_abs_dev: f64,
    pub min_rel_dev: f64,
}

impl Default for IsolationForest {
    fn default() -> Self {
        Self {
            rebuild_points: 16,
            warmup_points: 96,
            threshold_sigmas: 4.0,
            direction: Direction::Both,
            min_abs_dev: 1e-3,
            min_rel_dev: 0.3,
        }
    }
}

/// A cut of a tree. The first of a tree is its root; a tree without cuts is one leaf with the whole sample.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    split: f32,
    dimension: u8,
    /// [`FOLLOWS`] when the child is the next cut, or the number of points in the leaf.
    below: u8,
    /// The index of a cut, or with [`LEAF`] the number of points in the leaf.
    above: u16,
}

const FOLLOWS: u8 = u8::MAX;
const LEAF: u16 = 1 << 15;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForestState {
    /// The last values, oldest first.
    window: VecDeque<f32>,
    /// Oldest first.
    #[serde(with = "written")]
    trees: VecDeque<Vec<Cut>>,
    points: u64,
    score_mean: f64,
    score_variance: f64,
    value_mean: f64,
    value_spread: f64,
}

impl Detector for IsolationForest {
    type State = ForestState;

    const NAME: &'static str = "isolation_forest";

    fn validate(&self) -> Result<(), InvalidParameters> {
        InvalidParameters::unless(self.rebuild_points >= 1, "rebuild_points must be at least 1")?;
        InvalidParameters::unless(
            self.warmup_points as usize >= SAMPLE + SHINGLE,
            "warmup_points must be at least 66, the sample of a tree",
        )?;
        self.deviation().validate()
    }

    fn state_bytes_max(&self) -> usize {
        let tree = size_of::<Vec<Cut>>() + SAMPLE.next_power_of_two() * size_of::<Cut>();
        let window = (WINDOW + 1).next_power_of_two() * size_of::<f32>();
        size_of::<ForestState>() + window + (TREES + 1).next_power_of_two() * tree
    }

    fn is_sound(&self, state: &ForestState) -> bool {
        let mean = |value: f64| value.abs() <= f64::from(f32::MAX);
        let trees = state.trees.is_empty() || state.trees.len() == TREES;
        trees
            && state.trees.iter().all(|cuts| is_tree(cuts))
            && state.window.len() <= WINDOW
            && state.window.iter().all(|value| value.is_finite())
            && (0.0..=1.0).contains(&state.score_mean)
            && (0.0..=1.0).contains(&state.score_variance)
            && mean(state.value_mean)
            // The distance of two values.
            && (0.0..=2.0 * f64::from(f32::MAX)).contains(&state.value_spread)
    }

    fn update(&self, state: &mut ForestState, point: Point) -> Option<Verdict> {
        // The largest f32 bounds what is kept; beyond it all values are alike.
        let value = point.value.clamp(f64::from(f32::MIN), f64::from(f32::MAX));
        if state.window.len() == WINDOW {
            state.window.pop_front();
        }
        state.window.push_back(value as f32);
        let warm = state.points >= u64::from(self.warmup_points) && state.trees.len() == TREES;
        let mut verdict = None;
        if state.trees.len() == TREES && state.window.len() >= SHINGLE {
            let first = state.window.len() - SHINGLE;
            let shingle: [f32; SHINGLE] = std::array::from_fn(|i| state.window[first + i]);
            let score = isolation_score(&state.trees, &shingle);
            if warm {
                verdict = Some(self.judge(state, value, score));
            }
            let known = state.score_mean > 0.0;
            let sigma = state.score_variance.sqrt();
            let deviation = if known { score - state.score_mean } else { 0.0 };
            let limit = if warm { (4.0 * sigma).max(0.02) } else { f64::INFINITY };
            let learned = deviation.clamp(-limit, limit);
            state.score_mean = if known { state.score_mean + 0.02 * learned } else { score };
            state.score_variance = 0.98 * (state.score_variance + 0.02 * learned * learned);
        }
        let weight = (1.0 / (state.points.min(99) + 1) as f64).max(0.02);
        let deviation = value - state.value_mean;
        let limit =
            if warm { 4.0 * state.value_spread + self.margin(state.value_mean) } else { f64::INFINITY };
        state.value_mean += weight * deviation.clamp(-limit, limit);
        state.value_spread += weight * (deviation.abs().min(limit) - state.value_spread);
        state.points = state.points.saturating_add(1);
        self.grow(state);
        verdict
    }

    fn points_left(&self, state: &ForestState) -> u32 {
        let warmup = u64::from(self.warmup_points).saturating_sub(state.points);
        // The first trees grow with the point that completes a sample, and judge the next one.
        let sample = if state.trees.len() == TREES {
            0
        } else {
            (SAMPLE + SHINGLE).saturating_sub(state.window.len()).max(1) as u64
        };
        u32::try_from(warmup.max(sample)).unwrap_or(u32::MAX)
    }
}

impl IsolationForest {
    fn deviation(&self) -> Deviation {
        Deviation {
            direction: self.direction,
            min_abs_dev: self.min_abs_dev,
            min_rel_dev: self.min_rel_dev,
            threshold_sigmas: self.threshold_sigmas,
        }
    }

    fn margin(&self, expected: f64) -> f64 {
        self.min_abs_dev.max(self.min_rel_dev * expected.abs())
    }

    /// Both must be far off: the isolation score from its mean, and the value from what is usual.
    fn judge(&self, state: &ForestState, value: f64, score: f64) -> Verdict {
        let by_value = self.deviation().judge(value, state.value_mean, state.value_spread / 2.0);
        let sigmas = (score - state.score_mean) / state.score_variance.sqrt().max(0.01);
        let ratio = (sigmas / self.threshold_sigmas).max(0.0);
        let anomaly_score = by_value.anomaly_score.min(ratio / (1.0 + ratio));
        Verdict { anomaly_score, ..by_value }
    }

    /// Grows the first trees when the window holds a sample, and one anew every `rebuild_points`.
    fn grow(&self, state: &mut ForestState) {
        if state.window.len() < SAMPLE + SHINGLE {
            return;
        }
        let mut random = SplitMix64(self.seed(state.points));
        if state.trees.is_empty() {
            state.trees.extend((0..TREES).map(|_| grow_tree(&state.window, Vec::new(), &mut random)));
        } else if state.points.is_multiple_of(u64::from(self.rebuild_points)) {
            let oldest = state.trees.pop_front().unwrap_or_default();
            state.trees.push_back(grow_tree(&state.window, oldest, &mut random));
        }
    }

    /// Mixed, or the numbers drawn for one tree would be those of another, a few further on.
    fn seed(&self, points: u64) -> u64 {
        let parameters = [
            u64::from(self.rebuild_points),
            u64::from(self.warmup_points),
            self.threshold_sigmas.to_bits(),
            self.direction as u64,
            self.min_abs_dev.to_bits(),
            self.min_rel_dev.to_bits(),
        ];
        parameters.into_iter().chain([points]).fold(0, |seed, part| SplitMix64(seed ^ part).next())
    }
}

/// Grows a tree in the place of `cuts`.
fn grow_tree(window: &VecDeque<f32>, mut cuts: Vec<Cut>, random: &mut SplitMix64) -> Vec<Cut> {
    let shingles = window.len() - SHINGLE + 1;
    let mut sample: Vec<usize> = (0..SAMPLE).map(|_| random.below(shingles)).collect();
    cuts.clear();
    split(window, &mut sample, 0, &mut cuts, random);
    cuts.shrink_to_fit();
    cuts
}

/// Adds the cuts of `sample`; returns what leads to them, as in [`Cut::above`].
fn split(
    window: &VecDeque<f32>,
    sample: &mut [usize],
    depth: u32,
    cuts: &mut Vec<Cut>,
    random: &mut SplitMix64,
) -> u16 {
    let leaf = LEAF | sample.len() as u16;
    if sample.len() <= 1 || depth == DEPTH_MAX {
        return leaf;
    }
    let first = random.below(SHINGLE);
    let range = |dimension: usize| {
        let values = sample.iter().map(|&start| window[start + dimension]);
        values
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    // A dimension in which all are alike cannot be cut; another may.
    let cuttable = (0..SHINGLE).map(|i| (first + i) % SHINGLE).map(|dimension| (dimension, range(dimension)));
    let Some((dimension, (low, high))) = cuttable.into_iter().find(|(_, (low, high))| low < high) else {
        return leaf;
    };
    let (low, high) = (f64::from(low), f64::from(high));
    let beyond = MARGIN * (high - low);
    let at = low - beyond + random.unit() * (high - low + 2.0 * beyond);
    let at = at.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
    let mut below = 0;
    for i in 0..sample.len() {
        if window[sample[i] + dimension] <= at {
            sample.swap(i, below);
            below += 1;
        }
    }
    let index = cuts.len();
    cuts.push(Cut { dimension: dimension as u8, split: at, below: FOLLOWS, above: 0 });
    let (left, right) = sample.split_at_mut(below);
    let below = split(window, left, depth + 1, cuts, random);
    if below & LEAF != 0 {
        cuts[index].below = (below & !LEAF) as u8;
    }
    cuts[index].above = split(window, right, depth + 1, cuts, random);
    index as u16
}

/// Whether every way from the root ends at a leaf: a cut leads to cuts behind it only.
fn is_tree(cuts: &[Cut]) -> bool {
    let is_leaf = |points: u16| usize::from(points) <= SAMPLE;
    cuts.iter().enumerate().all(|(index, cut)| {
        let follows = cut.below == FOLLOWS;
        let behind = index + 1 + usize::from(follows);
        let below = if follows { index + 1 < cuts.len() } else { is_leaf(u16::from(cut.below)) };
        let above = match cut.above & LEAF {
            0 => (behind..cuts.len()).contains(&usize::from(cut.above)),
            _ => is_leaf(cut.above & !LEAF),
        };
        cut.split.is_finite() && usize::from(cut.dimension) < SHINGLE && below && above
    })
}

/// Trees as bytes. A cut is a byte of bits, the split, and the number of points of each child that is a leaf; the cuts below
/// it follow, then those above. So where a child or a tree ends needs no saying.
mod written {
    use std::collections::VecDeque;
    use std::fmt;

    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    use super::{Cut, DEPTH_MAX, FOLLOWS, LEAF};

    /// Bits below these are the dimension.
    const BELOW_IS_LEAF: u8 = 0x80;
    const ABOVE_IS_LEAF: u8 = 0x40;
    /// A tree without cuts.
    const NO_CUTS: u8 = 0xff;
    const CUTS_MAX: usize = (1 << DEPTH_MAX) - 1;

    pub fn serialize<S: Serializer>(trees: &VecDeque<Vec<Cut>>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(trees.iter().map(|cuts| 6 * cuts.len() + 1).sum());
        for cuts in trees {
            if cuts.is_empty() {
                bytes.push(NO_CUTS);
            }
            for cut in cuts {
                let start = bytes.len();
                bytes.push(cut.dimension);
                bytes.extend_from_slice(&cut.split.to_le_bytes());
                if cut.below != FOLLOWS {
                    bytes[start] |= BELOW_IS_LEAF;
                    bytes.push(cut.below);
                }
                if cut.above & LEAF != 0 {
                    bytes[start] |= ABOVE_IS_LEAF;
                    bytes.push((cut.above & !LEAF) as u8);
                }
            }
        }
        serializer.serialize_bytes(&bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<Vec<Cut>>, D::Error> {
        deserializer.deserialize_bytes(Trees)
    }

    struct Trees;

    impl Visitor<'_> for Trees {
        type Value = VecDeque<Vec<Cut>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("whole trees")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            let (mut trees, mut rest) = (VecDeque::new(), bytes);
            while !rest.is_empty() {
                let tree = next_tree(&mut rest);
                trees.push_back(tree.ok_or_else(|| E::invalid_value(Unexpected::Bytes(bytes), &self))?);
            }
            trees.shrink_to_fit();
            Ok(trees)
        }
    }

    fn next_tree(bytes: &mut &[u8]) -> Option<Vec<Cut>> {
        if bytes.first() == Some(&NO_CUTS) {
            bytes.split_off_first();
            return Some(Vec::new());
        }
        let mut cuts: Vec<Cut> = Vec::new();
        // Cuts whose child above is a cut that is still to come.
        let mut open = Vec::new();
        while cuts.len() < CUTS_MAX {
            let bits = *bytes.split_off_first()?;
            let split = f32::from_le_bytes(*bytes.split_off(..4)?.first_chunk()?);
            let dimension = bits & !(BELOW_IS_LEAF | ABOVE_IS_LEAF);
            let mut cut = Cut { split, dimension, below: FOLLOWS, above: 0 };
            let index = cuts.len();
            if bits & BELOW_IS_LEAF != 0 {
                cut.below = *bytes.split_off_first().filter(|points| **points != FOLLOWS)?;
            }
            if bits & ABOVE_IS_LEAF != 0 {
                cut.above = LEAF | u16::from(*bytes.split_off_first()?);
            } else {
                open.push(index);
            }
            cuts.push(cut);
            if bits & BELOW_IS_LEAF == 0 {
                continue;
            }
            let Some(waiting) = open.pop() else {
                cuts.shrink_to_fit();
                return Some(cuts);
            };
            cuts[waiting].above = cuts.len() as u16;
        }
        None
    }
}

/// 2^(-mean path length / expected path length), 0..1: near 1 is easily isolated, 0.5 is usual.
fn isolation_score(trees: &VecDeque<Vec<Cut>>, shingle: &[f32; SHINGLE]) -> f64 {
    let total: f64 = trees.iter().map(|cuts| path_length(cuts, shingle)).sum();
    (-(total / trees.len() as f64) / average_path_length(SAMPLE as f64)).exp2()
}

fn path_length(cuts: &[Cut], shingle: &[f32; SHINGLE]) -> f64 {
    let (mut index, mut depth, mut points) = (0, 0.0, SAMPLE as u16);
    while let Some(cut) = cuts.get(index) {
        depth += 1.0;
        let is_below = shingle[usize::from(cut.dimension)] <= cut.split;
        index = match (cut.below, cut.above) {
            (FOLLOWS, _) if is_below => index + 1,
            (leaf, _) if is_below => {
                points = u16::from(leaf);
                break;
            }
            (_, leaf) if leaf & LEAF != 0 => {
                points = leaf & !LEAF;
                break;
            }
            (_, above) => usize::from(above),
        };
    }
    depth + average_path_length(f64::from(points))
}

/// Average path length of an unsuccessful search in a binary search tree of `n` points.
fn average_path_length(n: f64) -> f64 {
    const EULER_MASCHERONI: f64 = 0.577_215_664_901_532_9;
    match n {
        n if n < 2.0 => 0.0,
        n if n < 3.0 => 1.0,
        n => 2.0 * ((n - 1.0).ln() + EULER_MASCHERONI) - 2.0 * (n - 1.0) / n,
    }
}

/// Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators".
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// 0 included, 1 not.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extreme_value_is_isolated_also_among_two_levels() {
        let (detector, mut state) = (IsolationForest::default(), ForestState::default());
        let level = |i: i64| if i % 2 == 0 { 10.0 } else { 90.0 };
        for i in 0..400 {
            let value = level(i) + [-1.0, 0.5, 1.0, -0.5, 0.2][i as usize % 5];
            detector.update(&mut state, Point { time_ms: i * 10_000, value });
        }
        let usual = isolation_score(&state.trees, &[90.0, 10.2]);
        let extreme = isolation_score(&state.trees, &[90.0, 400.0]);
        assert!(extreme > usual + 0.05, "{extreme} is not above {usual}");
    }

    fn fed(detector: &IsolationForest, len: i64) -> ForestState {
        let mut state = ForestState::default();
        for i in 0..len {
            let value = (i as f64 * 1.7).sin() + (i as f64 * 0.61).cos();
            detector.update(&mut state, Point { time_ms: i * 10_000, value });
        }
        state
    }

    #[test]
    fn trees_differ_by_parameters_and_by_points_and_are_otherwise_the_same() {
        let detector = IsolationForest::default();
        assert_eq!(fed(&detector, 300), fed(&detector, 300));
        let other = IsolationForest { threshold_sigmas: 5.0, ..IsolationForest::default() };
        let trees = |detector: &IsolationForest| fed(detector, 300).trees;
        assert!(trees(&detector).iter().zip(&trees(&other)).all(|(one, two)| one != two));
        // The numbers that two trees are grown from have none in common, also shifted.
        let drawn = |points: u64| -> std::collections::BTreeSet<u64> {
            let mut random = SplitMix64(detector.seed(points));
            (0..1000).map(|_| random.next()).collect()
        };
        assert!((1..64).all(|points| drawn(64).is_disjoint(&drawn(points))));
    }

    #[test]
    fn the_window_and_the_forest_are_bounded_and_the_oldest_goes() {
        let state = fed(&IsolationForest::default(), 1000);
        assert_eq!((state.window.len(), state.trees.len()), (WINDOW, TREES));
        let value = |i: i64| ((i as f64 * 1.7).sin() + (i as f64 * 0.61).cos()) as f32;
        assert!(state.window.iter().copied().eq((744..1000).map(value)));
        assert_eq!(state.trees.back(), fed(&IsolationForest::default(), 992).trees.back());
    }

    #[test]
    fn trees_that_lead_back_or_nowhere_are_not_sound() {
        let detector = IsolationForest::default();
        let good = fed(&detector, 300);
        assert!(detector.is_sound(&good));
        let cut = good.trees[3].iter().position(|cut| cut.below == FOLLOWS && cut.above & LEAF == 0).unwrap();
        let broken = |change: fn(&mut Cut)| {
            let mut state = good.clone();
            change(&mut state.trees[3][cut]);
            !detector.is_sound(&state)
        };
        assert!(broken(|cut| cut.above = 0), "back to the root");
        assert!(broken(|cut| cut.above = 1), "the second child is the first");
        assert!(broken(|cut| cut.above = 900), "beyond the end");
        assert!(broken(|cut| cut.above = LEAF | 65), "a leaf with more than the sample");
        assert!(broken(|cut| cut.below = 65), "a leaf with more than the sample");
        assert!(broken(|cut| cut.dimension = 7), "no such dimension");
        assert!(broken(|cut| cut.split = f32::INFINITY));
        let mut state = good.clone();
        state.trees[3].pop();
        assert!(!detector.is_sound(&state), "misses a child");
        state.trees.pop_back();
        assert!(!detector.is_sound(&state), "too few trees");
        let long = ForestState { window: vec![0.0; WINDOW + 1].into(), ..good };
        assert!(!detector.is_sound(&long));
    }

    #[test]
    fn path_lengths_are_those_of_the_paper() {
        assert_eq!(average_path_length(1.0), 0.0);
        assert!((average_path_length(256.0) - 10.244).abs() < 0.01);
    }
}
