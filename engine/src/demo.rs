//! Simulated scenarios: played without Kafka, and judged: which incident tells of which injected fault.

use std::collections::{BTreeMap, VecDeque};

use model::{Anomaly, Incident, Output, OutputTopic, SourceRecord, Telemetry};
use pipeline::wire::{self, Incoming};
use pipeline::{InProcess, IngestTask, PartitionTask, Partitions};
use serde::Serialize;
use shop::{Scenario, Signal};

use crate::config::{Config, SourceConfig};

/// An incident that is noticed during a fault may be taken to have begun this much before it, since when it began is told from requests that
/// vary by chance …
const EARLY_MS: i64 = 60_000;
/// … and be noticed this much after its end.
const LATE_MS: i64 = 30_000;

/// A fault that was injected: the ground truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InjectedFault {
    pub service: String,
    pub kind: String,
    pub start_ms: i64,
    #[serde(skip)]
    pub end_ms: i64,
}

/// How the engine did on one fault. Without an incident all but `fault` are null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    pub fault: InjectedFault,
    pub incident: Option<String>,
    /// Event time from the fault's start to the version that opened the incident.
    pub detected_after_ms: Option<i64>,
    /// Place of the faulty service among the causes in the last version of the incident, 1 for the first.
    pub rank: Option<usize>,
}

impl Outcome {
    /// No incident named the service at all.
    pub fn is_missed(&self) -> bool {
        self.rank.is_none()
    }
}

/// Finds for each fault the first incident that was noticed during it. `versions` are all versions in their order.
pub fn judge(faults: &[InjectedFault], versions: &[Incident]) -> Vec<Outcome> {
    faults.iter().map(|fault| outcome(fault, versions)).collect()
}

fn outcome(fault: &InjectedFault, versions: &[Incident]) -> Outcome {
    let during = fault.start_ms..fault.end_ms + LATE_MS;
    let is_of_it = |version: &&Incident| {
        version.version == 1
            && during.contains(&version.updated_ms)
            && version.opened_ms >= fault.start_ms - EARLY_MS
    };
    let opened = versions.iter().find(is_of_it);
    let last = opened.and_then(|opened| versions.iter().rfind(|version| version.incident == opened.incident));
    let rank_in = |incident: &Incident| {
        let place = incident.root_causes.iter().position(|cause| cause.service == fault.service);
        place.map(|place| place + 1)
    };
    Outcome {
        fault: fault.clone(),
        incident: opened.map(|opened| opened.incident.clone()),
        detected_after_ms: opened.map(|opened| opened.updated_ms - fault.start_ms),
        rank: last.and_then(rank_in),
    }
}

/// The faults of a simulated scenario.
pub fn injected(scenario: &Scenario) -> Vec<InjectedFault> {
    let fault = |fault: &shop::Fault| InjectedFault {
        service: fault.service.clone(),
        kind: kind_text(fault.kind).to_owned(),
        start_ms: fault.start_ms,
        end_ms: fault.end_ms,
    };
    scenario.faults.iter().map(fault).collect()
}

fn kind_text(kind: shop::FaultKind) -> &'static str {
    match kind {
        shop::FaultKind::SlowDatabase => "slow_database",
        shop::FaultKind::ErrorsAfterDeploy => "errors_after_deploy",
        shop::FaultKind::MemoryLeakWithCpuPressure => "memory_leak_with_cpu_pressure",
    }
}

/// The tasks of the default configuration, without Kafka.
struct Tasks {
    engine: InProcess,
    ingest: BTreeMap<&'static str, IngestTask>,
    routed: Vec<Output>,
    offset: usize,
}

impl Tasks {
    fn new() -> Self {
        let config = Config::default();
        let partitions =
            Partitions { samples: config.kafka.partitions, spans: config.kafka.partitions, findings: 1 };
        let telling = config.sources.iter().filter(|source| source.signal != crate::config::Signal::Events);
        let names: Vec<String> = telling.map(|source| format!("{}/0", source.topic)).collect();
        let engine = InProcess::new(&config.tenant, partitions, &names, &config.analysis, &config.detectors);
        let engine = engine.expect("the defaults");
        let task = |source: &SourceConfig| {
            let (signal, encoding) = (source.signal.as_str(), source.encoding.as_str());
            let decoder =
                codec::decoder(signal, encoding, codec::Limits::default()).expect("a decoder of the list");
            let name = format!("{}/0", source.topic);
            let name = names.contains(&name).then_some(name.as_str());
            IngestTask::new(name, decoder, engine.router().clone(), &config.analysis)
        };
        let ingest = config.sources.iter().map(|source| (source.signal.as_str(), task(source))).collect();
        Self { engine, ingest, routed: Vec::new(), offset: 0 }
    }

