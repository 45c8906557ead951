//! Engines that are killed, stopped, frozen and started again at random say what one that was left alone would say.
//!
//! Two engines share the work on topics of their own while a simulated shop writes to them. Every source record must be
//! decoded once, and each stage must have written, record for record, what one that was never interrupted says of the partitions
//! that it read.
//!
//! `FORESHOCK_TEST_BLOWS` sets how often it strikes (the default is a short form), `FORESHOCK_TEST_SEED` how.
//! `FORESHOCK_TEST_BROKER_RESTART` names a command that restarts the broker; it is then one of the blows.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foreshock::config::Config;
use foreshock::demo::play;
use kafka::{TopicReader, TopicWriter, WriteRecord};
use model::{Output, OutputTopic, SourceRecord, Telemetry};
use pipeline::wire::Incoming;
use pipeline::{
    IncidentTask, IngestTask, PartitionTask, Partitions, Router, SeriesStage, SeriesTask, TraceTask, routing,
};
use shop::{Message, Scenario, Signal};

use super::{PATIENCE, Rig, START_MS, brokers, foreshock, wait_until};

/// A frozen engine is out of its group after this long.
const SESSION_TIMEOUT: Duration = Duration::from_secs(3);

/// A record as it lies on a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lying {
    partition: i32,
    /// When it was written.
    timestamp_ms: Option<i64>,
    key: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
}

/// All committed records of a topic.
pub(super) fn committed(topic: &str) -> Vec<Lying> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let connection = kafka::ConnectionSettings::new(brokers());
    let start = || {
        let into = Arc::clone(&seen);
        TopicReader::start(&connection, &[topic.to_owned()], PATIENCE, move |read| {
            let record = read.record;
            let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
            into.lock().expect("no panic").push(Lying {
                partition: record.partition,
                timestamp_ms: record.timestamp_ms,
                key: record.key.unwrap_or_default().to_vec(),
                headers: headers.collect(),
                payload: record.payload.to_vec(),
            });
        })
    };
    // One that was created a moment ago may have no leader yet.
    let mut reader = start();
    wait_until("the topic is there", || {
        if matches!(reader, Err(kafka::Error::MissingTopics { .. })) {
            reader = start();
        }
        !matches!(reader, Err(kafka::Error::MissingTopics { .. }))
    });
    let reader = reader.expect("the topic can be read");
    wait_until("the topic is read", || reader.is_caught_up());
    reader.stop();
    std::mem::take(&mut *seen.lock().expect("no panic"))
}

/// splitmix64
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// SIGKILL, and a new process.
    Kill,
    /// SIGKILL of both.
    KillBoth,
    /// SIGTERM, and a new process.
    Stop,
    /// SIGSTOP until the group has given its partitions to others, then SIGCONT.
    Freeze,
    RestartBroker,
    /// The disk that states are kept on fills up, and an engine is killed while it is full.
    FillDisk,
}

const EACH: [Blow; 6] =
    [Blow::Kill, Blow::RestartBroker, Blow::Freeze, Blow::FillDisk, Blow::KillBoth, Blow::Stop];

/// A small disk of its own, where that is allowed.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the folder is writable");
        let mut mount = Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(at).status();
        status.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("the disk is there");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Two engines of one group.
struct Fleet<'a> {
    rig: &'a Rig,
    engines: [Option<Child>; 2],
    disk: Option<SmallDisk>,
}

