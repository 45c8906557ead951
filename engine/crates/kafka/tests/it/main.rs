//! Against librdkafka's mock broker: the ordinary way, and errors that need no real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foreshock_kafka::{
    Action, ConnectionSettings, Error, KafkaWorker, MockKafka, TaskFactory, TopicReader, TopicWriter,
    WorkerSettings, WorkerState, WriteRecord, topics,
};
use model::{Output, OutputTopic, SourceRecord};
use pipeline::PartitionTask;

/// Gives every record back, with its place as a header.
struct Echo;

impl PartitionTask for Echo {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        out.push(Output {
            topic: OutputTopic::Anomalies,
            partition: None,
            key: record.key.unwrap_or_default().to_vec(),
            headers: vec![("offset".to_owned(), record.offset.to_string().into_bytes())],
            payload: record.payload.to_vec(),
        });
    }
}

fn echo() -> TaskFactory {
    Box::new(|_topic, _partition| Box::new(Echo))
}

fn settings(connection: ConnectionSettings) -> WorkerSettings {
    let mut settings = WorkerSettings::new(connection, "w0", "g");
    settings.topics = vec!["in".to_owned()];
    settings.outputs = BTreeMap::from([(OutputTopic::Anomalies, "out".to_owned())]);
    settings.epoch = Duration::from_millis(100);
    settings
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn records_go_through_a_task_and_are_committed() {
    let kafka = MockKafka::start(&[("in", 3), ("out", 2)]).unwrap();
    let writer = TopicWriter::new(&kafka.connection()).unwrap();
    for number in 0..100 {
        let payload = format!("payload {number}");
        let key = format!("key {number}");
        let record = WriteRecord {
            topic: "in",
            key: Some(key.as_bytes()),
            payload: payload.as_bytes(),
            ..WriteRecord::default()
        };
        writer.write(record).unwrap();
    }
    writer.flush(Duration::from_secs(10)).unwrap();

    let worker = KafkaWorker::start(settings(kafka.connection()), echo()).unwrap();
    wait("100 records", || worker.counters().values().records == 100);
    assert_eq!(worker.state(), WorkerState::Ready);
    worker.stop();
    let counters = Arc::clone(worker.counters());
    worker.join().unwrap();
    let values = counters.values();
    assert_eq!((values.records, values.outputs, values.aborts), (100, 100, 0), "{values:?}");
    assert!(values.epochs >= 1 && values.commit_latency_us_max > 0, "{values:?}");

    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let out = ["out".to_owned()];
    let reader = TopicReader::start(&kafka.connection(), &out, Duration::from_secs(10), move |read| {
        assert!(read.record.header("offset").is_some() && read.timestamp_ms.is_some());
        into.lock().unwrap().push(String::from_utf8(read.record.payload.to_vec()).unwrap());
    })
    .unwrap();
    wait("the reader", || reader.is_caught_up() && reader.records() == 100);
    reader.stop();
    let mut payloads = seen.lock().unwrap().clone();
    payloads.sort();
    payloads.dedup();
    assert_eq!(payloads.len(), 100);
}

#[test]
fn topics_are_looked_up() {
    let kafka = MockKafka::start(&[("in", 3)]).unwrap();
    let connection = kafka.connection();
    let found = topics::require(&connection, &["in".to_owned()], Duration::from_secs(10)).unwrap();
    assert_eq!(found[0].partitions, 3);
    let names = ["in".to_owned()];
    assert_eq!(topics::names(&connection, Duration::from_secs(10)).unwrap(), names);
}

#[test]
fn a_broker_that_does_not_answer_is_named() {
    let connection = ConnectionSettings::new("127.0.0.1:1");
    let error = topics::require(&connection, &["in".to_owned()], Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.action(), Action::Retry);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");

    let mut settings = settings(connection);
    settings.start_timeout = Duration::from_secs(1);
    let error = KafkaWorker::start(settings, echo()).unwrap().join().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn a_panic_in_a_task_ends_the_worker_with_an_error() {
    struct Panics;
    impl PartitionTask for Panics {
        fn on_record(&mut self, _record: SourceRecord<'_>, _out: &mut Vec<Output>) {
            panic!("broken on purpose");
        }
    }
    let kafka = MockKafka::start(&[("in", 1), ("out", 1)]).unwrap();
    let writer = TopicWriter::new(&kafka.connection()).unwrap();
    writer.write(WriteRecord { topic: "in", payload: b"x", ..WriteRecord::default() }).unwrap();
    writer.flush(Duration::from_secs(10)).unwrap();
    let worker = KafkaWorker::start(settings(kafka.connection()), Box::new(|_, _| Box::new(Panics))).unwrap();
    wait("the panic", || worker.is_finished());
    assert_eq!(worker.state(), WorkerState::Failed);
    assert!(matches!(worker.join(), Err(Error::TaskPanicked)));
}

/// Takes its time, so that records wait.
struct Slow;

impl PartitionTask for Slow {
    fn on_record(&mut self, _record: SourceRecord<'_>, _out: &mut Vec<Output>) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_lag_is_what_the_worker_has_not_read_whatever_is_committed() {
    const WRITTEN: u64 = 400;
    let kafka = MockKafka::start(&[("in", 3), ("out", 1)]).unwrap();
    let writer = TopicWriter::new(&kafka.connection()).unwrap();
    // The other two partitions stay empty, and must not make the lag unknown.
    let write = |count: u64| {
        for _ in 0..count {
            let record =
                WriteRecord { topic: "in", partition: Some(1), payload: b"x", ..WriteRecord::default() };
            writer.write(record).unwrap();
        }
        writer.flush(Duration::from_secs(10)).unwrap();
    };
    write(WRITTEN);
    let mut settings = settings(kafka.connection());
    // Nothing is committed within this test.
    settings.epoch = Duration::from_secs(100);
    settings.transaction_timeout = Duration::from_secs(300);
    settings.connection.properties.insert("statistics.interval.ms".into(), "100".into());
    let worker = KafkaWorker::start(settings, Box::new(|_, _| Box::new(Slow))).unwrap();
    let values = || worker.counters().values();

    let mut seen = 0;
    wait("the first records to be read", || {
        let (lag, records) = (values().lag_records, values().records);
        if lag > 0 {
            seen += 1;
            // The lag is the older number, so it is not below what is left.
            let left = i64::try_from(WRITTEN - records).unwrap();
            assert!((left..=i64::try_from(WRITTEN).unwrap()).contains(&lag), "{lag} of {left}");
        }
        seen > 10 && records < WRITTEN
    });
    wait("all to be read", || values().records == WRITTEN && values().lag_records == 0);
    write(200);
    wait("the lag to grow", || values().lag_records > 0);
    wait("the rest to be read", || values().records == WRITTEN + 200 && values().lag_records == 0);
    assert_eq!(values().epochs, 0, "{:?}", values());
}
