//! The coverage ledger: which series of each service are modelled, which learn, and which nobody would miss.
//!
//! A *sweep* goes through all series by event time, a slice of them with each step, so that no step waits for it. What it finds is told
//! by service at its end, of those services of which something has changed; that a series needs some points less is no change. The first
//! sweeps are early, so that who has just begun sees something; from then on one takes an hour.
//!
//! Series that are set aside on disk, or whose steps have too few events for a value, are in no state: they are not seen here.
//!
//! Everything is bounded: refused series that are told apart, services, and the series that are named.

use std::collections::BTreeMap;

use model::coverage::LISTED_MAX;
use model::{Labels, ListedSeries, SeriesId, SeriesSignal, SeriesState, ServiceCoverage, StateSection};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::anomaly::metric_of;
use crate::series_table::SeriesTable;
use crate::state::{self, InvalidState};

const SECTION: &str = "coverage";

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A series that learns for longer is too sparse.
const LEARNING_MAX_MS: i64 = 7 * DAY_MS;
/// So long a series that learns may have no point.
const NO_POINT_MAX_MS: i64 = 50 * MINUTE_MS;

/// When the first sweeps begin, after the first series. They take a minute at least.
const EARLY_MS: [i64; 2] = [3 * MINUTE_MS, 10 * MINUTE_MS];
/// Slots that are looked at in a step at the most, however far event time has gone.
const SLICE_MAX: u64 = 8_192;
/// Refused series that are told apart from one sweep to the next.
pub(crate) const REFUSED_MAX: usize = 10_000;
/// Services that are told of; those that were before come first.
pub(crate) const SERVICES_MAX: usize = 10_000;
/// Series that a sweep names, of all services together.
const NAMED_MAX: usize = 20_000;
/// Bytes of a series' name and labels; what is longer is cut.
const METRIC_BYTES_MAX: usize = 256;
/// Services that are told of in a step.
const TOLD_MAX: usize = 200;

/// What a sweep has found so far.
#[derive(Debug, Serialize, Deserialize)]
struct Sweep {
    start_ms: i64,
    period_ms: i64,
    /// Those before were looked at.
    slot: u32,
    services: BTreeMap<String, ServiceCoverage>,
    counts: [u64; SeriesState::ALL.len()],
    named: usize,
}

/// A series that learns, as it was seen first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Learning {
    since_ms: i64,
    points_left: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Refused {
    service: String,
    signal: SeriesSignal,
    metric: String,
}

#[derive(Debug, Default)]
pub(crate) struct Coverage {
    began_ms: Option<i64>,
    /// Those that are complete, or whose time passed at once with that of the next.
    sweeps: u64,
    /// When the last one was complete.
    ended_ms: Option<i64>,
    sweep: Option<Sweep>,
    /// By slot.
    learning: BTreeMap<u32, Learning>,
    /// Since the last sweep ended.
    refused: BTreeMap<SeriesId, Refused>,
    refused_more: bool,
    /// A hash of what was told last of each service that had series then.
    told: BTreeMap<String, u64>,
    /// What is still to be told.
    untold: BTreeMap<String, ServiceCoverage>,
    /// Series in each state, by the last sweep.
    counts: [u64; SeriesState::ALL.len()],
}

impl Coverage {
    pub fn state(&self) -> StateSection {
        let sweeps = (self.began_ms, self.sweeps, self.ended_ms, &self.sweep);
        let state =
            (sweeps, &self.learning, &self.refused, self.refused_more, &self.told, &self.untold, self.counts);
        StateSection { name: SECTION.to_owned(), bytes: state::encode(&state) }
    }

    /// Takes up a state. One from before there was a ledger has none.
    pub fn restore(&mut self, sections: &[StateSection]) -> Result<(), InvalidState> {
        if !sections.iter().any(|section| section.name == SECTION) {
            return Ok(());
        }
        let (sweeps, learning, refused, refused_more, told, untold, counts) =
            state::section(sections, SECTION)?;
        let (began_ms, sweeps, ended_ms, sweep) = sweeps;
        *self =
            Self { began_ms, sweeps, ended_ms, sweep, learning, refused, refused_more, told, untold, counts };
        Ok(())
    }

