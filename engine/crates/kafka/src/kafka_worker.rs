//! One thread that reads partitions from Kafka and runs a [`Driver`] over them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use model::SourceRecord;
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, OwnedMessage};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use worker::{
    Change, Committed, Driver, DriverSettings, Failure, Sink, Source, Start, Take, TaskFactory,
    TopicPartition, WorkerCounters,
};

use crate::align::{Aligner, Flow};
use crate::client::{LogContext, log, warn_of_consumer};
use crate::error::Doing;
use crate::horizon::Horizon;
use crate::lag::Ends;
use crate::offsets::{self, listed};
use crate::settings::{WorkerSettings, setting_error};
use crate::transaction::TransactionalProducer;
use crate::{Action, Error};

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
    stop: Arc<AtomicBool>,
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
            stop: Arc::new(AtomicBool::new(false)),
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
        let thread_shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || run_to_end(settings, &thread_shared, tasks, consumer, producer))
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

/// Queues rebalances so that the worker answers them between two records, where it can commit.
struct WorkerContext {
    log: LogContext,
    changes: Mutex<Vec<Change>>,
    /// The newest that the worker has not looked at yet.
    ends: Mutex<Option<Ends>>,
    closing: AtomicBool,
}

impl WorkerContext {
    fn changes(&self) -> MutexGuard<'_, Vec<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Option<Ends>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for WorkerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        *self.ends() = Some(Ends::of(&statistics));
    }
}

impl ConsumerContext for WorkerContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = copy(list);
        // Kept as plain values: a list of librdkafka's must not outlive its consumer.
        let change = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assign(partitions),
            _ if consumer.assignment_lost() => Change::Lost(partitions),
            _ => Change::Revoke(partitions),
        };
        if self.closing.load(Ordering::Acquire) {
            // The worker has committed and left; librdkafka only waits for the answer.
            answer(consumer, &change, &[]);
            return;
        }
        self.changes().push(change);
    }
}

