//! On a topic in memory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kafka::{PartitionExtent, ScanEnd};

use super::*;

const PARTITIONS: usize = 3;

#[derive(Clone)]
struct Stored {
    key: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    payload: Vec<u8>,
}

/// A dead-letter topic and what was sent from it, by topic.
#[derive(Default)]
struct Broker {
    partitions: [Vec<Stored>; PARTITIONS],
    sent: BTreeMap<String, Vec<Stored>>,
}

/// The topic as it was when this was made.
struct Snapshot {
    broker: Rc<RefCell<Broker>>,
    extents: Vec<PartitionExtent>,
    /// Records that were given.
    reads: Rc<Cell<usize>>,
}

impl Snapshot {
    fn of(broker: &Rc<RefCell<Broker>>) -> Self {
        let end = |records: &Vec<Stored>| PartitionExtent { first: 0, end: records.len() as i64 };
        let extents = broker.borrow().partitions.iter().map(end).collect();
        Self { broker: Rc::clone(broker), extents, reads: Rc::default() }
    }
}

impl Records for Snapshot {
    fn extents(&self) -> &[PartitionExtent] {
        &self.extents
    }

    fn since(&self, _: i64) -> anyhow::Result<Vec<i64>> {
        Ok(vec![0; PARTITIONS])
    }