    /// Series in each state, in the order of [`SeriesState::ALL`], by the last sweep.
    pub fn counts(&self) -> [u64; SeriesState::ALL.len()] {
        self.counts
    }

    /// There is no room for a series.
    pub fn refuse(&mut self, id: SeriesId, labels: impl FnOnce() -> Labels) {
        if self.refused.contains_key(&id) {
            return;
        }
        if self.refused.len() >= REFUSED_MAX {
            self.refused_more = true;
            return;
        }
        let labels = labels();
        let service = labels.service().to_owned();
        let (signal, metric) = (SeriesSignal::of_name(labels.name()), short_metric(&labels));
        self.refused.insert(id, Refused { service, signal, metric });
    }

    /// The series of these slots are gone; others may come to them.
    pub fn forget(&mut self, slots: &[u32]) {
        for slot in slots {
            self.learning.remove(slot);
        }
    }

    /// Event time has come to `now_ms`: looks at the next slice of the series. `points_left` is for a slot how many points it takes until
    /// a detector judges its series, none if no detector watches it.
    pub fn advance(
        &mut self,
        now_ms: i64,
        series: &SeriesTable,
        points_left: impl Fn(u32) -> Option<u32>,
        out: &mut Vec<ServiceCoverage>,
    ) {
        self.begin(now_ms);
        if self.sweep.is_none() {
            self.sweep = self.next(now_ms);
        }
        if let Some(mut sweep) = self.sweep.take() {
            let slots = series.slots();
            let elapsed_ms = now_ms.saturating_sub(sweep.start_ms).clamp(0, sweep.period_ms) as u64;
            let due = u64::from(slots) * elapsed_ms / sweep.period_ms as u64;
            let end = due.min(u64::from(sweep.slot) + SLICE_MAX) as u32;
            for slot in sweep.slot..end {
                self.look_at(&mut sweep, now_ms, slot, series, &points_left);
            }
            sweep.slot = sweep.slot.max(end);
            if sweep.slot >= slots && elapsed_ms == sweep.period_ms as u64 {
                self.end(sweep, now_ms, series);
            } else {
                self.sweep = Some(sweep);
            }
        }
        let told = std::iter::from_fn(|| self.untold.pop_first()).take(TOLD_MAX);
        out.extend(told.map(|(_, coverage)| coverage));
    }

    /// A series that is new has a point of that time.
    pub fn begin(&mut self, time_ms: i64) {
        self.began_ms = Some(self.began_ms.map_or(time_ms, |began_ms| began_ms.min(time_ms)));
    }

    /// The sweep whose time has come.
    fn next(&mut self, now_ms: i64) -> Option<Sweep> {
        let due_ms = |sweeps: u64| {
            let early_ms = usize::try_from(sweeps).ok().and_then(|sweeps| EARLY_MS.get(sweeps))?;
            Some(self.began_ms?.saturating_add(*early_ms))
        };
        let Some(mut start_ms) = due_ms(self.sweeps) else {
            return Some(Sweep::new(self.ended_ms.unwrap_or(now_ms), HOUR_MS));
        };
        let mut sweeps = self.sweeps;
        while let Some(next_ms) = due_ms(sweeps + 1).filter(|next_ms| now_ms >= *next_ms) {
            (start_ms, sweeps) = (next_ms, sweeps + 1);
        }
        self.sweeps = sweeps;
        (now_ms >= start_ms).then(|| Sweep::new(start_ms, MINUTE_MS))
    }

