//! An engine that was away reads an hour of several topics at once, and says what one says that was there all the time.

use std::collections::BTreeMap;

use kafka::{TopicWriter, WriteRecord};
use model::OutputTopic;
use pipeline::wire::{Findings, Incoming};
use shop::{Message, Scenario};

use super::killed::{between, committed, said_of_findings};
use super::{PATIENCE, Rig, START_MS, brokers, http_get, wait_until};

pub(super) fn write(rig: &Rig, messages: &[Message]) {
    let writer = TopicWriter::new(&kafka::ConnectionSettings::new(brokers())).expect("a producer");
    for message in messages {
        let topic = rig.topic(foreshock::demo::signal_text(message.signal));
        let record = WriteRecord {
            topic: &topic,
            headers: &message.headers,
            payload: &message.payload,
            timestamp_ms: Some(message.time_ms),
            ..WriteRecord::default()
        };
        writer.write(record).expect("written");
    }
    writer.flush(PATIENCE).expect("written");
}

/// The alerts, once all until `end_ms` was analysed: which, and when they began and ended.
pub(super) fn alerts(rig: &Rig, end_ms: i64) -> Vec<(String, String, i64, Option<i64>)> {
    let mut reached = BTreeMap::new();
    wait_until("all is found", || {
        for record in committed(&rig.topic("findings")) {
            if let Incoming::Findings(Findings { watermark: Some(watermark), .. }) = between(&record) {
                reached.insert(watermark.source, watermark.watermark_ms);
            }
        }
        // Twice three partitions between the stages.
        reached.len() == 6 && reached.values().all(|ms| ms.is_some_and(|ms| ms > end_ms - 60_000))
    });
    let due = said_of_findings(rig, &committed(&rig.topic("findings")), OutputTopic::Alerts).len();
    wait_until("all is concluded", || committed(&rig.topic("alerts")).len() >= due);
    let read = |lying: &super::killed::Lying| {
        let alert: model::Alert = serde_json::from_slice(&lying.payload).expect("an alert");
        let service = alert.labels.get("service").cloned().unwrap_or_default();
        (service, alert.state.as_str().to_owned(), alert.starts_ms, alert.ends_ms)
    };
    committed(&rig.topic("alerts")).iter().map(read).collect()
}

#[test]
fn catching_up_gives_the_alerts_of_being_there() {
    let scenario = Scenario::from_seed(3, START_MS);
    let messages = scenario.shop().expect("a scenario is sound").step(scenario.end_ms);
    let mut live = Rig::new("live");
    live.create_sources();
    live.start();
    for part in messages.chunks(messages.len() / 20 + 1) {
        write(&live, part);
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let expected = alerts(&live, scenario.end_ms);
    live.stop();

    let mut away = Rig::new("away");
    away.create_sources();
    write(&away, &messages);
    away.start();
    assert_eq!(alerts(&away, scenario.end_ms), expected);
    let value = |name: &str, worker: &str| -> Option<f64> {
        let metrics = http_get(away.http, "/metrics")?;
        let sample = format!("{name}{{worker=\"{worker}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&sample))?.parse().ok()
    };
    for worker in ["ingest", "series", "traces", "incidents"] {
        wait_until("nothing is left to read", || value("foreshock_lag_records", worker) == Some(0.0));
        let reached_s = value("foreshock_watermark_seconds", worker).expect("a watermark");
        assert!(reached_s * 1000.0 > scenario.end_ms as f64 - 90_000.0, "{worker}: {reached_s}");
        assert_eq!(value("foreshock_late_rows", worker), Some(0.0), "{worker}");
    }
    away.stop();
}