    /// Decodes a message; what comes of it is in `routed`.
    fn ingest(&mut self, message: &shop::Message) {
        let Self { ingest, routed, offset, .. } = self;
        let signal = signal_text(message.signal);
        let task = ingest.get_mut(signal).expect("the defaults read every signal");
        with_record(signal, *offset, &message.headers, &message.payload, |record| {
            task.on_record(record, routed);
            task.flush(routed);
        });
        *offset += 1;
    }
}

fn messages(scenario: &Scenario) -> Vec<shop::Message> {
    scenario.shop().expect("a scenario is sound").step(scenario.end_ms)
}

fn readable(out: Vec<Output>) -> Vec<Output> {
    let is_readable = out.iter().all(|output| output.topic != OutputTopic::DeadLetter);
    assert!(is_readable, "the shop's telemetry is readable");
    out
}

/// What the default configuration says of a scenario. After every `restart_every` records all tasks are thrown away, and new
/// ones go on from their snapshots.
///
/// # Panics
/// When the shop writes what the engine cannot read, the default configuration is not sound, or a snapshot cannot be
/// taken up.
pub fn play(scenario: &Scenario, restart_every: Option<usize>) -> Vec<Output> {
    let mut tasks = Tasks::new();
    let mut out = Vec::new();
    for (at, message) in messages(scenario).iter().enumerate() {
        tasks.ingest(message);
        tasks.engine.take(tasks.routed.drain(..), &mut out);
        if restart_every.is_some_and(|every| (at + 1).is_multiple_of(every)) {
            tasks.engine.restart().expect("a snapshot can be taken up");
        }
    }
    readable(out)
}

/// The telemetry of a scenario as ingest routes it by entity, but for spans, which come once for their trace.
///
/// # Panics
/// When the shop writes what the engine cannot read.
pub fn telemetry(scenario: &Scenario) -> Vec<Telemetry> {
    let mut tasks = Tasks::new();
    let mut out = Vec::new();
    for message in &messages(scenario) {
        tasks.ingest(message);
        for output in tasks.routed.drain(..) {
            let read = with_record("", 0, &output.headers, &output.payload, wire::read);
            let Ok(Incoming::Telemetry(telemetry)) = read else { continue };
            let is_span = matches!(telemetry, Telemetry::Spans(_));
            if (output.topic == OutputTopic::Spans && is_span)
                || (output.topic == OutputTopic::Samples && !is_span)
            {
                out.push(telemetry);
            }
        }
    }
    out
}

/// As [`play`], while the sources and stages run at their own pace. `pick` chooses who is next, given how many there are to choose
/// from, the events before all others.
///
/// # Panics
/// As [`play`].
pub fn play_out_of_step(scenario: &Scenario, mut pick: impl FnMut(usize) -> usize) -> Vec<Output> {
    let mut tasks = Tasks::new();
    let mut out = Vec::new();
    let mut sources: BTreeMap<&str, VecDeque<shop::Message>> = BTreeMap::new();
    for message in messages(scenario) {
        sources.entry(signal_text(message.signal)).or_default().push_back(message);
    }
    for message in sources.remove(signal_text(Signal::Events)).into_iter().flatten() {
        tasks.ingest(&message);
        tasks.engine.put(tasks.routed.drain(..), &mut out);
    }
    loop {
        let places: Vec<_> = tasks.engine.places().collect();
        sources.retain(|_, messages| !messages.is_empty());
        if places.is_empty() && sources.is_empty() {
            return readable(out);
        }
        let picked = pick(places.len() + sources.len());
        match places.get(picked) {
            Some(place) => tasks.engine.run(*place, &mut out),
            None => {
                let message = sources.values_mut().nth(picked - places.len()).and_then(VecDeque::pop_front);
                tasks.ingest(&message.expect("picked among them"));
                tasks.engine.put(tasks.routed.drain(..), &mut out);
            }
        }
    }
}