    /// All services as they are, at once.
    pub fn now(
        &self,
        now_ms: i64,
        series: &SeriesTable,
        points_left: impl Fn(u32) -> Option<u32>,
    ) -> Vec<ServiceCoverage> {
        let mut sweep = Sweep::new(now_ms, HOUR_MS);
        for slot in 0..series.slots() {
            let state = points_left(slot).map(|left| (left, self.learning.get(&slot).copied()));
            let state = state.map_or(Seen::UNWATCHED, |(left, before)| Seen::of(left, before, now_ms));
            sweep.count_slot(slot, series, state, &self.told);
        }
        sweep.count_refused(&self.refused, series, &self.told);
        let services = sweep.services.into_values();
        services.map(|service| ServiceCoverage { time_ms: now_ms, ..service }).collect()
    }

    fn look_at(
        &mut self,
        sweep: &mut Sweep,
        now_ms: i64,
        slot: u32,
        series: &SeriesTable,
        points_left: &impl Fn(u32) -> Option<u32>,
    ) {
        let seen = match points_left(slot) {
            None => Seen::UNWATCHED,
            Some(0) => {
                self.learning.remove(&slot);
                Seen::MODELLED
            }
            Some(_) if series.get(slot).is_none() => return,
            Some(points_left) => {
                let now = Learning { since_ms: now_ms, points_left };
                let before = self.learning.entry(slot).or_insert(now);
                if before.points_left < points_left {
                    // A detector has begun anew.
                    *before = now;
                }
                Seen::of(points_left, Some(*before), now_ms)
            }
        };
        sweep.count_slot(slot, series, seen, &self.told);
    }

    /// A sweep is complete: what has changed is to be told.
    fn end(&mut self, mut sweep: Sweep, now_ms: i64, series: &SeriesTable) {
        sweep.count_refused(&self.refused, series, &self.told);
        self.refused.clear();
        let refused_more = std::mem::take(&mut self.refused_more);
        let mut told = BTreeMap::new();
        for (name, coverage) in sweep.services {
            let refused_more = refused_more && coverage.refused.series > 0;
            let coverage = ServiceCoverage { time_ms: now_ms, refused_more, ..coverage };
            let hash = hash(&coverage);
            if self.told.remove(&name) != Some(hash) {
                self.untold.insert(name.clone(), coverage);
            }
            told.insert(name, hash);
        }
        for service in std::mem::replace(&mut self.told, told).into_keys() {
            let gone =
                ServiceCoverage { service: service.clone(), time_ms: now_ms, ..ServiceCoverage::default() };
            self.untold.insert(service, gone);
        }
        self.counts = sweep.counts;
        self.sweeps = self.sweeps.saturating_add(1);
        self.ended_ms = Some(now_ms);
    }
}

/// A series as a sweep saw it.
#[derive(Clone, Copy)]
struct Seen {
    state: SeriesState,
    points_left: Option<u32>,
    ready_ms: Option<i64>,
}

impl Seen {
    const MODELLED: Self = Self { state: SeriesState::Modelled, points_left: None, ready_ms: None };
    const UNWATCHED: Self = Self { state: SeriesState::Unwatched, ..Self::MODELLED };
    const REFUSED: Self = Self { state: SeriesState::Refused, ..Self::MODELLED };

    /// Of a series that still needs some points and was seen before: at its rate since then.
    fn of(points_left: u32, before: Option<Learning>, now_ms: i64) -> Self {
        if points_left == 0 {
            return Self::MODELLED;
        }
        let before = before.unwrap_or(Learning { since_ms: now_ms, points_left });
        let elapsed_ms = now_ms.saturating_sub(before.since_ms).max(0);
        let points = before.points_left.saturating_sub(points_left);
        let needed_ms = (points > 0).then(|| {
            let needed_ms = i128::from(elapsed_ms) * i128::from(points_left) / i128::from(points);
            i64::try_from(needed_ms).unwrap_or(i64::MAX)
        });
        let is_sparse = match needed_ms {
            Some(needed_ms) => needed_ms > LEARNING_MAX_MS,
            None => elapsed_ms >= NO_POINT_MAX_MS,
        };
        let state = if is_sparse { SeriesState::TooSparse } else { SeriesState::Learning };
        let ready_ms = needed_ms.filter(|_| !is_sparse).map(|ms| now_ms.saturating_add(ms));
        Self { state, points_left: Some(points_left), ready_ms }
    }
}

