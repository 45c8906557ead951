//! The broker: partitions with records, a consumer group, transactions, and time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use model::{Output, SourceRecord};
use pipeline::PartitionTask;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use worker::{Change, Committed, Failure, RecoveryError, Sink, Source, Start, Take, TopicPartition, Written};

use crate::chain::Chain;
use crate::gathering::Gathering;
use crate::run::Mutation;

const TOPIC: &str = "input";
/// A member that was not heard of for this long is put out of the group.
const SESSION_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) type MemberId = usize;

/// Why a simulated call failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The process ended in the middle of this call.
    Crashed,
    /// A newer process has the same transactional id.
    Fenced,
}

impl From<RecoveryError> for Fate {
    fn from(_: RecoveryError) -> Self {
        Fate::Crashed
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[derive(Default)]
struct Log {
    /// By offset; none where a marker of a transaction lies.
    records: Vec<Option<Vec<u8>>>,
    low_watermark: usize,
}

#[derive(Default)]
struct Member {
    heard: Duration,
    is_frozen: bool,
    /// Put out of the group, and does not know it yet.
    is_out: bool,
    changes: VecDeque<Change>,
    /// It was asked to give these up, and has not answered.
    asked: BTreeSet<usize>,
    /// What it reads, and the next offset.
    positions: BTreeMap<usize, usize>,
}

#[derive(Default)]
struct Transaction {
    outputs: Vec<Output>,
    /// Offsets that were added, and are not decided.
    offsets: Vec<(usize, i64, String)>,
}

#[derive(Default)]
struct Producer {
    incarnation: u64,
    open: Option<Transaction>,
}

/// What runs on the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tasks {
    /// With a state, which is kept.
    Chains,
    Gathering,
}

impl Tasks {
    pub(crate) fn task(self) -> Box<dyn PartitionTask> {
        match self {
            Self::Chains => Box::<Chain>::default(),
            Self::Gathering => Box::<Gathering>::default(),
        }
    }
}

/// What an output says, whatever it says it together with.
pub(crate) fn lines(output: &Output) -> impl Iterator<Item = Vec<u8>> {
    output.payload.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)
}

pub(crate) struct World {
    pub(crate) rng: ChaCha8Rng,
    pub(crate) tasks: Tasks,
    pub(crate) now: Duration,
    /// No more faults.
    pub(crate) is_calm: bool,
    pub(crate) mutation: Option<Mutation>,
    logs: Vec<Log>,
    committed: Vec<Option<(i64, String)>>,
    /// By partition, in the order in which they became visible.
    pub(crate) visible: Vec<Vec<Vec<u8>>>,
    owners: Vec<Option<MemberId>>,
    members: BTreeMap<MemberId, Member>,
    next_member: MemberId,
    producers: BTreeMap<usize, Producer>,
    /// Counts of what happened, for the report.
    pub(crate) commits: u64,
    pub(crate) aborts: u64,
    pub(crate) moves: u64,
}

impl World {
    pub(crate) fn new(rng: ChaCha8Rng, partitions: usize, tasks: Tasks, mutation: Option<Mutation>) -> Self {
        Self {
            rng,
            tasks,
            now: Duration::ZERO,
            is_calm: false,
            mutation,
            logs: (0..partitions).map(|_| Log::default()).collect(),
            committed: vec![None; partitions],
            visible: vec![Vec::new(); partitions],
            owners: vec![None; partitions],
            members: BTreeMap::new(),
            next_member: 0,
            producers: BTreeMap::new(),
            commits: 0,
            aborts: 0,
            moves: 0,
        }
    }

    pub(crate) fn chance(&mut self, one_in: u32) -> bool {
        !self.is_calm && self.rng.random_ratio(1, one_in)
    }

    /// Somebody writes; now and then a marker of a transaction takes an offset.
    pub(crate) fn produce(&mut self) {
        let partition = self.rng.random_range(0..self.logs.len());
        if self.rng.random_ratio(1, 6) {
            self.logs[partition].records.push(None);
        }
        let payload = self.rng.random::<[u8; 8]>().to_vec();
        self.logs[partition].records.push(Some(payload));
    }

    /// The topic forgets what no snapshot that a manifest names needs any more.
    pub(crate) fn retain(&mut self) {
        for (log, committed) in self.logs.iter_mut().zip(&self.committed) {
            let Some((_, metadata)) = committed else { continue };
            let Ok(Some(manifest)) = checkpoint::CheckpointManifest::from_metadata(metadata) else {
                continue;
            };
            if let Some(snapshot) = manifest.snapshot {
                log.low_watermark = log.low_watermark.max(snapshot.offset as usize);
            }
        }
    }

