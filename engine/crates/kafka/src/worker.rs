//! One thread that reads partitions, runs a task for each and commits their outputs epoch by epoch.
//!
//! An epoch is a transaction: the outputs of some records and the offsets behind them become visible together or not at
//! all. When it cannot be committed, it is aborted, the tasks that took part are built anew, and reading goes on from the
//! committed offsets.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use checkpoint::SnapshotName;
use model::{Output, OutputTopic, SourceRecord};
use pipeline::PartitionTask;
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use crate::client::{LogContext, log};
use crate::counters::WorkerCounters;
use crate::error::Doing;
use crate::lag::Ends;
use crate::progress::Progress;
use crate::recovery::{Place, recover};
use crate::settings::{WorkerSettings, setting_error};
use crate::transaction::{Failure, TransactionalProducer, Written};
use crate::{Action, Error};

/// A topic's name and the number of one of its partitions.
type TopicPartition = (String, i32);

/// Builds the task of a partition: on assignment, and again after an aborted epoch.
pub type TaskFactory = Box<dyn FnMut(&str, i32) -> Box<dyn PartitionTask> + Send>;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Connecting, or waiting for the group's first answer.
    Starting,
    /// Has its partitions, which may be none.
    Ready,
    Stopped,
    /// `KafkaWorker::join` says why.
    Failed,
}

/// A running worker. Dropping it stops it and waits.
pub struct KafkaWorker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

struct Shared {
    stop: AtomicBool,
    state: AtomicU8,
    counters: Arc<WorkerCounters>,
}

impl Shared {
    fn set_state(&self, state: WorkerState) {
        self.state.store(state as u8, Ordering::Release);
    }
}

impl KafkaWorker {
    /// Checks the settings and starts the thread; it connects by itself. Errors from then on come from [`join`](Self::join).
    pub fn start(settings: WorkerSettings, tasks: TaskFactory) -> Result<KafkaWorker, Error> {
        settings.validate()?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            state: AtomicU8::new(WorkerState::Starting as u8),
            counters: Arc::new(WorkerCounters::default()),
        });
        let context = WorkerContext {
            log: LogContext::default(),
            changes: Mutex::new(Vec::new()),
            ends: Mutex::new(None),
            closing: AtomicBool::new(false),
        };
        let consumer = settings.consumer_config()?.create_with_context(context).map_err(setting_error)?;
        let producer = TransactionalProducer::new(&settings)?;
        let name = settings.name.clone();
        let driver = Driver {
            settings,
            shared: Arc::clone(&shared),
            tasks,
            partitions: Owned::default(),
            consumer,
            producer,
            outputs: Vec::new(),
            epoch: 0,
            epoch_began: Instant::now(),
            aborts_in_a_row: 0,
        };
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || driver.run_to_end())
            .map_err(|source| Error::Thread { name, source })?;
        Ok(KafkaWorker { shared, thread: Some(thread) })
    }

    pub fn state(&self) -> WorkerState {
        match self.shared.state.load(Ordering::Acquire) {
            state if state == WorkerState::Ready as u8 => WorkerState::Ready,
            state if state == WorkerState::Stopped as u8 => WorkerState::Stopped,
            state if state == WorkerState::Failed as u8 => WorkerState::Failed,
            _ => WorkerState::Starting,
        }
    }

    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.shared.counters
    }

    /// Asks the worker to commit its epoch, leave the group and end. Does not wait.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Whether the thread has ended, by itself or by request.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end, which does not come before [`stop`](Self::stop) or an error.
    pub fn join(mut self) -> Result<(), Error> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::TaskPanicked),
            None => Ok(()),
        }
    }
}

impl Drop for KafkaWorker {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A partition that moves. Kept as plain values: a list of librdkafka's must not outlive its consumer.
#[derive(Clone, Debug)]
enum Change {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
}

/// Queues rebalances so that the worker answers them between two records, where it can commit.
struct WorkerContext {
    log: LogContext,
    changes: Mutex<Vec<Change>>,
    /// The newest that the worker has not looked at yet.
    ends: Mutex<Option<Ends>>,
    closing: AtomicBool,
}

impl ClientContext for WorkerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ends::of(&statistics));
    }
}

