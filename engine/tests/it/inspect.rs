//! `foreshock inspect` against the mock broker.

use std::time::Duration;

use kafka::{MockKafka, TopicWriter, WriteRecord};
use model::{Labels, MetricKind, SampleBatchBuilder, SampleRow};
use serde_json::Value;

use crate::command_line::{configuration, foreshock, text};

const TIMEOUT: Duration = Duration::from_secs(10);
const WRITTEN_MS: i64 = 1_760_000_000_000;

struct Rig {
    kafka: MockKafka,
    writer: TopicWriter,
}

impl Rig {
    fn new() -> Self {
        let kafka = MockKafka::start(&[("telemetry", 3), ("empty", 1)]).expect("a broker");
        let writer = TopicWriter::new(&kafka.connection()).expect("a connection");
        Self { kafka, writer }
    }

    fn write(&self, partition: i32, timestamp_ms: i64, key: Option<&[u8]>, payload: &[u8]) {
        let (partition, timestamp_ms) = (Some(partition), Some(timestamp_ms));
        self.writer
            .write(WriteRecord { topic: "telemetry", partition, key, headers: &[], payload, timestamp_ms })
            .expect("written");
    }

    fn inspect(&self, topic: &str, arguments: &[&str]) -> Value {
        self.writer.flush(TIMEOUT).expect("written");
        let fixed = ["inspect", topic, "--brokers", self.kafka.brokers(), "--output", "json"];
        let output = foreshock(&[&fixed, arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("readable")
    }
}

/// Two points of a service, so old when they are written.
fn metrics(service: &str, time_ms: i64) -> Vec<u8> {
    let mut samples = SampleBatchBuilder::default();
    for name in ["cpu", "memory"] {
        let labels = Labels::of(service, name).canonical();
        samples.push(&SampleRow {
            labels: &labels,
            kind: MetricKind::Gauge,
            time_ms,
            start_ms: None,
            value: 1.0,
        });
    }
    codec::encode::samples(&samples.finish())
}

fn problem<'a>(report: &'a Value, part: &str) -> &'a Value {
    let problems = report["problems"].as_array().expect("a list");
    problems
        .iter()
        .find(|problem| problem["problem"].as_str().expect("readable").contains(part))
        .unwrap_or_else(|| {
            panic!("no problem holds {part:?}: {problems:?}");
        })
}

#[test]
fn it_says_what_lies_there_and_what_is_wrong() {
    let rig = Rig::new();
    for i in 0..60 {
        let written_ms = WRITTEN_MS + i * 1000;
        let service = ["cart", "email"][i as usize % 2];
        rig.write((i % 2) as i32, written_ms, Some(service.as_bytes()), &metrics(service, written_ms - 500));
    }
    rig.write(2, WRITTEN_MS, None, b"\xff\xfe\x00 broken");
    rig.write(2, WRITTEN_MS, None, &metrics("cart", WRITTEN_MS + 3_600_000));
    let report = rig.inspect("telemetry", &[]);
    assert_eq!(report["detected"]["signal"], "metrics");
    assert_eq!(
        (&report["detected"]["encoding"], &report["detected"]["records"]),
        (&"otlp_proto".into(), &61.into())
    );
    assert_eq!((&report["sampled_records"], &report["is_whole"]), (&62.into(), &true.into()));
    assert_eq!((&report["keys"]["records"], &report["keys"]["distinct"]), (&60.into(), &2.into()));
    let rows = &report["rows"];
    assert_eq!((&rows["rows"], &rows["series"], &rows["entities"]), (&122.into(), &4.into(), &2.into()));
    assert_eq!(rows["first_ms"], WRITTEN_MS - 500);
    // Of two partitions with a record every two seconds each.
    let rate = report["rates"]["records_per_s"].as_f64().unwrap();
    assert!((rate - 1.0).abs() < 1e-9, "{rate}");
    assert_eq!((&report["skew_ms"]["p50"], &report["skew_ms"]["min"]), (&500.into(), &(-3_600_000).into()));
    assert_eq!(problem(&report, "cannot be read")["examples"], serde_json::json!(["2@0"]));
    assert_eq!(problem(&report, "after their record was written")["examples"], serde_json::json!(["2@1"]));
    assert_eq!(
        report["configuration"],
        "sources:\n  - { topic: telemetry, signal: metrics, encoding: otlp_proto }\n"
    );
}

#[test]
fn what_it_prints_can_be_pasted_and_a_wrong_configuration_is_named() {
    let rig = Rig::new();
    rig.write(
        0,
        WRITTEN_MS,
        None,
        br#"{"@timestamp":"2025-10-09T08:53:20Z","message":"m","service.name":"cart"}"#,
    );
    rig.write(0, WRITTEN_MS, None, b"2025-10-09T08:53:20Z ERROR failed");
    rig.write(0, WRITTEN_MS, None, br#"{"@timestamp":"2025-10-09T08:53:20Z","message":"m"}"#);
    let report = rig.inspect("telemetry", &[]);
    assert_eq!(
        (&report["detected"]["encoding"], &report["others"][0]["encoding"]),
        (&"ecs_json".into(), &"plain".into())
    );
    assert_eq!(problem(&report, "some records look like logs, plain")["count"], 1);
    assert_eq!(problem(&report, "have no service")["count"], 1);

    let folder = tempfile::tempdir().unwrap();
    let stanza = report["configuration"].as_str().unwrap();
    let right = configuration(&folder, stanza);
    assert!(foreshock(&["validate", "-c", right.to_str().unwrap()]).status.success());
    let wrong = configuration(&folder, &stanza.replace("ecs_json", "otlp_proto"));
    let report = rig.inspect("telemetry", &["-c", wrong.to_str().unwrap()]);
    problem(&report, "the configuration reads this topic as logs, otlp_proto");
}

#[test]
fn it_keeps_its_bounds_and_says_when_there_is_nothing() {
    let rig = Rig::new();
    for i in 0..300 {
        rig.write((i % 3) as i32, WRITTEN_MS + i, None, &metrics("cart", WRITTEN_MS));
    }
    let report = rig.inspect("telemetry", &["--records-max", "30"]);
    assert_eq!((&report["sampled_records"], &report["is_whole"]), (&30.into(), &false.into()));
    assert_eq!(report["records_on_topic_max"], 300);
    let report = rig.inspect("telemetry", &["--bytes-max", "1KiB"]);
    let bytes = report["sampled_bytes"].as_u64().unwrap();
    assert!((1024..2048).contains(&bytes) && report["is_whole"] == false, "{bytes}");

    let report = rig.inspect("empty", &[]);
    assert_eq!(report["configuration"], Value::Null);
    problem(&report, "holds no records");
    let output = foreshock(&["inspect", "absent", "--brokers", rig.kafka.brokers()]);
    assert!(
        !output.status.success() && text(&output.stderr).contains("`absent`"),
        "{}",
        text(&output.stderr)
    );
}
