//! How far event time has come.

/// The watermark moves in steps of event time, found row by row, so that where a batch ends has no influence on it.
///
/// It is the newest time seen, less the allowed lateness, rounded down to a step.
#[derive(Clone, Copy, Debug)]
pub struct Watermark {
    step_ms: i64,
    allowed_lateness_ms: i64,
    current_ms: Option<i64>,
}

impl Watermark {
    pub fn new(step_ms: i64, allowed_lateness_ms: i64) -> Self {
        assert!(step_ms > 0, "a step has a length");
        Self { step_ms, allowed_lateness_ms, current_ms: None }
    }

    pub fn current_ms(&self) -> Option<i64> {
        self.current_ms
    }

    /// Takes the time of a row; returns the new watermark if it moved.
    pub fn observe(&mut self, time_ms: i64) -> Option<i64> {
        let reached = time_ms.saturating_sub(self.allowed_lateness_ms);
        let reached = reached - reached.rem_euclid(self.step_ms);
        if self.current_ms.is_some_and(|current| reached <= current) {
            return None;
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
}