    /// What is not yet committed, in records.
    pub(crate) fn behind(&self) -> usize {
        let logs = self.logs.iter().zip(&self.committed);
        logs.map(|(log, committed)| {
            let from = committed.as_ref().map_or(0, |(offset, _)| *offset as usize);
            log.records.iter().skip(from).flatten().count()
        })
        .sum()
    }

    pub(crate) fn records(&self, partition: usize) -> impl Iterator<Item = (usize, &Vec<u8>)> {
        let records = self.logs[partition].records.iter().enumerate();
        records.filter_map(|(offset, record)| record.as_ref().map(|record| (offset, record)))
    }

    pub(crate) fn partitions(&self) -> usize {
        self.logs.len()
    }

    pub(crate) fn join(&mut self) -> MemberId {
        let id = self.next_member;
        self.next_member += 1;
        self.members.insert(id, Member { heard: self.now, ..Member::default() });
        self.rebalance();
        id
    }

    /// The process of a member ended without a word: it stays in the group until its session is over.
    pub(crate) fn freeze(&mut self, id: MemberId, is_frozen: bool) {
        if let Some(member) = self.members.get_mut(&id) {
            member.is_frozen = is_frozen;
        }
    }

    /// A member says goodbye.
    pub(crate) fn leave(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.disown(id);
        self.rebalance();
    }

    fn disown(&mut self, id: MemberId) {
        for owner in &mut self.owners {
            if *owner == Some(id) {
                *owner = None;
            }
        }
    }

    pub(crate) fn advance(&mut self, duration: Duration) {
        self.now += duration;
        let now = self.now;
        let silent =
            |member: &Member| member.is_frozen && !member.is_out && now >= member.heard + SESSION_TIMEOUT;
        let out: Vec<MemberId> =
            self.members.iter().filter(|(_, member)| silent(member)).map(|(id, _)| *id).collect();
        for id in &out {
            let Some(member) = self.members.get_mut(id) else { continue };
            member.is_out = true;
            let lost: Vec<TopicPartition> =
                member.positions.keys().map(|partition| key(*partition)).collect();
            member.changes.clear();
            member.asked.clear();
            member.changes.push_back(Change::Lost(lost));
            self.disown(*id);
        }
        if !out.is_empty() {
            self.rebalance();
        }
    }

