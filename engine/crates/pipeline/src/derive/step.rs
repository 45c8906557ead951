//! Counts and durations gathered over one step of event time.
//!
//! Spans become rate, error ratio and duration quantiles; logs become rates. A step is closed when the
//! watermark passes its end. What arrives up to [`AMENDABLE_STEPS`] later is still counted in its step, whose values are given again
//! as amended ones with the next step that is closed; what arrives even later is left out and counted as late.
//!
//! At the end of each step a value is given over the last [`WINDOW_STEPS`] steps: over ten seconds a service with a few
//! requests a second shows little but chance. For the same reason a median takes at least [`MEDIAN_MIN`] spans, a 95th
//! percentile [`TAIL_MIN`], and fewer than [`ERRORS_MIN`] failed spans count as none.
//!
//! At most [`StepLimits::keys_max`] keys exist in one step; what goes beyond is counted and dropped. A key that was seen
//! reports zero for [`StepLimits::silent_steps`] steps after its last event (silence is a value) and is then forgotten.

use std::collections::{BTreeMap, VecDeque};

use model::Labels;
use serde::{Deserialize, Serialize};

use super::exemplar::{Exemplars, StepExemplars};

/// Bounds of [`StepAggregates`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StepLimits {
    pub keys_max: usize,
    pub silent_steps: u32,
}

