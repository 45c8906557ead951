//! `foreshock dead-letter` against the mock broker. What rests on transactions is tried in `tests/broker`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use codec::dead_letter::{self, REPLAYS_HEADER};
use kafka::{MockKafka, TopicScan, TopicWriter, WriteRecord};
use model::SourceRecord;
use serde_json::Value;

use crate::command_line::{configuration, foreshock, text};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Key, headers, payload and timestamp.
type Written = (Option<Vec<u8>>, Vec<(String, Vec<u8>)>, Vec<u8>, Option<i64>);

struct Rig {
    kafka: MockKafka,
    _folder: tempfile::TempDir,
    configuration: PathBuf,
}

impl Rig {
    fn new() -> Self {
        let topics = [("foreshock.dead-letter", 1), ("otlp_logs", 4), ("otlp_spans", 1), ("other", 1)];
        let kafka = MockKafka::start(&topics).expect("a broker");
        let folder = tempfile::tempdir().expect("a folder");
        let configuration =
            configuration(&folder, &format!("kafka: {{ brokers: \"{}\" }}\n", kafka.brokers()));
        Self { kafka, _folder: folder, configuration }
    }

    /// Writes records as the engine does that could not read them.
    fn bury(&self, records: &[(SourceRecord<'_>, &str)]) {
        let writer = TopicWriter::new(&self.kafka.connection()).expect("a connection");
        for (record, reason) in records {
            let output = dead_letter::unreadable(*record, reason);
            let record = WriteRecord {
                topic: "foreshock.dead-letter",
                key: (!output.key.is_empty()).then_some(&output.key),
                headers: &output.headers,
                payload: &output.payload,
                ..WriteRecord::default()
            };
            writer.write(record).expect("written");
        }
        writer.flush(TIMEOUT).expect("written");
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn try_run(&self, arguments: &[&str]) -> std::process::Output {
        let configuration = self.configuration.to_str().expect("a path in UTF-8");
        foreshock(&[&["dead-letter", "-c", configuration], arguments].concat())
    }

    fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let listed = self.run(&[&["list", "--output", "json"], arguments].concat());
        listed.lines().map(|line| serde_json::from_str(line).expect("readable")).collect()
    }

    /// What lies in a partition.
    fn records(&self, topic: &str, partition: i32) -> Vec<Written> {
        let scan = TopicScan::new(&self.kafka.connection(), topic, TIMEOUT).expect("a connection");
        let mut records = Vec::new();
        scan.read(&scan.beginning(), TIMEOUT, |record| {
            if record.partition == partition {
                let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
                let key = record.key.map(<[u8]>::to_vec);
                records.push((key, headers.collect(), record.payload.to_vec(), record.timestamp_ms));
            }
            ControlFlow::Continue(())
        })
        .expect("the topic can be read");
        records
    }
}

const LOGS: SourceRecord<'_> = SourceRecord {
    topic: "otlp_logs",
    partition: 2,
    offset: 42,
    timestamp_ms: Some(1_760_000_000_000),
    key: Some(b"key"),
    headers: &[("origin", b"test"), ("binary", b"\xff\x00")],
    payload: b"\xff\xfe broken",
};
const SPANS: SourceRecord<'_> =
    SourceRecord { topic: "otlp_spans", partition: 0, offset: 7, key: None, headers: &[], ..LOGS };

#[test]
fn records_are_listed_and_sent_again_once_as_they_were() {
    let rig = Rig::new();
    rig.bury(&[(LOGS, "no protobuf: cut"), (SPANS, "nests too deep"), (LOGS, "no protobuf: cut")]);
    // Somebody else's.
    let writer = TopicWriter::new(&rig.kafka.connection()).unwrap();
    writer
        .write(WriteRecord { topic: "foreshock.dead-letter", payload: b"?", ..WriteRecord::default() })
        .unwrap();
    writer.flush(TIMEOUT).unwrap();

    let listed = rig.list(&[]);
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0]["source"]["topic"], "otlp_logs");
    assert_eq!((&listed[0]["source"]["partition"], &listed[0]["source"]["offset"]), (&2.into(), &42.into()));
    assert_eq!((&listed[0]["reason"], &listed[0]["size_bytes"]), (&"no protobuf: cut".into(), &9.into()));
    assert_eq!((&listed[0]["key"], &listed[1]["key"]), (&"key".into(), &Value::Null));
    assert_eq!(rig.list(&["--topic", "otlp_spans"]).len(), 1);
    assert_eq!(rig.list(&["--reason", "protobuf", "--limit", "1"]).len(), 1);
    assert!(rig.run(&["list"]).contains("otlp_spans/0@7  9 bytes  nests too deep"));

    let dry = rig.run(&["replay", "--dry-run"]);
    assert!(dry.contains("would send 2 records to otlp_logs\nwould send 1 records to otlp_spans"), "{dry}");
    assert!(rig.records("otlp_logs", 2).is_empty() && rig.records("otlp_spans", 0).is_empty());

    let sent: Value =
        serde_json::from_str(&rig.run(&["replay", "--reason", "protobuf", "--output", "json"])).unwrap();
    assert_eq!((&sent["replayed"]["otlp_logs"], &sent["foreign"]), (&2.into(), &1.into()));
    assert_eq!(sent["replayed"]["otlp_spans"], Value::Null);
    let mut headers: Vec<(String, Vec<u8>)> =
        LOGS.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    headers.push((REPLAYS_HEADER.to_owned(), b"1".to_vec()));
    let expected = (Some(b"key".to_vec()), headers, LOGS.payload.to_vec(), LOGS.timestamp_ms);
    assert_eq!(rig.records("otlp_logs", 2), [expected.clone(), expected]);
    assert!(rig.records("otlp_spans", 0).is_empty());

    // What a filter left out before is sent now, and nothing twice.
    let rest = rig.run(&["replay"]);
    assert!(rest.contains("sent 1 records to otlp_spans\n2 were sent again before"), "{rest}");
    assert!(rig.run(&["replay"]).contains("sent nothing\n3 were sent again before"));
    assert_eq!((rig.records("otlp_logs", 2).len(), rig.records("otlp_spans", 0).len()), (2, 1));
    assert!(rig.list(&[]).iter().all(|letter| letter["is_replayed"] == true));
    assert!(rig.list(&["--pending"]).is_empty());
}

