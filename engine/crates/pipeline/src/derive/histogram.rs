//! A histogram as its rate, mean and quantiles over each interval.

use serde::{Deserialize, Serialize};

use super::CounterState;

/// A quantile that is derived, and the observations of an interval that it takes: with fewer it shows chance.
#[derive(Clone, Copy, Debug)]
pub struct Quantile {
    pub q: f64,
    /// Of the derived series' name.
    pub suffix: &'static str,
    pub observations_min: u64,
}

pub const QUANTILES: [Quantile; 3] = [
    Quantile { q: 0.5, suffix: "p50", observations_min: 5 },
    Quantile { q: 0.9, suffix: "p90", observations_min: 50 },
    Quantile { q: 0.99, suffix: "p99", observations_min: 500 },
];

/// What one interval of a histogram showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Observations per second.
    pub rate: f64,
    /// Mean of the observations; absent when there were none.
    pub mean: Option<f64>,
    /// In the order of [`QUANTILES`]; absent where there were too few observations or the buckets changed.
    pub quantiles: [Option<f64>; QUANTILES.len()],
}

/// What is remembered of one cumulative histogram.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistogramState {
    count: CounterState,
    last_ms: Option<i64>,
    start_ms: Option<i64>,
    last_count: u64,
    last_sum: f64,
    bounds: Vec<f64>,
    counts: Vec<u64>,
}

/// One histogram point as decoded: `counts` has one more element than `bounds`, or both are empty.
#[derive(Clone, Copy, Debug)]
pub struct HistogramPoint<'a> {
    pub time_ms: i64,
    pub start_ms: Option<i64>,
    pub delta: bool,
    pub count: u64,
    pub sum: f64,
    pub bounds: &'a [f64],
    pub counts: &'a [u64],
}

impl HistogramState {
    pub fn observe(&mut self, point: HistogramPoint<'_>) -> Option<Interval> {
        if self.last_ms.is_some_and(|last_ms| point.time_ms <= last_ms) {
            return None;
        }
        let last_ms = self.last_ms.replace(point.time_ms);
        if point.delta {
            let rate =
                super::counter::delta_rate(point.time_ms, point.start_ms, last_ms, point.count as f64)?;
            return Some(interval(rate, point.count, point.sum, point.bounds, point.counts));
        }
        let rate = self.count.rate(point.time_ms, point.start_ms, point.count as f64);
        // A count that fell, or any bucket that fell, was a reset: what is shown was counted since.
        let same_buckets = self.bounds == point.bounds && self.counts.len() == point.counts.len();
        let fell = self.counts.iter().zip(point.counts).any(|(last, now)| now < last);
        let restarted = matches!((self.start_ms, point.start_ms), (Some(last), Some(now)) if now > last);
        let reset = restarted || point.count < self.last_count || (same_buckets && fell);
        self.start_ms = point.start_ms;
        let (base_count, base_sum) = if reset { (0, 0.0) } else { (self.last_count, self.last_sum) };
        let increase: Vec<u64> = match (reset, same_buckets) {
            (true, _) => point.counts.to_vec(),
            (false, true) => point.counts.iter().zip(&self.counts).map(|(now, last)| now - last).collect(),
            (false, false) => Vec::new(),
        };
        self.last_count = point.count;
        self.last_sum = point.sum;
        if !same_buckets {
            self.bounds = point.bounds.to_vec();
        }
        self.counts.clear();
        self.counts.extend_from_slice(point.counts);
        let count = point.count - base_count;
        Some(interval(rate?, count, point.sum - base_sum, point.bounds, &increase))
    }
}

fn interval(rate: f64, count: u64, sum: f64, bounds: &[f64], counts: &[u64]) -> Interval {
    let mean = (count > 0 && sum.is_finite()).then(|| sum / count as f64);
    let known = |wanted: Quantile| {
        if count < wanted.observations_min { None } else { quantile(wanted.q, bounds, counts) }
    };
    let quantiles = QUANTILES.map(known);
    Interval { rate, mean, quantiles }
}

/// Linear interpolation inside the bucket, as Prometheus' `histogram_quantile`: the first bucket starts at 0 when its
/// bound is positive, and a quantile in the last, open bucket is its lower bound.
pub fn quantile(q: f64, bounds: &[f64], counts: &[u64]) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 || bounds.is_empty() || counts.len() != bounds.len() + 1 {
        return None;
    }
    let rank = q * total as f64;
    let mut below = 0.0;
    for (i, &count) in counts.iter().enumerate() {
        let through = below + count as f64;
        if through >= rank && count > 0 {
            let Some(&upper) = bounds.get(i) else { return bounds.last().copied() };
            let lower = if i > 0 { bounds[i - 1] } else { upper.min(0.0) };
            return Some(lower + (upper - lower) * ((rank - below) / count as f64).clamp(0.0, 1.0));
        }
        below = through;
    }
    bounds.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point<'a>(time_ms: i64, count: u64, sum: f64, counts: &'a [u64]) -> HistogramPoint<'a> {
        HistogramPoint { time_ms, start_ms: None, delta: false, count, sum, bounds: &[10.0, 20.0], counts }
    }

    #[test]
    fn quantiles_are_those_of_the_interval_and_not_of_all_time() {
        let mut state = HistogramState::default();
        assert_eq!(state.observe(point(0, 1000, 5_000.0, &[1000, 0, 0])), None);
        let interval = state.observe(point(10_000, 2000, 20_000.0, &[1000, 1000, 0])).unwrap();
        let quantiles = [Some(15.0), Some(19.0), Some(19.9)];
        assert_eq!(interval, Interval { rate: 100.0, mean: Some(15.0), quantiles });
        let few = state.observe(point(20_000, 2010, 20_150.0, &[1000, 1010, 0])).unwrap();
        assert_eq!(few.quantiles, [Some(15.0), None, None], "ten observations have no tail");
    }

    #[test]
    fn reset_and_empty_intervals() {
        let mut state = HistogramState::default();
        state.observe(point(0, 100, 500.0, &[100, 0, 0]));
        let after_reset = state.observe(point(10_000, 10, 50.0, &[10, 0, 0])).unwrap();
        assert_eq!((after_reset.rate, after_reset.mean), (1.0, Some(5.0)));
        let empty = state.observe(point(20_000, 10, 50.0, &[10, 0, 0])).unwrap();
        assert_eq!(empty, Interval { rate: 0.0, mean: None, quantiles: [None; 3] });
        assert_eq!(state.observe(point(20_000, 90, 50.0, &[90, 0, 0])), None, "not newer");
    }

    #[test]
    fn changed_buckets_skip_the_quantiles_once() {
        let mut state = HistogramState::default();
        state.observe(point(0, 100, 500.0, &[100, 0, 0]));
        let changed = HistogramPoint { bounds: &[5.0], counts: &[50, 60], ..point(10_000, 110, 600.0, &[]) };
        assert_eq!(state.observe(changed).unwrap().quantiles, [None; 3]);
        let next = HistogramPoint { bounds: &[5.0], counts: &[60, 60], ..point(20_000, 120, 630.0, &[]) };
        assert_eq!(state.observe(next).unwrap().quantiles, [Some(2.5), None, None]);
    }

    #[test]
    fn malformed_buckets_give_no_quantile() {
        assert_eq!(quantile(0.5, &[1.0, 2.0], &[1, 2]), None);
        assert_eq!(quantile(0.5, &[], &[7]), None);
        assert_eq!(quantile(0.99, &[1.0], &[0, 3]), Some(1.0), "the open bucket");
    }
}
