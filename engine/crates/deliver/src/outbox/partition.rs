//! One partition of the topic of alerts, as one receiver sees it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{Alert, AlertState, Severity};

use super::{FIRING_MAX, WAITING_BYTES_MAX, WAITING_MAX, Wishes};
use crate::counters::{Counters, add};
use crate::inhibition::Inhibitor;
use crate::log::{METADATA_BYTES_MAX, Position, Record};
use crate::notice::Notice;

/// Precedes the fingerprints of alerts that are held back, in the metadata of an offset.
const HELD: &str = "held=";
/// Follows the fingerprint of one of which an earlier version was told.
const SAID: char = '+';
/// Follows the fingerprint of one of which nobody knows whether the receiver has heard.
const UNSURE: char = '?';
/// Stands for all that fire.
const ALL: &str = "*";
/// Of one request, so that a receiver need not take more.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// An alert that fires.
#[derive(Clone, Debug)]
pub(super) struct Told {
    newest: Alert,
    /// What the receiver has accepted last.
    said: Option<Alert>,
    /// Whether it may have heard more than that, from a process that did not live to note it.
    may_have_heard: bool,
    /// Whether a silence or another alert keeps the newest version back.
    pub(super) is_held: bool,
    /// All severities that it was told under.
    severities: BTreeSet<Severity>,
    /// When it is sent again.
    again_ms: i64,
}

impl Told {
    pub(super) fn is_told(&self) -> bool {
        self.said.is_some() || self.may_have_heard
    }
}

/// Which alerts before the committed offset were held back.
#[derive(Debug)]
enum Held {
    /// By fingerprint, with what the receiver has heard.
    Some(BTreeMap<String, Heard>),
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    AnEarlierVersion,
    Unsure,
}

impl Held {
    fn parse(metadata: &str) -> Self {
        let part = |part: &str| match (part.strip_suffix(SAID), part.strip_suffix(UNSURE)) {
            (Some(fingerprint), _) => (fingerprint.to_owned(), Heard::AnEarlierVersion),
            (None, Some(fingerprint)) => (fingerprint.to_owned(), Heard::Unsure),
            (None, None) => (part.to_owned(), Heard::Nothing),
        };
        match metadata.strip_prefix(HELD) {
            Some(ALL) => Self::All,
            Some(held) => Self::Some(held.split(',').map(part).collect()),
            None => Self::Some(BTreeMap::new()),
        }
    }
}

struct Waiting {
    record: Record,
    alert: Option<Alert>,
}

pub(super) struct Partition {
    pub(super) assignment: u64,
    /// Nobody has delivered from it yet.
    pub(super) is_new: bool,
    /// Records before this offset were dealt with in an earlier life.
    pub(super) history_end: i64,
    pub(super) has_read_history: bool,
    held_before: Held,
    /// Records before this offset may have been told without being noted.
    unsure_end: i64,
    /// So many of the records that wait go alone, since one of them was refused.
    pub(super) alone_left: usize,
    pub(super) committed: Option<Position>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    firing: BTreeMap<String, Told>,
    /// All records before it are dealt with.
    done: i64,
}

impl Partition {
    pub(super) fn new(assignment: u64, committed: Option<Position>, end: i64) -> Self {
        let is_new = committed.is_none();
        // A topic that was made anew is shorter than what was committed for it.
        let history_end = committed.as_ref().map_or(end, |position| position.offset.min(end));
        // A new receiver is told of what fires when it comes, and of nothing that is over.
        let metadata =
            committed.as_ref().map_or(format!("{HELD}{ALL}"), |position| position.metadata.clone());
        Self {
            assignment,
            is_new,
            history_end,
            has_read_history: history_end == 0,
            held_before: Held::parse(&metadata),
            unsure_end: if is_new { 0 } else { end },
            alone_left: 0,
            committed: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            firing: BTreeMap::new(),
            done: history_end,
        }
    }

    /// A record of before: what it says is known to the receiver, unless it was kept back.
    pub(super) fn remember(&mut self, alert: Alert, wants: bool, counters: &Counters) {
        let fingerprint = alert.fingerprint.clone();
        let before = self.firing.remove(&fingerprint);
        if alert.state == AlertState::Resolved {
            return;
        }
        // If it is held back, with what the receiver has heard.
        let held = match &self.held_before {
            Held::All => Some(if self.is_new { Heard::Nothing } else { Heard::Unsure }),
            Held::Some(held) => held.get(&fingerprint).copied(),
        };
        if !wants && before.is_none() {
            return;
        }
        let (said_before, mut severities) =
            before.map_or((None, BTreeSet::new()), |before| (before.said, before.severities));
        severities.extend(wants.then_some(alert.severity));
        let said = match held {
            None => Some(alert.clone()),
            // Which version that was is not known, but that it was not the last.
            Some(Heard::AnEarlierVersion) => said_before.or_else(|| Some(alert.clone())),
            Some(Heard::Nothing | Heard::Unsure) => None,
        };
        let (is_held, may_have_heard) = (held.is_some(), held == Some(Heard::Unsure));
        let told = Told { newest: alert, said, may_have_heard, is_held, severities, again_ms: i64::MIN };
        self.insert(fingerprint, told, counters);
    }

