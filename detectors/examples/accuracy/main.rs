//! How good the default ensemble is on labelled series of others.
//!
//! `cargo run --release -p foreshock-detectors --example accuracy -- DATA [NAME=VALUE ...] [--settings N] [--search N]`
//!
//! DATA has the folders `cloud` (series with the rows of events in events.json) and `nab` (series with the first and last
//! timestamp of windows in windows.json). Printed are the figures as the data are; the mean over units; the mean over all settings
//! that tell nothing of a series; and, with `--search`, what a choice of constants and threshold on other files gives. NAME=VALUE sets
//! one of the constants.

mod cross_validation;
mod event_score;
mod nab_score;
mod series;

use std::path::PathBuf;

use foreshock_detectors::ensemble::{Constants, Ensemble};
use serde_json::Value;

use series::{Nuisance, Series};

pub struct Data {
    cloud: Vec<Series>,
    nab: Vec<Series>,
}

pub struct Scored {
    cloud: Vec<event_score::Scored>,
    nab: Vec<nab_score::Scored>,
}

impl Data {
    fn scored(&self, constants: &Constants, nuisance: Nuisance) -> Scored {
        let detector = Ensemble { constants: constants.clone(), ..Ensemble::default() };
        let scores = |series: &Series| series.scores(&detector, nuisance);
        Scored {
            cloud: self.cloud.iter().map(|series| event_score::Scored::of(series, &scores(series))).collect(),
            nab: self.nab.iter().map(|series| nab_score::Scored::of(series, &scores(series))).collect(),
        }
    }
}

const TITLES: [&str; 8] = ["best F1", "F1", "recall@1", "recall@¼", "NAB", "low FP", "low FN", "NAB@0.5"];

fn figures(scored: &Scored) -> [f64; 8] {
    let cloud = event_score::summary(&scored.cloud);
    let [standard, low_fp, low_fn, fixed] = nab_score::summary(&scored.nab);
    [cloud.best_f1, cloud.f1, cloud.recall_at_1, cloud.recall_at_quarter, standard, low_fp, low_fn, fixed]
}

fn print(name: &str, figures: [f64; 8]) {
    print!("{name:10}");
    for (i, figure) in figures.iter().enumerate() {
        print!("{figure:9.*}", if i < 4 { 3 } else { 1 });
    }
    println!();
}

/// The constants with some of them replaced.
fn constants_with<'a>(replaced: impl IntoIterator<Item = (&'a str, f64)>) -> Constants {
    let mut all = serde_json::to_value(Constants::default()).expect("numbers");
    for (name, value) in replaced {
        let number = all.get_mut(name).unwrap_or_else(|| panic!("no constant {name}"));
        *number = if number.is_u64() { Value::from(value as u64) } else { Value::from(value) };
    }
    serde_json::from_value(all).expect("the same fields")
}

fn main() {
    let mut folder = None;
    let (mut replaced, mut settings, mut search) = (Vec::new(), 12, 0);
    let (mut each, mut per_file) = (false, false);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok()).expect("a number");
        match (argument.as_str(), argument.split_once('=')) {
            ("--settings", _) => settings = number(),
            ("--search", _) => search = number(),
            ("--each", _) => each = true,
            ("--per-file", _) => per_file = true,
            (_, Some((name, value))) => replaced.push((name, value.parse().expect("a number"))),
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    let folder = folder.expect("a folder with cloud and nab");
    let data = Data {
        cloud: series::read_events(&folder.join("cloud")),
        nab: series::read_windows(&folder.join("nab")),
    };
    let constants = constants_with(replaced.iter().copied());

    print!("{:10}", "");
    TITLES.iter().for_each(|title| print!("{title:>9}"));
    println!();
    let plain = data.scored(&constants, Nuisance::NONE);
    print("plain", figures(&plain));
    if settings > 0 {
        for (name, nuisances) in [
            ("units", Nuisance::units(settings)),
            ("zeros", Nuisance::offsets(settings)),
            ("beginnings", Nuisance::beginnings(settings)),
            ("warm-ups", Nuisance::warmups(settings)),
            ("all", Nuisance::settings(settings)),
        ] {
            let all: Vec<[f64; 8]> =
                nuisances.into_iter().map(|nuisance| figures(&data.scored(&constants, nuisance))).collect();
            if each {
                all.iter().enumerate().for_each(|(i, figures)| print(&format!("  {i}"), *figures));
            }
            let mean = |i: usize| all.iter().map(|figures| figures[i]).sum::<f64>() / all.len() as f64;
            print(name, std::array::from_fn(mean));
        }
    }
    if per_file {
        for (series, scored) in data.cloud.iter().zip(&plain.cloud) {
            let counts = scored.counts(0.5);
            println!(
                "{:55} found {:2}/{:2} false {:3}",
                series.name, counts.found, counts.events, counts.falsely
            );
        }
        for (series, scored) in data.nab.iter().zip(&plain.nab) {
            let raw = scored.raw(0.5, nab_score::PROFILES[0]);
            println!("{:55} {raw:6.2} of {}", series.name, scored.windows());
        }
    }
    if search > 0 {
        cross_validation::print(&data, &constants, search);
    }
}
