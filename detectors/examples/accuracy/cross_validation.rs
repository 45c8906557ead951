//! What a choice of constants and threshold on some of the series gives on the others.

use foreshock_detectors::ensemble::Constants;

use crate::event_score::Counts;
use crate::series::Nuisance;
use crate::{Data, constants_with, nab_score};

const FOLDS: usize = 5;
const SPLITS: u64 = 20;
const THRESHOLDS: usize = 25;
const STANDARD: (f64, f64, f64) = nab_score::PROFILES[0];

fn threshold(i: usize) -> f64 {
    0.3 + 0.4 * i as f64 / (THRESHOLDS - 1) as f64
}

/// What one choice of constants gives on each series, at each threshold.
struct Choice {
    cloud: Vec<Vec<Counts>>,
    nab: Vec<Vec<f64>>,
}

/// F1 on `cloud` and the standard score on `nab`.
#[derive(Clone, Copy)]
struct Figures {
    f1: f64,
    nab: f64,
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The fold of each of so many series.
    fn folds(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<(f64, usize)> = (0..count).map(|i| (self.unit(), i % FOLDS)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        order.into_iter().map(|(_, fold)| fold).collect()
    }
}

/// Each constant up to a factor of 1.6 smaller or larger.
fn random_constants(random: &mut Random) -> Constants {
    let defaults = serde_json::to_value(Constants::default()).expect("numbers");
    let defaults = defaults.as_object().expect("named constants");
    let factor = |random: &mut Random| 1.6_f64.powf(2.0 * random.unit() - 1.0);
    let all =
        defaults.iter().map(|(name, value)| (name.as_str(), value.as_f64().unwrap_or(0.0) * factor(random)));
    constants_with(all.collect::<Vec<_>>())
}

impl Choice {
    fn of(data: &Data, constants: &Constants) -> Self {
        let scored = data.scored(constants, Nuisance::NONE);
        let thresholds = || (0..THRESHOLDS).map(threshold);
        Self {
            cloud: scored.cloud.iter().map(|s| thresholds().map(|t| s.counts(t)).collect()).collect(),
            nab: scored.nab.iter().map(|s| thresholds().map(|t| s.raw(t, STANDARD)).collect()).collect(),
        }
    }
}

/// Sums over some series: of the counts, and of the raw score with the windows.
#[derive(Clone, Copy, Default)]
struct Sums {
    counts: Counts,
    raw: f64,
    windows: usize,
}

impl Sums {
    fn figures(self) -> Figures {
        Figures { f1: self.counts.f1(), nab: nab_score::scaled(self.raw, self.windows, STANDARD) }
    }

    fn add(&mut self, other: Self) {
        self.counts.add(other.counts);
        self.raw += other.raw;
        self.windows += other.windows;
    }
}

struct Split {
    cloud: Vec<usize>,
    nab: Vec<usize>,
    windows: Vec<usize>,
}

impl Split {
    fn sums(&self, choice: &Choice, threshold: usize, included: impl Fn(usize) -> bool) -> Sums {
        let mut sums = Sums::default();
        for (counts, _) in choice.cloud.iter().zip(&self.cloud).filter(|(_, fold)| included(**fold)) {
            sums.counts.add(counts[threshold]);
        }
        for (i, raw) in choice.nab.iter().enumerate().filter(|(i, _)| included(self.nab[*i])) {
            sums.raw += raw[threshold];
            sums.windows += self.windows[i];
        }
        sums
    }

    /// The figures over all folds, each with what was best on the others.
    fn validated(&self, choices: &[Choice]) -> Figures {
        let mut total = Sums::default();
        for fold in 0..FOLDS {
            let mut best = (f64::NEG_INFINITY, 0, 0);
            for (i, choice) in choices.iter().enumerate() {
                for threshold in 0..THRESHOLDS {
                    let figures = self.sums(choice, threshold, |of| of != fold).figures();
                    let worth = figures.f1 + figures.nab / 100.0;
                    if worth > best.0 {
                        best = (worth, i, threshold);
                    }
                }
            }
            total.add(self.sums(&choices[best.1], best.2, |of| of == fold));
        }
        total.figures()
    }
}

/// Mean and standard deviation.
fn spread(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt())
}

pub fn print(data: &Data, constants: &Constants, search: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut choices = vec![Choice::of(data, constants)];
    choices.extend((0..search).map(|_| Choice::of(data, &random_constants(&mut random))));
    let windows: Vec<usize> = data.nab.iter().map(|series| series.events.len()).collect();
    let mut validated = |name: &str, choices: &[Choice]| {
        let mut split = |_| Split {
            cloud: random.folds(data.cloud.len()),
            nab: random.folds(data.nab.len()),
            windows: windows.clone(),
        };
        let figures: Vec<Figures> = (0..SPLITS).map(|i| split(i).validated(choices)).collect();
        let (f1, f1_by) = spread(&figures.iter().map(|figures| figures.f1).collect::<Vec<_>>());
        let (nab, nab_by) = spread(&figures.iter().map(|figures| figures.nab).collect::<Vec<_>>());
        println!("{name:60} F1 {f1:.3} +- {f1_by:.3}  NAB {nab:.1} +- {nab_by:.1}");
    };
    validated("threshold from other series", &choices[..1]);
    if search == 0 {
        return;
    }
    validated("constants and threshold from other series", &choices);
    validated("the same, the delivered constants left out", &choices[1..]);

    let all = Split { cloud: vec![0; data.cloud.len()], nab: vec![0; data.nab.len()], windows };
    let middle = THRESHOLDS / 2;
    let fixed: Vec<Figures> =
        choices.iter().map(|choice| all.sums(choice, middle, |_| true).figures()).collect();
    let (f1, f1_by) = spread(&fixed[1..].iter().map(|figures| figures.f1).collect::<Vec<_>>());
    let (nab, nab_by) = spread(&fixed[1..].iter().map(|figures| figures.nab).collect::<Vec<_>>());
    println!(
        "{:60} F1 {f1:.3} +- {f1_by:.3}  NAB {nab:.1} +- {nab_by:.1}",
        "random constants, threshold 0.5"
    );
}