#[test]
fn a_record_that_comes_back_is_not_sent_for_ever() {
    let rig = Rig::new();
    let came_back = |replays: &'static [u8]| SourceRecord {
        headers: Box::leak(Box::new([(REPLAYS_HEADER, replays)])),
        ..LOGS
    };
    rig.bury(&[(came_back(b"3"), "still"), (came_back(b"1"), "still")]);
    let sent = rig.run(&["replay"]);
    assert!(
        sent.contains("sent 1 records to otlp_logs\n1 came back as often as --replays-max allows"),
        "{sent}"
    );
    let counts = |rig: &Rig| -> Vec<Vec<u8>> {
        rig.records("otlp_logs", 2).into_iter().map(|(_, mut headers, _, _)| headers.remove(0).1).collect()
    };
    assert_eq!(counts(&rig), [b"2"]);
    rig.run(&["replay", "--replays-max", "4"]);
    assert_eq!(counts(&rig), [b"2", b"4"]);
}

#[test]
fn records_can_be_sent_elsewhere_and_a_topic_that_is_gone_is_named_before_anything_is_sent() {
    let rig = Rig::new();
    rig.bury(&[(LOGS, "a"), (SourceRecord { topic: "gone", ..LOGS }, "b")]);
    let output = rig.try_run(&["replay"]);
    let message = text(&output.stderr);
    assert!(
        !output.status.success() && message.contains("`gone`") && message.contains("--to-topic"),
        "{message}"
    );
    assert!(rig.records("otlp_logs", 2).is_empty());
    rig.run(&["replay", "--to-topic", "other"]);
    assert_eq!(rig.records("other", 0).len(), 2);
}
