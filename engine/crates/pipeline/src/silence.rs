//! Series that are gone: told once a minute of event time while they are, without looking at those that are not.
//!
//! A pod comes and goes with each release and its workload stays. So what is watched is a *presence*: a series without the
//! labels that tell instances apart, which is there while any of them is. Each presence stands in one place of a wheel, the minute in
//! which it would be gone; when that has come and it had points meanwhile, it moves on.
//!
//! While so much of a service is silent that the rest cannot speak for it, its silences are told every minute, which opens an
//! incident; a silent series among others that go on is told of once, since releases drop metrics. After
//! [`tell_s`](Rule::tell_s) a silence counts as meant: it is no longer told, and its incident resolves.
//!
//! A series that is set aside on disk for want of memory is not watched until it is back, and learned anew then.
//!
//! Only event time and points decide. Time that passed for all at once, as after an outage of whatever sends, is nobody's silence.

use std::collections::BTreeMap;

use detectors::InvalidParameters;
use detectors::series_gone::{Presence, SeriesGone, Silence};
use hashbrown::HashMap;
use model::labels::{NAME, SERVICE};
use model::{Anomaly, Labels, Matcher, SeriesId, StateSection};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::anomaly::{metric_of, severity_of};
use crate::settings::DetectorSettings;
use crate::state::{self, InvalidState};

const SECTION: &str = "silences";
const MINUTE_MS: i64 = 60_000;
/// Event time that moves by more than this at once has passed for everybody.
const LEAP_MS: i64 = 600_000;
/// How often a presence is looked at that might be learned by now.
const LEARNING_MS: i64 = 600_000;
/// Silences that are told in a minute at the most; of the rest those are counted that would be told.
const TOLD_MAX: usize = 1000;
/// What is set aside for a presence, in bytes.
pub(crate) const PRESENCE_BYTES: usize = 192;
/// No presence, in the table by slot.
const NONE: u32 = u32::MAX;

/// Labels that are another with every instance of a workload.
const INSTANCE_LABELS: &[&str] = &[
    "container.id",
    "container_id",
    "id",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.replicaset.name",
    "pod",
    "pod_name",
    "process.pid",
    "service.instance.id",
    "uid",
];
/// Where an instance is, which is another with it, too. Without one they name what is watched, such as a host.
const PLACE_LABELS: &[&str] =
    &["host.id", "host.ip", "host.name", "instance", "k8s.node.name", "node", "pod_ip"];

/// What a configured `series_gone` watches, and how.
#[derive(Debug)]
pub struct Rule {
    name: String,
    matchers: Vec<Matcher>,
    detector: SeriesGone,
    /// So long a silence is told of.
    tell_s: f64,
    /// The share of a service's presences that must be silent for them to be told more than once.
    service_share: f64,
    instance_labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Telling {
    tell_s: f64,
    service_share: f64,
    instance_labels: Vec<String>,
}

/// The names of these.
const TELLING_KEYS: [&str; 3] = ["tell_s", "service_share", "instance_labels"];

impl Default for Telling {
    fn default() -> Self {
        let instance_labels = INSTANCE_LABELS.iter().map(|label| (*label).to_owned()).collect();
        Self { tell_s: 3600.0, service_share: 0.5, instance_labels }
    }
}

impl Rule {
    /// # Errors
    /// In words that name the parameter.
    pub fn new(settings: &DetectorSettings) -> Result<Self, InvalidParameters> {
        let mut own = serde_json::Map::new();
        let mut parameters = settings.parameters.clone();
        for key in TELLING_KEYS {
            own.extend(parameters.remove(key).map(|value| (key.to_owned(), value)));
        }
        let invalid = |error: serde_json::Error| {
            // Those of the detector are all that it knows of.
            let message = error.to_string();
            let is_unknown = message.starts_with("unknown field");
            let others =
                if is_unknown { format!(", `{}`", TELLING_KEYS.join("`, `")) } else { String::new() };
            InvalidParameters(message + &others)
        };
        let detector: SeriesGone = serde_json::from_value(Value::Object(parameters)).map_err(invalid)?;
        detector.validate()?;
        let Telling { tell_s, service_share, instance_labels } =
            serde_json::from_value(Value::Object(own)).map_err(invalid)?;
        InvalidParameters::unless((60.0..=1e9).contains(&tell_s), "tell_s must be from 60 to 1e9")?;
        InvalidParameters::unless((0.0..=1.0).contains(&service_share), "service_share must be from 0 to 1")?;
        let name = settings.name.clone().unwrap_or_else(|| settings.kind.clone());
        Ok(Self {
            name,
            matchers: settings.matchers.clone(),
            detector,
            tell_s,
            service_share,
            instance_labels,
        })
    }

