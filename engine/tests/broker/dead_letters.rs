//! Dead letters are sent again after a fix, each once, whatever happens to who sends them.

use std::process::Stdio;
use std::time::Duration;

use codec::dead_letter::unreadable;
use kafka::{ConnectionSettings, TopicSpec, TopicWriter, WriteRecord};
use model::SourceRecord;

use crate::{PATIENCE, Rig, brokers, foreshock, kcat, wait_until};

fn dead_letter(rig: &Rig, arguments: &[&str]) -> String {
    let output = foreshock().args(["dead-letter", "-c"]).arg(rig.configuration()).args(arguments).output();
    let output = output.expect("the command starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_record_is_read_after_a_fix_and_comes_back_counted_before_it() {
    let mut rig = Rig::new("dead-letters");
    rig.create_sources();
    rig.start();
    kcat(&["-P", "-t", &rig.topic("logs"), "-k", "key"], Some(b"2026-01-31T12:00:00Z ERROR disk full"));
    let pending = |rig: &Rig| dead_letter(rig, &["list", "--pending"]);
    wait_until("a dead letter", || pending(&rig).lines().count() == 1);

    // Nothing is mended yet.
    assert!(dead_letter(&rig, &["replay"]).starts_with("sent 1 records"));
    wait_until("it comes back", || pending(&rig).contains("came back; sent again 1 times"));
    assert_eq!(pending(&rig).lines().count(), 1);
    rig.stop();

    let configuration = std::fs::read_to_string(rig.configuration()).expect("the configuration");
    let wrong = "signal: logs, encoding: otlp_proto";
    let mended = configuration.replace(wrong, "signal: logs, encoding: plain");
    assert_ne!(mended, configuration);
    std::fs::write(rig.configuration(), mended).expect("the folder is writable");
    rig.start();
    let sent = dead_letter(&rig, &["replay"]);
    assert!(sent.starts_with("sent 1 records") && sent.contains("1 were sent again before"), "{sent}");
    wait_until("the engine reads it", || {
        let metrics = crate::http_get(rig.http, "/metrics").unwrap_or_default();
        metrics.contains("foreshock_records_total{worker=\"ingest\"} 1\n")
    });
    assert_eq!(pending(&rig), "", "none came back");
    let lies = ["-C", "-e", "-o", "beginning", "-t", &rig.topic("logs"), "-f", "%k|%h|%s\n"];
    let lies = kcat(&lies, None);
    let last = "key|foreshock-replays=2|2026-01-31T12:00:00Z ERROR disk full";
    assert_eq!((lies.lines().count(), lies.lines().last()), (3, Some(last)), "{lies}");
    rig.stop();
}

#[test]
fn two_who_send_at_the_same_time_send_each_record_once() {
    const RECORDS: usize = 3_000;
    let rig = Rig::new("dead-letters-twice");
    rig.create_sources();
    let connection = ConnectionSettings::new(brokers());
    let topic = rig.topic("dead-letter");
    let spec = TopicSpec { name: topic.clone(), partitions: 1, replication: 1, config: Vec::new() };
    kafka::topics::ensure(&connection, &[spec], PATIENCE).expect("the topic can be created");
    let writer = TopicWriter::new(&connection).expect("a writer");
    let source = rig.topic("logs");
    for number in 0..RECORDS {
        let payload = number.to_string();
        let record = SourceRecord {
            topic: &source,
            partition: 0,
            offset: number as i64,
            timestamp_ms: None,
            key: None,
            headers: &[],
            payload: payload.as_bytes(),
        };
        let output = unreadable(record, "because");
        let (topic, headers, payload) = (topic.as_str(), &output.headers[..], &output.payload[..]);
        writer.write(WriteRecord { topic, headers, payload, ..WriteRecord::default() }).expect("written");
    }
    writer.flush(PATIENCE).expect("acknowledged");

    let start = || {
        let mut command = foreshock();
        command.args(["dead-letter", "replay", "-c"]).arg(rig.configuration());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts")
    };
    let mut children = Vec::new();
    for pause_ms in [0, 150, 300, 450, 600] {
        std::thread::sleep(Duration::from_millis(pause_ms));
        children.push(start());
    }
    for child in children {
        let output = child.wait_with_output().expect("the command ends");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        // Whoever is overtaken says so.
        assert!(output.status.success() || message.contains("another producer took over"), "{message}");
    }
    dead_letter(&rig, &["replay"]);
    let committed = ["-C", "-e", "-o", "beginning", "-t", &source, "-X", "isolation.level=read_committed"];
    let sent = kcat(&committed, None);
    let mut numbers: Vec<usize> = sent.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..RECORDS).collect::<Vec<_>>());
}
