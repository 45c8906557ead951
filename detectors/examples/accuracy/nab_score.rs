//! The score of the Numenta Anomaly Benchmark: an early row in a window earns up to 1, a missed window costs 1 (or 2), a row
//! outside of windows costs 0.11 (or 0.22), less shortly after one. 0 is no row at all, 100 each window at its first row.

use crate::series::Series;

/// What a hit earns, what a false row and a missed window cost.
pub const PROFILES: [(f64, f64, f64); 3] = [(1.0, 0.11, 1.0), (1.0, 0.22, 1.0), (1.0, 0.11, 2.0)];

fn worth(y: f64) -> f64 {
    2.0 / (1.0 + (5.0 * y.min(100.0)).exp()) - 1.0
}

/// Score, worth and window of a row.
type Row<Window> = (f64, f64, Option<Window>);

/// What scoring needs of a series and its scores.
pub struct Scored {
    /// Those that can count.
    rows: Vec<Row<usize>>,
    windows: usize,
    /// Windows that have a row that can count.
    seen: usize,
}

impl Scored {
    pub fn of(series: &Series, scores: &[f64]) -> Self {
        let start = series.probation();
        let mut rows = Vec::new();
        for (row, score) in scores.iter().copied().enumerate().skip(start).filter(|(_, score)| *score > 0.0) {
            let window = series.events.iter().rposition(|(first, last)| (*first..=*last).contains(&row));
            let before = series.events.iter().rev().find(|(_, last)| row > *last);
            let unit = match (window, before) {
                (Some(window), _) => {
                    let (first, last) = series.events[window];
                    worth(-((last - row + 1) as f64) / (last - first + 1) as f64) / worth(-1.0)
                }
                (None, Some((first, last))) => {
                    let y = (row - last) as f64 / ((last - first) as f64).max(1e-9);
                    if y > 3.0 { -1.0 } else { worth(y) }
                }
                (None, None) => -1.0,
            };
            rows.push((score, unit, window));
        }
        let seen = series.events.iter().filter(|(_, last)| *last >= start).count();
        Self { rows, windows: series.events.len(), seen }
    }

    /// What the rows at or above the threshold earn, in points of the benchmark before it is put on 0..100.
    pub fn raw(&self, threshold: f64, (hit, falsely, missed): (f64, f64, f64)) -> f64 {
        let mut best = vec![f64::NEG_INFINITY; self.windows];
        let mut raw = -missed * self.seen as f64;
        for (_, unit, window) in self.rows.iter().filter(|(score, _, _)| *score >= threshold) {
            match window {
                None => raw += falsely * unit,
                Some(window) => best[*window] = best[*window].max(*unit),
            }
        }
        let hits = best.into_iter().filter(|unit| unit.is_finite());
        raw + hits.map(|unit| hit * unit + missed).sum::<f64>()
    }

    pub fn windows(&self) -> usize {
        self.windows
    }
}

/// On 0..100.
pub fn scaled(raw: f64, windows: usize, (hit, _, missed): (f64, f64, f64)) -> f64 {
    100.0 * (raw + missed * windows as f64) / ((hit + missed) * windows as f64)
}

pub fn total(all: &[Scored], threshold: f64, profile: (f64, f64, f64)) -> f64 {
    let windows = all.iter().map(|scored| scored.windows).sum();
    scaled(all.iter().map(|scored| scored.raw(threshold, profile)).sum(), windows, profile)
}

/// The best over thresholds for each profile, and the first one at 0.5.
pub fn summary(all: &[Scored]) -> [f64; 4] {
    let mut rows: Vec<Row<(usize, usize)>> = Vec::new();
    for (i, scored) in all.iter().enumerate() {
        rows.extend(scored.rows.iter().map(|(score, unit, window)| (*score, *unit, window.map(|w| (i, w)))));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let windows = all.iter().map(|scored| scored.windows).sum();
    let seen: usize = all.iter().map(|scored| scored.seen).sum();
    let best = |profile: (f64, f64, f64)| {
        let (hit, falsely, missed) = profile;
        let mut units: Vec<Vec<Option<f64>>> = all.iter().map(|scored| vec![None; scored.windows]).collect();
        let mut raw = -missed * seen as f64;
        let mut best = raw;
        for (i, (score, unit, window)) in rows.iter().enumerate() {
            match window {
                None => raw += falsely * unit,
                Some((file, window)) => {
                    let before = &mut units[*file][*window];
                    raw += before.map_or(hit * unit + missed, |before| hit * (unit - before).max(0.0));
                    *before = Some(before.unwrap_or(f64::NEG_INFINITY).max(*unit));
                }
            }
            if rows.get(i + 1).is_none_or(|next| next.0 < *score) {
                best = best.max(raw);
            }
        }
        scaled(best, windows, profile)
    };
    [best(PROFILES[0]), best(PROFILES[1]), best(PROFILES[2]), total(all, 0.5, PROFILES[0])]
}
