//! The detect stage: points in, anomalies out.
//!
//! Points are gathered and every detector judges them at once, so that dynamic dispatch is paid per batch and not per
//! point. What comes out is in the order of the points, then of the detectors, whatever the batches were.

use detectors::series_gone::SeriesGone;
use detectors::{Point, Slot};
use model::{Anomaly, Labels, Matcher, SeriesId, SeriesState, ServiceCoverage, StateSection};

use crate::anomaly::anomaly;
use crate::coverage::Coverage;
use crate::idle::{IdleStates, Part};
use crate::missing::{FILL_BYTES, Fills};
use crate::newcomers::Newcomers;
use crate::series_table::{Series, SeriesTable};
use crate::settings::{AnalysisSettings, DetectorSettings, MissingPolicy};
use crate::silence::{PRESENCE_BYTES, Silences, Told, group_of};
use crate::state::{self, InvalidState};
use crate::watches::{InvalidDetector, Watch, points_left, rule, watches};

/// A point that was gathered, with its series.
#[derive(Clone, Copy, Debug)]
struct Gathered {
    slot: u32,
    time_ms: i64,
    value: f64,
}

pub struct Detect {
    series: SeriesTable,
    /// The matchers of each.
    calendars: Vec<Vec<Matcher>>,
    watches: Vec<Watch>,
    silences: Silences,
    coverage: Coverage,
    fills: Fills,
    newcomers: Newcomers,
    gathered: Vec<Gathered>,
    /// By slot: bytes that are set aside for the series.
    reserved: Vec<u32>,
    reserved_bytes: usize,
    memory_bytes: usize,
    over_limit: u64,
    idle: IdleStates,
    /// Their part of a snapshot, until the others are complete.
    idle_written: Option<StateSection>,
}

/// What a series takes beside its labels and the states of its detectors: its entries in tables, and those of the stages.
const SERIES_BYTES: usize = 256;

/// Names of sections of the state.
const SERIES: &str = "series";
const DETECTOR: &str = "detector/";

/// Points gathered before the detectors run at the latest.
const GATHERED_MAX: usize = 4096;

impl Detect {
    pub fn new(settings: &AnalysisSettings, detectors: &[DetectorSettings]) -> Result<Self, InvalidDetector> {
        let is_rule = |detector: &&DetectorSettings| detector.kind == SeriesGone::NAME;
        let detectors_of_points = detectors.iter().filter(|detector| !is_rule(detector));
        let watches = detectors_of_points.map(|detector| watches(detector, &settings.calendars));
        let watches = watches.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let rules = detectors.iter().filter(is_rule).map(rule).collect::<Result<_, _>>()?;
        let series = SeriesTable::with_limit(settings.series_max);
        let calendars = settings.calendars.iter().map(|calendar| calendar.matchers.clone()).collect();
        Ok(Self {
            series,
            calendars,
            watches,
            silences: Silences::new(rules),
            coverage: Coverage::default(),
            fills: Fills::new(&settings.on_missing),
            newcomers: Newcomers::default(),
            gathered: Vec::new(),
            reserved: Vec::new(),
            reserved_bytes: 0,
            memory_bytes: settings.series_memory.bytes(),
            over_limit: 0,
            idle: IdleStates::new(settings),
            idle_written: None,
        })
    }

    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Begins to write down the state between two flushes. Returns what is complete already.
    pub fn begin_state(&mut self) -> Vec<StateSection> {
        assert!(self.gathered.is_empty(), "flushed before a snapshot");
        let series = (self.series.state(), self.over_limit);
        for watch in &mut self.watches {
            watch.written = None;
            watch.bank.begin_snapshot();
        }
        self.idle.begin_snapshot();
        self.idle_written = None;
        let series = StateSection { name: SERIES.to_owned(), bytes: state::encode(&series) };
        let always = [series, self.silences.state(), self.coverage.state(), self.newcomers.state()];
        always.into_iter().chain(self.fills.state()).collect()
    }

