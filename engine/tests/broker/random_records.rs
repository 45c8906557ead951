//! Random, damaged and truncated records of every format through a running engine: each is decoded, or lies in the dead-letter
//! topic with its reason; none is lost and none stops anything. `FORESHOCK_TEST_RECORDS` says how many.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use codec::dead_letter::DeadLetter;
use codec::{DECODERS, DecoderSpec, Limits};
use kafka::{ConnectionSettings, TopicScan, TopicSpec, TopicWriter, WriteRecord};
use model::SourceRecord;

use crate::{PATIENCE, Rig, brokers, http_get};

#[path = "../../crates/codec/tests/it/records.rs"]
mod records;
#[path = "../../crates/codec/fuzz/src/valid.rs"]
mod valid;

const RECORDS: usize = 1_000_000;
const TIME_MS: i64 = 1_760_000_000_000;
const BYTES_MAX: usize = 4096;
/// Records of a second, far below what the slowest machine manages.
const PACE_MIN: usize = 500;

fn counter(metrics: &str, name: &str) -> usize {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().parse().unwrap_or_else(|_| panic!("{name} is no number: {line}"))
}

#[test]
fn each_is_decoded_or_a_dead_letter() {
    let wanted = std::env::var("FORESHOCK_TEST_RECORDS").ok().and_then(|text| text.parse().ok());
    let of_each = wanted.unwrap_or(RECORDS).div_ceil(DECODERS.len());
    let total = of_each * DECODERS.len();
    let mut rig = Rig::new("random");
    let topic = |spec: &DecoderSpec| rig.topic(&format!("{}-{}", spec.signal, spec.encoding));
    let topics: Vec<String> = DECODERS.iter().map(topic).collect();
    let connection = ConnectionSettings::new(brokers());
    let specs: Vec<TopicSpec> = topics
        .iter()
        .map(|name| TopicSpec { name: name.clone(), partitions: 1, replication: 1, config: Vec::new() })
        .collect();
    kafka::topics::ensure(&connection, &specs, PATIENCE).expect("topics can be created");
    let configuration = std::fs::read_to_string(rig.configuration()).expect("the configuration");
    let (before, after) = configuration.split_once("sources:\n").expect("sources");
    let (_, after) = after.split_once("topics:\n").expect("topics");
    let mut yaml = format!("{before}sources:\n");
    for (topic, spec) in topics.iter().zip(DECODERS) {
        let (signal, encoding) = (spec.signal, spec.encoding);
        writeln!(yaml, "  - {{ topic: {topic}, signal: {signal}, encoding: {encoding} }}").expect("memory");
    }
    std::fs::write(rig.configuration(), format!("{yaml}topics:\n{after}")).expect("the folder is writable");

    rig.start();
    let writer = TopicWriter::new(&connection).expect("a writer");
    // By topic and offset, why it cannot be read.
    let mut expected: BTreeMap<(String, i64), String> = BTreeMap::new();
    let mut random = records::Random(7);
    for (topic, spec) in topics.iter().zip(DECODERS) {
        let valid = valid::valid(spec);
        let mut decoder = spec.decoder(Limits::default());
        for offset in 0..of_each {
            let payload =
                if offset == 0 { valid[0].clone() } else { records::record(&valid, &mut random, BYTES_MAX) };
            writer
                .write(WriteRecord { topic, payload: &payload, ..WriteRecord::default() })
                .expect("written");
            let offset = offset as i64;
            let record = SourceRecord {
                topic,
                partition: 0,
                offset,
                timestamp_ms: Some(TIME_MS),
                key: None,
                headers: &[],
                payload: &payload,
            };
            match decoder.decode(record, &mut Vec::new()) {
                Ok(()) => {}
                Err(rejected) => {
                    assert_ne!(offset, 0, "{topic}: a valid record is refused: {rejected}");
                    expected.insert((topic.clone(), offset), rejected.to_string());
                }
            }
        }
    }
    writer.flush(PATIENCE).expect("acknowledged");
    assert!(expected.len() > total / 10 && expected.len() < total * 9 / 10, "{} of {total}", expected.len());

    let started = Instant::now();
    let patience = PATIENCE + Duration::from_secs((total / PACE_MIN) as u64);
    let read = "foreshock_records_total{worker=\"ingest\"}";
    loop {
        let metrics = http_get(rig.http, "/metrics").expect("the engine answers");
        if counter(&metrics, read) >= total {
            break;
        }
        assert!(started.elapsed() < patience, "{} of {total} records are read", counter(&metrics, read));
        std::thread::sleep(Duration::from_millis(200));
    }
    let seconds = started.elapsed().as_secs_f64();
    assert!(http_get(rig.http, "/livez").is_some_and(|answer| answer.contains("200 OK")));
    rig.stop();

    let scan = TopicScan::new(&connection, &rig.topic("dead-letter"), PATIENCE).expect("the topic is there");
    let end = scan
        .read(&scan.beginning(), patience, |record| {
            let letter = DeadLetter::of(&record).expect("a dead letter");
            let reason = expected.remove(&(letter.topic.to_owned(), letter.offset));
            let place = format!("{}@{}", letter.topic, letter.offset);
            assert_eq!(reason.as_deref(), Some(letter.reason), "{place} is not expected, or comes twice");
            ControlFlow::Continue(())
        })
        .expect("the topic can be read");
    assert_eq!(end, kafka::ScanEnd::Whole);
    assert!(expected.is_empty(), "{} are lost, such as {:?}", expected.len(), expected.first_key_value());
    println!("{total} records within {seconds:.1} s of the last write");
}