impl ConsumerContext for WorkerContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = copy(list);
        let change = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assign(partitions),
            _ => Change::Revoke(partitions),
        };
        if self.closing.load(Ordering::Acquire) {
            // The worker has committed and left; librdkafka only waits for the answer.
            answer(consumer, &change, &[]);
            return;
        }
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

fn copy(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

/// Tells librdkafka that a change was taken note of, as it must be for every one. Partitions that are not in `starts`
/// are read from their committed offsets.
fn answer(consumer: &BaseConsumer<WorkerContext>, change: &Change, starts: &[(TopicPartition, Offset)]) {
    let partitions = match change {
        Change::Assign(partitions) | Change::Revoke(partitions) => partitions,
    };
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        let mut element = list.add_partition(topic, *partition);
        let start = starts.iter().find(|((t, p), _)| (t, p) == (topic, partition));
        if let Some((_, start)) = start
            && let Err(error) = element.set_offset(*start)
        {
            tracing::warn!(%error, topic, partition, "could not set where to start");
        }
    }
    let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
    let result = match change {
        Change::Assign(_) if cooperative => consumer.incremental_assign(&list),
        Change::Assign(_) => consumer.assign(&list),
        Change::Revoke(_) if cooperative => consumer.incremental_unassign(&list),
        Change::Revoke(_) => consumer.unassign(),
    };
    if let Err(error) = result {
        tracing::warn!(%error, ?change, "could not answer a rebalance");
    }
}

/// What the worker knows of a partition that it owns.
struct Partition {
    task: Box<dyn PartitionTask>,
    /// The offset of the first record since the assignment: where to go back to while nothing is committed.
    first: Option<i64>,
    /// The offset behind the last record of this epoch; none if it had no record.
    next: Option<i64>,
    /// The offset behind the last record since the assignment, whether committed or not.
    position: Option<i64>,
    /// Where states are kept.
    progress: Option<Progress>,
}

/// The partitions of a worker, in order. Found by the name of a topic without a copy of it, since every record asks.
#[derive(Default)]
struct Owned(BTreeMap<String, BTreeMap<i32, Partition>>);

impl Owned {
    fn get_mut(&mut self, topic: &str, number: i32) -> Option<&mut Partition> {
        self.0.get_mut(topic)?.get_mut(&number)
    }

    fn contains(&self, (topic, number): &TopicPartition) -> bool {
        self.0.get(topic).is_some_and(|partitions| partitions.contains_key(number))
    }

    fn insert(&mut self, topic: &str, number: i32, partition: Partition) {
        self.0.entry(topic.to_owned()).or_default().insert(number, partition);
    }

    fn remove(&mut self, (topic, number): &TopicPartition) {
        if let Some(partitions) = self.0.get_mut(topic) {
            partitions.remove(number);
        }
    }

    fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, i32, &Partition)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(number, partition)| (topic.as_str(), *number, partition))
        })
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = (&str, i32, &mut Partition)> {
        self.0.iter_mut().flat_map(|(topic, partitions)| {
            partitions.iter_mut().map(|(number, partition)| (topic.as_str(), *number, partition))
        })
    }
}