    /// Writes on, the states of up to so many series of one detector, or of idle ones. Returns the other sections once all are complete.
    pub fn continue_state(&mut self, series: usize) -> Option<Vec<StateSection>> {
        if let Some(watch) = self.watches.iter_mut().find(|watch| watch.written.is_none()) {
            watch.written = watch.bank.continue_snapshot(series);
        } else if self.idle_written.is_none() {
            self.idle_written = self.idle.continue_snapshot(series);
        }
        if self.watches.iter().any(|watch| watch.written.is_none()) || self.idle_written.is_none() {
            return None;
        }
        let section = |watch: &mut Watch| StateSection {
            name: format!("{DETECTOR}{}", watch.key),
            bytes: watch.written.take().unwrap_or_default(),
        };
        Some(self.watches.iter_mut().map(section).chain(self.idle_written.take()).collect())
    }

    /// Takes up a state. A detector that is not in it begins anew, and so does one whose part of it cannot be read; these are
    /// returned.
    pub fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        let mut begun_anew = Vec::new();
        let ((series, free), over_limit) = state::section(sections, SERIES)?;
        let series = SeriesTable::restored(self.series.limit(), series, free);
        self.series = series.ok_or_else(|| InvalidState::new(SERIES, "slots contradict one another"))?;
        self.over_limit = over_limit;
        for watch in &mut self.watches {
            let name = format!("{DETECTOR}{}", watch.key);
            if let Some(section) = sections.iter().find(|section| section.name == name) {
                let restored = watch.bank.restore(&section.bytes);
                begun_anew.extend(restored.err().map(|error| InvalidState::new(&name, error)));
            }
        }
        self.idle.restore(sections)?;
        begun_anew.extend(self.silences.restore(sections).err());
        begun_anew.extend(self.coverage.restore(sections).err());
        begun_anew.extend(self.fills.restore(sections).err());
        let is_used = |slot| self.series.get(slot).is_some();
        begun_anew.extend(self.newcomers.restore(sections, is_used).err());
        (self.reserved, self.reserved_bytes) = (Vec::new(), 0);
        for slot in 0..self.series.slots() {
            self.admit(slot);
        }
        self.silences.restored();
        self.fills.restored();
        Ok(begun_anew)
    }

    /// Whether there is no room for another series.
    pub fn is_full(&self) -> bool {
        self.reserved_bytes >= self.memory_bytes || self.series.len() >= self.series.limit()
    }

    /// What is set aside for the series that are known, in bytes.
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes
    }

    /// Points of series beyond the limit.
    pub fn over_limit(&self) -> u64 {
        self.over_limit
    }

    /// Silences that were not told since too many were.
    pub fn silences_untold(&self) -> u64 {
        self.silences.untold()
    }

    /// Goes on with the coverage ledger as event time has come to `now_ms`.
    pub(crate) fn advance_coverage(&mut self, now_ms: i64, out: &mut Vec<ServiceCoverage>) {
        let Self { coverage, watches, series, .. } = self;
        coverage.advance(now_ms, series, |slot| points_left(watches, slot), out);
    }

    /// The coverage of all services as it is.
    pub(crate) fn coverage(&self, now_ms: i64) -> Vec<ServiceCoverage> {
        self.coverage.now(now_ms, &self.series, |slot| points_left(&self.watches, slot))
    }

    /// Series in each state, by the last sweep of the ledger.
    pub(crate) fn coverage_counts(&self) -> [u64; SeriesState::ALL.len()] {
        self.coverage.counts()
    }

    /// Takes note of a series that has no room.
    pub(crate) fn refuse(&mut self, id: SeriesId, labels: impl FnOnce() -> Labels) {
        self.coverage.refuse(id, labels);
    }

    /// Points that were filled in for missing ones.
    pub fn filled(&self) -> u64 {
        self.fills.filled()
    }

    /// Gathers points in the place of those that are missing at `watermark_ms`. To be called when nothing is gathered.
    pub fn fill_missing(&mut self, watermark_ms: i64) {
        let filled = self.fills.advance(watermark_ms).into_iter();
        self.gathered.extend(filled.map(|filled| Gathered {
            slot: filled.slot,
            time_ms: filled.time_ms,
            value: filled.value,
        }));
    }

    /// Tells which series are gone at the full minutes up to `watermark_ms`.
    pub fn tell_silences(&mut self, watermark_ms: i64, out: &mut Vec<Told>) {
        let series = &self.series;
        self.silences.advance(watermark_ms, |slot| series.get(slot).map(|series| &series.labels), out);
    }

    /// Whether points of others, if some are gathered, are to be [flushed](Self::flush) before a point of the series: what it begins with, and how that
    /// suits it, is what was learned until then.
    pub fn is_newcomer(&self, id: SeriesId) -> bool {
        let Some((slot, _)) = self.series.get_by_id(id) else { return true };
        self.newcomers.judged_by(slot).is_some()
    }

    pub fn has_gathered(&self) -> bool {
        !self.gathered.is_empty()
    }

    /// A new series begins with what others of its workload have learned, if that has shown to be right.
    fn inherit(&mut self, slot: u32, time_ms: i64) {
        let Some(group) = self.series.get(slot).and_then(|series| group_of(&series.labels)) else { return };
        let Some(from) = self.newcomers.admit(slot, group, time_ms) else { return };
        for watch in &mut self.watches {
            if watch.watched[slot as usize] && watch.watched[from as usize] {
                watch.bank.inherit(Slot(slot), Slot(from));
            }
        }
    }

    /// What the detectors of another series say of a point.
    fn try_out(&mut self, slot: u32, other: u32, point: Point) {
        let watches =
            self.watches.iter().filter(|watch| watch.watched[slot as usize] && watch.watched[other as usize]);
        let verdicts: Vec<bool> = watches
            .filter_map(|watch| watch.bank.judge(Slot(other), point))
            .map(|verdict| verdict.is_anomalous())
            .collect();
        if !verdicts.is_empty() {
            self.newcomers.judged(slot, point.time_ms, verdicts.contains(&true));
        }
    }

    /// Gathers one finite point; returns whether it is time to [`flush`](Self::flush). If it `is_presence` the series is missed
    /// when no other comes.
    pub fn gather(
        &mut self,
        id: SeriesId,
        labels: impl FnOnce() -> Labels,
        time_ms: i64,
        value: f64,
        is_presence: bool,
    ) -> bool {
        let known = self.series.len();
        let has_room = self.reserved_bytes < self.memory_bytes;
        let mut labels = Some(labels);
        let mut take_labels = || labels.take().map(|labels| labels()).unwrap_or_default();
        let Some((slot, before_ms)) = self.series.slot_for(id, time_ms, has_room, &mut take_labels) else {
            self.over_limit += 1;
            self.coverage.refuse(id, take_labels);
            return false;
        };
        if self.series.len() > known {
            self.admit(slot);
            self.coverage.begin(time_ms);
            if !self.take_back(id, slot) {
                self.inherit(slot, time_ms);
            }
        }
        if is_presence {
            self.silences.observe(slot, time_ms, before_ms);
        }
        self.fills.observe(slot, time_ms, value);
        if let Some(other) = self.newcomers.judged_by(slot) {
            self.try_out(slot, other, Point { time_ms, value });
        }
        self.gathered.push(Gathered { slot, time_ms, value });
        self.gathered.len() >= GATHERED_MAX
    }

    /// Decides once per series which detectors watch it.
    fn admit(&mut self, slot: u32) {
        let Some(series) = self.series.get(slot) else { return };
        let mut bytes = SERIES_BYTES + series.labels.size_bytes();
        let holds = |matchers: &[Matcher]| matchers.iter().all(|matcher| matcher.matches(&series.labels));
        let calendar = self.calendars.iter().position(|matchers| holds(matchers));
        for watch in &mut self.watches {
            if watch.watched.len() <= slot as usize {
                watch.watched.resize(slot as usize + 1, false);
            }
            watch.watched[slot as usize] =
                holds(&watch.matchers) && watch.calendar.is_none_or(|own| own == calendar);
            if watch.watched[slot as usize] {
                bytes += watch.bank.state_bytes_max();
            }
        }
        match self.fills.admit(slot, &series.labels) {
            MissingPolicy::Alert if self.silences.admit(slot, &series.labels) => bytes += PRESENCE_BYTES,
            MissingPolicy::Hold | MissingPolicy::Zero => bytes += FILL_BYTES,
            MissingPolicy::Alert | MissingPolicy::Skip => {}
        }
        if self.reserved.len() <= slot as usize {
            self.reserved.resize(slot as usize + 1, 0);
        }
        self.reserved[slot as usize] = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.reserved_bytes += self.reserved[slot as usize] as usize;
    }

    /// Judges what was gathered. `each` is called for every point in order, with its slot, series, time and value and the anomalies
    /// found in it.
    pub fn flush(&mut self, mut each: impl FnMut(u32, &Series, i64, f64, Vec<Anomaly>)) {
        for watch in &mut self.watches {
            watch.slots.clear();
            watch.points.clear();
            watch.rows.clear();
            watch.verdicts.clear();
            for (row, gathered) in self.gathered.iter().enumerate() {
                if watch.watched[gathered.slot as usize] {
                    watch.slots.push(Slot(gathered.slot));
                    watch.points.push(Point { time_ms: gathered.time_ms, value: gathered.value });
                    watch.rows.push(row);
                }
            }
            watch.bank.observe(&watch.slots, &watch.points, &mut watch.verdicts);
            assert_eq!(watch.verdicts.len(), watch.points.len(), "a verdict for each point");
        }
        let mut cursors = vec![0_usize; self.watches.len()];
        for (row, gathered) in self.gathered.iter().enumerate() {
            let Some(series) = self.series.get(gathered.slot) else { continue };
            let mut anomalies = Vec::new();
            for (watch, cursor) in self.watches.iter().zip(&mut cursors) {
                if watch.rows.get(*cursor) != Some(&row) {
                    continue;
                }
                let verdict = watch.verdicts[*cursor];
                *cursor += 1;
                if let Some(verdict) = verdict.filter(|verdict| verdict.anomaly_score > 0.5) {
                    let point = Point { time_ms: gathered.time_ms, value: gathered.value };
                    anomalies.push(anomaly(series.id, &series.labels, &watch.name, point, &verdict));
                }
            }
            each(gathered.slot, series, gathered.time_ms, gathered.value, anomalies);
        }
        self.gathered.clear();
    }

    /// Judges a point that takes the place of one of the last few, of a series that has its place, without learning from it: by each
    /// detector that watches the series and has enough to judge by. To be called when nothing is gathered.
    pub fn judge(&self, id: SeriesId, point: Point) -> Vec<Anomaly> {
        assert!(self.gathered.is_empty(), "flushed before");
        let Some((slot, series)) = self.series.get_by_id(id) else { return Vec::new() };
        let watches = self.watches.iter().filter(|watch| watch.watched[slot as usize]);
        let judged = watches.filter_map(|watch| {
            let verdict = watch.bank.judge(Slot(slot), point)?;
            let mut anomaly = anomaly(id, &series.labels, &watch.name, point, &verdict);
            anomaly.amended = true;
            if !verdict.is_anomalous() {
                anomaly.summary = format!("with data that came late, {}", anomaly.summary);
            }
            Some(anomaly)
        });
        judged.collect()
    }

    /// Forgets series without a point since `time_ms`.
    pub fn forget_idle_since(&mut self, time_ms: i64) {
        let idle: Vec<u32> = self.series.idle_since(time_ms).map(|(slot, _)| slot).collect();
        for slot in &idle {
            self.watches.iter_mut().for_each(|watch| watch.bank.forget(Slot(*slot)));
        }
        self.remove(&idle);
        self.idle.forget_idle_since(time_ms);
    }

    /// Whether the series has its place.
    pub fn has(&self, id: SeriesId) -> bool {
        self.series.contains(id)
    }

    /// Whether something is remembered of the series, be it on disk.
    pub fn knows(&self, id: SeriesId) -> bool {
        self.has(id) || self.idle.contains((Part::Detectors, id))
    }

    /// Sets series without a point since `time_ms` aside on disk, those that have been idle for the longest first, until there is
    /// some room again. Returns whether there is.
    pub fn set_aside_idle_since(&mut self, time_ms: i64) -> bool {
        assert!(self.gathered.is_empty(), "flushed before");
        let mut idle: Vec<(i64, u32)> =
            self.series.idle_since(time_ms).map(|(slot, series)| (series.last_ms, slot)).collect();
        idle.sort_unstable();
        let (bytes_aim, series_aim) = (roomy(self.memory_bytes), roomy(self.series.limit()));
        let (mut bytes, mut series) = (self.reserved_bytes, self.series.len());
        let mut slots = Vec::new();
        for (last_ms, slot) in idle {
            if bytes <= bytes_aim && series <= series_aim {
                break;
            }
            let Some(id) = self.series.get(slot).map(|series| series.id) else { continue };
            bytes -= self.reserved[slot as usize] as usize;
            series -= 1;
            let mut states = Vec::new();
            for watch in self.watches.iter_mut().filter(|watch| watch.watched[slot as usize]) {
                states.push((watch.key.as_str(), watch.bank.set_aside(Slot(slot))));
            }
            self.idle.put((Part::Detectors, id), last_ms, &state::encode(&states));
            slots.push(slot);
        }
        slots.sort_unstable();
        self.remove(&slots);
        bytes <= bytes_aim && series <= series_aim
    }

    fn remove(&mut self, slots: &[u32]) {
        for &slot in slots {
            let bytes = std::mem::take(&mut self.reserved[slot as usize]) as usize;
            self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
        }
        self.silences.forget(slots);
        self.coverage.forget(slots);
        self.fills.forget(slots);
        let series = &self.series;
        self.newcomers.forget(slots, |slot| series.get(slot).and_then(|series| group_of(&series.labels)));
        self.series.remove(slots);
    }

    /// Goes on with what was set aside of a series that has just got a slot, if there is something. What today's detectors cannot read
    /// begins anew.
    fn take_back(&mut self, id: SeriesId, slot: u32) -> bool {
        let Some(bytes) = self.idle.take((Part::Detectors, id)) else { return false };
        let Ok(states) = state::decode::<Vec<(String, Vec<u8>)>>(&bytes) else { return true };
        for (key, state) in states {
            let watch = self.watches.iter_mut().find(|watch| watch.key == key);
            if let Some(watch) = watch.filter(|watch| watch.watched[slot as usize]) {
                // An error leaves the state as it begins.
                let _ = watch.bank.take_back(Slot(slot), &state);
            }
        }
        true
    }

    /// What is remembered of idle series on disk.
    pub(crate) fn idle(&self) -> &IdleStates {
        &self.idle
    }

    pub(crate) fn idle_mut(&mut self) -> &mut IdleStates {
        &mut self.idle
    }
}

