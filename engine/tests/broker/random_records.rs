//! Random, damaged and truncated records of every format through a running engine: each is decoded, or lies in the dead-letter
//! topic with its reason; none is lost and none stops anything. `FORESHOCK_TEST_RECORDS` says how many.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use codec::dead_letter::DeadLetter;
use codec::{DECODERS, DecoderSpec, Limits};
use kafka::{ConnectionSettings, TopicScan, TopicSpec, TopicWriter, WriteRecord};
use model::{
    Labels, LogBatchBuilder, LogRow, MetricKind, SampleBatchBuilder, SampleRow, SourceRecord,
    SpanBatchBuilder, SpanRow,
};

use crate::{PATIENCE, Rig, brokers, http_get};

#[path = "../../crates/codec/tests/it/records.rs"]
mod records;

const RECORDS: usize = 1_000_000;
const TIME_MS: i64 = 1_760_000_000_000;
const BYTES_MAX: usize = 4096;
/// Records of a second, far below what the slowest machine manages.
const PACE_MIN: usize = 500;

/// A field of a message in protobuf that is a message, text or bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).expect("short")], content].concat()
}

fn remote_write() -> Vec<u8> {
    let label =
        |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let value = [&[1 << 3 | 1][..], &1.5_f64.to_le_bytes()].concat();
    let sample = field(2, &[value, b"\x10\x80\xd8\x95\x99\x9c\x33".to_vec()].concat());
    field(1, &[label("__name__", "up"), label("job", "cart"), sample].concat())
}

fn jaeger() -> Vec<u8> {
    let ids = [field(1, &[7; 16]), field(2, &[9; 8]), field(3, b"checkout")].concat();
    let (start, duration) = (field(6, b"\x08\x80\xc0\x9d\xc7\x06"), field(7, b"\x10\xc0\x84\x3d"));
    [ids, start, duration, field(10, &field(1, b"cart"))].concat()
}

fn valid(spec: &DecoderSpec) -> Vec<Vec<u8>> {
    let labels = Labels::of("cart", "cpu").canonical();
    match (spec.signal, spec.encoding) {
        ("metrics", "otlp_proto") => {
            let mut samples = SampleBatchBuilder::default();
            let (kind, start_ms) = (MetricKind::Gauge, None);
            samples.push(&SampleRow { labels: &labels, kind, time_ms: TIME_MS, start_ms, value: 0.5 });
            vec![codec::encode::samples(&samples.finish())]
        }
        ("logs", "otlp_proto") => {
            let mut logs = LogBatchBuilder::default();
            let (service, body) = ("cart", "disk full");
            let (trace_id, span_id) = (Some(7), Some(9));
            logs.push(&LogRow { time_ms: TIME_MS, service, severity: 17, body, trace_id, span_id });
            vec![codec::encode::logs(&logs.finish())]
        }
        ("spans", "otlp_proto") => {
            let mut spans = SpanBatchBuilder::default();
            spans.push(&SpanRow {
                start_us: TIME_MS * 1000,
                duration_us: 1500,
                trace_id: 7,
                span_id: 9,
                parent: None,
                service: "cart",
                operation: "checkout",
                kind: 2,
                error: false,
            });
            vec![codec::encode::spans(&spans.finish())]
        }
        ("metrics", "prometheus_remote_write") => vec![remote_write()],
        ("spans", "jaeger_proto") => vec![jaeger()],
        (signal, encoding) => records::texts(signal, encoding),
    }
}

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
        let valid = valid(spec);
        let mut decoder = (spec.build)(Limits::default());
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
