//! How far event time has come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::SourceWatermark;

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

/// A source that has told nothing for so long, by the times at which records were written, is not waited for: it may be gone for
/// good. One that is there tells more often, be it that it is idle.
pub const GONE_MS: i64 = 120_000;

/// How far event time has come in all sources of a partition: as far as in the one that is least far.
///
/// Not waited for are sources that are idle or gone, and those that come (again) with a time that has passed already. Once all are
/// idle, the furthest counts: nobody has anything left from before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceWatermarks {
    sources: BTreeMap<String, Source>,
    /// When the newest record was written.
    written_ms: Option<i64>,
    current_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Source {
    told: Told,
    /// When that was written; of a source that has told nothing, when others began to.
    written_ms: Option<i64>,
}

/// What a source has told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    /// Nothing: it may have rows of any time.
    Nothing,
    Watermark(i64),
    /// That it is idle; before that, this.
    Idle(Option<i64>),
}

impl SourceWatermarks {
    /// Waits for all of these until they have told something. Others are waited for from then on.
    pub fn expecting(sources: &[String]) -> Self {
        let source = Source { told: Told::Nothing, written_ms: None };
        Self { sources: sources.iter().map(|name| (name.clone(), source)).collect(), ..Self::default() }
    }

    /// Goes on from a state, still expecting what this one does.
    pub fn restore(&mut self, mut state: Self) {
        let written_ms = state.written_ms;
        for name in std::mem::take(&mut self.sources).into_keys() {
            state.sources.entry(name).or_insert(Source { told: Told::Nothing, written_ms });
        }
        *self = state;
    }

    pub fn current_ms(&self) -> Option<i64> {
        self.current_ms
    }

    /// Takes note of what a source tells in a record that was written at `written_ms`; returns the watermark of all if it moved.
    pub fn observe(&mut self, watermark: &SourceWatermark, written_ms: Option<i64>) -> Option<i64> {
        if self.written_ms.is_none() {
            self.sources.values_mut().for_each(|source| source.written_ms = written_ms);
        }
        self.written_ms = self.written_ms.max(written_ms);
        let before = self.sources.get(&watermark.source).map_or(Told::Nothing, |source| source.told);
        let told = match (watermark.watermark_ms, before) {
            (Some(ms), _) => Told::Watermark(ms),
            (None, Told::Watermark(ms) | Told::Idle(Some(ms))) => Told::Idle(Some(ms)),
            (None, Told::Nothing | Told::Idle(None)) => Told::Idle(None),
        };
        let source = Source { told, written_ms };
        match self.sources.get_mut(&watermark.source) {
            Some(known) => *known = source,
            None => drop(self.sources.insert(watermark.source.clone(), source)),
        }
        let since_ms = self.written_ms.map(|newest_ms| newest_ms.saturating_sub(GONE_MS));
        let is_there = |source: &&Source| source.written_ms.is_none() || source.written_ms >= since_ms;
        let (mut waited_ms, mut idle_ms) = (None::<i64>, None::<i64>);
        for source in self.sources.values().filter(is_there) {
            match source.told {
                Told::Nothing => return None,
                Told::Watermark(ms) if self.current_ms.is_none_or(|current_ms| ms >= current_ms) => {
                    waited_ms = Some(waited_ms.map_or(ms, |waited_ms| waited_ms.min(ms)));
                }
                Told::Watermark(_) => {}
                Told::Idle(ms) => idle_ms = idle_ms.max(ms),
            }
        }
        let reached_ms = waited_ms.or(idle_ms);
        if reached_ms <= self.current_ms {
            return None;
        }
        self.current_ms = reached_ms;
        reached_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(watermarks: &mut SourceWatermarks, source: &str, watermark_ms: Option<i64>) -> Option<i64> {
        watermarks.observe(&SourceWatermark { source: source.to_owned(), watermark_ms }, None)
    }

    #[test]
    fn the_slowest_source_counts_until_it_is_idle() {
        let mut all = SourceWatermarks::default();
        assert_eq!(observe(&mut all, "a", Some(10)), Some(10));
        assert_eq!(observe(&mut all, "b", Some(10)), None);
        assert_eq!(observe(&mut all, "a", Some(30)), None, "b may have rows of 20");
        assert_eq!(observe(&mut all, "b", Some(20)), Some(20));
        assert_eq!(observe(&mut all, "b", None), Some(30));
        assert_eq!(observe(&mut all, "b", Some(25)), None, "what has passed has passed");
        assert_eq!(observe(&mut all, "a", Some(50)), Some(50), "and is not waited for");
        assert_eq!(observe(&mut all, "b", Some(60)), None);
        assert_eq!(observe(&mut all, "a", Some(70)), Some(60));
        assert_eq!(observe(&mut all, "a", None), None);
        assert_eq!(observe(&mut all, "b", None), Some(70), "when all are idle, all of it has passed");
        assert_eq!(observe(&mut all, "b", None), None);
    }

    #[test]
    fn a_source_that_has_not_told_anything_is_waited_for() {
        let expected = ["a", "b", "c"].map(str::to_owned);
        let mut all = SourceWatermarks::expecting(&expected);
        assert_eq!(observe(&mut all, "a", Some(10)), None);
        assert_eq!(observe(&mut all, "b", None), None);
        let mut restored = SourceWatermarks::expecting(&expected);
        restored.restore(all);
        assert_eq!(observe(&mut restored, "c", Some(5)), Some(5));
    }

    #[test]
    fn a_source_that_is_gone_is_not_waited_for_for_ever() {
        let mut all = SourceWatermarks::expecting(&["a", "never"].map(str::to_owned));
        let mut at = |source: &str, watermark_ms, written_ms| {
            let watermark = SourceWatermark { source: source.to_owned(), watermark_ms: Some(watermark_ms) };
            all.observe(&watermark, Some(written_ms))
        };
        assert_eq!(at("a", 10, 0), None);
        assert_eq!(at("a", 900_000, GONE_MS), None, "it is far ahead, and that is no reason");
        assert_eq!(at("a", 910_000, GONE_MS + 1), Some(910_000));
        assert_eq!(at("b", 920_000, GONE_MS + 2), None);
        assert_eq!(at("a", 990_000, 2 * GONE_MS + 2), Some(920_000));
        assert_eq!(at("a", 990_000, 2 * GONE_MS + 3), Some(990_000), "b has told nothing since");
    }

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
