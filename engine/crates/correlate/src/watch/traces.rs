//! Changes of what traces tell: the course of requests, the own time of operations, the time between services.
//!
//! Each transition, operation and edge is a sample of a share: how often the one event follows the other, how often it takes longer than
//! usual. Window and past are compared by the likelihood ratio of two shares against one (Dunning (1993), "Accurate methods for the
//! statistics of surprise and coincidence"), in nats. A trace counts once, whatever repeats in it.
//!
//! Chance exceeds x nats in about e^-x of tests of equal samples, so among n tests ln n are usual, and [`CHANCE_NATS`] more come up
//! less than once an hour. How much a share scattered over the past takes down what it is worth now; and it must have changed in
//! both halves of the window, so that a pause of a few seconds is none.

use std::collections::BTreeMap;

use super::Changed;
use crate::evidence::{BUCKET_MS, Correlator};
use crate::ranking::structure::called;
use crate::ranking::{Trigger, View};
use crate::sketch::Sketch;
use crate::statistics::TraceStats;
use crate::symbols::Symbol;

const WINDOW_BUCKETS: i64 = 6;
/// So much must be known of the past.
const USUAL_BUCKETS: i64 = 24;
/// Beyond what is usual among so many tests: an hour has 60 windows, so that chance opens about one an hour at the most.
const CHANCE_NATS: f64 = 4.1;
/// In each half of the window.
const HALF_NATS: f64 = 2.0;
const BEFORE_MIN: f64 = 3.0;
const DURATIONS_BEFORE_MIN: f64 = 5.0;
const WINDOW_MIN: f64 = 2.0;
/// Shares of the usual durations above which ones are counted; the most surprising of them counts.
const LEVELS: &[f64] = &[0.5, 0.75, 0.9, 0.97];
/// … and so much more, as a logarithm: a shift of a few percent is none.
const LEVEL_MARGIN: f64 = 0.15;
/// Milliseconds at which a slowdown counts half.
const HALF_MS: f64 = 10.0;
/// Buckets over which the scatter of shares is judged, and how many of such spans it takes.
const BIN_BUCKETS: i64 = 3;
const BINS_MIN: usize = 3;

/// How many of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    hits: f64,
    all: f64,
}

impl Sample {
    fn share(self) -> f64 {
        if self.all > 0.0 { self.hits / self.all } else { 0.0 }
    }

    fn times(self, weight: f64) -> Self {
        Self { hits: weight * self.hits, all: weight * self.all }
    }

    fn and(self, other: Self) -> Self {
        Self { hits: self.hits + other.hits, all: self.all + other.all }
    }
}

/// How much more likely two samples are with a share of each than with one share, in nats.
fn surprise(a: Sample, b: Sample) -> f64 {
    let both = a.and(b).share();
    let part = |count: f64, own: f64, both: f64| if count > 1e-9 { count * (own / both).ln() } else { 0.0 };
    [a, b]
        .into_iter()
        .map(|sample| {
            let share = sample.share();
            part(sample.hits, share, both) + part(sample.all - sample.hits, 1.0 - share, 1.0 - both)
        })
        .sum()
}

/// What was found of one sample.
#[derive(Clone, Copy, Debug)]
struct Surprise {
    nats: f64,
    /// Place of the bucket in the window from which on it is most different.
    from: usize,
}

/// Compares a window, bucket by bucket, with the past. `scatter` is by how much more than chance the share varied before.
fn judge(before: Sample, window: &[Sample], scatter: f64) -> Option<Surprise> {
    let sum = |samples: &[Sample]| samples.iter().fold(Sample::default(), |sum, sample| sum.and(*sample));
    let whole = sum(window);
    let is_more = whole.share() > before.share();
    let (first, second) = window.split_at(window.len().min(WINDOW_BUCKETS as usize / 2));
    let is_changed = |half: &[Sample]| {
        let half = sum(half);
        half.all > 0.0
            && (half.share() > before.share()) == is_more
            && surprise(before, half) >= HALF_NATS * scatter
    };
    if !is_changed(first) || !is_changed(second) {
        return None;
    }
    let since = |from: usize| surprise(before.and(sum(&window[..from])), sum(&window[from..]));
    // The earliest of equals.
    let from = (0..window.len()).rev().max_by(|a, b| since(*a).total_cmp(&since(*b))).unwrap_or(0);
    Some(Surprise { nats: surprise(before, whole) / scatter, from })
}

