//! Against Apache Kafka itself: that an epoch is seen whole or not at all, whatever ends it.
//!
//! Wants a broker at the address in `FORESHOCK_TEST_BROKERS`; `.ci/kafka start` starts one and prints it.

// clippy.toml allows it in test functions only, and these helpers are part of the tests.
#![allow(clippy::unwrap_used)]

mod catch_up;
mod group_reader;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use foreshock_kafka::{
    Action, ConnectionSettings, Error, KafkaWorker, TaskFactory, TopicReader, TopicSpec, TopicWriter,
    WorkerSettings, WorkerState, WriteRecord, topics,
};
use model::{Output, OutputTopic, SourceRecord};
use pipeline::PartitionTask;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

const PARTITIONS: i32 = 4;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Topics and group of one test, unlike those of any other run.
struct Case {
    connection: ConnectionSettings,
    input: String,
    output: String,
    group: String,
    writer: TopicWriter,
    written: u64,
    /// Each worker has a `group.instance.id`.
    is_static: bool,
}

impl Case {
    fn new(name: &str) -> Case {
        let brokers = std::env::var("FORESHOCK_TEST_BROKERS").expect(
            "FORESHOCK_TEST_BROKERS is not set: start a broker with `.ci/kafka start` and give its address",
        );
        let connection = ConnectionSettings::new(brokers);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
        let (input, output) = (format!("{name}-in-{now}"), format!("{name}-out-{now}"));
        let specs = [spec(&input, PARTITIONS), spec(&output, 2)];
        let states = topics::ensure(&connection, &specs, TIMEOUT).unwrap();
        assert!(states.iter().all(|state| state.created), "{states:?}");
        let writer = TopicWriter::new(&connection).unwrap();
        Case {
            connection,
            input,
            output,
            group: format!("{name}-{now}"),
            writer,
            written: 0,
            is_static: false,
        }
    }

    fn write(&mut self, count: u64) {
        for _ in 0..count {
            let payload = self.written.to_string();
            let partition = Some(i32::try_from(self.written).unwrap() % PARTITIONS);
            let payload = payload.as_bytes();
            let record = WriteRecord { topic: &self.input, partition, payload, ..WriteRecord::default() };
            self.writer.write(record).unwrap();
            self.written += 1;
        }
        self.writer.flush(TIMEOUT).unwrap();
    }

    fn settings(&self, name: &str) -> WorkerSettings {
        let mut settings = WorkerSettings::new(self.connection.clone(), name, &self.group);
        settings.topics = vec![self.input.clone()];
        settings.outputs = BTreeMap::from([(OutputTopic::Anomalies, self.output.clone())]);
        settings.epoch = Duration::from_millis(100);
        let properties = &mut settings.connection.properties;
        if self.is_static {
            properties.insert("group.instance.id".into(), name.into());
        }
        // The new protocol leaves it to the broker.
        if !properties.contains_key("group.protocol") {
            properties.insert("session.timeout.ms".into(), "6000".into());
        }
        settings
    }

    /// What a reader of committed records finds in the output, in order of value.
    fn committed_outputs(&self) -> Vec<u64> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let topics = [self.output.clone()];
        let reader = TopicReader::start(&self.connection, &topics, TIMEOUT, move |read| {
            into.lock().unwrap().push(number(read.record.payload));
        })
        .unwrap();
        wait("the reader to catch up", || reader.is_caught_up());
        reader.stop();
        let mut numbers = seen.lock().unwrap().clone();
        numbers.sort_unstable();
        numbers
    }

    /// How many records lie in the output, those of aborted transactions included.
    fn all_outputs(&self) -> usize {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.connection.brokers)
            .set("group.id", "unused")
            .set("isolation.level", "read_uncommitted")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..2 {
            list.add_partition_offset(&self.output, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut count = 0;
        let mut last = Instant::now();
        while last.elapsed() < Duration::from_secs(2) {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                assert!(message.payload().is_some());
                count += 1;
                last = Instant::now();
            }
        }
        count
    }

    /// The sum of the group's committed offsets.
    fn committed_offsets(&self) -> i64 {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.connection.brokers)
            .set("group.id", &self.group)
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.input, 0, PARTITIONS - 1);
        let committed = consumer.committed_offsets(list, TIMEOUT).unwrap();
        committed
            .elements()
            .iter()
            .filter_map(|element| element.offset().to_raw())
            .filter(|raw| *raw > 0)
            .sum()
    }

    fn expect_exactly_once(&self) {
        let expected: Vec<u64> = (0..self.written).collect();
        let outputs = self.committed_outputs();
        assert_eq!(outputs.len() as u64, self.written, "lost or doubled");
        assert_eq!(outputs, expected);
        assert_eq!(self.committed_offsets(), i64::try_from(self.written).unwrap());
    }
}

