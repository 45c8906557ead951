//! Scores as an engineer on call counts: pages and missed events.
//!
//! A page is the first row at or above the threshold after three rows below it. An event is found if a page comes in its
//! rows, at most `delay` rows after its first; further pages in it and up to `delay` rows after its end cost nothing. Every
//! other page is false. Labelled runs less than four rows apart are one event.

use crate::series::Series;

const GAP: usize = 3;

#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub found: usize,
    pub falsely: usize,
    pub events: usize,
    pub weeks: f64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.found += other.found;
        self.falsely += other.falsely;
        self.events += other.events;
        self.weeks += other.weeks;
    }

    pub fn f1(self) -> f64 {
        2.0 * self.found as f64 / (self.found + self.falsely + self.events).max(1) as f64
    }

    pub fn recall(self) -> f64 {
        self.found as f64 / self.events.max(1) as f64
    }

    pub fn false_per_week(self) -> f64 {
        self.falsely as f64 / self.weeks
    }
}

/// What scoring needs of a series and its scores.
pub struct Scored {
    /// Rows with a score above 0.
    rows: Vec<(usize, f64)>,
    start: usize,
    delay: usize,
    events: Vec<(usize, usize)>,
    weeks: f64,
}

impl Scored {
    pub fn of(series: &Series, scores: &[f64]) -> Self {
        let interval_s = series.interval_s();
        let mut events: Vec<(usize, usize)> = Vec::new();
        for (first, last) in &series.events {
            match events.last_mut() {
                Some(before) if first - before.1 <= GAP => before.1 = *last,
                _ => events.push((*first, *last)),
            }
        }
        let start = series.probation();
        Self {
            rows: scores.iter().copied().enumerate().filter(|(_, score)| *score > 0.0).collect(),
            start,
            delay: if interval_s < 600.0 { 7 } else { 3 },
            events,
            weeks: (scores.len() - start) as f64 * interval_s / (7.0 * 86_400.0),
        }
    }

    pub fn counts(&self, threshold: f64) -> Counts {
        let counted = || self.events.iter().filter(|event| event.0 >= self.start);
        let mut counts = Counts { events: counted().count(), weeks: self.weeks, ..Counts::default() };
        let mut found = vec![false; self.events.len()];
        let mut last: Option<usize> = None;
        for (row, _) in self.rows.iter().filter(|(_, score)| *score >= threshold) {
            let is_page = last.is_none_or(|last| row - last > GAP);
            last = Some(*row);
            if !is_page || *row < self.start {
                continue;
            }
            let mut is_free = false;
            for (event, found) in self.events.iter().zip(&mut found) {
                is_free |= (event.0..=event.1 + self.delay).contains(row);
                let in_time = (event.0..=event.1.min(event.0 + self.delay)).contains(row);
                *found |= in_time && event.0 >= self.start;
            }
            counts.falsely += usize::from(!is_free);
        }
        counts.found = found.into_iter().filter(|found| *found).count();
        counts
    }
}

pub fn total(all: &[Scored], threshold: f64) -> Counts {
    let mut counts = Counts::default();
    all.iter().for_each(|scored| counts.add(scored.counts(threshold)));
    counts
}

#[derive(Clone, Copy, Default)]
pub struct Summary {
    pub best_f1: f64,
    pub f1: f64,
    pub recall_at_1: f64,
    pub recall_at_quarter: f64,
}

pub fn summary(all: &[Scored]) -> Summary {
    let rows = |scored: &Scored| {
        let start = scored.start;
        let counted = scored.rows.iter().filter(move |(row, _)| *row >= start);
        counted.map(|(_, score)| *score).collect::<Vec<_>>()
    };
    let mut scores: Vec<f64> = all.iter().flat_map(rows).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    // About 400 thresholds, in equal ratios of the number of rows above.
    let steps = 399.0;
    let mut ranks: Vec<usize> = (0..400)
        .map(|i| ((scores.len() as f64).powf(f64::from(i) / steps) as usize).saturating_sub(1))
        .map(|rank| rank.min(scores.len().saturating_sub(1)))
        .collect();
    ranks.dedup();
    let mut summary = Summary { f1: total(all, 0.5).f1(), ..Summary::default() };
    for rank in ranks {
        let counts = total(all, scores[rank]);
        summary.best_f1 = summary.best_f1.max(counts.f1());
        if counts.false_per_week() <= 1.0 {
            summary.recall_at_1 = summary.recall_at_1.max(counts.recall());
        }
        if counts.false_per_week() <= 0.25 {
            summary.recall_at_quarter = summary.recall_at_quarter.max(counts.recall());
        }
    }
    summary
}