/// The most surprising of each kind at a service.
#[derive(Debug, Default)]
struct Found {
    of_kinds: BTreeMap<&'static str, Surprise>,
}

impl Found {
    fn take(&mut self, kind: &'static str, surprise: Surprise) {
        let known = self.of_kinds.entry(kind).or_insert(surprise);
        // Of equals the earlier, so that their order has no influence.
        if (surprise.nats, known.from) > (known.nats, surprise.from) {
            *known = surprise;
        }
    }
}

pub(super) fn changed(store: &Correlator, now_ms: i64) -> Vec<Changed> {
    let last = now_ms.div_euclid(BUCKET_MS);
    let first = last - WINDOW_BUCKETS;
    let is_usual_known = !store.past.is_empty()
        || store.recent.first_key_value().is_some_and(|(oldest, _)| first - oldest >= USUAL_BUCKETS);
    if !is_usual_known || store.recent.range(first..=last).next().is_none() {
        return Vec::new();
    }
    let trigger = Trigger { time_ms: first * BUCKET_MS, family: None };
    let window = Window {
        view: View::new(store, trigger, now_ms),
        buckets: (first..=last).map(|bucket| store.recent.get(&bucket)).collect(),
    };
    let mut found: BTreeMap<Symbol, Found> = BTreeMap::new();
    let tests = window.courses(&mut found) + window.own_times(&mut found) + window.gaps(&mut found);
    let enough = (tests.max(1) as f64).ln() + CHANCE_NATS;
    let candidates = found.into_iter().filter(|(service, _)| window.view.is_candidate(*service));
    let changes = candidates.filter_map(|(service, found)| {
        let nats: f64 = found.of_kinds.values().map(|surprise| surprise.nats).sum();
        let (subject, most) = found.of_kinds.iter().max_by(|a, b| a.1.nats.total_cmp(&b.1.nats))?;
        Some(Changed {
            service: window.view.name(service).to_owned(),
            subject: (*subject).to_owned(),
            strength: nats / enough,
            since_ms: (first + most.from as i64) * BUCKET_MS,
        })
    });
    changes.collect()
}

/// The last minute and all before.
struct Window<'a> {
    view: View<'a>,
    buckets: Vec<Option<&'a TraceStats>>,
}

/// (operation, event) -> how often something follows.
type Occurrences = BTreeMap<(Symbol, Symbol), f64>;

fn occurrences(stats: &TraceStats) -> Occurrences {
    let mut counts = Occurrences::new();
    for (&(operation, from, _), &count) in &stats.transitions {
        *counts.entry((operation, from)).or_default() += f64::from(count);
    }
    counts
}

/// How many traces one of many spans stands for, by what is known of calls.
struct Weights<'a> {
    stats: &'a TraceStats,
    /// Callee -> calls of it, from whatever operation.
    calls: BTreeMap<Symbol, f64>,
}

impl<'a> Weights<'a> {
    fn new(stats: &'a TraceStats) -> Self {
        let mut calls: BTreeMap<Symbol, f64> = BTreeMap::new();
        for (&callee, &count) in stats.operations.values().flat_map(|own| &own.callees) {
            *calls.entry(callee).or_default() += f64::from(count);
        }
        Self { stats, calls }
    }

    /// How many traces one of `all` events inside an operation stands for: spans of one trace have as much to do with each other as
    /// events of one span.
    fn of_an_event(&self, operation: Symbol, service: Symbol, all: f64) -> f64 {
        let Some(own) = self.stats.operations.get(&operation) else { return 1.0 };
        let alone = f64::from(own.spans - own.with_remote);
        let called = own.callees.keys().map(|callee| {
            let calls = self.calls.get(callee).copied().unwrap_or(0.0);
            let traces = self.stats.edges.get(&(service, *callee)).map_or(0.0, Sketch::count);
            if calls > 0.0 { traces / calls } else { 1.0 }
        });
        let of_a_span = if alone > 0.0 { own.self_time.count() / alone } else { called.fold(0.0, f64::max) };
        let of_an_event = f64::from(own.spans) / all;
        of_a_span.clamp(0.0, 1.0) * of_an_event.min(1.0)
    }
}

