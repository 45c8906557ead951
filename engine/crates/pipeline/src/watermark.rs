//! How far event time has come.

use std::collections::{BTreeMap, VecDeque};

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
#[derive(Clone, Copy, Debug)]
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

    pub fn current_ms(&self) -> Option<i64> {
        self.current_ms
    }

    /// As [`observe`](Self::observe), for a row of a record that was written at `written_ms`. A row from long after that has a wrong clock;
    /// others of that kind only want company.
    pub fn observe_written(&mut self, time_ms: i64, written_ms: Option<i64>) -> Option<i64> {
        if written_ms.is_some_and(|written_ms| time_ms > written_ms.saturating_add(JUMP_MS)) {
            return None;
        }
        self.observe(time_ms)
    }

    /// What is remembered, for [`restore`](Self::restore): the settings are not part of it.
    pub fn position(&self) -> (Option<i64>, u32) {
        (self.current_ms, self.rows_ahead)
    }

    pub fn restore(&mut self, (current_ms, rows_ahead): (Option<i64>, u32)) {
        (self.current_ms, self.rows_ahead) = (current_ms, rows_ahead);
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

/// The ends of the steps that the watermark has passed on its way: whether it came in one move or in many makes no difference
/// to who goes through them. At most those of the last `span_ms`.
pub fn steps(
    before_ms: Option<i64>,
    watermark_ms: i64,
    step_ms: i64,
    span_ms: i64,
) -> impl Iterator<Item = i64> {
    let is_news = before_ms.is_none_or(|before_ms| watermark_ms > before_ms);
    let oldest_ms = watermark_ms.saturating_sub(span_ms);
    let before_ms = before_ms.map_or(oldest_ms, |before_ms| before_ms.max(oldest_ms));
    let first = before_ms.div_euclid(step_ms).saturating_add(1);
    let last = watermark_ms.div_euclid(step_ms);
    let inner = (first..=last).map(move |step| step * step_ms).filter(move |ms| *ms < watermark_ms);
    inner.chain(is_news.then_some(watermark_ms))
}

/// A source that has told nothing for so long, by the times at which records were written, is not waited for: it may be gone for
/// good. One that is there tells more often, be it that it is idle.
pub const GONE_MS: i64 = 120_000;
/// When no record at all was written for longer than this, everybody was away, and the silence is nobody's.
const QUIET_MS: i64 = 60_000;
/// Event time this far behind the time of writing is that of somebody who has much to catch up with.
const OLD_MS: i64 = 120_000;
/// How long after something was written all know of it: somebody who says later than that that he is idle has read what was
/// there before.
const KNOWN_MS: i64 = 5_000;
const ASKED_EVERY_MS: i64 = 1_000;
/// Those that say that they are idle do so more often than this many seconds.
const ASKED_MAX: usize = 60;

/// How far event time has come in all sources of a partition: as far as in the one that is least far.
///
/// Not waited for are sources that are idle or gone, and those that come (again) with a time that has passed already. Once all are
/// idle, the furthest counts: nobody has anything left from before. What is told far beyond the time at which it was written is
/// a wrong clock's and not believed.
///
/// When much old comes at once, who was idle before may only not have seen yet what another reads already. So old times pass an idle
/// source only when it says again that it is idle.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceWatermarks {
    sources: BTreeMap<String, Source>,
    /// When the newest record was written.
    written_ms: Option<i64>,
    current_ms: Option<i64>,
    /// Old times that all idle sources are waited for to let pass, and when they were told; a second apart at least.
    asked: VecDeque<(i64, i64)>,
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

    /// Whether all sources are idle and none has ever told a time, so that there is nothing from them to wait for.
    pub fn is_blank(&self) -> bool {
        !self.sources.is_empty() && self.sources.values().all(|source| source.told == Told::Idle(None))
    }

    /// Takes note of what a source tells in a record that was written at `written_ms`; returns the watermark of all if it moved.
    pub fn observe(&mut self, watermark: &SourceWatermark, written_ms: Option<i64>) -> Option<i64> {
        if let (Some(written_ms), Some(ms)) = (written_ms, watermark.watermark_ms)
            && ms > written_ms.saturating_add(JUMP_MS)
        {
            return None;
        }
        if self.written_ms.is_none() {
            self.sources.values_mut().for_each(|source| source.written_ms = written_ms);
        }
        if let (Some(newest_ms), Some(written_ms)) = (self.written_ms, written_ms)
            && written_ms.saturating_sub(newest_ms) > QUIET_MS
        {
            let away_ms = written_ms.saturating_sub(newest_ms);
            let known = self.sources.values_mut().filter_map(|source| source.written_ms.as_mut());
            known.for_each(|known_ms| *known_ms = known_ms.saturating_add(away_ms));
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
        let reached_ms = self.reached_ms();
        let reached_ms = self.granted_ms(reached_ms?)?;
        self.current_ms = Some(reached_ms);
        Some(reached_ms)
    }

    /// The sources that are not gone.
    fn present(&self) -> impl Iterator<Item = &Source> {
        let since_ms = self.written_ms.map(|newest_ms| newest_ms.saturating_sub(GONE_MS));
        self.sources
            .values()
            .filter(move |source| source.written_ms.is_none() || source.written_ms >= since_ms)
    }

    /// How far event time has come by what was told, if it has gone on.
    fn reached_ms(&self) -> Option<i64> {
        let (mut waited_ms, mut idle_ms, mut all_idle) = (None::<i64>, None::<i64>, true);
        for source in self.present() {
            all_idle &= matches!(source.told, Told::Idle(_));
            match source.told {
                Told::Nothing => return None,
                Told::Watermark(ms) if self.current_ms.is_none_or(|current_ms| ms >= current_ms) => {
                    waited_ms = Some(waited_ms.map_or(ms, |waited_ms| waited_ms.min(ms)));
                }
                Told::Watermark(_) => {}
                Told::Idle(ms) => idle_ms = idle_ms.max(ms),
            }
        }
        let reached_ms = if all_idle { idle_ms } else { waited_ms };
        reached_ms.filter(|&ms| self.current_ms.is_none_or(|current_ms| ms > current_ms))
    }

    /// As much of that as idle sources let pass.
    fn granted_ms(&mut self, reached_ms: i64) -> Option<i64> {
        let now_ms = self.written_ms.filter(|now_ms| now_ms.saturating_sub(reached_ms) > OLD_MS);
        let idle = self.present().filter(|source| matches!(source.told, Told::Idle(_)));
        let (Some(now_ms), Some(idle_since_ms)) = (now_ms, idle.filter_map(|source| source.written_ms).min())
        else {
            self.asked.clear();
            return Some(reached_ms);
        };
        let mut granted_ms = None;
        while let Some(&(ms, told_ms)) = self.asked.front()
            && idle_since_ms.saturating_sub(told_ms) >= KNOWN_MS
        {
            granted_ms = Some(ms.min(reached_ms));
            self.asked.pop_front();
        }
        let is_new = match self.asked.back() {
            Some(&(ms, told_ms)) => reached_ms > ms && now_ms.saturating_sub(told_ms) >= ASKED_EVERY_MS,
            None => granted_ms != Some(reached_ms),
        };
        if is_new && self.asked.len() < ASKED_MAX {
            self.asked.push_back((reached_ms, now_ms));
        }
        granted_ms.filter(|&ms| self.current_ms.is_none_or(|current_ms| ms > current_ms))
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
    fn the_furthest_does_not_count_while_somebody_is_behind() {
        let mut all = SourceWatermarks::default();
        assert_eq!(observe(&mut all, "a", Some(100)), Some(100));
        assert_eq!(observe(&mut all, "b", Some(500)), None);
        assert_eq!(observe(&mut all, "b", None), None);
        assert_eq!(observe(&mut all, "a", Some(90)), None, "a begins anew and has rows of 100 still");
        assert_eq!(observe(&mut all, "a", Some(110)), Some(110));
    }

    #[test]
    fn a_time_when_nobody_was_there_makes_nobody_gone() {
        let mut all = SourceWatermarks::default();
        let mut at = |source: &str, watermark_ms: i64, written_ms| {
            let watermark = SourceWatermark { source: source.to_owned(), watermark_ms: Some(watermark_ms) };
            all.observe(&watermark, Some(written_ms))
        };
        at("a", 10, 1_000);
        at("b", 10, 2_000);
        let outage_ms = 3 * 3_600_000;
        assert_eq!(at("a", 500_000, outage_ms), None, "b has been away as well");
        assert_eq!(at("b", 400_000, outage_ms + 30_000), Some(400_000));
    }

    #[test]
    fn what_is_old_passes_idle_sources_once_they_have_read_what_was_there() {
        let mut all = SourceWatermarks::expecting(&["a", "b"].map(str::to_owned));
        let mut at = |source: &str, watermark_ms, written_ms| {
            let watermark = SourceWatermark { source: source.to_owned(), watermark_ms };
            all.observe(&watermark, Some(written_ms))
        };
        let now_ms = 1_000_000_000;
        assert_eq!(at("b", None, now_ms), None);
        assert_eq!(at("a", Some(10), now_ms + 1_000), None, "b may have got an hour of it too");
        assert_eq!(at("a", Some(30), now_ms + 2_000), None);
        assert_eq!(at("b", None, now_ms + 2_000), None, "b may not have known it yet");
        assert_eq!(at("b", None, now_ms + 1_000 + KNOWN_MS), Some(10), "it has nothing from then");
        assert_eq!(at("a", Some(40), now_ms + 7_000), None);
        assert_eq!(at("b", Some(20), now_ms + 8_000), Some(20), "it had");
        assert_eq!(at("b", Some(50), now_ms + 9_000), Some(40));
        assert_eq!(at("a", None, now_ms + 9_000), None);
        assert_eq!(at("b", Some(60), now_ms + 10_000), None);
        assert_eq!(at("b", Some(70), now_ms + 10_001), None);
        assert_eq!(at("b", None, now_ms + 20_000), None, "a said it before");
        assert_eq!(at("a", None, now_ms + 21_000), Some(60));
        assert_eq!(at("b", None, now_ms + 30_000), None);
        assert_eq!(at("a", None, now_ms + 31_000), Some(70));
        let live_ms = now_ms + 30_000;
        assert_eq!(at("b", Some(live_ms), live_ms), Some(live_ms), "what is new is not held up");
    }

    #[test]
    fn who_has_never_told_a_time_is_blank_once_idle() {
        let mut all = SourceWatermarks::expecting(&["a", "b"].map(str::to_owned));
        assert!(!all.is_blank() && !SourceWatermarks::default().is_blank());
        observe(&mut all, "a", None);
        assert!(!all.is_blank(), "b may have rows");
        observe(&mut all, "b", None);
        assert!(all.is_blank());
        observe(&mut all, "b", Some(10));
        observe(&mut all, "b", None);
        assert!(!all.is_blank(), "there is a time");
    }

    #[test]
    fn a_clock_far_ahead_is_not_believed() {
        let mut all = SourceWatermarks::default();
        let mut at = |watermark_ms, written_ms| {
            let watermark = SourceWatermark { source: "a".to_owned(), watermark_ms: Some(watermark_ms) };
            all.observe(&watermark, Some(written_ms))
        };
        assert_eq!(at(10_000_000_000, 1_000_000), None);
        assert_eq!(at(1_000_000, 1_001_000), Some(1_000_000));
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
        for written_ms in [0, GONE_MS / 2 - 1] {
            assert_eq!(at("a", 10, written_ms), None);
        }
        assert_eq!(at("a", 90_000, GONE_MS - 1), None, "it is far ahead, and that is no reason");
        assert_eq!(at("a", 91_000, GONE_MS + 1), Some(91_000));
        assert_eq!(at("b", 92_000, GONE_MS + 2), None);
        for written_ms in [3 * GONE_MS / 2, 2 * GONE_MS] {
            at("a", 93_000, written_ms);
        }
        assert_eq!(at("a", 99_000, 2 * GONE_MS + 2), None);
        assert_eq!(at("a", 99_000, 2 * GONE_MS + 3), Some(99_000), "b has told nothing since");
    }

    #[test]
    fn every_step_on_the_way_is_passed() {
        let all = |before_ms, watermark_ms| steps(before_ms, watermark_ms, 10, 40).collect::<Vec<_>>();
        assert_eq!(all(Some(100), 110), [110]);
        assert_eq!(all(Some(100), 130), [110, 120, 130]);
        assert_eq!(all(Some(95), 115), [100, 110, 115]);
        assert_eq!(all(Some(0), 1000), [970, 980, 990, 1000]);
        assert_eq!(all(None, 30), [0, 10, 20, 30]);
        assert_eq!(all(None, i64::MIN), [i64::MIN]);
        assert_eq!(all(Some(30), 30), [0; 0]);
        assert_eq!(all(Some(i64::MIN), i64::MAX).len(), 5);
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