struct Driver {
    settings: WorkerSettings,
    shared: Arc<Shared>,
    tasks: TaskFactory,
    partitions: Owned,
    consumer: BaseConsumer<WorkerContext>,
    producer: TransactionalProducer,
    /// Reused from record to record.
    outputs: Vec<Output>,
    epoch: u64,
    epoch_began: Instant,
    aborts_in_a_row: u32,
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_millis(3200);
/// How long a worker that is to stop waits for brokers that do not answer.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
const POLL_MAX: Duration = Duration::from_millis(100);
const OFFSETS_TIMEOUT: Duration = Duration::from_secs(10);

impl Driver {
    fn run_to_end(mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let result = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or(Err(Error::TaskPanicked));
        if result.is_err() {
            // Best effort: an open transaction holds back every reader until it times out.
            let _ = self.producer.abort(&|waited| waited > STOP_PATIENCE);
        }
        self.consumer.context().closing.store(true, Ordering::Release);
        let pending = std::mem::take(&mut *self.changes());
        for change in &pending {
            answer(&self.consumer, change, &[]);
        }
        let name = self.settings.name.clone();
        drop(self);
        match &result {
            Ok(()) => shared.set_state(WorkerState::Stopped),
            Err(error) => {
                let retry = error.action() == Action::Retry;
                tracing::error!(worker = name, %error, retry, "worker failed");
                shared.set_state(WorkerState::Failed);
            }
        }
        result
    }

    fn run(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let stopping = move || shared.stop.load(Ordering::Acquire);
        if let Err(error) = self.producer.init(&stopping) {
            return if stopping() { Ok(()) } else { Err(error) };
        }
        let topics: Vec<&str> = self.settings.topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&topics).map_err(Error::kafka("could not subscribe"))?;
        tracing::info!(
            worker = self.settings.name,
            group = self.settings.group,
            ?topics,
            "worker subscribed"
        );
        while !stopping() {
            let left = self.settings.epoch.saturating_sub(self.epoch_began.elapsed());
            self.step(left.min(POLL_MAX))?;
            if self.epoch_began.elapsed() >= self.settings.epoch {
                self.end_epoch()?;
            }
        }
        // An epoch that cannot be committed now is read again by the next owner.
        self.commit(true).or_else(|failure| self.abort_after(failure))
    }