impl Fleet<'_> {
    fn start(&mut self, which: usize) {
        let configuration = self.rig.folder.path().join(format!("engine-{which}.yaml"));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.rig.folder.path().join(format!("engine-{which}.log")))
            .expect("the folder is writable");
        let child = foreshock().arg("run").arg("-c").arg(configuration).stderr(log).spawn();
        self.engines[which] = Some(child.expect("the engine starts"));
    }

    fn signal(&self, which: usize, signal: &str) {
        let Some(engine) = &self.engines[which] else { return };
        let status = Command::new("kill").args([signal, &engine.id().to_string()]).status();
        assert!(status.is_ok());
    }

    fn end(&mut self, which: usize, signal: &str) {
        self.signal(which, signal);
        if let Some(mut engine) = self.engines[which].take() {
            engine.wait().expect("the engine ends");
        }
    }

    fn strike(&mut self, blow: Blow, which: usize) {
        match blow {
            Blow::Kill => {
                self.end(which, "-KILL");
                self.start(which);
            }
            Blow::KillBoth => {
                self.end(0, "-KILL");
                self.end(1, "-KILL");
                self.start(1);
                self.start(0);
            }
            Blow::Stop => {
                self.end(which, "-TERM");
                self.start(which);
            }
            Blow::Freeze => {
                self.signal(which, "-STOP");
                std::thread::sleep(SESSION_TIMEOUT + Duration::from_secs(2));
                self.signal(which, "-CONT");
            }
            Blow::FillDisk => {
                if let Some(disk) = &self.disk {
                    disk.fill();
                }
                self.end(which, "-KILL");
                self.start(which);
                std::thread::sleep(Duration::from_secs(3));
                if let Some(disk) = &self.disk {
                    disk.clear();
                }
            }
            Blow::RestartBroker => {
                let command = std::env::var("FORESHOCK_TEST_BROKER_RESTART").expect("asked for only then");
                let status = Command::new("sh").args(["-c", &command]).status();
                assert!(status.is_ok_and(|status| status.success()), "{command}");
            }
        }
        self.revive();
    }

    fn revive(&mut self) {
        // What ends by itself, as a fenced engine does, is started again, as an init system would.
        for which in 0..2 {
            if self.engines[which].as_mut().is_none_or(|engine| engine.try_wait().is_ok_and(|e| e.is_some()))
            {
                self.start(which);
            }
        }
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.end(0, "-KILL");
        self.end(1, "-KILL");
    }
}

/// The configuration of one of several engines that share the work.
pub(super) fn configure(rig: &Rig, which: usize) {
    let shared = std::fs::read_to_string(rig.configuration()).expect("written before");
    let state = rig.folder.path().join("state");
    let mut lines: Vec<String> = Vec::new();
    for line in shared.lines() {
        match line {
            line if line.starts_with("kafka:") => lines.push(format!(
                "kafka: {{ brokers: \"{}\", group: {}, instance: \"{which}\", start: earliest, epoch: 100ms, partitions: 3, \
                 properties: {{ group.instance.id: engine-{which}, session.timeout.ms: \"{}\", heartbeat.interval.ms: \"500\" }} }}",
                brokers(),
                rig.prefix,
                SESSION_TIMEOUT.as_millis()
            )),
            line if line.starts_with("grpc:") => {
                lines.push("grpc: { listen: \"127.0.0.1:0\" }\nhttp: { listen: \"127.0.0.1:0\" }".to_owned());
            }
            line if line.starts_with("http:") || line.starts_with("state:") => {}
            line => lines.push(line.to_owned()),
        }
    }
    lines.push(format!("state: {{ location: \"{}\", snapshot_interval: 2s }}\n", state.display()));
    let path = rig.folder.path().join(format!("engine-{which}.yaml"));
    std::fs::write(path, lines.join("\n")).expect("the folder is writable");
}

pub(super) fn topic_of(signal: Signal) -> &'static str {
    foreshock::demo::signal_text(signal)
}

/// Of the topics between the stages in [`Rig`].
pub(super) const PARTITIONS: Partitions = Partitions { samples: 3, spans: 3, findings: 1 };

pub(super) type Said = BTreeMap<OutputTopic, Vec<Lying>>;

fn say(outputs: &mut Vec<Output>, said: &mut Said) {
    for Output { topic, partition, key, headers, payload } in outputs.drain(..) {
        let partition = partition.unwrap_or_default();
        said.entry(topic).or_default().push(Lying { partition, timestamp_ms: None, key, headers, payload });
    }
}