/// Where setting aside ends, so that it is not for every single series.
fn roomy(limit: usize) -> usize {
    limit - limit / 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SeriesCalendar;
    use crate::settings::Size;

    fn detectors(json: &str) -> Vec<DetectorSettings> {
        serde_json::from_str(json).unwrap()
    }

    /// Feeds two noisy series of which `b` spikes at point 150; returns (metric, detector, time) of each anomaly.
    fn run(settings: &str, flush_every: usize) -> Vec<(String, String, i64)> {
        let mut detect = Detect::new(&AnalysisSettings::default(), &detectors(settings)).unwrap();
        let mut found = Vec::new();
        for i in 0..200_usize {
            for metric in ["a", "b"] {
                let noise = [9.0, 10.5, 11.0, 9.5][i % 4];
                let value = if metric == "b" && i == 150 { 900.0 } else { noise };
                let labels = Labels::of("cart", metric);
                let full = detect.gather(labels.id(), || labels.clone(), i as i64 * 10_000, value, true);
                if full || i % flush_every == 0 {
                    detect.flush(|_, _, _, _, anomalies| {
                        found.extend(anomalies.into_iter().map(|a| (a.metric, a.detector, a.time_ms)));
                    });
                }
            }
        }
        detect.flush(|_, _, _, _, anomalies| {
            found.extend(anomalies.into_iter().map(|a| (a.metric, a.detector, a.time_ms)));
        });
        found
    }

    const BOTH: &str = r#"[{"kind": "ewma"}, {"kind": "ewma", "name": "only_a", "match": ["__name__=a"]}]"#;

    #[test]
    fn the_spike_is_found_by_those_who_watch_and_batches_do_not_matter() {
        let found = run(BOTH, 1);
        assert!(found.contains(&("b".to_owned(), "ewma".to_owned(), 1_500_000)), "{found:?}");
        assert!(found.iter().all(|(metric, detector, _)| metric == "b" && detector == "ewma"), "{found:?}");
        for flush_every in [2, 7, 1000] {
            assert_eq!(run(BOTH, flush_every), found);
        }
    }

    #[test]
    fn each_series_has_the_days_of_its_calendar() {
        const DAY_MS: i64 = 86_400_000;
        const STEP_MS: i64 = 300_000;
        // A job at noon of the local day, which is three hours sooner in UTC from the seventh day on.
        let offsets = vec![(0, 0), (6 * DAY_MS, 3 * 3_600_000)];
        let calendar = detectors::Calendar { offsets, holidays: Vec::new() };
        let matchers: Vec<Matcher> = serde_json::from_str(r#"["region=eu"]"#).unwrap();
        let calendars = vec![SeriesCalendar { name: "eu".to_owned(), matchers, calendar }];
        let settings = AnalysisSettings { calendars, ..AnalysisSettings::default() };
        let detectors = detectors(r#"[{"kind": "seasonal"}, {"kind": "ewma", "match": ["region=none"]}]"#);
        let mut detect = Detect::new(&settings, &detectors).unwrap();
        let (mut found, mut sections) = (Vec::new(), Vec::new());
        for i in 0..9 * DAY_MS / STEP_MS {
            let hours = if i * STEP_MS >= 6 * DAY_MS { 9 } else { 12 };
            let is_running = (hours * 12..hours * 12 + 6).contains(&(i % 288));
            for region in ["eu", "us"] {
                let labels = Labels::of("cart", "jobs").with("region", region);
                let value = [9.0, 10.5, 11.0, 9.5][i as usize % 4] + if is_running { 400.0 } else { 0.0 };
                detect.gather(labels.id(), || labels.clone(), i * STEP_MS, value, true);
            }
            detect.flush(|_, series, time_ms, _, anomalies| {
                if time_ms >= 4 * DAY_MS && !anomalies.is_empty() {
                    found.push((series.labels.get("region").unwrap_or_default().to_owned(), time_ms));
                }
            });
            if i == 5 * DAY_MS / STEP_MS {
                // States go on where they were, each with its calendar.
                sections = detect.begin_state();
                sections.extend(detect.continue_state(usize::MAX).unwrap_or_default());
                while sections.iter().filter(|section| section.name.starts_with(DETECTOR)).count() < 3 {
                    sections.extend(detect.continue_state(usize::MAX).unwrap_or_default());
                }
                detect = Detect::new(&settings, &detectors).unwrap();
                assert!(detect.restore(&sections).unwrap().is_empty());
            }
        }
        assert!(!found.is_empty() && found.iter().all(|(region, _)| region == "us"), "{found:?}");
        assert!(sections.iter().any(|section| section.name == "detector/seasonal@eu"));
    }

    #[test]
    fn series_beyond_the_memory_are_refused_until_others_are_forgotten() {
        let settings =
            AnalysisSettings { series_memory: Size::from_bytes(1 << 20), ..AnalysisSettings::default() };
        let new = || Detect::new(&settings, &detectors(r#"[{"kind": "ensemble"}]"#)).unwrap();
        let mut detect = new();
        let gather = |detect: &mut Detect, i: i64, time_ms| {
            let labels = Labels::of("cart", &format!("metric_{i}"));
            detect.gather(labels.id(), || labels.clone(), time_ms, 1.0, true);
        };
        (0..1000).for_each(|i| gather(&mut detect, i, i * 1_000));
        detect.flush(|_, _, _, _, _| {});
        let known = detect.series();
        assert!((50..500).contains(&known) && detect.is_full(), "{known}");
        assert_eq!(detect.over_limit(), 1000 - known as u64);
        assert!(detect.reserved_bytes() <= (1 << 20) + (16 << 10));
        let mut restored = new();
        let mut state = detect.begin_state();
        state.extend(std::iter::repeat_with(|| detect.continue_state(usize::MAX)).flatten().next().unwrap());
        restored.restore(&state).unwrap();
        assert_eq!(restored.reserved_bytes(), detect.reserved_bytes());
        detect.forget_idle_since(10_000);
        assert!(!detect.is_full());
        gather(&mut detect, 999, 999_000);
        assert_eq!(detect.series(), known - 10 + 1);
        detect.forget_idle_since(i64::MAX);
        assert_eq!(detect.reserved_bytes(), 0);
    }

    #[test]
    fn an_unknown_detector_is_refused() {
        let result = Detect::new(&AnalysisSettings::default(), &detectors(r#"[{"kind": "emwa"}]"#));
        assert!(result.err().is_some_and(|error| error.to_string().contains("ewma")));
    }
}