impl Window<'_> {
    /// What follows what inside operations. Returns the number of tests, as the others.
    fn courses(&self, found: &mut BTreeMap<Symbol, Found>) -> usize {
        let (before, since) = (&self.view.before, &self.view.since);
        let (all_before, all_since) = (occurrences(before), occurrences(since));
        let (weights_before, weights_since) = (Weights::new(before), Weights::new(since));
        let buckets: Vec<Occurrences> =
            self.buckets.iter().map(|stats| stats.map(occurrences).unwrap_or_default()).collect();
        let count =
            |stats: &TraceStats, key| stats.transitions.get(&key).map_or(0.0, |count| f64::from(*count));
        let mut tests = 0;
        for (&(operation, from), &all) in &all_since {
            let Some(&before_all) = all_before.get(&(operation, from)) else { continue };
            let Some(&service) = self.view.store.operation_service.get(&operation) else { continue };
            let usual_weight = weights_before.of_an_event(operation, service, before_all);
            let weight = weights_since.of_an_event(operation, service, all);
            if before_all * usual_weight < BEFORE_MIN {
                continue;
            }
            let span = (operation, from, Symbol::MIN)..=(operation, from, Symbol::MAX);
            let mut followers: Vec<Symbol> =
                before.transitions.range(span.clone()).map(|((_, _, to), _)| *to).collect();
            followers.extend(since.transitions.range(span).map(|((_, _, to), _)| *to));
            followers.sort_unstable();
            followers.dedup();
            tests += followers.len();
            if all * weight < WINDOW_MIN {
                continue;
            }
            for to in followers {
                let key = (operation, from, to);
                let usual = Sample { hits: count(before, key), all: before_all }.times(usual_weight);
                let now = Sample { hits: count(since, key), all }.times(weight);
                if surprise(usual, now) < 2.0 * HALF_NATS {
                    continue;
                }
                let samples: Vec<Sample> = self
                    .buckets
                    .iter()
                    .zip(&buckets)
                    .map(|(stats, occurrences)| {
                        let hits = stats.map_or(0.0, |stats| count(stats, key));
                        let all = occurrences.get(&(operation, from)).copied().unwrap_or(0.0);
                        Sample { hits, all }.times(weight)
                    })
                    .collect();
                if let Some(surprise) = judge(usual, &samples, self.scatter(key, usual.share(), usual_weight))
                {
                    // A change right after a call speaks against the one that was called.
                    let blamed = called(&self.view, from).unwrap_or(service);
                    found.entry(blamed).or_default().take("the course of requests", surprise);
                }
            }
        }
        tests
    }

    /// How much more than by chance the share of a transition varied, at least 1.
    fn scatter(&self, key: (Symbol, Symbol, Symbol), share: f64, weight: f64) -> f64 {
        let (operation, from, _) = key;
        let mut bins: BTreeMap<i64, Sample> = BTreeMap::new();
        for (bucket, stats) in self.view.store.recent.range(..self.view.first_bucket) {
            let span = (operation, from, Symbol::MIN)..=(operation, from, Symbol::MAX);
            let all: f32 = stats.transitions.range(span).map(|entry| entry.1).sum();
            if all > 0.0 {
                let hits = stats.transitions.get(&key).map_or(0.0, |count| f64::from(*count));
                let bin = bins.entry(bucket.div_euclid(BIN_BUCKETS)).or_default();
                *bin = bin.and(Sample { hits, all: f64::from(all) }.times(weight));
            }
        }
        if bins.len() < BINS_MIN {
            return 1.0;
        }
        let excess =
            |bin: &Sample| (bin.hits - share * bin.all).powi(2) / (share * (1.0 - share) * bin.all + 0.5);
        let sum: f64 = bins.values().map(excess).sum();
        (sum / (bins.len() - 1) as f64).max(1.0)
    }

    /// Operations that call no one take longer.
    fn own_times(&self, found: &mut BTreeMap<Symbol, Found>) -> usize {
        let mut tests = 0;
        for (operation, since) in &self.view.since.operations {
            if self.view.client_operations.contains_key(operation) {
                continue;
            }
            let Some(before) = self.view.before.operations.get(operation) else { continue };
            let Some(&service) = self.view.store.operation_service.get(operation) else { continue };
            let bucket =
                |stats: &TraceStats| stats.operations.get(operation).map(|own| own.self_time.clone());
            let slower = self.slower(&before.self_time, &since.self_time, bucket, &mut tests);
            if let Some(surprise) = slower {
                found.entry(service).or_default().take("own time", surprise);
            }
        }
        tests
    }

    /// Time is lost between a client and its server. Who of both it is, the ranking tells.
    fn gaps(&self, found: &mut BTreeMap<Symbol, Found>) -> usize {
        let mut since = self.view.since.edges.clone();
        for (edge, whole) in self.unanswered(&self.view.since) {
            since.entry(edge).or_default().merge(whole);
        }
        let mut tests = 0;
        for (edge, gaps) in &since {
            let Some(before) = self.view.before.edges.get(edge) else { continue };
            let bucket = |stats: &TraceStats| {
                let mut gaps = stats.edges.get(edge).cloned().unwrap_or_default();
                self.unanswered(stats).filter(|(of, _)| of == edge).for_each(|(_, whole)| gaps.merge(whole));
                Some(gaps)
            };
            if let Some(surprise) = self.slower(before, gaps, bucket, &mut tests) {
                for service in [edge.0, edge.1] {
                    found.entry(service).or_default().take("time between services", surprise);
                }
            }
        }
        tests
    }

    /// Calls that left no span at the other side, with their whole time.
    fn unanswered<'b>(
        &'b self,
        stats: &'b TraceStats,
    ) -> impl Iterator<Item = ((Symbol, Symbol), &'b Sketch)> {
        stats.operations.iter().filter_map(|(operation, own)| {
            let callee = self.view.client_operations.get(operation).copied().flatten()?;
            let caller = *self.view.store.operation_service.get(operation)?;
            (!own.whole.is_empty()).then_some(((caller, callee), &own.whole))
        })
    }

    fn slower(
        &self,
        before: &Sketch,
        since: &Sketch,
        bucket: impl Fn(&TraceStats) -> Option<Sketch>,
        tests: &mut usize,
    ) -> Option<Surprise> {
        let (usual, now) = (before.quantile(0.5)?, since.quantile(0.5)?);
        if before.count() < DURATIONS_BEFORE_MIN {
            return None;
        }
        *tests += 1;
        let lost_ms = (now.exp() - usual.exp()) / 1000.0;
        if lost_ms <= 0.0 || since.count() < WINDOW_MIN {
            return None;
        }
        let levels = LEVELS.iter().filter_map(|share| Some(before.quantile(*share)? + LEVEL_MARGIN));
        let levels = levels.filter(|level| {
            let usual = Sample { hits: before.above(*level), all: before.count() };
            let now = Sample { hits: since.above(*level), all: since.count() };
            now.share() > usual.share() && surprise(usual, now) >= 2.0 * HALF_NATS
        });
        let levels: Vec<f64> = levels.collect();
        if levels.is_empty() {
            return None;
        }
        let buckets: Vec<Sketch> =
            self.buckets.iter().map(|stats| stats.and_then(&bucket).unwrap_or_default()).collect();
        let surprises = levels.into_iter().filter_map(|level| {
            let sample = |sketch: &Sketch| Sample { hits: sketch.above(level), all: sketch.count() };
            judge(sample(before), &buckets.iter().map(sample).collect::<Vec<_>>(), 1.0)
        });
        let most = surprises.max_by(|a, b| a.nats.total_cmp(&b.nats))?;
        Some(Surprise { nats: most.nats * lost_ms / (lost_ms + HALF_MS), ..most })
    }
}
