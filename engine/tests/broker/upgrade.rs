//! Processes are upgraded one after the other while records come in.
//!
//! `FORESHOCK_TEST_OLDER` names the program that they begin with; by default it is the same one, which still moves all partitions
//! and states to and fro.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use kafka::{TopicWriter, WriteRecord};
use model::OutputTopic;
use pipeline::Router;
use pipeline::wire::Incoming;
use shop::{Message, Scenario};

use super::killed::{Lying, PARTITIONS, Said, between, committed, configure, decoded, topic_of};
use super::{PATIENCE, Rig, START_MS, brokers, foreshock, stop, wait_until};

fn older() -> Command {
    std::env::var_os("FORESHOCK_TEST_OLDER")
        .map_or_else(foreshock, |program| Command::new(PathBuf::from(program)))
}

fn start(mut program: Command, rig: &Rig, which: usize) -> Child {
    let configuration = rig.folder.path().join(format!("engine-{which}.yaml"));
    program.arg("run").arg("-c").arg(configuration).spawn().expect("the engine starts")
}

/// The rows that ingest has sent on to the series stage.
fn rows_of(sent: &[Lying]) -> usize {
    let rows = sent.iter().map(|record| match between(record) {
        Incoming::Telemetry(telemetry) => telemetry.record_batch().num_rows(),
        _ => 0,
    });
    rows.sum()
}

#[test]
fn processes_are_upgraded_one_by_one_without_loss_or_doubles() {
    let rig = Rig::new("upgrade");
    rig.create_sources();
    configure(&rig, 0);
    configure(&rig, 1);
    let scenario = Scenario::from_seed(1, START_MS);
    let messages = scenario.shop().expect("a scenario is sound").step(scenario.end_ms);
    let writer = TopicWriter::new(&kafka::ConnectionSettings::new(brokers())).expect("a producer");
    let write = |part: &[Message]| {
        for message in part {
            let topic = rig.topic(topic_of(message.signal));
            let (headers, payload) = (&message.headers, &message.payload);
            writer
                .write(WriteRecord { topic: &topic, headers, payload, ..WriteRecord::default() })
                .expect("written");
        }
        writer.flush(PATIENCE).expect("written");
    };
    let third = messages.len() / 3;
    let rows_sent = || rows_of(&committed(&rig.topic("samples")));
    let mut engines = [0, 1].map(|which| Some(start(older(), &rig, which)));
    write(&messages[..third]);
    wait_until("the first part is read", || rows_sent() > 0);
    for (which, part) in [(0, &messages[third..2 * third]), (1, &messages[2 * third..])] {
        // Records come while it is down, and while it comes back.
        let (before, after) = part.split_at(part.len() / 2);
        if let Some(engine) = engines[which].take() {
            stop(engine);
        }
        write(before);
        engines[which] = Some(start(foreshock(), &rig, which));
        write(after);
    }
    let mut said = Said::new();
    decoded(&Router::new("default", PARTITIONS), &messages, &mut said);
    let wanted = rows_of(&said.remove(&OutputTopic::Samples).unwrap_or_default());
    wait_until("all is read", || rows_sent() >= wanted);
    let alerts = || committed(&rig.topic("alerts"));
    let alert = |payload: &[u8]| serde_json::from_slice::<model::Alert>(payload).expect("an alert");
    wait_until("the fault is over", || {
        alerts().iter().any(|record| alert(&record.payload).state.as_str() == "resolved")
    });
    engines.into_iter().flatten().for_each(stop);

    assert_eq!(rows_sent(), wanted, "lost or doubled");
    assert_eq!(committed(&rig.topic("dead-letter")), []);
    let mut told = BTreeSet::new();
    for record in alerts() {
        let alert = alert(&record.payload);
        let version = (alert.incident.clone(), alert.incident_version, alert.state.as_str().to_owned());
        assert!(told.insert(version), "told twice: {alert:?}");
    }
    let faulty: Vec<&str> = scenario.faults.iter().map(|fault| fault.service.as_str()).collect();
    let causes = alerts();
    let named = causes.iter().any(|record| {
        let alert = alert(&record.payload);
        alert.labels.get("service").is_some_and(|service| faulty.contains(&service.as_str()))
    });
    assert!(named, "nobody was told of {faulty:?}");
}

/// While processes are upgraded one by one, an old one must not take what it cannot read for damaged.
#[test]
fn a_process_leaves_records_of_a_newer_version_to_others() {
    let rig = Rig::new("newer");
    rig.create_sources();
    configure(&rig, 0);
    let mut engine = foreshock()
        .arg("run")
        .arg("-c")
        .arg(rig.folder.path().join("engine-0.yaml"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the engine starts");
    let findings = rig.topic(OutputTopic::Findings.as_str());
    let connection = kafka::ConnectionSettings::new(brokers());
    wait_until("its topics are there", || {
        kafka::topics::require(&connection, std::slice::from_ref(&findings), PATIENCE).is_ok()
    });
    let headers = [(codec::ipc::KIND_HEADER.to_owned(), b"findings".to_vec())];
    let record = WriteRecord {
        topic: &findings,
        headers: &headers,
        payload: b"\xC8 as of tomorrow",
        ..WriteRecord::default()
    };
    let writer = TopicWriter::new(&connection).expect("a producer");
    writer.write(record).expect("written");
    writer.flush(PATIENCE).expect("written");
    let output = {
        wait_until("it ends", || engine.try_wait().expect("it can be asked").is_some());
        engine.wait_with_output().expect("it has ended")
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("newer version") && said.contains("upgrade"), "{said}");
    assert_eq!(committed(&rig.topic("dead-letter")), []);
}