    fn read(
        &self,
        starts: &[i64],
        take: &mut dyn FnMut(SourceRecord<'_>) -> ControlFlow<()>,
    ) -> anyhow::Result<ScanEnd> {
        for (partition, extent) in self.extents.iter().enumerate() {
            for offset in starts[partition]..extent.end {
                // What is given is not borrowed: the writer adds to the topic meanwhile.
                let Stored { key, headers, payload } =
                    self.broker.borrow().partitions[partition][offset as usize].clone();
                let headers: Vec<(&str, &[u8])> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
                let record = SourceRecord {
                    topic: "dead",
                    partition: partition as i32,
                    offset,
                    timestamp_ms: Some(7),
                    key: key.as_deref(),
                    headers: &headers,
                    payload: &payload,
                };
                self.reads.set(self.reads.get() + 1);
                if take(record).is_break() {
                    return Ok(ScanEnd::Stopped);
                }
            }
        }
        Ok(ScanEnd::Whole)
    }
}

/// Holds a transaction until it is committed; `crash_after` so many commits it fails, which drops what is open.
struct MemoryWriter {
    broker: Rc<RefCell<Broker>>,
    open: Vec<(String, Stored)>,
    records_max: usize,
    bytes_max: usize,
    crash_after: usize,
    commits: Rc<Cell<usize>>,
    /// Of the topic, and how many had been read at the last commit.
    reads: (Rc<Cell<usize>>, usize),
}

impl MemoryWriter {
    fn new(broker: &Rc<RefCell<Broker>>, crash_after: usize) -> Self {
        let (broker, commits) = (Rc::clone(broker), Rc::default());
        let reads = (Rc::default(), 0);
        Self { broker, open: Vec::new(), records_max: 0, bytes_max: 0, crash_after, commits, reads }
    }
}

impl Writer for MemoryWriter {
    fn write(&mut self, record: WriteRecord<'_>) -> anyhow::Result<()> {
        let key = record.key.map(<[u8]>::to_vec);
        let stored = Stored { key, headers: record.headers.to_vec(), payload: record.payload.to_vec() };
        self.open.push((record.topic.to_owned(), stored));
        self.records_max = self.records_max.max(self.open.len());
        let bytes = self.open.iter().map(|(_, stored)| stored.payload.len()).sum();
        self.bytes_max = self.bytes_max.max(bytes);
        Ok(())
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        if self.commits.get() == self.crash_after {
            self.open.clear();
            anyhow::bail!("crashed");
        }
        self.commits.set(self.commits.get() + 1);
        self.reads.1 = self.reads.0.get();
        let mut broker = self.broker.borrow_mut();
        for (topic, stored) in self.open.drain(..) {
            if topic == "dead" {
                broker.partitions[0].push(stored);
            } else {
                broker.sent.entry(topic).or_default().push(stored);
            }
        }
        Ok(())
    }
}

/// Dead letters of two topics, every fifth of which has come back too often.
fn broker(letters: usize) -> Rc<RefCell<Broker>> {
    let mut broker = Broker::default();
    for number in 0..letters {
        let (offset, payload) = (number as i64, number.to_le_bytes());
        let headers: &[(&str, &[u8])] = &[("foreshock-replays", b"3")];
        let record = SourceRecord {
            topic: if number.is_multiple_of(2) { "logs" } else { "metrics" },
            partition: 0,
            offset,
            timestamp_ms: Some(5),
            key: Some(b"k"),
            headers: if number.is_multiple_of(5) { headers } else { &[] },
            payload: &payload,
        };
        let output = codec::dead_letter::unreadable(record, "because");
        let stored = Stored { key: Some(output.key), headers: output.headers, payload: output.payload };
        broker.partitions[number % PARTITIONS].push(stored);
    }
    Rc::new(RefCell::new(broker))
}

fn command() -> Replay {
    let (filter, batch_time_max) = (Filter::default(), BATCH_TIME_MAX);
    Replay { filter, to_topic: None, replays_max: 3, dry_run: false, batch_time_max }
}

fn run(broker: &Rc<RefCell<Broker>>, writer: &mut MemoryWriter) -> anyhow::Result<Outcome> {
    let command = command();
    let topic = DeadLetterTopic::of(Snapshot::of(broker), &command.filter)?;
    let partitions = |targets: &[String]| Ok(targets.iter().map(|target| (target.clone(), 1)).collect());
    command.replay("dead", &topic, partitions, Some(writer), |_| Ok(()))
}

fn sent(broker: &Rc<RefCell<Broker>>) -> Vec<usize> {
    let number = |stored: &Stored| usize::from_le_bytes(stored.payload.as_slice().try_into().unwrap());
    let mut sent: Vec<usize> = broker.borrow().sent.values().flatten().map(number).collect();
    sent.sort_unstable();
    sent
}

#[test]
fn a_large_topic_is_sent_again_once_whatever_happens() {
    let letters = 100_000;
    let broker = broker(letters);
    let mut crashes = 0;
    let outcome = loop {
        // Later ones get further.
        let mut writer = MemoryWriter::new(&broker, 10 << crashes);
        let outcome = run(&broker, &mut writer);
        // With the note of what was sent.
        assert!(writer.records_max as u64 <= BATCH_RECORDS_MAX + 1, "{} at once", writer.records_max);
        assert!(writer.bytes_max <= BATCH_BYTES_MAX + (1 << 20), "{} bytes at once", writer.bytes_max);
        match outcome {
            Ok(outcome) => break outcome,
            Err(error) => {
                crashes += 1;
                let told = format!("{error:#}");
                assert!(told.contains("were sent again before this") && told.contains("crashed"), "{told}");
            }
        }
    };
    assert!(crashes > 2, "{crashes} crashes");
    let expected: Vec<usize> = (0..letters).filter(|number| !number.is_multiple_of(5)).collect();
    assert_eq!(sent(&broker), expected, "each once");
    assert_eq!(outcome.skipped_replays_max, letters as u64 / 5);
    let mut writer = MemoryWriter::new(&broker, usize::MAX);
    let again = run(&broker, &mut writer).unwrap();
    assert_eq!((again.replayed.len(), again.skipped_replayed_before), (0, expected.len() as u64));
    assert_eq!((writer.commits.get(), writer.records_max), (0, 0));
}

/// Of the records that go into a transaction, none is larger than a broker takes.
#[test]
fn large_records_make_small_transactions() {
    let broker = broker(30);
    for partition in &mut broker.borrow_mut().partitions {
        partition.iter_mut().for_each(|stored| stored.payload = vec![0; 1 << 20]);
    }
    let mut writer = MemoryWriter::new(&broker, usize::MAX);
    run(&broker, &mut writer).unwrap();
    assert!(writer.bytes_max <= BATCH_BYTES_MAX + (1 << 20) && writer.commits.get() >= 6);
}

/// One record that the filter selects, and many behind it that it does not.
#[test]
fn a_transaction_does_not_stay_open_over_what_is_not_selected() {
    let broker = broker(3_000);
    let first = {
        let record = SourceRecord {
            topic: "rare",
            partition: 0,
            offset: 0,
            timestamp_ms: Some(5),
            key: None,
            headers: &[],
            payload: &[7; 8],
        };
        let output = codec::dead_letter::unreadable(record, "because");
        Stored { key: Some(output.key), headers: output.headers, payload: output.payload }
    };
    broker.borrow_mut().partitions[0].insert(0, first);
    let mut command = Replay { batch_time_max: Duration::ZERO, ..command() };
    command.filter.topic.push("rare".to_owned());
    let snapshot = Snapshot::of(&broker);
    let mut writer = MemoryWriter::new(&broker, usize::MAX);
    writer.reads.0 = Rc::clone(&snapshot.reads);
    let topic = DeadLetterTopic::of(snapshot, &command.filter).unwrap();
    let partitions = |targets: &[String]| Ok(targets.iter().map(|target| (target.clone(), 1)).collect());
    command.replay("dead", &topic, partitions, Some(&mut writer), |_| Ok(())).unwrap();
    assert_eq!((writer.commits.get(), broker.borrow().sent["rare"].len()), (1, 1));
    assert!(writer.reads.1 + 2_000 < writer.reads.0.get(), "{:?}", writer.reads);
}

#[test]
fn a_dry_run_shows_and_sends_nothing() {
    let broker = broker(100);
    let command = Replay { dry_run: true, ..command() };
    let topic = DeadLetterTopic::of(Snapshot::of(&broker), &command.filter).unwrap();
    let partitions = |targets: &[String]| Ok(targets.iter().map(|target| (target.clone(), 1)).collect());
    let mut shown = 0;
    let none: Option<&mut MemoryWriter> = None;
    let outcome = command.replay("dead", &topic, partitions, none, |_| {
        shown += 1;
        Ok(())
    });
    assert_eq!((shown, outcome.unwrap().replayed.values().sum::<u64>()), (80, 80));
    assert!(sent(&broker).is_empty());
}
