//! An engine that was away reads an hour of several topics at once, and says what one says that was there all the time.

use kafka::{TopicWriter, WriteRecord};
use shop::{Message, Scenario};

use super::killed::committed;
use super::{PATIENCE, Rig, brokers, wait_until};

const START_MS: i64 = 1_767_600_000_000;

fn write(rig: &Rig, messages: &[Message]) {
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

/// The alerts, once all was analysed: which, and when they began and ended.
fn alerts(rig: &Rig, messages: usize) -> Vec<(String, String, i64, Option<i64>)> {
    wait_until("all is decoded", || committed(&rig.topic("telemetry")).len() >= messages);
    wait_until("the last alert is resolved", || {
        committed(&rig.topic("alerts")).last().is_some_and(|last| {
            serde_json::from_slice::<model::Alert>(&last.payload)
                .is_ok_and(|alert| alert.state == model::AlertState::Resolved)
        })
    });
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
    let expected = alerts(&live, messages.len());
    live.stop();

    let mut away = Rig::new("away");
    away.create_sources();
    write(&away, &messages);
    away.start();
    assert_eq!(alerts(&away, messages.len()), expected);
    away.stop();
}