    /// Polls once and takes what comes: a record, a rebalance, an error or nothing.
    fn step(&mut self, timeout: Duration) -> Result<(), Error> {
        // The message borrows the consumer, the tasks belong to the driver: they are disjoint fields.
        let result = match self.consumer.poll(timeout) {
            Some(Ok(message)) => process(
                &message,
                &mut self.partitions,
                &mut self.producer,
                &mut self.outputs,
                &self.shared.counters,
            ),
            Some(Err(error)) => consume_error(&self.settings, &error).map_err(Failure::Stop),
            None => {
                self.producer.poll();
                Ok(())
            }
        };
        if let Err(failure) = result {
            self.recover(failure)?;
        }
        let changes = std::mem::take(&mut *self.changes());
        for change in changes {
            self.take(&change)?;
        }
        let ends = self.consumer.context().ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ends) = ends {
            self.note_lag(&ends);
        }
        Ok(())
    }

    /// The sum over the partitions, unknown if it is of one of them.
    fn note_lag(&self, ends: &Ends) {
        let lags = self
            .partitions
            .iter()
            .map(|(topic, number, partition)| ends.lag(topic, number, partition.position));
        let lag = lags.sum::<Option<i64>>().unwrap_or(-1);
        self.shared.counters.lag_records.store(lag, Ordering::Relaxed);
    }

    /// What statistics said so far is void, because partitions or positions changed. The next come soon.
    fn forget_lag(&self) {
        self.consumer.context().ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.note_lag(&Ends::default());
    }

    fn changes(&self) -> std::sync::MutexGuard<'_, Vec<Change>> {
        self.consumer.context().changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&mut self, change: &Change) -> Result<(), Error> {
        let lost = matches!(change, Change::Revoke(_)) && self.consumer.assignment_lost();
        match change {
            Change::Assign(partitions) => {
                let mut starts = Vec::with_capacity(partitions.len());
                for (key, partition, start) in self.prepare(partitions)? {
                    self.partitions.insert(&key.0, key.1, partition);
                    starts.push((key, start));
                }
                answer(&self.consumer, change, &starts);
            }
            Change::Revoke(partitions) => {
                // Somebody else may own lost partitions by now, so what this epoch did with them must not be seen.
                let kept = if lost {
                    self.abort("the partitions were lost to the group")
                } else {
                    self.commit(true).or_else(|failure| self.abort_after(failure))
                };
                let dirty = self.dirty();
                for key in partitions {
                    self.partitions.remove(key);
                }
                answer(&self.consumer, change, &[]);
                kept?;
                self.rewind(&dirty)?;
            }
        }
        self.forget_lag();
        let count = self.partitions.len();
        self.shared.counters.partitions.store(count as u64, Ordering::Relaxed);
        self.shared.set_state(WorkerState::Ready);
        tracing::info!(worker = self.settings.name, ?change, lost, owned = count, "partitions changed");
        Ok(())
    }

    fn end_epoch(&mut self) -> Result<(), Error> {
        match self.commit(false) {
            Ok(()) => Ok(()),
            Err(failure) => self.recover(failure),
        }
    }

    /// Commits what the epoch has. Does nothing if it has no record. The `last` epoch before a hand-over ends with a snapshot,
    /// so that the next owner has nothing to replay.
    fn commit(&mut self, last: bool) -> Result<(), Failure> {
        self.epoch_began = Instant::now();
        if self.partitions.iter().all(|(_, _, partition)| partition.next.is_none()) {
            return Ok(());
        }
        let began = Instant::now();
        let counters = &self.shared.counters;
        let mut offsets = TopicPartitionList::new();
        for (topic, number, partition) in self.partitions.iter_mut() {
            let Some(next) = partition.next else { continue };
            let mut element = offsets.add_partition(topic, number);
            element
                .set_offset(Offset::Offset(next))
                .map_err(Error::kafka("could not note an offset"))?;
            let Some(progress) = &mut partition.progress else { continue };
            progress.settle(counters);
            if last {
                progress.wait(STOP_PATIENCE, counters);
            }
            if last || progress.is_due() {
                let name = SnapshotName::new(&self.settings.group, topic, number, next, self.epoch + 1);
                match name {
                    Ok(name) => progress.begin_snapshot(name, partition.task.as_ref(), counters),
                    Err(error) => {
                        tracing::error!(%error, "no snapshot can be stored; use a shorter `group`");
                    }
                }
            }
            if last {
                progress.wait(STOP_PATIENCE, counters);
            }
            element.set_metadata(progress.manifest(self.epoch + 1).to_metadata());
        }
        let Some(group) = self.consumer.group_metadata() else {
            return Err(Failure::Abort("the consumer is in no group".to_owned()));
        };
        self.producer.commit(&offsets, &group)?;
        self.epoch += 1;
        self.aborts_in_a_row = 0;
        for (_, _, partition) in self.partitions.iter_mut() {
            partition.next = None;
        }
        self.shared.counters.committed(began.elapsed());
        self.epoch_began = Instant::now();
        Ok(())
    }

    /// Gives up the epoch and goes back to where the last one ended.
    fn recover(&mut self, failure: Failure) -> Result<(), Error> {
        self.abort_after(failure)?;
        let dirty = self.dirty();
        self.rewind(&dirty)
    }

    fn abort_after(&mut self, failure: Failure) -> Result<(), Error> {
        match failure {
            Failure::Stop(error) => Err(error),
            Failure::Abort(reason) => self.abort(&reason),
        }
    }

    fn abort(&mut self, reason: &str) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let stopping = || shared.stop.load(Ordering::Acquire);
        tracing::warn!(
            worker = self.settings.name,
            reason,
            "epoch aborted, going back to the committed offsets"
        );
        self.shared.counters.aborts.fetch_add(1, Ordering::Relaxed);
        self.outputs.clear();
        self.producer.abort(&|waited| stopping() && waited > STOP_PATIENCE)?;
        if !stopping() {
            std::thread::sleep(backoff(self.aborts_in_a_row));
        }
        self.aborts_in_a_row = self.aborts_in_a_row.saturating_add(1);
        Ok(())
    }

    /// The partitions with records in this epoch.
    fn dirty(&self) -> Vec<TopicPartition> {
        self.partitions
            .iter()
            .filter(|(_, _, partition)| partition.next.is_some())
            .map(|(topic, number, _)| (topic.to_owned(), number))
            .collect()
    }

    /// Goes back to the committed offsets of those of `keys` that are still owned, with new tasks.
    fn rewind(&mut self, keys: &[TopicPartition]) -> Result<(), Error> {
        let mut asked = TopicPartitionList::new();
        for (topic, number) in keys.iter().filter(|key| self.partitions.contains(key)) {
            asked.add_partition(topic, *number);
        }
        if asked.count() == 0 {
            return Ok(());
        }
        let keys: Vec<TopicPartition> = copy(&asked);
        let mut target = TopicPartitionList::new();
        for ((topic, number), mut fresh, start) in self.prepare(&keys)? {
            let Some(partition) = self.partitions.get_mut(&topic, number) else { continue };
            let start = match (start, partition.first) {
                (Offset::Offset(offset), _) => Offset::Offset(offset),
                (_, Some(first)) => Offset::Offset(first),
                _ => Offset::Beginning,
            };
            fresh.first = partition.first;
            fresh.position = start.to_raw().filter(|offset| *offset >= 0);
            *partition = fresh;
            target
                .add_partition_offset(&topic, number, start)
                .map_err(Error::kafka("could not note an offset"))?;
        }
        let sought = self.consumer.seek_partitions(target, OFFSETS_TIMEOUT);
        let sought = sought.map_err(Error::kafka("could not go back to the committed offsets"))?;
        for element in sought.elements() {
            element.error().map_err(Error::kafka("could not go back to the committed offset"))?;
        }
        self.forget_lag();
        self.epoch_began = Instant::now();
        Ok(())
    }

    /// New tasks for partitions, with the states that belong to their committed offsets, and where to read on.
    fn prepare(
        &mut self,
        keys: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Partition, Offset)>, Error> {
        let mut asked = TopicPartitionList::new();
        for (topic, number) in keys {
            asked.add_partition(topic, *number);
        }
        let mut prepared = Vec::with_capacity(keys.len());
        for (key, offset, manifest) in self.committed(asked)? {
            let (topic, number) = (key.0.as_str(), key.1);
            let mut make = || (self.tasks)(topic, number);
            let (task, progress, start) = match &self.settings.checkpoints {
                None => (make(), None, offset),
                Some(checkpoints) => {
                    let place = Place { consumer: &self.consumer, settings: &self.settings, topic, number };
                    let recovered =
                        recover(checkpoints, &place, offset, &manifest, &mut make, &self.shared.counters)?;
                    (recovered.task, Some(recovered.progress), recovered.start)
                }
            };
            let partition = Partition { task, first: None, next: None, position: None, progress };
            prepared.push((key, partition, start));
        }
        Ok(prepared)
    }

    /// The committed offsets, with what was said with them.
    fn committed(&self, asked: TopicPartitionList) -> Result<Vec<(TopicPartition, Offset, String)>, Error> {
        let mut tries_left = 30;
        loop {
            match self.consumer.committed_offsets(asked.clone(), OFFSETS_TIMEOUT) {
                Ok(list) => {
                    let elements = list.elements();
                    let keyed = elements.iter().map(|e| {
                        ((e.topic().to_owned(), e.partition()), e.offset(), e.metadata().to_owned())
                    });
                    return Ok(keyed.collect());
                }
                Err(error) if tries_left > 0 && !self.shared.stop.load(Ordering::Acquire) => {
                    tries_left -= 1;
                    tracing::warn!(worker = self.settings.name, %error, "could not read the committed offsets, trying again");
                    std::thread::sleep(Duration::from_secs(1));
                }
                Err(source) => {
                    return Err(Error::Kafka { doing: "could not read the committed offsets", source });
                }
            }
        }
    }
}