impl Default for StepLimits {
    fn default() -> Self {
        Self { keys_max: 100_000, silent_steps: 30 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Spans of a service or an operation.
    Spans,
    /// Calls of a service by another.
    Calls,
    /// Lines of a severity or a template.
    Logs,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Key {
    silent_steps: u32,
    /// By index of the step; few, since steps close as the watermark goes on.
    open: BTreeMap<i64, Bucket>,
    /// The last [`KEPT_STEPS`] closed steps, oldest first; none before its first event and after it was forgotten.
    closed: VecDeque<Bucket>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Bucket {
    count: u64,
    errors: u64,
    durations_us: Vec<i64>,
    /// None without a trace; a section of its own in the state.
    #[serde(skip)]
    exemplars: Option<Box<StepExemplars>>,
}

impl Bucket {
    fn exemplify(&mut self, weight: i64, trace_id: u128, is_failed: bool) {
        if trace_id != 0 {
            self.exemplars.get_or_insert_default().observe(weight, trace_id, is_failed);
        }
    }
}

/// A span or a call.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    pub end_ms: i64,
    pub duration_us: i64,
    pub error: bool,
    /// 0 if unknown.
    pub trace_id: u128,
}

/// One value of a closed step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepValue {
    pub labels: Labels,
    /// End of the step.
    pub time_ms: i64,
    pub value: f64,
    /// Data came after the step was closed: it takes the place of what was given before.
    pub amended: bool,
    /// Of an amended value, what was given before; none if nothing was.
    pub before: Option<f64>,
    /// Traces of what it was derived from.
    pub exemplars: Exemplars,
}

/// The exemplars of open and of closed steps of a key, by index and place.
type KeyExemplars = (Vec<(i64, StepExemplars)>, Vec<(usize, StepExemplars)>);

/// What came after its step was closed and was counted there nevertheless.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Amendments {
    keys: BTreeMap<(Kind, Labels), AmendedKey>,
    rows: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct AmendedKey {
    /// The first step that is to be given again.
    first: i64,
    /// What was given of those that may be: metric and end of the step to value.
    before: BTreeMap<(String, i64), f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepAggregates {
    step_ms: i64,
    limits: StepLimits,
    keys: BTreeMap<(Kind, Labels), Key>,
    /// Steps below this index are closed.
    closed: Option<i64>,
    late: u64,
    early: u64,
    over_limit: u64,
    /// A section of its own in the state.
    #[serde(skip)]
    amendments: Amendments,
}

/// One source may be so far ahead of another, as after an outage; what is further ahead has a wrong clock.
pub const AHEAD_MS: i64 = 6 * 3_600_000;
/// Steps that a value looks back over.
pub const WINDOW_STEPS: usize = 6;
/// Closed steps whose values may be amended: those that the newest value looks back over.
pub const AMENDABLE_STEPS: usize = WINDOW_STEPS;
/// Closed steps that are kept, so that the oldest that may be amended has all that it looks back over.
const KEPT_STEPS: usize = AMENDABLE_STEPS + WINDOW_STEPS - 1;
/// Spans that a median takes.
pub const MEDIAN_MIN: usize = 5;
/// Spans that a 95th percentile takes.
pub const TAIL_MIN: usize = 20;
/// Failed spans below which none are reported.
pub const ERRORS_MIN: u64 = 5;

/// Durations kept per key and step; beyond, every second one is dropped, so that quantiles stay representative.
const DURATIONS_MAX: usize = 2048;

impl StepAggregates {
    pub fn new(step_ms: i64, limits: StepLimits) -> Self {
        assert!(step_ms > 0, "a step has a length");
        let (keys, amendments) = (BTreeMap::new(), Amendments::default());
        Self { step_ms, limits, keys, closed: None, late: 0, early: 0, over_limit: 0, amendments }
    }

    /// Goes on from a state, under the bounds of this one. Steps of another length cannot be gone on with.
    pub fn restore(&mut self, state: Self) {
        if self.step_ms == state.step_ms {
            *self = Self { limits: self.limits, ..state };
        }
    }

    /// What [`restore`](Self::restore) leaves out.
    pub fn amendments(&self) -> &Amendments {
        &self.amendments
    }

    /// Goes on from that, after [`restore`](Self::restore).
    pub fn restore_amendments(&mut self, amendments: Amendments) {
        self.amendments = amendments;
        self.amendments.keys.retain(|key, _| self.keys.contains_key(key));
    }

    /// What else [`restore`](Self::restore) leaves out: traces that show what is kept.
    pub fn exemplars(&self) -> Vec<((Kind, Labels), KeyExemplars)> {
        let boxed = |bucket: &Bucket| bucket.exemplars.as_deref().cloned();
        let of_key = |key: &Key| {
            let open = key.open.iter().filter_map(|(index, bucket)| Some((*index, boxed(bucket)?)));
            let closed = key.closed.iter().enumerate();
            let closed = closed.filter_map(|(place, bucket)| Some((place, boxed(bucket)?)));
            (open.collect::<Vec<_>>(), closed.collect::<Vec<_>>())
        };
        let keys = self.keys.iter().map(|(key, state)| (key.clone(), of_key(state)));
        keys.filter(|(_, (open, closed))| !open.is_empty() || !closed.is_empty()).collect()
    }

    /// Goes on from that, after [`restore`](Self::restore).
    pub fn restore_exemplars(&mut self, exemplars: Vec<((Kind, Labels), KeyExemplars)>) {
        for (key, (open, closed)) in exemplars {
            let Some(key) = self.keys.get_mut(&key) else { continue };
            for (index, exemplars) in open {
                if let Some(bucket) = key.open.get_mut(&index) {
                    bucket.exemplars = Some(Box::new(exemplars));
                }
            }
            for (place, exemplars) in closed {
                if let Some(bucket) = key.closed.get_mut(place) {
                    bucket.exemplars = Some(Box::new(exemplars));
                }
            }
        }
    }

    /// Events that came so long after their step was closed that they were left out.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Events that came after their step was closed and amended it.
    pub fn amended(&self) -> u64 {
        self.amendments.rows
    }

    /// Events further ahead of the closed steps than [`AHEAD_MS`].
    pub fn early(&self) -> u64 {
        self.early
    }

    /// Events of keys beyond the limit.
    pub fn over_limit(&self) -> u64 {
        self.over_limit
    }

    /// `labels` without a metric name: it is added when the step closes.
    pub fn span(&mut self, labels: &Labels, timed: &Timed) {
        self.timed(Kind::Spans, labels, timed);
    }

    /// The same for the calls over an edge of the service graph.
    pub fn call(&mut self, labels: &Labels, timed: &Timed) {
        self.timed(Kind::Calls, labels, timed);
    }

    fn timed(&mut self, kind: Kind, labels: &Labels, timed: &Timed) {
        let Timed { end_ms, duration_us, error, trace_id } = *timed;
        if let Some(bucket) = self.bucket(kind, labels, end_ms) {
            bucket.count += 1;
            bucket.exemplify(duration_us, trace_id, error);
            bucket.errors += u64::from(error);
            if bucket.durations_us.len() == DURATIONS_MAX {
                let mut keep = false;
                bucket.durations_us.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            bucket.durations_us.push(duration_us);
        }
    }

    /// A line, in a trace if the id is not 0.
    pub fn log(&mut self, labels: &Labels, time_ms: i64, trace_id: u128) {
        if let Some(bucket) = self.bucket(Kind::Logs, labels, time_ms) {
            bucket.count += 1;
            bucket.exemplify(time_ms, trace_id, false);
        }
    }

    fn bucket(&mut self, kind: Kind, labels: &Labels, time_ms: i64) -> Option<&mut Bucket> {
        let index = time_ms.div_euclid(self.step_ms);
        // So many of the closed steps end after it.
        let closed_since = self.closed.map_or(0, |closed| closed.saturating_sub(index).max(0));
        if closed_since > AMENDABLE_STEPS as i64 {
            self.late += 1;
            return None;
        }
        let ahead_steps_max = AHEAD_MS / self.step_ms;
        if self.closed.is_some_and(|closed| index > closed.saturating_add(ahead_steps_max)) {
            self.early += 1;
            return None;
        }
        let key = (kind, labels.clone());
        if self.keys.len() >= self.limits.keys_max && !self.keys.contains_key(&key) {
            self.over_limit += 1;
            return None;
        }
        if closed_since == 0 {
            return Some(self.keys.entry(key).or_default().open.entry(index).or_default());
        }
        self.amendments.rows += 1;
        let closed = &mut self.keys.entry(key.clone()).or_default().closed;
        let end = self.closed.unwrap_or_default();
        let amended = self.amendments.keys.entry(key).or_insert_with_key(|(kind, labels)| {
            let mut given = Vec::new();
            for since in 0..closed.len().min(AMENDABLE_STEPS) {
                let end_ms = (end - since as i64) * self.step_ms;
                emit(*kind, labels, window(closed, since), (end_ms, self.step_ms), &mut given);
            }
            let before =
                given.into_iter().map(|value| ((value.labels.name().to_owned(), value.time_ms), value.value));
            AmendedKey { first: index, before: before.collect() }
        });
        amended.first = index.min(amended.first);
        let closed_since = closed_since as usize;
        // It may be the first of its key.
        while closed.len() < closed_since {
            closed.push_front(Bucket::default());
        }
        let at = closed.len() - closed_since;
        closed.get_mut(at)
    }

    /// Closes every step that ends at or before the watermark, in order of time, then of labels.
    pub fn close(&mut self, watermark_ms: i64, out: &mut Vec<StepValue>) {
        let until = watermark_ms.div_euclid(self.step_ms);
        let first = match self.closed {
            Some(closed) => closed,
            None => match self.keys.values().filter_map(|key| key.open.keys().next()).min() {
                // What is older than any source may be behind has a wrong clock.
                Some(&first) => first.max(until.saturating_sub(AHEAD_MS / self.step_ms)),
                None => return,
            },
        };
        if self.closed.is_none() {
            for key in self.keys.values_mut() {
                let kept = key.open.split_off(&first);
                self.late += key.open.values().map(|bucket| bucket.count).sum::<u64>();
                key.open = kept;
            }
        }
        let (began, silent_steps_max) = (out.len(), self.limits.silent_steps);
        if until > first {
            self.amend(out);
        }
        // Key by key, since of many keys few may have anything to tell in a step.
        for ((kind, labels), key) in &mut self.keys {
            let mut index = first;
            loop {
                if key.closed.is_empty() {
                    // It begins with its next event: how far ahead that came must not be seen.
                    let Some(&next) = key.open.keys().next() else { break };
                    index = index.max(next);
                }
                if index >= until {
                    break;
                }
                let bucket = key.open.remove(&index).unwrap_or_default();
                key.silent_steps = if bucket.count > 0 { 0 } else { key.silent_steps + 1 };
                key.closed.push_back(bucket);
                let end_ms = (index + 1) * self.step_ms;
                emit(*kind, labels, window(&key.closed, 0), (end_ms, self.step_ms), out);
                if key.closed.len() > KEPT_STEPS {
                    key.closed.pop_front();
                }
                if key.silent_steps > silent_steps_max {
                    key.closed.clear();
                }
                index += 1;
            }
        }
        self.keys.retain(|_, key| !key.closed.is_empty() || !key.open.is_empty());
        out[began..].sort_by_key(|value| value.time_ms);
        self.closed = Some(self.closed.map_or(until, |closed| closed.max(until)));
    }

    /// Gives the values of amended steps again, as far as they look back on what came.
    fn amend(&mut self, out: &mut Vec<StepValue>) {
        let keys = std::mem::take(&mut self.amendments.keys);
        let Some(closed) = self.closed else { return };
        for (key, AmendedKey { first, before }) in keys {
            let Some(buckets) = self.keys.get(&key).map(|key| &key.closed) else { continue };
            let amended = out.len();
            for index in first..closed {
                let since = (closed - 1 - index) as usize;
                if since < buckets.len() {
                    let end_ms = (index + 1) * self.step_ms;
                    emit(key.0, &key.1, window(buckets, since), (end_ms, self.step_ms), out);
                }
            }
            for value in &mut out[amended..] {
                value.amended = true;
                value.before = before.get(&(value.labels.name().to_owned(), value.time_ms)).copied();
            }
        }
    }
}

/// What a value looks back over at the end of the step that was closed so many steps before the newest.
fn window(closed: &VecDeque<Bucket>, since: usize) -> impl ExactSizeIterator<Item = &Bucket> + Clone {
    let end = closed.len() - since;
    closed.range(end.saturating_sub(WINDOW_STEPS)..end)
}

fn emit<'b>(
    kind: Kind,
    labels: &Labels,
    window: impl ExactSizeIterator<Item = &'b Bucket> + Clone,
    (time_ms, step_ms): (i64, i64),
    out: &mut Vec<StepValue>,
) {
    let count: u64 = window.clone().map(|bucket| bucket.count).sum();
    let rate = count as f64 / (window.len() as f64 * step_ms as f64 / 1000.0);
    let prefix = match kind {
        Kind::Logs => "logs",
        Kind::Spans => "spans",
        Kind::Calls => "calls",
    };
    let mut push = |suffix: &str, value: f64, exemplars: Exemplars| {
        let labels = labels.with(model::labels::NAME, &format!("{prefix}.{suffix}"));
        out.push(StepValue { labels, time_ms, value, amended: false, before: None, exemplars });
    };
    let of_steps = window.clone().filter_map(|bucket| bucket.exemplars.as_deref());
    let heaviest = StepExemplars::heaviest(of_steps.clone());
    push("rate", rate, heaviest);
    if kind == Kind::Logs || count == 0 {
        return;
    }
    let errors: u64 = window.clone().map(|bucket| bucket.errors).sum();
    let errors = if errors < ERRORS_MIN { 0 } else { errors };
    push("error_ratio", errors as f64 / count as f64, StepExemplars::failed(of_steps));
    let mut durations_us: Vec<i64> = window.flat_map(|bucket| bucket.durations_us.iter().copied()).collect();
    durations_us.sort_unstable();
    if durations_us.len() >= MEDIAN_MIN {
        push("duration.p50", nearest_rank(&durations_us, 0.5) / 1000.0, heaviest);
    }
    if durations_us.len() >= TAIL_MIN {
        push("duration.p95", nearest_rank(&durations_us, 0.95) / 1000.0, heaviest);
    }
}

fn nearest_rank(sorted: &[i64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1] as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::new([("service.name", "cart")])
    }

    fn named(values: &[StepValue], name: &str) -> Vec<(i64, f64)> {
        values.iter().filter(|v| v.labels.name() == name).map(|v| (v.time_ms, v.value)).collect()
    }

    #[test]
    fn spans_become_rate_errors_and_durations() {
        let mut steps = StepAggregates::new(10_000, StepLimits::default());
        for i in 0..40 {
            let (end_ms, duration_us) = (i * 500, 1_000 * (i + 1));
            steps.span(&labels(), &Timed { end_ms, duration_us, error: i % 5 == 0, trace_id: 0 });
        }
        let mut out = Vec::new();
        steps.close(19_999, &mut out);
        assert_eq!(named(&out, "spans.rate"), [(10_000, 2.0)]);
        assert_eq!(named(&out, "spans.error_ratio"), [(10_000, 0.0)], "four errors are chance");
        assert_eq!(named(&out, "spans.duration.p50"), [(10_000, 10.0)]);
        steps.close(20_000, &mut out);
        assert_eq!(named(&out, "spans.error_ratio")[1], (20_000, 0.2));
        assert_eq!(named(&out, "spans.duration.p95"), [(10_000, 19.0), (20_000, 38.0)]);
    }

    #[test]
    fn few_spans_give_no_quantiles() {
        let mut steps = StepAggregates::new(10_000, StepLimits::default());
        for end_ms in 0..4 {
            steps.span(&labels(), &Timed { end_ms, duration_us: 1_000, error: false, trace_id: 0 });
        }
        let mut out = Vec::new();
        steps.close(10_000, &mut out);
        assert_eq!(named(&out, "spans.rate"), [(10_000, 0.4)]);
        assert_eq!(named(&out, "spans.duration.p50"), [(0, 0.0); 0]);
    }

    #[test]
    fn silence_is_zero_and_then_forgotten() {
        let mut steps = StepAggregates::new(1_000, StepLimits { silent_steps: 7, ..StepLimits::default() });
        steps.log(&labels(), 500, 0);
        let mut out = Vec::new();
        steps.close(60_000, &mut out);
        let rates: Vec<f64> = named(&out, "logs.rate").into_iter().map(|(_, rate)| rate).collect();
        assert_eq!(
            rates.len(),
            9,
            "the step of the line, seven silent ones and the one that is one too many"
        );
        assert_eq!((rates[0], rates[1], rates[6], rates[8]), (1.0, 0.5, 0.0, 0.0));
    }

    #[test]
    fn a_key_begins_with_its_first_event_however_far_ahead_that_came() {
        let mut steps = StepAggregates::new(10_000, StepLimits { silent_steps: 7, ..StepLimits::default() });
        steps.log(&labels(), 0, 0);
        steps.log(&labels(), 300_000, 0);
        let other = Labels::new([("service.name", "other")]);
        steps.log(&other, 100_000, 0);
        let mut out = Vec::new();
        steps.close(310_000, &mut out);
        let times_ms = |labels: &Labels| -> Vec<i64> {
            let labels = labels.with("__name__", "logs.rate");
            out.iter().filter(|value| value.labels == labels).map(|value| value.time_ms).collect()
        };
        assert_eq!(times_ms(&other).first(), Some(&110_000));
        let times_ms = times_ms(&labels());
        assert_eq!(times_ms[8..], [90_000, 310_000], "forgotten after seven silent steps, and begun anew");
    }

    #[test]
    fn a_time_long_ago_is_late_though_nothing_was_closed_before() {
        let mut steps = StepAggregates::new(10_000, StepLimits::default());
        let now_ms = 1_700_000_000_000;
        steps.log(&labels(), 0, 0);
        steps.log(&labels(), now_ms, 0);
        let mut out = Vec::new();
        steps.close(now_ms + 10_000, &mut out);
        assert!(out.len() <= (AHEAD_MS / 10_000) as usize + 1, "{}", out.len());
        assert_eq!((steps.late(), out.last().map(|value| value.value > 0.0)), (1, Some(true)));
    }

    #[test]
    fn late_and_too_many_are_counted() {
        let mut steps = StepAggregates::new(1_000, StepLimits { keys_max: 1, ..StepLimits::default() });
        steps.log(&labels(), 500, 0);
        steps.log(&Labels::new([("service.name", "other")]), 500, 0);
        steps.close(5_000, &mut Vec::new());
        steps.close(7_000, &mut Vec::new());
        steps.log(&labels(), 700, 0);
        steps.log(&labels(), i64::MAX, 0);
        assert_eq!((steps.late(), steps.early(), steps.over_limit()), (1, 1, 1));
    }

    /// The last that was said of each value.
    fn newest(values: &[StepValue]) -> BTreeMap<(Labels, i64), (f64, Exemplars)> {
        let last =
            |value: &StepValue| ((value.labels.clone(), value.time_ms), (value.value, value.exemplars));
        values.iter().map(last).collect()
    }

    #[test]
    fn a_late_event_amends_its_step_and_all_that_look_back_on_it() {
        let mut steps = StepAggregates::new(1_000, StepLimits::default());
        let mut out = Vec::new();
        for second in 0..10 {
            if second != 5 {
                steps.log(&labels(), second * 1_000, 0);
            }
            steps.close((second + 1) * 1_000, &mut out);
        }
        assert!(out.iter().all(|value| !value.amended));
        out.clear();
        steps.log(&labels(), 5_000, 0);
        assert_eq!((steps.amended(), steps.late()), (1, 0));
        steps.close(10_000, &mut out);
        assert_eq!(out, [], "no step was closed since");
        steps.log(&labels(), 10_000, 0);
        steps.close(11_000, &mut out);
        let times_ms: Vec<(i64, bool)> = out.iter().map(|value| (value.time_ms, value.amended)).collect();
        let amended = [6_000, 7_000, 8_000, 9_000, 10_000].map(|time_ms| (time_ms, true));
        assert_eq!(times_ms[..5], amended);
        assert_eq!(times_ms[5..], [(11_000, false)]);
        assert!(out.iter().all(|value| value.value == 1.0), "{out:?}");
        let before = |value: &StepValue| value.before.is_some_and(|before| before < 1.0);
        assert!(out[..5].iter().all(before), "{out:?}");
    }

    proptest::proptest! {
        /// Each event comes when 0 to 6 steps after its own are closed: in the end all is told as if each had come in time.
        #[test]
        fn once_the_late_have_come_all_is_as_if_they_had_come_in_time(
            events in proptest::collection::vec((0_i64..30_000, 0_i64..=AMENDABLE_STEPS as i64, 0_usize..3), 1..80),
        ) {
            let run = |is_late: bool| {
                let mut steps = StepAggregates::new(1_000, StepLimits { silent_steps: 100, ..StepLimits::default() });
                let mut out = Vec::new();
                // Somebody is always there, so that steps are closed from the beginning on.
                let other = Labels::new([("service.name", "other")]);
                for second in 0..40 {
                    steps.log(&other, second * 1_000, 0);
                    for (time_ms, by, key) in &events {
                        if time_ms / 1_000 + if is_late { *by } else { 0 } == second {
                            let labels = labels().with("operation", ["a", "b", "c"][*key]);
                            let (end_ms, duration_us) = (*time_ms, time_ms % 97);
                            let (error, trace_id) = (time_ms % 3 == 0, (time_ms % 11) as u128);
                            steps.span(&labels, &Timed { end_ms, duration_us, error, trace_id });
                        }
                    }
                    steps.close((second + 1) * 1_000, &mut out);
                    // A restart between any two steps.
                    let mut next = StepAggregates::new(1_000, steps.limits);
                    next.restore(steps.clone());
                    next.restore_amendments(steps.amendments().clone());
                    next.restore_exemplars(steps.exemplars());
                    steps = next;
                }
                proptest::prop_assert_eq!(steps.late(), 0);
                Ok(newest(&out))
            };
            proptest::prop_assert_eq!(run(true)?, run(false)?);
        }
    }

    /// As when the clocks of many are wrong: a pass over all keys for each step would take minutes.
    #[test]
    fn many_keys_that_begin_far_ahead_cost_nothing_before() {
        let mut steps = StepAggregates::new(1, StepLimits::default());
        steps.log(&labels().with("template", "first"), 0, 0);
        steps.close(1, &mut Vec::new());
        for i in 0..50_000 {
            steps.log(&labels().with("template", &i.to_string()), AHEAD_MS - 50_000 + i, 0);
        }
        let mut out = Vec::new();
        steps.close(AHEAD_MS, &mut out);
        assert!(out.is_sorted_by_key(|value| value.time_ms));
        assert!(out.len() > 50_000);
    }

    #[test]
    fn when_the_watermark_moves_does_not_matter() {
        let feed = |closes: &[i64]| {
            let mut steps = StepAggregates::new(1_000, StepLimits::default());
            let mut out = Vec::new();
            for i in 0..50 {
                let (end_ms, trace_id) = (i * 333, i as u128);
                steps.span(&labels(), &Timed { end_ms, duration_us: i, error: false, trace_id });
            }
            for &watermark_ms in closes {
                steps.close(watermark_ms, &mut out);
            }
            out
        };
        assert_eq!(feed(&[16_000]), feed(&[0, 999, 1_000, 1_500, 7_000, 16_000]));
    }
}