    fn insert(&mut self, fingerprint: String, told: Told, counters: &Counters) {
        self.firing.insert(fingerprint, told);
        if self.firing.len() > FIRING_MAX {
            let oldest = self.firing.iter().min_by_key(|(_, told)| told.newest.starts_ms);
            if let Some(oldest) = oldest.map(|(fingerprint, _)| fingerprint.clone()) {
                self.firing.remove(&oldest);
                add(&counters.forgotten, 1);
            }
        }
    }

    pub(super) fn push(&mut self, record: Record, alert: Option<Alert>) {
        self.waiting_bytes += record.payload.len();
        self.waiting.push_back(Waiting { record, alert });
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX || self.waiting_bytes >= WAITING_BYTES_MAX
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() <= WAITING_MAX / 2 && self.waiting_bytes <= WAITING_BYTES_MAX / 2
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the first record that waits was written.
    pub(super) fn front_ms(&self) -> Option<i64> {
        self.waiting.front().map(|waiting| waiting.record.timestamp_ms)
    }

    pub(super) fn count(&self, counts: impl Fn(&Told) -> bool) -> usize {
        self.firing.values().filter(|told| counts(told)).count()
    }

    /// The first record that waits is dealt with.
    pub(super) fn pop(&mut self) -> Option<Record> {
        let waiting = self.waiting.pop_front()?;
        self.waiting_bytes -= waiting.record.payload.len();
        self.done = waiting.record.offset + 1;
        Some(waiting.record)
    }

    /// The first records that wait and are to be told; what need not be told is passed over.
    pub(super) fn news(
        &mut self,
        number: i32,
        wishes: &Wishes,
        counters: &Counters,
        inhibitor: &mut Inhibitor,
        is_silenced: &dyn Fn(&Alert) -> bool,
    ) -> Vec<Notice> {
        while let Some(waiting) = self.waiting.front() {
            match waiting.alert.clone() {
                None => drop(self.pop()),
                Some(alert) if self.is_to_be_told(&alert, wishes, inhibitor, is_silenced) => break,
                Some(alert) => {
                    let is_unsure = waiting.record.offset < self.unsure_end;
                    let is_inhibited = inhibitor.is_inhibited(&alert);
                    self.pop();
                    inhibitor.observe(number, &alert);
                    self.pass_over(alert, is_unsure, is_inhibited, wishes, counters);
                }
            }
        }
        let batch_max = if self.alone_left > 0 { 1 } else { wishes.batch_max };
        let mut notices: Vec<Notice> = Vec::new();
        let mut bytes = 0;
        for waiting in self.waiting.iter().take(batch_max) {
            let Some(alert) = &waiting.alert else { break };
            bytes += waiting.record.payload.len();
            // What is said of one alert depends on what was said of it before, which is not known yet.
            let is_again = notices.iter().any(|notice| notice.alert.fingerprint == alert.fingerprint);
            // Nor is whether one of them holds it back, until they are told.
            let is_inhibited = notices.iter().any(|notice| inhibitor.would_inhibit(&notice.alert, alert));
            let is_too_much = !notices.is_empty() && bytes > BATCH_BYTES_MAX;
            if is_again
                || is_inhibited
                || is_too_much
                || !self.is_to_be_told(alert, wishes, inhibitor, is_silenced)
            {
                break;
            }
            notices.push(self.notice(alert.clone()));
        }
        notices
    }

    fn is_to_be_told(
        &self,
        alert: &Alert,
        wishes: &Wishes,
        inhibitor: &Inhibitor,
        is_silenced: &dyn Fn(&Alert) -> bool,
    ) -> bool {
        // Of one that is not known it may be that it was told: too many fire, or its records are no longer kept.
        let is_told = self.firing.get(&alert.fingerprint).map(Told::is_told);
        match alert.state {
            // The end of what was told is told also where it would be held back: nobody shall look after what is over.
            AlertState::Resolved => wishes.send_resolved && is_told.unwrap_or_else(|| wishes.want(alert)),
            AlertState::Firing => {
                let is_wanted = is_told == Some(true) || wishes.want(alert);
                is_wanted && !is_silenced(alert) && !inhibitor.is_inhibited(alert)
            }
        }
    }

    /// Takes note of an alert that is not told.
    fn pass_over(
        &mut self,
        alert: Alert,
        is_unsure: bool,
        is_inhibited: bool,
        wishes: &Wishes,
        counters: &Counters,
    ) {
        let fingerprint = alert.fingerprint.clone();
        let before = self.firing.remove(&fingerprint);
        if alert.state == AlertState::Resolved {
            let was_wanted = before.is_some() || wishes.want(&alert);
            return add(if was_wanted { &counters.unwanted } else { &counters.unmatched }, 1);
        }
        if before.is_none() && !wishes.want(&alert) {
            return add(&counters.unmatched, 1);
        }
        add(if is_inhibited { &counters.inhibited } else { &counters.silenced }, 1);
        let told = match before {
            Some(before) => {
                let may_have_heard = before.may_have_heard || is_unsure;
                Told { newest: alert, is_held: true, may_have_heard, ..before }
            }
            None => Told {
                newest: alert,
                said: None,
                may_have_heard: is_unsure,
                is_held: true,
                severities: BTreeSet::new(),
                again_ms: i64::MAX,
            },
        };
        self.insert(fingerprint, told, counters);
    }

    /// What was held back and may be told now. From here on the receiver may have heard of it.
    pub(super) fn released(&mut self, wishes: &Wishes, is_held: &dyn Fn(&Alert) -> bool) -> Vec<Notice> {
        let batch_max = if self.alone_left > 0 { 1 } else { wishes.batch_max };
        let released = self.firing.values_mut().filter(|told| told.is_held && !is_held(&told.newest));
        let alerts: Vec<Alert> = released
            .take(batch_max)
            .map(|told| {
                told.may_have_heard = true;
                told.newest.clone()
            })
            .collect();
        alerts.into_iter().map(|alert| self.notice(alert)).collect()
    }

    /// What is to be sent again.
    pub(super) fn due(&self, wishes: &Wishes, now_ms: i64) -> Vec<Notice> {
        if wishes.resend_ms.is_none() {
            return Vec::new();
        }
        let due = self.firing.values().filter(|told| told.again_ms <= now_ms);
        let said = due.filter_map(|told| told.said.clone());
        said.take(wishes.batch_max).map(|alert| self.notice(alert)).collect()
    }

    fn notice(&self, alert: Alert) -> Notice {
        let told = self.firing.get(&alert.fingerprint);
        let former = told.iter().flat_map(|told| &told.severities).copied();
        let former = former.filter(|severity| *severity != alert.severity).collect();
        Notice { alert, former }
    }

    /// The receiver has accepted it.
    pub(super) fn told(&mut self, notice: &Notice, again_ms: Option<i64>, counters: &Counters) {
        let (alert, fingerprint) = (notice.alert.clone(), notice.alert.fingerprint.clone());
        let before = self.firing.remove(&fingerprint);
        if alert.state == AlertState::Resolved {
            return;
        }
        let mut severities = before.map(|before| before.severities).unwrap_or_default();
        severities.insert(alert.severity);
        let again_ms = again_ms.unwrap_or(i64::MAX);
        let told = Told {
            newest: alert.clone(),
            said: Some(alert),
            may_have_heard: false,
            is_held: false,
            severities,
            again_ms,
        };
        self.insert(fingerprint, told, counters);
    }

    /// The receiver will never hear of this version.
    pub(super) fn lost(&mut self, alert: &Alert) {
        if alert.state == AlertState::Resolved {
            self.firing.remove(&alert.fingerprint);
        }
    }

    /// It was said once more.
    pub(super) fn said_again(&mut self, fingerprint: &str, again_ms: Option<i64>) {
        if let Some(told) = self.firing.get_mut(fingerprint) {
            told.again_ms = again_ms.unwrap_or(i64::MAX);
        }
    }

    /// The receiver will not have it.
    pub(super) fn not_held(&mut self, fingerprint: &str) {
        if let Some(told) = self.firing.get_mut(fingerprint) {
            told.is_held = false;
        }
    }

    /// Where another process would go on.
    pub(super) fn position(&self) -> Position {
        if !self.has_read_history {
            let unread = Position { offset: self.history_end, metadata: format!("{HELD}{ALL}") };
            return self.committed.clone().unwrap_or(unread);
        }
        Position { offset: self.done, metadata: self.metadata() }
    }

    fn metadata(&self) -> String {
        let mut metadata = String::new();
        for (fingerprint, told) in self.firing.iter().filter(|(_, told)| told.is_held) {
            let is_plain = !fingerprint.is_empty() && fingerprint.bytes().all(|c| c.is_ascii_alphanumeric());
            metadata.push_str(if metadata.is_empty() { HELD } else { "," });
            metadata.push_str(fingerprint);
            metadata.extend(match &told.said {
                Some(_) => Some(SAID),
                None => told.may_have_heard.then_some(UNSURE),
            });
            if !is_plain || metadata.len() > METADATA_BYTES_MAX {
                return format!("{HELD}{ALL}");
            }
        }
        metadata
    }
}