/// What decoding gives for the messages.
pub(super) fn decoded(router: &Router, messages: &[Message], said: &mut Said) {
    let config = Config::default();
    let mut out = Vec::new();
    for message in messages {
        let signal = topic_of(message.signal);
        let encoding = if signal == "events" { "cloud_events" } else { "otlp_proto" };
        let decoder = codec::decoder(signal, encoding, codec::Limits::default()).expect("in the list");
        let headers: Vec<(&str, &[u8])> =
            message.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let record = SourceRecord {
            timestamp_ms: None,
            topic: signal,
            partition: 0,
            offset: 0,
            key: None,
            headers: &headers,
            payload: &message.payload,
        };
        let mut task = IngestTask::new(Some(signal), decoder, router.clone(), &config.analysis);
        task.on_record(record, &mut out);
        task.flush(&mut out);
        say(&mut out, said);
    }
}

/// What tasks that are never interrupted say of the partitions of a topic.
fn said_of(lying: &[Lying], task: &dyn Fn(i32) -> Box<dyn PartitionTask>, said: &mut Said) {
    let mut tasks = BTreeMap::new();
    let mut out = Vec::new();
    for (offset, record) in lying.iter().enumerate() {
        let headers: Vec<(&str, &[u8])> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let partition = record.partition;
        let record = SourceRecord {
            timestamp_ms: record.timestamp_ms,
            topic: "between",
            partition,
            offset: offset as i64,
            key: Some(&record.key),
            headers: &headers,
            payload: &record.payload,
        };
        tasks.entry(partition).or_insert_with(|| task(partition)).on_record(record, &mut out);
        say(&mut out, said);
    }
}

/// A record between stages, read.
pub(super) fn between(record: &Lying) -> Incoming {
    let headers: Vec<(&str, &[u8])> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let record = SourceRecord {
        topic: "between",
        partition: record.partition,
        offset: 0,
        timestamp_ms: record.timestamp_ms,
        key: Some(&record.key),
        headers: &headers,
        payload: &record.payload,
    };
    pipeline::wire::read(record).expect("what a stage wrote")
}

/// What must lie on a topic, given the findings.
pub(super) fn said_of_findings(rig: &Rig, findings: &[Lying], topic: OutputTopic) -> Vec<Lying> {
    let mut said = Said::new();
    said_of(findings, &incidents(rig), &mut said);
    said.remove(&topic).unwrap_or_default()
}

/// The source topics whose partitions tell how far event time has come.
const TELLING: [&str; 3] = ["metrics", "logs", "spans"];

fn incidents(rig: &Rig) -> impl Fn(i32) -> Box<dyn PartitionTask> {
    let (samples, spans) = (rig.topic("samples"), rig.topic("spans-by-trace"));
    let sources: Vec<String> = routing::names(&samples, PARTITIONS.samples)
        .chain(routing::names(&spans, PARTITIONS.spans))
        .collect();
    move |_| Box::new(IncidentTask::new(&Config::default().analysis, &sources))
}

/// What the first `stages` must have written, given what those before them have written.
fn expected(rig: &Rig, router: &Router, messages: &[Message], stages: usize) -> Said {
    let config = Config::default();
    let mut said = Said::new();
    decoded(router, messages, &mut said);
    let ingests = TELLING.map(|name| format!("{}/0", rig.topic(name)));
    let spans = rig.topic("spans-by-trace");
    let trace = |partition| -> Box<dyn PartitionTask> {
        Box::new(TraceTask::new(&format!("{spans}/{partition}"), router.clone(), &ingests))
    };
    said_of(&committed(&spans), &trace, &mut said);
    if stages < 3 {
        return said;
    }
    let samples = rig.topic("samples");
    let series = |partition| -> Box<dyn PartitionTask> {
        let stage = SeriesStage::new(&config.analysis, &config.detectors).expect("the defaults");
        let name = format!("{samples}/{partition}");
        Box::new(SeriesTask::new(&name, router.clone(), &ingests, &spans, stage))
    };
    said_of(&committed(&samples), &series, &mut said);
    if stages < 4 {
        return said;
    }
    said_of(&committed(&rig.topic("findings")), &incidents(rig), &mut said);
    said
}

/// Which watermarks ingest tells of depends on restarts, and when a source is idle on a clock.
fn is_watermark_of_ingest(lying: &Lying, rig: &Rig) -> bool {
    let kind = lying.headers.iter().find(|(name, _)| name == codec::ipc::KIND_HEADER);
    let spans = format!("{:?}", format!("{}/", rig.topic("spans-by-trace")));
    kind.is_some_and(|(_, kind)| kind == b"watermark")
        && !String::from_utf8_lossy(&lying.payload).contains(spans.trim_end_matches('"'))
}