fn spec(name: &str, partitions: i32) -> TopicSpec {
    let config = vec![("retention.ms".to_owned(), "3600000".to_owned())];
    TopicSpec { name: name.to_owned(), partitions, replication: -1, config }
}

fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Gives every record back; panics on one of them if told to; sends a second output elsewhere if told to.
#[derive(Clone, Copy, Default)]
struct Echo {
    panics_at: Option<u64>,
    also: Option<OutputTopic>,
}

impl PartitionTask for Echo {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        assert!(self.panics_at != Some(number(record.payload)), "broken on purpose");
        for topic in [Some(OutputTopic::Anomalies), self.also].into_iter().flatten() {
            let payload = record.payload.to_vec();
            out.push(Output { topic, partition: None, key: payload.clone(), headers: Vec::new(), payload });
        }
    }
}

fn echo(task: Echo) -> TaskFactory {
    Box::new(move |_topic, _partition| Box::new(task))
}

fn run_until(case: &Case, name: &str, outputs: u64) {
    let worker = KafkaWorker::start(case.settings(name), echo(Echo::default())).unwrap();
    wait("all outputs", || {
        assert!(!worker.is_finished(), "the worker ended early");
        worker.counters().values().outputs >= outputs
    });
    worker.stop();
    worker.join().unwrap();
}

#[test]
fn topics_are_created_once_and_missing_ones_are_named() {
    let case = Case::new("topics");
    let again = topics::ensure(&case.connection, &[spec(&case.input, 9)], TIMEOUT).unwrap();
    assert_eq!((again[0].created, again[0].partitions), (false, PARTITIONS));
    let error =
        topics::require(&case.connection, &[case.input.clone(), "nowhere".into()], TIMEOUT).unwrap_err();
    assert!(matches!(&error, Error::MissingTopics { topics, .. } if topics == &["nowhere"]), "{error}");
    let many = TopicSpec { replication: 3, ..spec(&format!("{}-3", case.input), 1) };
    let error = topics::ensure(&case.connection, &[many], TIMEOUT).unwrap_err();
    assert!(error.to_string().contains("fewer brokers"), "{error}");
}

#[test]
fn a_restart_continues_where_the_last_worker_stopped() {
    let mut case = Case::new("restart");
    case.write(1000);
    run_until(&case, "a", 1000);
    case.expect_exactly_once();
    case.write(1000);
    run_until(&case, "a", 1000);
    case.expect_exactly_once();
}

#[test]
fn a_panic_in_the_middle_of_an_epoch_leaves_nothing_behind() {
    let mut case = Case::new("panic");
    case.write(200);
    run_until(&case, "a", 200);
    case.write(800);
    let mut settings = case.settings("a");
    settings.epoch = Duration::from_secs(20);
    let task = Echo { panics_at: Some(900), also: None };
    let worker = KafkaWorker::start(settings, echo(task)).unwrap();
    wait("the panic", || worker.is_finished());
    assert!(matches!(worker.join(), Err(Error::TaskPanicked)));
    assert_eq!(case.committed_outputs().len(), 200);
    assert_eq!(case.committed_offsets(), 200);
    run_until(&case, "a", 800);
    case.expect_exactly_once();
}

#[test]
fn an_epoch_that_cannot_be_written_is_aborted_until_it_can() {
    let mut case = Case::new("abort");
    case.write(400);
    let late = format!("{}-late", case.output);
    let mut settings = case.settings("a");
    settings.outputs.insert(OutputTopic::Incidents, late.clone());
    settings.connection.properties.insert("topic.metadata.propagation.max.ms".into(), "500".into());
    let built = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&built);
    let tasks: TaskFactory = Box::new(move |_topic, _partition| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::new(Echo { panics_at: None, also: Some(OutputTopic::Incidents) })
    });
    let worker = KafkaWorker::start(settings, tasks).unwrap();
    wait("two aborts", || worker.counters().values().aborts >= 2);
    assert_eq!(case.committed_outputs(), Vec::<u64>::new());
    assert_eq!(case.committed_offsets(), 0);
    assert_eq!(worker.counters().values().epochs, 0);
    topics::ensure(&case.connection, &[spec(&late, 1)], TIMEOUT).unwrap();
    wait("the commit", || case.committed_offsets() == 400);
    wait("the lag to end", || worker.counters().values().lag_records == 0);
    worker.stop();
    let counters = Arc::clone(worker.counters());
    worker.join().unwrap();
    case.expect_exactly_once();
    assert!(built.load(Ordering::Relaxed) > PARTITIONS as u64, "tasks were not built anew");
    assert!(case.all_outputs() > 400, "the aborted records should lie in the log");
    println!("aborts: {:?}", counters.values());
}

