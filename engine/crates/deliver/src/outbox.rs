//! What one receiver has been told and has yet to be told. Pure: no clock, no network, no Kafka.
//!
//! **Invariants.** Alerts of a partition are told in their order, and the next one only when the one before was accepted or went to the
//! dead-letter topic; so the offset that is committed is behind nothing that was not dealt with. What fires is known again after a restart
//! from the records before that offset, which are read but not told.

mod partition;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Alert, Matcher};

use self::partition::{Partition, Told};
use crate::counters::{Counters, add};
use crate::inhibition::{InhibitRule, Inhibitor};
use crate::log::{Position, Record};
use crate::notice::{Notice, labels_of_now};

/// Records of a partition that are kept in memory before they are told; the others wait on the topic.
pub const WAITING_MAX: usize = 256;
pub const WAITING_BYTES_MAX: usize = 16 << 20;
/// Alerts of a partition that fire and are remembered.
pub const FIRING_MAX: usize = 10_000;

/// What a receiver made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// These alerts will never be accepted.
    Refused(String),
    /// They may be later.
    Failed {
        reason: String,
        retry_after_ms: Option<i64>,
    },
}

/// What a receiver wants to be told.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub matchers: Vec<Matcher>,
    pub inhibit_rules: Vec<InhibitRule>,
    pub send_resolved: bool,
    pub give_up_after_ms: i64,
    pub resend_ms: Option<i64>,
    pub batch_max: usize,
}

impl Wishes {
    fn want(&self, alert: &Alert) -> bool {
        let labels = labels_of_now(alert);
        self.matchers.iter().all(|matcher| matcher.matches(&labels))
    }
}

/// Alerts to be told in one request.
#[derive(Clone, Debug)]
pub struct Batch {
    partition: i32,
    assignment: u64,
    kind: BatchKind,
    pub notices: Vec<Notice>,
}

impl Batch {
    /// Whether it was held back. That it is told must be committed before, since no record that is yet to be dealt with would tell.
    pub fn is_release(&self) -> bool {
        self.kind == BatchKind::Held
    }

    /// Whether it only says once more what was said.
    pub fn is_repetition(&self) -> bool {
        self.kind == BatchKind::Again
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchKind {
    /// Of records that wait.
    News,
    /// Of alerts that were held back.
    Held,
    /// Of alerts that still fire.
    Again,
}

/// A record that is given up, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub record: Record,
    pub reason: String,
}

/// One receiver's partitions.
pub struct Outbox {
    wishes: Wishes,
    partitions: BTreeMap<i32, Partition>,
    /// What fires by the records that were dealt with.
    inhibitor: Inhibitor,
    assignments: u64,
    counters: Arc<Counters>,
}

impl Outbox {
    pub fn new(wishes: Wishes, counters: Arc<Counters>) -> Self {
        let inhibitor = Inhibitor::new(wishes.inhibit_rules.clone());
        Self { wishes, partitions: BTreeMap::new(), inhibitor, assignments: 0, counters }
    }

    /// The partition will be given from its beginning. Returns what must be committed at once.
    pub fn assigned(&mut self, number: i32, committed: Option<Position>, end: i64) -> Option<Position> {
        self.assignments += 1;
        self.inhibitor.forget(number);
        let mut partition = Partition::new(self.assignments, committed.clone(), end);
        let first = partition.is_new.then(|| partition.position());
        partition.committed = committed.or_else(|| first.clone());
        self.partitions.insert(number, partition);
        first
    }

    pub fn revoked(&mut self, number: i32) {
        self.partitions.remove(&number);
        self.inhibitor.forget(number);
    }

    /// All that the partition has was given.
    pub fn ended(&mut self, number: i32) {
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.has_read_history = true;
        }
    }

    pub fn on_record(&mut self, record: Record) {
        let Some(partition) = self.partitions.get_mut(&record.partition) else { return };
        let alert = record.alert();
        if record.offset < partition.history_end {
            if let Some(alert) = alert {
                self.inhibitor.observe(record.partition, &alert);
                let wants = self.wishes.want(&alert);
                partition.remember(alert, wants, &self.counters);
            }
            return;
        }
        partition.has_read_history = true;
        if alert.is_none() {
            add(&self.counters.unreadable, 1);
            let (partition, offset) = (record.partition, record.offset);
            tracing::warn!(
                partition,
                offset,
                "a record on the topic of alerts is no alert; it is passed over"
            );
        }
        partition.push(record, alert);
    }

    /// Whether records of this partition should stay on the topic for now.
    pub fn is_full(&self, number: i32) -> bool {
        self.partitions.get(&number).is_some_and(Partition::is_full)
    }

    /// Whether more records of this partition may come.
    pub fn has_room(&self, number: i32) -> bool {
        self.partitions.get(&number).is_none_or(Partition::has_room)
    }

    /// What to tell next. Until [`settle`](Self::settle) says what became of it, nothing else may be asked for.
    pub fn next(&mut self, now_ms: i64, is_silenced: &dyn Fn(&Alert) -> bool) -> Option<Batch> {
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        for number in &numbers {
            let partition = self.partitions.get_mut(number)?;
            if !partition.has_read_history {
                continue;
            }
            let notices =
                partition.news(*number, &self.wishes, &self.counters, &mut self.inhibitor, is_silenced);
            if !notices.is_empty() {
                return Some(batch(*number, partition, BatchKind::News, notices));
            }
        }
        for number in &numbers {
            let partition = self.partitions.get_mut(number)?;
            if !partition.has_read_history {
                continue;
            }
            let inhibitor = &self.inhibitor;
            let is_held = |alert: &Alert| is_silenced(alert) || inhibitor.is_inhibited(alert);
            let notices = partition.released(&self.wishes, &is_held);
            if !notices.is_empty() {
                return Some(batch(*number, partition, BatchKind::Held, notices));
            }
            let notices = partition.due(&self.wishes, now_ms);
            if !notices.is_empty() {
                return Some(batch(*number, partition, BatchKind::Again, notices));
            }
        }
        None
    }