/// The pause after an abort that follows on so many others: none after the first, then 100 ms, doubled up to 3.2 s.
fn backoff(aborts_before: u32) -> Duration {
    match aborts_before.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(BACKOFF_MAX),
    }
}

/// The record that an output came from.
#[derive(Clone, Copy)]
struct Source<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

fn process(
    message: &BorrowedMessage<'_>,
    partitions: &mut Owned,
    producer: &mut TransactionalProducer,
    outputs: &mut Vec<Output>,
    counters: &WorkerCounters,
) -> Result<(), Failure> {
    // A record of a partition that was just revoked: its next owner reads it.
    let Some(partition) = partitions.get_mut(message.topic(), message.partition()) else { return Ok(()) };
    let headers = borrowed_headers(message);
    let record = SourceRecord {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        headers: &headers,
        payload: message.payload().unwrap_or_default(),
    };
    let muted = partition.progress.as_mut().is_some_and(|progress| {
        progress.on_record(record.offset, message.timestamp().to_millis(), counters)
    });
    partition.position = Some(record.offset + 1);
    if !muted {
        partition.first.get_or_insert(record.offset);
        partition.next = partition.position;
    }
    counters.records.fetch_add(1, Ordering::Relaxed);
    counters.record_bytes.fetch_add(record.payload.len() as u64, Ordering::Relaxed);
    partition.task.on_record(record, outputs);
    let source = Source { topic: record.topic, partition: record.partition, offset: record.offset };
    for output in outputs.drain(..) {
        if let Some(progress) = &mut partition.progress {
            progress.on_output(&output);
        }
        if !muted {
            write(producer, &output, source, counters)?;
        }
    }
    Ok(())
}