#[test]
fn a_second_worker_of_the_same_name_fences_the_first() {
    let mut case = Case::new("fence");
    case.write(400);
    let mut settings = case.settings("a");
    settings.epoch = Duration::from_secs(50);
    settings.transaction_timeout = Duration::from_secs(120);
    let first = KafkaWorker::start(settings, echo(Echo::default())).unwrap();
    wait("the first worker's outputs", || first.counters().values().outputs == 400);
    assert_eq!(case.committed_outputs(), Vec::<u64>::new());
    let second = KafkaWorker::start(case.settings("a"), echo(Echo::default())).unwrap();
    wait("the first to be fenced", || first.is_finished());
    let error = first.join().unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    wait("the second to take over", || second.counters().values().outputs >= 400);
    assert_eq!(second.state(), WorkerState::Ready);
    second.stop();
    second.join().unwrap();
    case.expect_exactly_once();
}

#[test]
fn partitions_move_between_workers_without_loss_or_doubles() {
    moves(Case::new("move"));
}

/// Whose partitions wait for it until the session times out, and then are all given out at once.
#[test]
fn partitions_move_between_static_members_too() {
    let mut case = Case::new("move-static");
    case.is_static = true;
    moves(case);
}

/// KIP-848: the broker assigns, a partition at a time.
#[test]
fn partitions_move_under_the_new_group_protocol_too() {
    let mut case = Case::new("move-848");
    case.connection.properties.insert("group.protocol".into(), "consumer".into());
    moves(case);
}

#[test]
fn a_topic_that_gets_more_partitions_ends_a_worker_that_relies_on_their_number() {
    let mut case = Case::new("more-partitions");
    case.connection.properties.insert("topic.metadata.refresh.interval.ms".into(), "500".into());
    let mut settings = case.settings("a");
    settings.partitions = BTreeMap::from([(case.input.clone(), PARTITIONS)]);
    let worker = KafkaWorker::start(settings.clone(), echo(Echo::default())).unwrap();
    wait("the worker to be ready", || worker.state() == WorkerState::Ready);
    case.write(100);
    wait("a hundred records", || worker.counters().values().records == 100);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &case.connection.brokers).create().unwrap();
    let input = case.input.clone();
    let more = [NewPartitions::new(&input, PARTITIONS as usize + 2)];
    let options = AdminOptions::new();
    let mut creating = pin!(admin.create_partitions(&more, &options));
    while creating.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        std::thread::sleep(Duration::from_millis(20));
    }
    wait("the worker to end", || worker.is_finished());
    let error = worker.join().unwrap_err();
    assert!(
        matches!(&error, Error::PartitionsChanged { before: PARTITIONS, now, .. } if *now == PARTITIONS + 2),
        "{error}"
    );
    assert_eq!(error.action(), Action::Retry);
    // With the new number it goes on where it was.
    settings.partitions = BTreeMap::from([(case.input.clone(), PARTITIONS + 2)]);
    let worker = KafkaWorker::start(settings, echo(Echo::default())).unwrap();
    case.write(100);
    wait("a hundred more", || worker.counters().values().outputs == 100);
    worker.stop();
    worker.join().unwrap();
    case.expect_exactly_once();
}

fn moves(mut case: Case) {
    case.write(500);
    let start =
        |case: &Case, name: &str| KafkaWorker::start(case.settings(name), echo(Echo::default())).unwrap();
    let a = start(&case, "a");
    wait("a to be ready", || a.state() == WorkerState::Ready);
    case.write(500);
    let b = start(&case, "b");
    for _ in 0..40 {
        case.write(50);
        std::thread::sleep(Duration::from_millis(50));
    }
    wait("the partitions to be shared", || {
        a.counters().values().partitions == 2 && b.counters().values().partitions == 2
    });
    case.write(500);
    a.stop();
    a.join().unwrap();
    case.write(500);
    let written = i64::try_from(case.written).unwrap();
    wait("b to finish", || case.committed_offsets() == written);
    println!("b: {:?}", b.counters().values());
    b.stop();
    b.join().unwrap();
    case.expect_exactly_once();
}

#[test]
fn the_lag_ends_at_zero_also_behind_transaction_markers_and_aborts() {
    let (mut first, second) = (Case::new("lag-a"), Case::new("lag-b"));
    first.write(1000);
    run_until(&first, "a", 1000);
    // What the first has written in transactions is what the second reads.
    let mut settings = second.settings("b");
    settings.topics = vec![first.output.clone()];
    settings.epoch = Duration::from_secs(50);
    settings.transaction_timeout = Duration::from_secs(120);
    let worker = KafkaWorker::start(settings, echo(Echo::default())).unwrap();
    wait("all to be read", || {
        let values = worker.counters().values();
        values.records == 1000 && values.lag_records == 0
    });
    assert_eq!(worker.counters().values().epochs, 0);
    first.write(10);
    run_until(&first, "a", 10);
    wait("the rest to be read", || {
        let values = worker.counters().values();
        values.records == 1010 && values.lag_records == 0
    });
    worker.stop();
    worker.join().unwrap();
}