/// What a record says. Rows are taken one by one: how many of them lie in a record depends on the watermarks between.
fn lines(record: &Lying) -> Vec<String> {
    let kind = record.headers.iter().find(|(name, _)| name == codec::ipc::KIND_HEADER);
    let kind = kind.map(|(_, kind)| String::from_utf8_lossy(kind).into_owned()).unwrap_or_default();
    let partition = record.partition;
    let line = |row: &dyn std::fmt::Debug| format!("{partition} {row:?}");
    match codec::ipc::from_bytes(&kind, &record.payload) {
        Ok(Telemetry::Samples(batch)) => batch.rows().map(|row| line(&row)).collect(),
        Ok(Telemetry::Histograms(batch)) => batch.rows().map(|row| line(&row)).collect(),
        Ok(Telemetry::Spans(batch)) => batch.rows().map(|row| line(&row)).collect(),
        Ok(Telemetry::Logs(batch)) => batch.rows().map(|row| line(&row)).collect(),
        _ => vec![format!(
            "{partition} {:?} {:?} {}",
            String::from_utf8_lossy(&record.key),
            record.headers.iter().map(|(k, v)| (k, String::from_utf8_lossy(v))).collect::<Vec<_>>(),
            String::from_utf8_lossy(&record.payload)
        )],
    }
}

/// What records say, without what depends on restarts.
fn told(records: &[Lying], rig: &Rig) -> Vec<String> {
    records.iter().filter(|record| !is_watermark_of_ingest(record, rig)).flat_map(lines).collect()
}

/// All topics that the engine writes, how many stages write to it or before, and whether the order on it is that of one writer.
const OUTPUTS: [(OutputTopic, &str, usize, bool); 7] = [
    (OutputTopic::Spans, "spans-by-trace", 2, false),
    (OutputTopic::Samples, "samples", 2, false),
    (OutputTopic::Findings, "findings", 3, false),
    (OutputTopic::Anomalies, "anomalies", 3, false),
    (OutputTopic::Coverage, "coverage", 3, false),
    (OutputTopic::Incidents, "incidents", 4, true),
    (OutputTopic::Alerts, "alerts", 4, true),
];