impl Sweep {
    fn new(start_ms: i64, period_ms: i64) -> Self {
        let (services, counts) = (BTreeMap::new(), Default::default());
        Self { start_ms, period_ms, slot: 0, services, counts, named: 0 }
    }

    fn count_slot(&mut self, slot: u32, series: &SeriesTable, seen: Seen, told: &BTreeMap<String, u64>) {
        let Some(series) = series.get(slot) else { return };
        let signal = SeriesSignal::of_name(series.labels.name());
        self.count(series.labels.service(), signal, || short_metric(&series.labels), seen, told);
    }

    fn count_refused(
        &mut self,
        refused: &BTreeMap<SeriesId, Refused>,
        series: &SeriesTable,
        told: &BTreeMap<String, u64>,
    ) {
        // Some have found room meanwhile.
        for (_, refused) in refused.iter().filter(|(id, _)| !series.contains(**id)) {
            let metric = || refused.metric.clone();
            self.count(&refused.service, refused.signal, metric, Seen::REFUSED, told);
        }
    }

    fn count(
        &mut self,
        service: &str,
        signal: SeriesSignal,
        metric: impl FnOnce() -> String,
        seen: Seen,
        told: &BTreeMap<String, u64>,
    ) {
        self.counts[seen.state as usize] += 1;
        if !self.services.contains_key(service) {
            if self.services.len() >= SERVICES_MAX && !told.contains_key(service) {
                return;
            }
            let coverage = ServiceCoverage { service: service.to_owned(), ..ServiceCoverage::default() };
            self.services.insert(service.to_owned(), coverage);
        }
        let Some(coverage) = self.services.get_mut(service) else { return };
        let signal = coverage.signals.of_mut(signal);
        signal.series += 1;
        signal.unwatched += u64::from(seen.state == SeriesState::Unwatched);
        coverage.ready_ms = coverage.ready_ms.max(seen.ready_ms);
        let Some(state) = coverage.of_mut(seen.state) else {
            coverage.modelled += 1;
            return;
        };
        state.series += 1;
        if state.listed.len() < LISTED_MAX && self.named < NAMED_MAX {
            self.named += 1;
            let Seen { points_left, ready_ms, .. } = seen;
            state.listed.push(ListedSeries { metric: metric(), points_left, ready_ms });
        }
    }
}

/// The series inside its service, no longer than records should be.
fn short_metric(labels: &Labels) -> String {
    let mut metric = metric_of(labels);
    if metric.len() > METRIC_BYTES_MAX {
        metric.truncate(metric.floor_char_boundary(METRIC_BYTES_MAX));
        metric.push('…');
    }
    metric
}

/// Of what is worth to be told again, and of the day: what was not told for longer is out of date.
fn hash(coverage: &ServiceCoverage) -> u64 {
    let counts = SeriesState::ALL.map(|state| rough(coverage.count(state)));
    let signals = coverage.signals.named().map(|(_, signal)| (rough(signal.series), rough(signal.unwatched)));
    // Those that learn change all the time.
    let named = [&coverage.too_sparse, &coverage.unwatched, &coverage.refused];
    let named = named.map(|state| state.listed.iter().map(|series| &series.metric).collect::<Vec<_>>());
    let spread_ms = (xxh3_64(coverage.service.as_bytes()) % DAY_MS as u64) as i64;
    let day = coverage.time_ms.saturating_add(spread_ms).div_euclid(DAY_MS);
    xxh3_64(&state::encode(&(counts, signals, named, coverage.refused_more, day)))
}

/// A number without what lies behind its first four binary digits.
fn rough(number: u64) -> u64 {
    let digits = 60_u32.saturating_sub(number.leading_zeros());
    number >> digits << digits
}

#[cfg(test)]
mod tests;