fn copy(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

/// Tells librdkafka that a change was taken note of, as it must be for every one. Partitions that are not in `starts`
/// are read from their committed offsets.
fn answer(consumer: &BaseConsumer<WorkerContext>, change: &Change, starts: &[(TopicPartition, Start)]) {
    let (Change::Assign(keys) | Change::Revoke(keys) | Change::Lost(keys)) = change;
    let mut list = listed(keys);
    for ((topic, number), start) in starts {
        let Start::At(offset) = start else { continue };
        if let Err(error) = list.set_partition_offset(topic, *number, Offset::Offset(*offset)) {
            tracing::warn!(%error, topic, number, "could not set where to start");
        }
    }
    let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
    let result = match change {
        Change::Assign(_) if cooperative => consumer.incremental_assign(&list),
        Change::Assign(_) => consumer.assign(&list),
        _ if cooperative => consumer.incremental_unassign(&list),
        _ => consumer.unassign(),
    };
    if let Err(error) = result {
        tracing::warn!(%error, ?change, "could not answer a rebalance");
    }
}

/// A member of a consumer group, as the worker sees it.
struct KafkaSource {
    settings: WorkerSettings,
    consumer: BaseConsumer<WorkerContext>,
    stop: Arc<AtomicBool>,
    began: Instant,
    aligner: Aligner<OwnedMessage>,
    horizon: Horizon,
    /// The offset behind the last record that was fetched of each partition.
    fetched: BTreeMap<String, BTreeMap<i32, i64>>,
    /// The ends as they were seen last, and before that.
    ends: Ends,
    ends_before: Ends,
}

const OFFSETS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker that is to stop waits for brokers that do not answer.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

impl Source for KafkaSource {
    type Error = Error;
    type Group = ConsumerGroupMetadata;

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn poll(&mut self, timeout: Duration, take: &mut Take<'_, Error>) -> Result<bool, Failure<Error>> {
        let now_ms = now_ms();
        let (ends, before, fetched) = (&self.ends, &self.ends_before, &self.fetched);
        let had = |(topic, number): &TopicPartition, offset| before.had(topic, *number, offset);
        let is_at_end = |(topic, number): &TopicPartition| {
            let position = fetched.get(topic).and_then(|numbers| numbers.get(number)).copied();
            ends.lag(topic, *number, position, false) == Some(0)
        };
        let horizon = &mut self.horizon;
        let may_read = |time_ms| horizon.grants(time_ms, now_ms);
        if let Some((message, flow)) =
            self.aligner.next(self.began.elapsed(), now_ms, may_read, had, is_at_end)
        {
            self.steer(flow);
            return give(&message, take).map(|()| true);
        }
        match self.consumer.poll(timeout) {
            Some(Ok(message)) => {
                let timestamp_ms = message.timestamp().to_millis();
                note(&mut self.fetched, message.topic(), message.partition(), message.offset() + 1);
                let horizon = &mut self.horizon;
                if self.aligner.passes(timestamp_ms, now_ms, |time_ms| horizon.grants(time_ms, now_ms)) {
                    return give(&message, take).map(|()| true);
                }
                let key = (message.topic().to_owned(), message.partition());
                let (offset, bytes) = (message.offset(), message.payload_len() + message.key_len());
                let time_ms = timestamp_ms.unwrap_or(now_ms);
                let flow = self.aligner.hold(&key, offset, time_ms, bytes, message.detach());
                drop(message);
                self.steer(flow);
                // There may be more before any can be given.
                Ok(true)
            }
            Some(Err(error)) => consume_error(&self.settings, &error).map_err(Failure::Stop).map(|()| false),
            None => Ok(false),
        }
    }

    fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut *self.consumer.context().changes())
    }

    fn answer(&mut self, change: &Change, starts: &[(TopicPartition, Start)]) {
        let (Change::Assign(keys) | Change::Revoke(keys) | Change::Lost(keys)) = change;
        for key in keys {
            self.forget_fetched(key);
            let flow = match change {
                Change::Assign(_) => self.aligner.begin(key),
                _ => self.aligner.end(key),
            };
            self.horizon.own(key, matches!(change, Change::Assign(_)));
            self.steer(flow);
        }
        answer(&self.consumer, change, starts);
    }

    fn committed(&mut self, keys: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.check_partitions()?;
        let list = self.persist(UNREADABLE_OFFSETS, |consumer| {
            offsets::committed(consumer, listed(keys), OFFSETS_TIMEOUT)
        })?;
        let committed = |(topic, number): &TopicPartition| {
            let Some(element) = list.find_partition(topic, *number) else {
                return Committed { offset: None, metadata: String::new() };
            };
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            Committed { offset, metadata: offsets::metadata_of(&element) }
        };
        Ok(keys.iter().map(committed).collect())
    }

    fn watermarks(&mut self, (topic, number): &TopicPartition) -> Result<(i64, i64), Error> {
        self.persist("could not ask for the ends of a partition", |consumer| {
            consumer.fetch_watermarks(topic, *number, OFFSETS_TIMEOUT)
        })
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn offset_at(&mut self, (topic, number): &TopicPartition, time_ms: i64) -> Result<Option<i64>, Error> {
        let found = self.persist("could not ask for the offset of a time", |consumer| {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset(topic, *number, Offset::Offset(time_ms))?;
            offsets::at_times(consumer, asked, OFFSETS_TIMEOUT)
        })?;
        let offset = found.elements().first().and_then(|element| element.offset().to_raw());
        Ok(offset.filter(|offset| *offset >= 0))
    }

    fn seek(&mut self, offsets: &[(TopicPartition, i64)]) -> Result<(), Error> {
        let mut target = TopicPartitionList::new();
        for (key, offset) in offsets {
            self.forget_fetched(key);
            let flow = self.aligner.begin(key);
            self.steer(flow);
            target
                .add_partition_offset(&key.0, key.1, Offset::Offset(*offset))
                .map_err(Error::kafka("could not note an offset"))?;
        }
        let sought = self.consumer.seek_partitions(target, OFFSETS_TIMEOUT);
        let sought = sought.map_err(Error::kafka("could not go back to the committed offsets"))?;
        for element in sought.elements() {
            element.error().map_err(Error::kafka("could not go back to the committed offset"))?;
        }
        Ok(())
    }

    fn group(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    fn has_new_ends(&mut self) -> bool {
        let Some(ends) = self.consumer.context().ends().take() else { return false };
        self.ends_before = std::mem::replace(&mut self.ends, ends);
        true
    }

    fn lag(&self, topic: &str, partition: i32, position: Option<i64>) -> Option<i64> {
        let holds = self.aligner.holds(&(topic.to_owned(), partition));
        self.ends.lag(topic, partition, position, holds)
    }

    fn end(&self, topic: &str, partition: i32) -> Option<i64> {
        self.ends.next(topic, partition)
    }

    fn forget_lag(&mut self) {
        self.consumer.context().ends().take();
        self.ends = Ends::default();
        self.ends_before = Ends::default();
    }
}

/// Notes how far a partition was fetched, without an allocation once it is known.
fn note(fetched: &mut BTreeMap<String, BTreeMap<i32, i64>>, topic: &str, number: i32, next: i64) {
    match fetched.get_mut(topic) {
        Some(numbers) => numbers.insert(number, next),
        None => fetched.entry(topic.to_owned()).or_default().insert(number, next),
    };
}

fn now_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn give<M: Message>(message: &M, take: &mut Take<'_, Error>) -> Result<(), Failure<Error>> {
    let headers = headers_of(message);
    take(record_of(message, &headers))
}

/// Subscribes and runs until it is asked to stop or cannot go on.
fn run_to_end(
    settings: WorkerSettings,
    shared: &Shared,
    tasks: TaskFactory,
    consumer: BaseConsumer<WorkerContext>,
    producer: TransactionalProducer,
) -> Result<(), Error> {
    let stopping = || shared.stop.load(Ordering::Acquire);
    let driver_settings = DriverSettings {
        name: settings.name.clone(),
        group: settings.group.clone(),
        epoch: settings.epoch,
        stop_patience: STOP_PATIENCE,
        checkpoints: settings.checkpoints.clone(),
    };
    let name = settings.name.clone();
    let source = KafkaSource {
        horizon: Horizon::new(&settings),
        settings,
        consumer,
        stop: Arc::clone(&shared.stop),
        began: Instant::now(),
        aligner: Aligner::default(),
        fetched: BTreeMap::new(),
        ends: Ends::default(),
        ends_before: Ends::default(),
    };
    let (counters, stop) = (Arc::clone(&shared.counters), Arc::clone(&shared.stop));
    let mut driver = Driver::new(driver_settings, tasks, source, producer, counters, stop);
    let run = || {
        if let Err(error) = driver.sink().init(&stopping) {
            return if stopping() { Ok(()) } else { Err(error) };
        }
        driver.source().subscribe()?;
        while !stopping() {
            driver.turn()?;
            if driver.has_answered() {
                shared.set_state(WorkerState::Ready);
            }
        }
        driver.finish()
    };
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Error::TaskPanicked));
    if result.is_err() {
        // Best effort: an open transaction holds back every reader until it times out.
        let _ = driver.sink().abort(&|waited| waited > STOP_PATIENCE);
    }
    let source = driver.source();
    source.consumer.context().closing.store(true, Ordering::Release);
    for change in source.changes() {
        source.answer(&change, &[]);
    }
    drop(driver);
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