    /// Takes note of what became of a batch. The dead letters must be written before the positions are committed.
    pub fn settle(&mut self, batch: &Batch, outcome: &Outcome, now_ms: i64) -> Vec<DeadLetter> {
        let current = self.partitions.get_mut(&batch.partition);
        // Somebody else delivers it now, perhaps once more.
        let Some(partition) = current.filter(|partition| partition.assignment == batch.assignment) else {
            return Vec::new();
        };
        if *outcome == Outcome::Accepted || batch.notices.len() == 1 {
            partition.alone_left = partition.alone_left.saturating_sub(1);
        }
        let again_ms = self.wishes.resend_ms.map(|resend_ms| now_ms.saturating_add(resend_ms));
        match (batch.kind, outcome) {
            (BatchKind::News, Outcome::Accepted) => {
                add(&self.counters.accepted, batch.notices.len());
                for notice in &batch.notices {
                    partition.pop();
                    self.inhibitor.observe(batch.partition, &notice.alert);
                    partition.told(notice, again_ms, &self.counters);
                }
                Vec::new()
            }
            (BatchKind::News, Outcome::Refused(_)) if batch.notices.len() > 1 => {
                // One of them is to blame: each goes alone.
                partition.alone_left = batch.notices.len();
                Vec::new()
            }
            (BatchKind::News, Outcome::Refused(reason)) => self.bury(batch, reason),
            (BatchKind::News, Outcome::Failed { reason, .. }) => {
                let oldest_ms = now_ms.saturating_sub(self.wishes.give_up_after_ms);
                if partition.front_ms().is_none_or(|written_ms| written_ms > oldest_ms) {
                    return Vec::new();
                }
                let first = Batch { notices: batch.notices[..1].to_vec(), ..batch.clone() };
                self.bury(&first, &format!("given up, it is too old: {reason}"))
            }
            (BatchKind::Held, Outcome::Accepted) => {
                add(&self.counters.accepted, batch.notices.len());
                for notice in &batch.notices {
                    partition.told(notice, again_ms, &self.counters);
                }
                Vec::new()
            }
            (BatchKind::Held, Outcome::Refused(_)) if batch.notices.len() > 1 => {
                partition.alone_left = batch.notices.len();
                Vec::new()
            }
            (BatchKind::Held, Outcome::Refused(_)) => {
                // Its record is long dealt with; a later version of the alert is tried anew.
                for notice in &batch.notices {
                    partition.not_held(&notice.alert.fingerprint);
                }
                Vec::new()
            }
            (BatchKind::Again, Outcome::Accepted | Outcome::Refused(_)) => {
                if *outcome == Outcome::Accepted {
                    add(&self.counters.resent, batch.notices.len());
                }
                for notice in &batch.notices {
                    partition.said_again(&notice.alert.fingerprint, again_ms);
                }
                Vec::new()
            }
            (BatchKind::Held | BatchKind::Again, Outcome::Failed { .. }) => Vec::new(),
        }
    }

    /// The first record that waits becomes a dead letter.
    fn bury(&mut self, batch: &Batch, reason: &str) -> Vec<DeadLetter> {
        let Some(partition) = self.partitions.get_mut(&batch.partition) else { return Vec::new() };
        let record = partition.pop();
        if let Some(notice) = batch.notices.first() {
            self.inhibitor.observe(batch.partition, &notice.alert);
            partition.lost(&notice.alert);
        }
        add(&self.counters.dead, record.iter().len());
        record.map(|record| DeadLetter { record, reason: reason.to_owned() }).into_iter().collect()
    }

    /// Positions that have not been committed yet, and from now on count as such.
    pub fn positions(&mut self) -> Vec<(i32, Position)> {
        let mut changed = Vec::new();
        for (number, partition) in &mut self.partitions {
            let position = partition.position();
            if partition.has_read_history && partition.committed.as_ref() != Some(&position) {
                partition.committed = Some(position.clone());
                changed.push((*number, position));
            }
        }
        changed
    }

    /// Brings the gauges up to date.
    pub fn measure(&self) {
        let sum = |of: &dyn Fn(&Partition) -> usize| self.partitions.values().map(of).sum::<usize>() as u64;
        let counters = &self.counters;
        counters.waiting.store(sum(&Partition::waiting), Ordering::Relaxed);
        counters.held.store(sum(&|partition| partition.count(|told: &Told| told.is_held)), Ordering::Relaxed);
        counters.firing.store(sum(&|partition| partition.count(Told::is_told)), Ordering::Relaxed);
        let oldest_ms = self.partitions.values().filter_map(Partition::front_ms).min();
        counters.oldest_waiting_ms.store(oldest_ms.unwrap_or(0), Ordering::Relaxed);
    }
}

fn batch(number: i32, partition: &Partition, kind: BatchKind, notices: Vec<Notice>) -> Batch {
    Batch { partition: number, assignment: partition.assignment, kind, notices }
}

#[cfg(test)]
mod tests;