    /// Gives every partition to somebody, moving those that must, and at random others.
    pub(crate) fn rebalance(&mut self) {
        let members: Vec<MemberId> =
            self.members.iter().filter(|(_, member)| !member.is_out).map(|(id, _)| *id).collect();
        if members.is_empty() {
            return;
        }
        let turn = if self.chance(3) { self.rng.random_range(0..members.len()) } else { 0 };
        for partition in 0..self.owners.len() {
            let target = members[(partition + turn) % members.len()];
            match self.owners[partition] {
                None => {
                    self.owners[partition] = Some(target);
                    self.moves += 1;
                    self.tell(target, Change::Assign(vec![key(partition)]));
                }
                Some(owner) if owner != target => {
                    if self.members.get_mut(&owner).is_some_and(|member| member.asked.insert(partition)) {
                        self.tell(owner, Change::Revoke(vec![key(partition)]));
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn tell(&mut self, id: MemberId, change: Change) {
        if let Some(member) = self.members.get_mut(&id) {
            member.changes.push_back(change);
        }
    }

    /// A new producer of the id: older ones are fenced, what they left open is dropped.
    pub(crate) fn init_producer(&mut self, id: usize) -> u64 {
        let producer = self.producers.entry(id).or_default();
        producer.incarnation += 1;
        producer.open = None;
        producer.incarnation
    }

    fn transaction(&mut self, id: usize, incarnation: u64) -> Result<&mut Transaction, Fate> {
        let producer = self.producers.entry(id).or_default();
        if producer.incarnation != incarnation {
            return Err(Fate::Fenced);
        }
        Ok(producer.open.get_or_insert_default())
    }

    fn apply(&mut self, transaction: Transaction) {
        self.show(transaction.outputs);
        self.commit_offsets(transaction.offsets);
        self.commits += 1;
    }

    fn show(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let partition = output.key.as_slice().try_into().map_or(0, i32::from_le_bytes);
            self.visible[partition as usize].extend(lines(&output));
        }
    }

    fn commit_offsets(&mut self, offsets: Vec<(usize, i64, String)>) {
        for (partition, offset, metadata) in offsets {
            self.committed[partition] = Some((offset, metadata));
        }
    }

    /// Transactions that nobody will end are aborted by the broker; readers of offsets wait for that.
    fn decide_pending(&mut self) {
        for producer in self.producers.values_mut() {
            if producer.open.as_ref().is_some_and(|open| !open.offsets.is_empty()) {
                producer.open = None;
            }
        }
    }
}

pub(crate) fn record(partition: usize, offset: usize, payload: &[u8]) -> SourceRecord<'_> {
    let (partition, offset) = (partition as i32, offset as i64);
    let (key, timestamp_ms) = (None, Some(offset));
    SourceRecord { topic: TOPIC, partition, offset, timestamp_ms, key, headers: &[], payload }
}

fn key(partition: usize) -> TopicPartition {
    (TOPIC.to_owned(), partition as i32)
}

/// When a process is to crash: after so many more calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fuse(pub(crate) u32);

/// What the source and the sink of a process share.
pub(crate) struct Handle {
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) member: MemberId,
    pub(crate) producer: usize,
    pub(crate) incarnation: u64,
    pub(crate) fuse: Rc<RefCell<Fuse>>,
}

impl Handle {
    /// Counts a call, and says whether the process lives on.
    fn call(&self) -> Result<(), Fate> {
        let mut fuse = self.fuse.borrow_mut();
        if fuse.0 == 0 && !self.world.borrow().is_calm {
            return Err(Fate::Crashed);
        }
        fuse.0 = fuse.0.saturating_sub(1);
        Ok(())
    }
}

pub(crate) struct SimulatedSource(pub(crate) Rc<Handle>);
pub(crate) struct SimulatedSink(pub(crate) Rc<Handle>);

impl Source for SimulatedSource {
    type Error = Fate;
    type Group = MemberId;

    fn now(&self) -> Duration {
        self.0.world.borrow().now
    }

    fn pause(&self, duration: Duration) {
        self.0.world.borrow_mut().advance(duration);
    }

    fn poll(&mut self, timeout: Duration, take: &mut Take<'_, Fate>) -> Result<bool, Failure<Fate>> {
        self.0.call()?;
        let found = {
            let world = &mut *self.0.world.borrow_mut();
            world.advance(Duration::from_millis(1));
            // A record that was fetched before may come before the news of a rebalance.
            let is_first = world.chance(4);
            let now = world.now;
            let Some(member) = world.members.get_mut(&self.0.member) else { return Ok(false) };
            member.heard = now;
            if !member.changes.is_empty() && !is_first {
                return Ok(false);
            }
            let logs = &world.logs;
            let mut ready: Vec<(usize, usize)> = Vec::new();
            for (partition, position) in &mut member.positions {
                let records = &logs[*partition].records;
                *position = (*position).max(logs[*partition].low_watermark);
                while records.get(*position).is_some_and(Option::is_none) {
                    *position += 1;
                }
                if *position < records.len() {
                    ready.push((*partition, *position));
                }
            }
            if ready.is_empty() {
                world.advance(timeout);
                return Ok(false);
            }
            let (partition, position) = ready[world.rng.random_range(0..ready.len())];
            if let Some(member) = world.members.get_mut(&self.0.member) {
                member.positions.insert(partition, position + 1);
            }
            (partition, position, world.logs[partition].records[position].clone().unwrap_or_default())
        };
        let (partition, offset, payload) = found;
        take(record(partition, offset, &payload)).map(|()| true)
    }

    fn changes(&mut self) -> Vec<Change> {
        let world = &mut *self.0.world.borrow_mut();
        // Somebody who was put out of the group learns it some time later.
        let is_late = !world.chance(8);
        let is_calm = world.is_calm;
        let Some(member) = world.members.get_mut(&self.0.member) else { return Vec::new() };
        if member.is_out && is_late && !is_calm {
            return Vec::new();
        }
        member.changes.drain(..).collect()
    }

    fn answer(&mut self, change: &Change, starts: &[(TopicPartition, Start)]) {
        let world = &mut *self.0.world.borrow_mut();
        let id = self.0.member;
        let Some(member) = world.members.get_mut(&id) else { return };
        match change {
            Change::Assign(_) => {
                for ((_, partition), start) in starts {
                    let partition = *partition as usize;
                    if world.owners[partition] == Some(id) {
                        let position = match start {
                            Start::At(offset) => *offset as usize,
                            Start::Configured => 0,
                        };
                        member.positions.insert(partition, position);
                    }
                }
            }
            Change::Revoke(keys) | Change::Lost(keys) => {
                for (_, partition) in keys {
                    let partition = *partition as usize;
                    member.positions.remove(&partition);
                    member.asked.remove(&partition);
                    if world.owners[partition] == Some(id) {
                        world.owners[partition] = None;
                    }
                }
                member.is_out = false;
                world.rebalance();
            }
        }
    }

    fn committed(&mut self, keys: &[TopicPartition]) -> Result<Vec<Committed>, Fate> {
        self.0.call()?;
        let mut world = self.0.world.borrow_mut();
        world.decide_pending();
        let committed = |(_, partition): &TopicPartition| match &world.committed[*partition as usize] {
            Some((offset, metadata)) => Committed { offset: Some(*offset), metadata: metadata.clone() },
            None => Committed { offset: None, metadata: String::new() },
        };
        Ok(keys.iter().map(committed).collect())
    }

    fn watermarks(&mut self, (_, partition): &TopicPartition) -> Result<(i64, i64), Fate> {
        self.0.call()?;
        let log = &self.0.world.borrow().logs[*partition as usize];
        Ok((log.low_watermark as i64, log.records.len() as i64))
    }

    fn is_stopping(&self) -> bool {
        false
    }

    fn offset_at(&mut self, _key: &TopicPartition, _time_ms: i64) -> Result<Option<i64>, Fate> {
        self.0.call()?;
        Ok(Some(0))
    }

    fn seek(&mut self, offsets: &[(TopicPartition, i64)]) -> Result<(), Fate> {
        self.0.call()?;
        let mut world = self.0.world.borrow_mut();
        let Some(member) = world.members.get_mut(&self.0.member) else { return Ok(()) };
        for ((_, partition), offset) in offsets {
            if let Some(position) = member.positions.get_mut(&(*partition as usize)) {
                *position = *offset as usize;
            }
        }
        Ok(())
    }

    fn group(&self) -> Option<MemberId> {
        Some(self.0.member)
    }

    fn has_new_ends(&mut self) -> bool {
        false
    }

    fn lag(&self, _topic: &str, _partition: i32, _position: Option<i64>) -> Option<i64> {
        None
    }

    fn end(&self, _topic: &str, _partition: i32) -> Option<i64> {
        None
    }

    fn forget_lag(&mut self) {}
}

impl Sink for SimulatedSink {
    type Error = Fate;
    type Group = MemberId;

    fn write(&mut self, output: &Output) -> Result<Written, Failure<Fate>> {
        self.0.call()?;
        let mut world = self.0.world.borrow_mut();
        if world.chance(200) {
            return Err(Failure::Abort("not delivered".to_owned()));
        }
        if lines(output).count() > 1 && world.chance(200) {
            return Ok(Written::TooLarge);
        }
        if world.mutation == Some(Mutation::OutputsAtOnce) {
            world.show(vec![output.clone()]);
            return Ok(Written::Queued { waits: 0 });
        }
        world.transaction(self.0.producer, self.0.incarnation)?.outputs.push(output.clone());
        Ok(Written::Queued { waits: 0 })
    }

    fn poll(&mut self) {}

    fn commit(
        &mut self,
        offsets: &[(TopicPartition, i64, String)],
        group: &MemberId,
    ) -> Result<(), Failure<Fate>> {
        self.0.call()?;
        {
            let mut world = self.0.world.borrow_mut();
            if world.chance(12) {
                return Err(Failure::Abort("the coordinator moved".to_owned()));
            }
            let is_member = world.members.get(group).is_some_and(|member| !member.is_out);
            let (producer, incarnation) = (self.0.producer, self.0.incarnation);
            let mutation = world.mutation;
            let transaction = world.transaction(producer, incarnation)?;
            if !is_member && mutation != Some(Mutation::ZombiesCommit) {
                return Err(Failure::Abort("the member is not in the group".to_owned()));
            }
            let offsets = offsets
                .iter()
                .map(|((_, partition), offset, metadata)| (*partition as usize, *offset, metadata.clone()));
            transaction.offsets = offsets.collect();
            if mutation == Some(Mutation::OffsetsBeforeOutputs) {
                let offsets = std::mem::take(&mut transaction.offsets);
                world.commit_offsets(offsets);
            }
        }
        // The offsets are with the broker, and nothing is decided.
        self.0.call()?;
        {
            let mut world = self.0.world.borrow_mut();
            world.transaction(self.0.producer, self.0.incarnation)?;
            let producer = world.producers.get_mut(&self.0.producer);
            if let Some(transaction) = producer.and_then(|producer| producer.open.take()) {
                world.apply(transaction);
            }
        }
        // It is decided, and the answer is on its way.
        self.0.call()?;
        Ok(())
    }

    fn abort(&mut self, _give_up: &dyn Fn(Duration) -> bool) -> Result<(), Fate> {
        self.0.call()?;
        let mut world = self.0.world.borrow_mut();
        world.aborts += 1;
        *world.transaction(self.0.producer, self.0.incarnation)? = Transaction::default();
        Ok(())
    }
}