pub(crate) fn borrowed_headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<(&'m str, &'m [u8])> {
    let Some(headers) = message.headers() else { return Vec::new() };
    headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect()
}

/// Writes an output; one that is too large to send becomes a dead letter that says so.
fn write(
    producer: &mut TransactionalProducer,
    output: &Output,
    source: Source<'_>,
    counters: &WorkerCounters,
) -> Result<(), Failure> {
    let mut written = producer.write(output)?;
    let mut dead = output.topic == OutputTopic::DeadLetter;
    if written == Written::TooLarge {
        dead = true;
        written = producer.write(&too_large(output, source))?;
    }
    if let Written::Queued { waits } = written {
        counters.queue_full.fetch_add(waits, Ordering::Relaxed);
    }
    counters.outputs.fetch_add(1, Ordering::Relaxed);
    counters.dead_letters.fetch_add(u64::from(dead), Ordering::Relaxed);
    Ok(())
}

fn too_large(output: &Output, source: Source<'_>) -> Output {
    let reason = format!(
        "an output of {} bytes for {:?} is larger than message.max.bytes allows",
        output.payload.len(),
        output.topic
    );
    let headers = [
        ("reason", reason),
        ("source.topic", source.topic.to_owned()),
        ("source.partition", source.partition.to_string()),
        ("source.offset", source.offset.to_string()),
    ];
    Output {
        topic: OutputTopic::DeadLetter,
        key: Vec::new(),
        headers: headers.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect(),
        payload: Vec::new(),
    }
}

/// librdkafka recovers from most errors by itself; only those that it cannot recover from end the worker.
fn consume_error(settings: &WorkerSettings, error: &KafkaError) -> Result<(), Error> {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
    if let Some(refused) = Error::from_refusal(code, Doing::Reading(&settings.topics.join("`, `"))) {
        return Err(refused);
    }
    if let KafkaError::MessageConsumptionFatal(code) = error {
        let reason = code.to_string();
        return Err(match code {
            RDKafkaErrorCode::FencedInstanceId => Error::InstanceFenced { reason },
            _ => Error::Fatal { reason },
        });
    }
    tracing::warn!(worker = settings.name, %error, "kafka consumer error, librdkafka goes on by itself");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_aborts_double_up_to_a_bound() {
        let pauses_ms = [0, 1, 2, 3, 5, 6, 7, u32::MAX].map(|before| backoff(before).as_millis());
        assert_eq!(pauses_ms, [0, 100, 200, 400, 1600, 3200, 3200, 3200]);
    }
}