/// Until so much is said.
fn wait_for(fleet: &mut Fleet, name: &str, lines: usize) {
    let deadline = Instant::now() + 3 * PATIENCE;
    while told(&committed(&fleet.rig.topic(name)), fleet.rig).len() < lines {
        fleet.revive();
        assert!(Instant::now() < deadline, "not in time: {lines} lines of {name}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn killed_engines_say_what_one_left_alone_would_say() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
    };
    let (seed, blows) = (number("FORESHOCK_TEST_SEED", 1), number("FORESHOCK_TEST_BLOWS", 8));
    let mut dice = Dice(seed);
    let rig = Rig::new("killed");
    rig.create_sources();
    configure(&rig, 0);
    configure(&rig, 1);
    let scenario = Scenario::from_seed(seed, START_MS);
    let messages = scenario.shop().expect("a scenario is sound").step(scenario.end_ms);

    let disk = SmallDisk::mount(&rig.folder.path().join("state"));
    if disk.is_none() {
        eprintln!("no right to mount a small disk: none will be full");
    }
    let mut fleet = Fleet { rig: &rig, engines: [None, None], disk };
    fleet.start(0);
    fleet.start(1);
    let connection = kafka::ConnectionSettings::new(brokers());
    let writer = TopicWriter::new(&connection).expect("a producer");
    let began = Instant::now();
    let share = (messages.len() / blows as usize).max(1);
    for (round, part) in messages.chunks(share).enumerate() {
        // Half of the records come before the blow and half while the engines recover from it.
        for (half, part) in part.chunks(share / 2 + 1).enumerate() {
            for message in part {
                let topic = rig.topic(topic_of(message.signal));
                let record = WriteRecord {
                    topic: &topic,
                    headers: &message.headers,
                    payload: &message.payload,
                    ..WriteRecord::default()
                };
                writer.write(record).expect("written");
            }
            writer.flush(PATIENCE).expect("written");
            std::thread::sleep(Duration::from_millis(dice.below(1500)));
            if half > 0 || round >= blows as usize {
                continue;
            }
            let may_restart = std::env::var("FORESHOCK_TEST_BROKER_RESTART").is_ok();
            // Each kind once, then at random.
            let blow = match EACH.get(round) {
                Some(Blow::RestartBroker) if !may_restart => Blow::Kill,
                Some(blow) => *blow,
                None => match dice.below(11) {
                    10 => Blow::FillDisk,
                    0..=3 => Blow::Kill,
                    4..=5 => Blow::KillBoth,
                    6..=7 => Blow::Stop,
                    8 if may_restart => Blow::RestartBroker,
                    _ => Blow::Freeze,
                },
            };
            let which = dice.below(2) as usize;
            eprintln!(
                "{:6.1} s: blow {} of {blows}: {blow:?} {which}",
                began.elapsed().as_secs_f32(),
                round + 1
            );
            fleet.strike(blow, which);
        }
    }

    let router = Router::new(&Config::default().tenant, PARTITIONS);
    // Each stage is waited for in its turn: what it must say follows from what the one before has written.
    for stages in 2..=4 {
        let mut all = expected(&rig, &router, &messages, stages);
        for (topic, name, of_stage, _) in OUTPUTS {
            if of_stage == stages {
                let wanted = told(&all.remove(&topic).unwrap_or_default(), &rig).len();
                assert!(wanted > 0, "a fault is in the scenario");
                wait_for(&mut fleet, name, wanted);
                eprintln!("{:6.1} s: {wanted} lines of {name}", began.elapsed().as_secs_f32());
            }
        }
    }
    // Whoever is still at it might say something twice.
    fleet.end(0, "-TERM");
    fleet.end(1, "-TERM");

    let mut all = expected(&rig, &router, &messages, 4);
    for (topic, name, _, is_ordered) in OUTPUTS {
        let mut said = told(&committed(&rig.topic(name)), &rig);
        let mut wanted = told(&all.remove(&topic).unwrap_or_default(), &rig);
        if !is_ordered {
            said.sort_unstable();
            wanted.sort_unstable();
        }
        let first = said.iter().zip(&wanted).position(|(said, wanted)| said != wanted);
        assert!(
            first.is_none() && said.len() == wanted.len(),
            "{name}: {} were said, {} should be; the first that differs: {first:?} {:?}",
            said.len(),
            wanted.len(),
            first.map(|first| (&said[first], &wanted[first]))
        );
    }
    // Nor did rows come late that would not have, had nobody been struck.
    let alert = |payload: &[u8]| -> (String, String, i64, Option<i64>) {
        let alert: model::Alert = serde_json::from_slice(payload).expect("an alert");
        let service = alert.labels.get("service").cloned().unwrap_or_default();
        (service, alert.state.as_str().to_owned(), alert.starts_ms, alert.ends_ms)
    };
    let said: Vec<_> = committed(&rig.topic("alerts")).iter().map(|lying| alert(&lying.payload)).collect();
    let undisturbed = play(&scenario, None);
    let undisturbed = undisturbed.iter().filter(|output| output.topic == OutputTopic::Alerts);
    let undisturbed: Vec<_> = undisturbed.map(|output| alert(&output.payload)).collect();
    // At the end of the topics, where a scenario played in memory just stops, more may be said.
    assert!(said.starts_with(&undisturbed), "{said:?} were said, {undisturbed:?} should be");
    let log = |which| std::fs::read_to_string(rig.folder.path().join(format!("engine-{which}.log")));
    let logs = log(0).expect("it ran") + &log(1).expect("it ran");
    let logged = |text: &str| logs.lines().filter(|line| line.contains(text)).count();
    let (restored, cold) = (logged("state taken up"), logged("no state to go on from"));
    eprintln!(
        "{:6.1} s: {restored} states were taken up, {cold} learned anew",
        began.elapsed().as_secs_f32()
    );
    assert!(restored > 0, "nothing was restored, so nothing was shown");
    assert_eq!(logged("other outputs than were committed"), 0, "replays diverged");
}
