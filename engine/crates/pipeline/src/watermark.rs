//! How far event time has come.

use serde::{Deserialize, Serialize};

/// A row that is further ahead of the watermark than this moves it only with company: one wrong clock must not close the
/// steps of everybody else.
pub const JUMP_MS: i64 = 600_000;
/// Rows in a row, all of them far ahead, that make the watermark follow: nothing else comes, so time has really gone on.
pub const JUMP_ROWS: u32 = 100;

/// The watermark moves in steps of event time, found row by row, so that where a batch ends has no influence on it.
///
/// It is the newest time seen, less the allowed lateness, rounded down to a step; rows far ahead are left out of this until
/// there are [`JUMP_ROWS`] of them in a row.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Watermark {
    step_ms: i64,
    allowed_lateness_ms: i64,
    current_ms: Option<i64>,
    rows_ahead: u32,
}

impl Watermark {
    pub fn new(step_ms: i64, allowed_lateness_ms: i64) -> Self {
        assert!(step_ms > 0, "a step has a length");
        Self { step_ms, allowed_lateness_ms, current_ms: None, rows_ahead: 0 }
    }

    /// Goes on from where another came to, under the settings of this one.
    pub fn restore(&mut self, state: &Self) {
        self.current_ms = state.current_ms.map(|current| current - current.rem_euclid(self.step_ms));
        self.rows_ahead = state.rows_ahead;
    }

    pub fn current_ms(&self) -> Option<i64> {
        self.current_ms
    }

    /// Takes the time of a row; returns the new watermark if it moved.
    pub fn observe(&mut self, time_ms: i64) -> Option<i64> {
        let reached = time_ms.saturating_sub(self.allowed_lateness_ms);
        let reached = reached.saturating_sub(reached.rem_euclid(self.step_ms));
        if let Some(current) = self.current_ms {
            if reached > current.saturating_add(JUMP_MS) {
                self.rows_ahead += 1;
                if self.rows_ahead < JUMP_ROWS {
                    return None;
                }
            }
            self.rows_ahead = 0;
            if reached <= current {
                return None;
            }
        }
        self.current_ms = Some(reached);
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_in_steps_and_never_back() {
        let mut watermark = Watermark::new(10_000, 5_000);
        assert_eq!(watermark.observe(24_000), Some(10_000));
        assert_eq!(watermark.observe(24_999), None);
        assert_eq!(watermark.observe(3_000), None);
        assert_eq!(watermark.observe(25_000), Some(20_000));
        assert_eq!(watermark.observe(99_000), Some(90_000));
    }

    #[test]
    fn a_wrong_clock_among_others_moves_nothing_and_a_real_gap_is_crossed() {
        let mut watermark = Watermark::new(10_000, 0);
        watermark.observe(0);
        for i in 0..1_000 {
            assert_eq!(watermark.observe(i64::MAX - 1), None);
            assert!(watermark.observe(i * 10_000).is_none_or(|moved| moved == i * 10_000));
        }
        assert_eq!(watermark.current_ms(), Some(9_990_000));
        let after_gap: Vec<Option<i64>> = (0..100).map(|_| watermark.observe(90_000_000)).collect();
        assert!(after_gap[..99].iter().all(Option::is_none));
        assert_eq!(after_gap[99], Some(90_000_000));
    }
}