/// Offsets of a transaction that is neither committed nor aborted are waited for. A broker that crashed without replicas may have
/// forgotten one, which then nobody ends: only an administrator can.
const UNREADABLE_OFFSETS: &str = "could not read the committed offsets (if the brokers answer and this goes on, a transaction may hang \
     since one of them crashed: kafka-transactions.sh find-hanging names it, abort ends it)";

/// Tries of a question that brokers do not answer, until the worker gives up.
const TRIES: u32 = 30;

impl KafkaSource {
    fn persist<T>(
        &self,
        doing: &'static str,
        ask: impl Fn(&BaseConsumer<WorkerContext>) -> Result<T, KafkaError>,
    ) -> Result<T, Error> {
        let mut tries_left = TRIES;
        loop {
            match ask(&self.consumer) {
                Err(error) if tries_left > 1 && !self.is_stopping() => {
                    tries_left -= 1;
                    tracing::warn!(worker = self.settings.name, %error, "{doing}, trying again");
                    self.pause(Duration::from_secs(1));
                }
                answer => return answer.map_err(Error::kafka(doing)),
            }
        }
    }

    /// A topic that was given more partitions causes a rebalance, so that this is asked then.
    fn check_partitions(&self) -> Result<(), Error> {
        for (topic, &before) in &self.settings.partitions {
            let metadata = self.persist("could not ask for the partitions of a topic", |consumer| {
                consumer.fetch_metadata(Some(topic), OFFSETS_TIMEOUT)
            })?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let now = found.map_or(0, |found| i32::try_from(found.partitions().len()).unwrap_or(i32::MAX));
            // None while the brokers do not know; they do once it matters.
            if now != before && now != 0 {
                return Err(Error::PartitionsChanged { topic: topic.clone(), before, now });
            }
        }
        Ok(())
    }

    fn forget_fetched(&mut self, (topic, number): &TopicPartition) {
        if let Some(numbers) = self.fetched.get_mut(topic) {
            numbers.remove(number);
        }
    }

    fn steer(&self, flow: Option<Flow>) {
        let (result, key) = match &flow {
            None => return,
            Some(Flow::Pause(key)) => (self.consumer.pause(&listed(std::slice::from_ref(key))), key),
            Some(Flow::Resume(key)) => (self.consumer.resume(&listed(std::slice::from_ref(key))), key),
        };
        if let Err(error) = result {
            tracing::warn!(%error, topic = key.0, partition = key.1, ?flow, "could not steer the fetching");
        }
    }

    fn subscribe(&self) -> Result<(), Error> {
        let topics: Vec<&str> = self.settings.topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&topics).map_err(Error::kafka("could not subscribe"))?;
        let (worker, group) = (&self.settings.name, &self.settings.group);
        tracing::info!(worker, group, ?topics, "worker subscribed");
        Ok(())
    }
}

pub(crate) fn headers_of<M: Message>(message: &M) -> Vec<(&str, &[u8])> {
    let Some(headers) = message.headers() else { return Vec::new() };
    headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect()
}

pub(crate) fn record_of<'m, M: Message>(
    message: &'m M,
    headers: &'m [(&'m str, &'m [u8])],
) -> SourceRecord<'m> {
    SourceRecord {
        timestamp_ms: message.timestamp().to_millis(),
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        headers,
        payload: message.payload().unwrap_or_default(),
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
    if code == RDKafkaErrorCode::InconsistentGroupProtocol {
        tracing::error!(
            worker = settings.name,
            group = settings.group,
            "the other processes of the group assign partitions in another way: give all of them a group.instance.id, or none, \
             and the same group.protocol, and start them anew together"
        );
    }
    warn_of_consumer(&settings.name, &settings.connection.brokers, error);
    Ok(())
}
