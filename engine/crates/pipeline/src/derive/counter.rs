//! A cumulative counter as a rate.
//!
//! The rate of an interval is the increase over its length in seconds, and belongs to the interval's end. A counter
//! that fell, or whose start time moved, was reset: what it shows now was counted since the reset, so the value itself
//! is the increase (as Prometheus' `rate` assumes). Points that are not newer than the last one are late and give nothing.

use serde::{Deserialize, Serialize};

/// What is remembered of one counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CounterState {
    last: Option<(i64, f64)>,
    start_ms: Option<i64>,
}

impl CounterState {
    /// Feeds one cumulative point; returns the rate per second since the last one.
    pub fn rate(&mut self, time_ms: i64, start_ms: Option<i64>, value: f64) -> Option<f64> {
        let Some((last_ms, last_value)) = self.last else {
            self.last = Some((time_ms, value));
            self.start_ms = start_ms;
            return None;
        };
        if time_ms <= last_ms {
            return None;
        }
        let restarted = start_ms.is_some() && self.start_ms.is_some() && start_ms > self.start_ms;
        let increase = if restarted || value < last_value { value } else { value - last_value };
        self.last = Some((time_ms, value));
        self.start_ms = start_ms;
        Some(increase.max(0.0) / ((time_ms - last_ms) as f64 / 1000.0))
    }
}

/// The rate per second of a delta point that covers `start_ms..time_ms`; without a usable start, since `last_ms`.
pub fn delta_rate(time_ms: i64, start_ms: Option<i64>, last_ms: Option<i64>, value: f64) -> Option<f64> {
    let from_ms = start_ms.filter(|start| *start < time_ms && *start > 0).or(last_ms)?;
    (from_ms < time_ms).then(|| value / ((time_ms - from_ms) as f64 / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_the_increase_per_second() {
        let mut state = CounterState::default();
        assert_eq!(state.rate(0, None, 100.0), None);
        assert_eq!(state.rate(10_000, None, 150.0), Some(5.0));
        assert_eq!(state.rate(30_000, None, 150.0), Some(0.0));
    }

    #[test]
    fn reset_counts_from_zero() {
        let mut state = CounterState::default();
        state.rate(0, Some(1), 100.0);
        assert_eq!(state.rate(10_000, Some(5_000), 200.0), Some(20.0), "the start moved");
        assert_eq!(state.rate(20_000, Some(5_000), 30.0), Some(3.0), "the value fell");
    }

    #[test]
    fn late_and_repeated_points_change_nothing() {
        let mut state = CounterState::default();
        state.rate(10_000, None, 100.0);
        assert_eq!(state.rate(10_000, None, 900.0), None);
        assert_eq!(state.rate(5_000, None, 50.0), None);
        assert_eq!(state.rate(20_000, None, 110.0), Some(1.0));
    }

    #[test]
    fn delta_uses_its_own_interval() {
        assert_eq!(delta_rate(10_000, Some(5_000), None, 50.0), Some(10.0));
        assert_eq!(delta_rate(10_000, None, Some(8_000), 50.0), Some(25.0));
        assert_eq!(delta_rate(10_000, Some(0), None, 50.0), None, "a start of zero means unknown");
    }
}