    /// The labels of the presence that a series is part of.
    fn presence_of(&self, labels: &Labels) -> Labels {
        let is_instance = |key: &str| self.instance_labels.iter().any(|label| label == key);
        if !labels.iter().any(|(key, _)| is_instance(key)) {
            return labels.clone();
        }
        let is_named = |key: &str| key == NAME || key == SERVICE;
        let stays = |key: &str| is_named(key) || !(is_instance(key) || PLACE_LABELS.contains(&key));
        Labels::new(labels.iter().filter(|(key, _)| stays(key)))
    }
}

/// What the series of all instances of a workload have in common; `None` for one that tells no instances apart.
pub(crate) fn group_of(labels: &Labels) -> Option<SeriesId> {
    let is_instance = |key: &str| INSTANCE_LABELS.contains(&key);
    let stays =
        |key: &str| key == NAME || key == SERVICE || !(is_instance(key) || PLACE_LABELS.contains(&key));
    let has_instance = labels.iter().any(|(key, _)| is_instance(key));
    has_instance.then(|| Labels::new(labels.iter().filter(|(key, _)| stays(key))).id())
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Gone(Anomaly),
    /// Of a silence that was told: it has ended, or counts as meant.
    Over {
        series: SeriesId,
        time_ms: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// In the wheel: when it is looked at next.
    Due(i64),
    /// Silent since this minute, as the key of its silence.
    Silent(i64),
    /// Gone for good, unless it comes back.
    Gone,
}

#[derive(Debug, Serialize, Deserialize)]
struct Watched {
    id: SeriesId,
    /// The series that had the newest point.
    slot: u32,
    rule: u16,
    /// Hash of the service.
    service: u64,
    presence: Presence,
    phase: Phase,
    /// Whether it counts among those of its service.
    counts: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct OpenSilence {
    since_ms: i64,
    interval_ms: f64,
    allowed_ms: f64,
    /// When there was a point again.
    until_ms: Option<i64>,
    told: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Silences {
    rules: Vec<Rule>,
    /// By slot of a series: its presence.
    of_slot: Vec<u32>,
    index: HashMap<SeriesId, u32>,
    watched: Vec<Option<Watched>>,
    free: Vec<u32>,
    /// By minute: who would be gone then.
    wheel: BTreeMap<i64, Vec<u32>>,
    /// By the minute in which they became too long, and presence.
    open: BTreeMap<(i64, u32), OpenSilence>,
    /// By service: presences that are learned and not gone for good.
    present: HashMap<u64, u32>,
    now_ms: Option<i64>,
    /// The last leap of event time.
    leap_ms: (i64, i64),
    untold: u64,
}

impl Silences {
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Silences that were not told since too many were.
    pub fn untold(&self) -> u64 {
        self.untold
    }

    /// A series has a slot now; returns whether it is watched.
    pub fn admit(&mut self, slot: u32, labels: &Labels) -> bool {
        let place = slot as usize;
        if self.of_slot.len() <= place {
            self.of_slot.resize(place + 1, NONE);
        }
        let watches = |rule: &Rule| rule.matchers.iter().all(|matcher| matcher.matches(labels));
        let Some(rule) = self.rules.iter().position(watches) else {
            self.of_slot[place] = NONE;
            return false;
        };
        let id = self.rules[rule].presence_of(labels).id();
        let known = self.index.get(&id).copied();
        if let Some(watched) = known.and_then(|of| self.watched[of as usize].as_mut()) {
            watched.rule = rule as u16;
        }
        self.of_slot[place] = known.unwrap_or_else(|| {
            let of = self.free.pop().unwrap_or(self.watched.len() as u32);
            if of as usize == self.watched.len() {
                self.watched.push(None);
            }
            // What it is of is filled in with its first point.
            let presence = Presence::since(i64::MIN);
            let service = xxh3_64(labels.service().as_bytes());
            let (rule, phase) = (rule as u16, Phase::Gone);
            self.watched[of as usize] =
                Some(Watched { id, slot, rule, service, presence, phase, counts: false });
            self.index.insert(id, of);
            of
        });
        true
    }

    /// A point of a series, which had one before at `before_ms`.
    pub fn observe(&mut self, slot: u32, time_ms: i64, before_ms: Option<i64>) {
        let Some(of) = self.of_slot.get(slot as usize).copied().filter(|of| *of != NONE) else { return };
        let Some(watched) = self.watched[of as usize].as_mut() else { return };
        let detector = &self.rules[watched.rule as usize].detector;
        if watched.presence.last_ms() == i64::MIN {
            (watched.presence, watched.slot) = (Presence::since(time_ms), slot);
            return Self::schedule(&mut self.wheel, watched, of, time_ms.saturating_add(MINUTE_MS));
        }
        let interval_ms = before_ms.map(|before_ms| time_ms.saturating_sub(before_ms));
        let is_newer = time_ms > watched.presence.last_ms();
        let silence = detector.observe(&mut watched.presence, time_ms, interval_ms);
        if !is_newer {
            return;
        }
        watched.slot = slot;
        match watched.phase {
            Phase::Due(_) => {
                // It was too long, and over before event time came there.
                let Some(silence) = silence else { return };
                let gone_ms = minute_after(gone_ms(&silence, self.leap_ms));
                if gone_ms < time_ms {
                    self.open.insert((gone_ms, of), OpenSilence::new(&silence, self.leap_ms, Some(time_ms)));
                }
                return;
            }
            Phase::Silent(gone_ms) => {
                if let Some(open) = self.open.get_mut(&(gone_ms, of)) {
                    open.until_ms = Some(time_ms);
                }
            }
            Phase::Gone => {}
        }
        let due_ms = detector.gone_ms(&watched.presence).unwrap_or(time_ms.saturating_add(MINUTE_MS));
        Self::schedule(&mut self.wheel, watched, of, due_ms);
    }

    fn schedule(wheel: &mut BTreeMap<i64, Vec<u32>>, watched: &mut Watched, of: u32, due_ms: i64) {
        let minute_ms = minute_after(due_ms);
        watched.phase = Phase::Due(minute_ms);
        wheel.entry(minute_ms).or_default().push(of);
    }

    /// Event time has come to `watermark_ms`. `labels` are those of a slot.
    pub fn advance<'a>(
        &mut self,
        watermark_ms: i64,
        labels: impl Fn(u32) -> Option<&'a Labels>,
        out: &mut Vec<Told>,
    ) {
        if self.rules.is_empty() {
            return;
        }
        let Some(before_ms) = self.now_ms else {
            self.now_ms = Some(watermark_ms);
            return;
        };
        if watermark_ms <= before_ms {
            return;
        }
        if watermark_ms.saturating_sub(before_ms) > LEAP_MS {
            self.leap_ms = (before_ms, watermark_ms);
        }
        self.now_ms = Some(watermark_ms);
        let mut minute_ms = minute_after(before_ms.saturating_add(1));
        if self.leap_ms.1 == watermark_ms {
            // What lies in between is looked at as of now.
            minute_ms = minute_ms.max(watermark_ms - watermark_ms.rem_euclid(MINUTE_MS));
        }
        while minute_ms <= watermark_ms {
            self.minute(minute_ms, &labels, out);
            minute_ms += MINUTE_MS;
        }
    }

    fn minute<'a>(&mut self, now_ms: i64, labels: &impl Fn(u32) -> Option<&'a Labels>, out: &mut Vec<Told>) {
        while let Some(entry) = self.wheel.first_entry().filter(|entry| *entry.key() <= now_ms) {
            let mut due = entry.remove();
            due.sort_unstable();
            due.into_iter().for_each(|of| self.look_at(of, now_ms));
        }
        self.end(now_ms, out);
        // Counted before anything is told, so that an order has no influence.
        let mut silent = HashMap::<u64, u32>::new();
        for (_, of) in self.open.range(..=(now_ms, NONE)).map(|(key, _)| *key) {
            let watched = self.watched[of as usize].as_ref();
            watched.into_iter().for_each(|watched| *silent.entry(watched.service).or_default() += 1);
        }
        let mut told = 0;
        for (&(_, of), open) in self.open.range_mut(..=(now_ms, NONE)) {
            let Some(watched) = self.watched[of as usize].as_ref() else { continue };
            let Some(labels) = labels(watched.slot) else { continue };
            let rule = &self.rules[watched.rule as usize];
            let silent = silent.get(&watched.service).copied().unwrap_or_default();
            let present = self.present.get(&watched.service).copied().unwrap_or_default().max(silent);
            if open.told && f64::from(silent) < rule.service_share * f64::from(present) {
                continue;
            }
            if told == TOLD_MAX {
                self.untold += 1;
                continue;
            }
            told += 1;
            open.told = true;
            out.push(Told::Gone(anomaly(rule, &rule.presence_of(labels), open, now_ms, (silent, present))));
        }
    }

    /// Closes the silences that are over, or have lasted for so long that they are meant.
    fn end(&mut self, now_ms: i64, out: &mut Vec<Told>) {
        let (watched, rules) = (&self.watched, &self.rules);
        let is_over = |(gone_ms, of): &(i64, u32), open: &mut OpenSilence| {
            let rule = watched[*of as usize].as_ref().map(|watched| &rules[watched.rule as usize]);
            let tell_ms = rule.map_or(0, |rule| (1000.0 * rule.tell_s) as i64);
            open.until_ms.is_some_and(|until_ms| until_ms <= now_ms)
                || now_ms.saturating_sub(*gone_ms) >= tell_ms
        };
        let over: Vec<((i64, u32), OpenSilence)> = self.open.extract_if(.., is_over).collect();
        for ((gone_ms, of), open) in over {
            let Some(watched) = self.watched[of as usize].as_mut() else { continue };
            if open.told {
                out.push(Told::Over { series: watched.id, time_ms: now_ms });
            }
            if watched.phase == Phase::Silent(gone_ms) {
                watched.phase = Phase::Gone;
                if std::mem::take(&mut watched.counts) {
                    count_down(&mut self.present, watched.service);
                }
            }
        }
    }

    /// It would be gone now, unless it had points since this was said, or is not known well enough.
    fn look_at(&mut self, of: u32, now_ms: i64) {
        let Some(watched) = self.watched[of as usize].as_mut() else { return };
        // Moved on, gone, or another in the same place.
        if !matches!(watched.phase, Phase::Due(due_ms) if due_ms <= now_ms) {
            return;
        }
        let detector = &self.rules[watched.rule as usize].detector;
        if detector.gone_ms(&watched.presence).is_none() {
            let next_ms = detector.learned_ms(&watched.presence).max(now_ms.saturating_add(LEARNING_MS));
            return Self::schedule(&mut self.wheel, watched, of, next_ms);
        }
        if !std::mem::replace(&mut watched.counts, true) {
            *self.present.entry(watched.service).or_default() += 1;
        }
        let silence = detector.silence(&watched.presence);
        let gone_ms = minute_after(gone_ms(&silence, self.leap_ms));
        if gone_ms > now_ms {
            return Self::schedule(&mut self.wheel, watched, of, gone_ms);
        }
        // Looked at late, it is gone from now on.
        watched.phase = Phase::Silent(now_ms);
        self.open.insert((now_ms, of), OpenSilence::new(&silence, self.leap_ms, None));
    }

    /// The series in the slots are forgotten, and so are their presences, if no others had a newer point.
    pub fn forget(&mut self, slots: &[u32]) {
        let freed = self.free.len();
        for &slot in slots {
            let Some(of) = self.of_slot.get_mut(slot as usize).map(|of| std::mem::replace(of, NONE)) else {
                continue;
            };
            let Some(place) = self.watched.get_mut(of as usize) else { continue };
            let Some(watched) = place.take_if(|watched| watched.slot == slot) else { continue };
            self.index.remove(&watched.id);
            self.free.push(of);
            if watched.counts {
                count_down(&mut self.present, watched.service);
            }
        }
        if self.free.len() > freed {
            let watched = &self.watched;
            self.open.retain(|(_, of), _| watched[*of as usize].is_some());
        }
    }

    /// The state, under the slots of today.
    pub fn state(&self) -> StateSection {
        let bytes =
            state::encode(&(&self.watched, &self.free, &self.open, self.now_ms, self.leap_ms, self.untold));
        StateSection { name: SECTION.to_owned(), bytes }
    }

    /// Takes up a state; what is watched today is told by [`admit`](Self::admit) for each series, and then
    /// [`restored`](Self::restored). Without one, everything is learned anew.
    pub fn restore(&mut self, sections: &[StateSection]) -> Result<(), InvalidState> {
        *self = Self::new(std::mem::take(&mut self.rules));
        if !sections.iter().any(|section| section.name == SECTION) {
            return Ok(());
        }
        let state: (Vec<Option<Watched>>, Vec<u32>, _, _, _, _) = state::section(sections, SECTION)?;
        let (watched, free, open, now_ms, leap_ms, untold) = state;
        let open: BTreeMap<(i64, u32), OpenSilence> = open;
        let of_nobody = |of: &u32| watched.get(*of as usize).is_none_or(Option::is_none);
        let mut index = HashMap::new();
        for (of, watched) in watched.iter().enumerate() {
            let Some(watched) = watched else { continue };
            if index.insert(watched.id, of as u32).is_some() || !watched.presence.is_sound() {
                return Err(InvalidState::new(SECTION, "presences contradict one another"));
            }
        }
        let unused = watched.iter().filter(|watched| watched.is_none()).count();
        let is_free = |of: &u32| (*of as usize) < watched.len() && of_nobody(of);
        if !free.iter().all(is_free) || free.len() != unused || open.keys().any(|(_, of)| of_nobody(of)) {
            return Err(InvalidState::new(SECTION, "places contradict one another"));
        }
        (self.watched, self.free, self.open, self.index) = (watched, free, open, index);
        (self.now_ms, self.leap_ms, self.untold) = (now_ms, leap_ms, untold);
        Ok(())
    }

    /// All series are admitted: drops what is not watched any more.
    pub fn restored(&mut self) {
        for of in 0..self.watched.len() as u32 {
            let Some(watched) = &mut self.watched[of as usize] else { continue };
            if self.of_slot.get(watched.slot as usize) != Some(&of) {
                self.index.remove(&watched.id);
                self.watched[of as usize] = None;
                self.free.push(of);
                self.open.retain(|(_, open), _| *open != of);
                continue;
            }
            if watched.counts {
                *self.present.entry(watched.service).or_default() += 1;
            }
            if let Phase::Due(due_ms) = watched.phase {
                self.wheel.entry(due_ms).or_default().push(of);
            }
        }
    }
}

impl OpenSilence {
    fn new(silence: &Silence, leap_ms: (i64, i64), until_ms: Option<i64>) -> Self {
        let allowed_ms = silence.allowed_ms + leapt_ms(silence.since_ms, leap_ms) as f64;
        Self {
            since_ms: silence.since_ms,
            interval_ms: silence.interval_ms,
            allowed_ms,
            until_ms,
            told: false,
        }
    }
}

fn count_down(present: &mut HashMap<u64, u32>, service: u64) {
    if let Some(count) = present.get_mut(&service) {
        *count -= 1;
        if *count == 0 {
            present.remove(&service);
        }
    }
}

/// How much of the time since then passed for everybody.
fn leapt_ms(since_ms: i64, (from_ms, to_ms): (i64, i64)) -> i64 {
    to_ms.saturating_sub(from_ms.max(since_ms)).max(0)
}

fn gone_ms(silence: &Silence, leap_ms: (i64, i64)) -> i64 {
    let allowed_ms = (silence.allowed_ms as i64).saturating_add(leapt_ms(silence.since_ms, leap_ms));
    silence.since_ms.saturating_add(allowed_ms)
}

/// The first full minute that is not before.
fn minute_after(time_ms: i64) -> i64 {
    time_ms.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS)
}

fn anomaly(
    rule: &Rule,
    labels: &Labels,
    open: &OpenSilence,
    now_ms: i64,
    (silent, present): (u32, u32),
) -> Anomaly {
    let silence =
        Silence { since_ms: open.since_ms, interval_ms: open.interval_ms, allowed_ms: open.allowed_ms };
    let (anomaly_score, silent_ms) = (silence.score(now_ms), now_ms.saturating_sub(open.since_ms) as f64);
    let others = match (silent, present) {
        (1, 1) => String::new(),
        _ => format!("; {silent} of the {present} series of the service are silent"),
    };
    let identity = format!("{}/{}/{now_ms}", labels.id(), rule.name);
    Anomaly {
        id: format!("{:016x}", xxh3_64(identity.as_bytes())),
        labels: labels.clone(),
        service: labels.service().to_owned(),
        metric: metric_of(labels),
        detector: rule.name.clone(),
        time_ms: now_ms,
        value: silent_ms / 1000.0,
        expected: open.interval_ms / 1000.0,
        lower: 0.0,
        upper: open.allowed_ms / 1000.0,
        anomaly_score,
        severity: severity_of(anomaly_score),
        amended: false,
        exemplar_trace_ids: Vec::new(),
        summary: format!(
            "no point for {}, expected every {}{others}",
            span(silent_ms),
            span(open.interval_ms)
        ),
    }
}

/// A time as people say it.
fn span(ms: f64) -> String {
    let s = ms / 1000.0;
    match s {
        _ if s < 90.0 => format!("{s:.0} s"),
        _ if s < 5400.0 => format!("{:.0} min", s / 60.0),
        _ if s < 129_600.0 => format!("{:.0} h", s / 3600.0),
        _ => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests;