/// All versions of all incidents among outputs.
pub fn incidents(outputs: &[Output]) -> Vec<Incident> {
    read(outputs, OutputTopic::Incidents)
}

pub fn anomalies(outputs: &[Output]) -> Vec<Anomaly> {
    read(outputs, OutputTopic::Anomalies)
}

fn read<T: serde::de::DeserializeOwned>(outputs: &[Output], topic: OutputTopic) -> Vec<T> {
    let outputs = outputs.iter().filter(|output| output.topic == topic);
    let read = |output: &Output| serde_json::from_slice(&output.payload);
    outputs.map(read).collect::<Result<_, _>>().expect("what the engine writes can be read")
}

fn with_record<T>(
    topic: &str,
    offset: usize,
    headers: &[(String, Vec<u8>)],
    payload: &[u8],
    take: impl FnOnce(SourceRecord<'_>) -> T,
) -> T {
    let headers: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    take(SourceRecord {
        timestamp_ms: None,
        topic,
        partition: 0,
        offset: offset as i64,
        key: None,
        headers: &headers,
        payload,
    })
}

/// As the configuration and the list of decoders call it.
pub fn signal_text(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
        Signal::Spans => "spans",
        Signal::Events => "events",
    }
}

#[cfg(test)]
mod tests {
    use model::{IncidentState, RootCause, Severity};

    use super::*;

    fn incident(id: &str, version: u32, opened_ms: i64, causes: &[&str]) -> Incident {
        let cause =
            |service: &&str| RootCause { service: (*service).to_owned(), score: 1.0, ..RootCause::default() };
        Incident {
            incident: id.to_owned(),
            version,
            state: IncidentState::Open,
            severity: Severity::Critical,
            title: String::new(),
            opened_ms,
            updated_ms: opened_ms + 20_000,
            resolved_ms: None,
            services: vec![],
            root_causes: causes.iter().map(cause).collect(),
            changes: vec![],
            anomalies: 1,
            exemplar_trace_ids: Vec::new(),
            split_from: None,
            merged_into: None,
            amended: false,
        }
    }

    #[test]
    fn the_last_version_of_the_first_incident_in_the_fault_counts() {
        let fault = |start_ms| InjectedFault {
            service: "cart".to_owned(),
            kind: "slow_database".to_owned(),
            start_ms,
            end_ms: start_ms + 300_000,
        };
        let versions = [
            incident("before", 1, 100_000, &["cart"]),
            incident("during", 1, 1_010_000, &["web", "cart"]),
            incident("later", 1, 1_050_000, &["web"]),
            incident("during", 2, 1_010_000, &["cart", "web"]),
        ];
        let outcomes = judge(&[fault(1_000_000), fault(3_000_000)], &versions);
        assert_eq!(outcomes[0].incident.as_deref(), Some("during"));
        assert_eq!((outcomes[0].detected_after_ms, outcomes[0].rank), (Some(30_000), Some(1)));
        assert!(!outcomes[0].is_missed() && outcomes[1].is_missed());
        // What is noticed during a fault may be taken to have begun a little before it, what is noticed before it is another.
        let noticed = [incident("other", 1, 2_970_000, &["cart"]), incident("its", 1, 2_985_000, &["cart"])];
        assert_eq!(judge(&[fault(3_000_000)], &noticed)[0].incident.as_deref(), Some("its"));
        let long_before = [incident("other", 1, 2_930_000, &["cart"])];
        let long_before = long_before.map(|incident| Incident { updated_ms: 3_010_000, ..incident });
        assert!(judge(&[fault(3_000_000)], &long_before)[0].is_missed());
        let json = serde_json::to_value(&outcomes[1]).unwrap();
        let fault = serde_json::json!({"service": "cart", "kind": "slow_database", "start_ms": 3_000_000});
        assert_eq!(
            json,
            serde_json::json!({"fault": fault, "incident": null, "detected_after_ms": null, "rank": null})
        );
    }
}
