//! Labelled series, as the folders `cloud` and `nab` hold them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use foreshock_detectors::{Detector, Point, ensemble::Ensemble};

/// One labelled series: its rows, and the rows of each event, both ends included.
pub struct Series {
    pub name: String,
    pub points: Vec<Point>,
    pub events: Vec<(usize, usize)>,
}

/// What tells nothing of a series: its unit and zero, when recording began, how many points are waited for.
#[derive(Clone, Copy)]
pub struct Nuisance {
    pub factor: f64,
    /// In ranges of the series.
    pub offset: f64,
    /// Rows at the beginning that are not shown.
    pub skipped: usize,
    /// Of the warm-up lengths.
    pub warmup: f64,
}

impl Nuisance {
    pub const NONE: Self = Self { factor: 1.0, offset: 0.0, skipped: 0, warmup: 1.0 };

    /// Other units only.
    pub fn units(count: usize) -> Vec<Self> {
        (0..count).map(|k| Self { factor: (k as f64 / count as f64).exp2(), ..Self::NONE }).collect()
    }

    /// Other zeros only.
    pub fn offsets(count: usize) -> Vec<Self> {
        Self::settings(count).into_iter().map(|Self { offset, .. }| Self { offset, ..Self::NONE }).collect()
    }

    /// Other beginnings only.
    pub fn beginnings(count: usize) -> Vec<Self> {
        (0..count).map(|skipped| Self { skipped, ..Self::NONE }).collect()
    }

    /// Other lengths of warm-up only.
    pub fn warmups(count: usize) -> Vec<Self> {
        Self::settings(count).into_iter().map(|Self { warmup, .. }| Self { warmup, ..Self::NONE }).collect()
    }

    /// All of it at once.
    pub fn settings(count: usize) -> Vec<Self> {
        let setting = |k: usize| {
            let part = k as f64 / count as f64;
            Self {
                factor: part.exp2(),
                offset: [0.0, 0.5, -1.0, 3.0, 10.0, -0.2, 1.7][k % 7],
                skipped: [1, 4, 0, 2, 7, 3, 5, 6][k % 8],
                warmup: 0.7 + 0.8 * ((k * 5) % count) as f64 / count as f64,
            }
        };
        (0..count).map(setting).collect()
    }
}

impl Series {
    /// The score of each row, 0 where there is none.
    pub fn scores(&self, detector: &Ensemble, nuisance: Nuisance) -> Vec<f64> {
        let values = || self.points.iter().map(|point| point.value).filter(|value| value.is_finite());
        let range = values().fold(f64::MIN, f64::max) - values().fold(f64::MAX, f64::min);
        let mut detector = detector.clone();
        for points in [&mut detector.constants.first_points, &mut detector.constants.first_blocks] {
            *points = (*points as f64 * nuisance.warmup) as usize;
        }
        let mut state = <Ensemble as Detector>::State::default();
        let score = |(i, point): (usize, &Point)| {
            if i < nuisance.skipped || !point.value.is_finite() {
                return 0.0;
            }
            let value = nuisance.factor * (point.value + nuisance.offset * range);
            detector
                .update(&mut state, Point { value, ..*point })
                .map_or(0.0, |verdict| verdict.anomaly_score)
        };
        self.points.iter().enumerate().map(score).collect()
    }

    /// Rows that are not scored.
    pub fn probation(&self) -> usize {
        (self.points.len() * 15 / 100).min(750)
    }

    pub fn interval_s(&self) -> f64 {
        let times = self.points.windows(2).map(|pair| (pair[1].time_ms - pair[0].time_ms) as f64 / 1000.0);
        let mut intervals: Vec<f64> = times.collect();
        intervals.sort_by(f64::total_cmp);
        let middle = intervals.len() / 2;
        if intervals.len() % 2 == 1 {
            intervals[middle]
        } else {
            (intervals[middle - 1] + intervals[middle]) / 2.0
        }
    }
}

/// `cloud`: events.json has the rows of each event.
pub fn read_events(folder: &Path) -> Vec<Series> {
    let events: BTreeMap<String, Vec<(usize, usize)>> = read_json(&folder.join("events.json"));
    events
        .into_iter()
        .map(|(name, events)| Series { points: read_points(&folder.join(&name)), name, events })
        .collect()
}

/// `nab`: windows.json has the first and last timestamp of each window.
pub fn read_windows(folder: &Path) -> Vec<Series> {
    let windows: BTreeMap<String, Vec<(String, String)>> = read_json(&folder.join("windows.json"));
    let read = |(name, windows): (String, Vec<(String, String)>)| {
        let points = read_points(&folder.join(&name));
        let row = |timestamp: &str| {
            let time_ms = time_ms(timestamp);
            points.iter().position(|point| point.time_ms == time_ms).expect("an edge of a window is a row")
        };
        let events = windows.iter().map(|(first, last)| (row(first), row(last))).collect();
        Series { name, points, events }
    };
    windows.into_iter().map(read).collect()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_points(path: &Path) -> Vec<Point> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let point = |row: &str| {
        let (timestamp, value) = row.split_once(',').expect("timestamp and value");
        Point { time_ms: time_ms(timestamp), value: value.trim().parse().unwrap_or(f64::NAN) }
    };
    text.lines().skip(1).map(point).collect()
}

/// `2014-04-10 16:15:00`, in UTC; what follows the seconds is left out.
fn time_ms(timestamp: &str) -> i64 {
    let part = |from: usize, to: usize| timestamp[from..to].parse::<i64>().expect("a date and time");
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    // Days since 1970 of a year that begins in March.
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    (((days * 24 + part(11, 13)) * 60 + part(14, 16)) * 60 + part(17, 19)) * 1000
}
