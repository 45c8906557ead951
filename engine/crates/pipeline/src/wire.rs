//! The records between the stages.
//!
//! Telemetry travels as Arrow IPC ([`codec::ipc`]), what stages tell each other as postcard behind a version, watermarks as JSON.
//! The header [`ipc::KIND_HEADER`] says which.

use std::collections::BTreeMap;

use codec::ipc;
use correlate::{EdgeCall, TraceEvidence};
use model::{Anomaly, Change, Labels, Output, OutputTopic, SeriesId, Severity, SourceRecord, Telemetry};
use serde::{Deserialize, Deserializer, Serialize};

use crate::amendment::Amendment;
use crate::feedback::Remark;
use crate::routing::Router;
use crate::state;

const WATERMARK: &str = "watermark";
const CALLS: &str = "calls";
const FINDINGS: &str = "findings";

/// How far event time has come in one partition that a stage before reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceWatermark {
    /// `topic/partition`.
    pub source: String,
    /// None while the source is idle: nobody waits for it.
    pub watermark_ms: Option<i64>,
}

/// What the stages before tell the incident stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Finding {
    /// A service that exists, whatever else is known of it.
    Service(String),
    /// A point of a metric, as evidence.
    Point {
        service: String,
        metric: String,
        time_ms: i64,
        value: f64,
    },
    /// A series that was anomalous had a point that is not.
    Normal {
        series: SeriesId,
        time_ms: i64,
    },
    Anomaly(#[serde(with = "AnomalyRecord")] Anomaly),
    Change(Change),
    Traces(TraceEvidence),
    /// What somebody said of an incident.
    Remark(Remark),
    Amended(#[serde(with = "AmendmentRecord")] Amendment),
    /// An anomaly with traces that show it.
    Exemplified {
        #[serde(with = "AnomalyRecord")]
        anomaly: Anomaly,
        trace_ids: Vec<String>,
    },
}

/// An anomaly as it travels between stages: whether it was amended, and which traces show it, is told by the kind of finding.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Anomaly")]
struct AnomalyRecord {
    id: String,
    labels: Labels,
    service: String,
    metric: String,
    detector: String,
    time_ms: i64,
    value: f64,
    expected: f64,
    lower: f64,
    upper: f64,
    anomaly_score: f64,
    severity: Severity,
    summary: String,
    #[serde(skip)]
    amended: bool,
    #[serde(skip)]
    exemplar_trace_ids: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Amendment")]
struct AmendmentRecord {
    #[serde(serialize_with = "AnomalyRecord::serialize", deserialize_with = "amended")]
    anomaly: Anomaly,
    was_told: bool,
}

fn amended<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Anomaly, D::Error> {
    Ok(Anomaly { amended: true, ..AnomalyRecord::deserialize(deserializer)? })
}

impl From<Anomaly> for Finding {
    fn from(anomaly: Anomaly) -> Self {
        if anomaly.exemplar_trace_ids.is_empty() {
            return Self::Anomaly(anomaly);
        }
        Self::Exemplified { trace_ids: anomaly.exemplar_trace_ids.clone(), anomaly }
    }
}

impl Finding {
    /// The anomaly that it tells everybody of.
    pub fn anomaly(&self) -> Option<&Anomaly> {
        match self {
            Self::Anomaly(anomaly)
            | Self::Amended(Amendment { anomaly, .. })
            | Self::Exemplified { anomaly, .. } => Some(anomaly),
            _ => None,
        }
    }

    /// About what it takes in a record.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Service(name) => 8 + name.len(),
            Self::Point { service, metric, .. } => 32 + service.len() + metric.len(),
            Self::Normal { .. } => 32,
            Self::Anomaly(anomaly)
            | Self::Amended(Amendment { anomaly, .. })
            | Self::Exemplified { anomaly, .. } => {
                let labels = anomaly.labels.iter().map(|(key, value)| 8 + key.len() + value.len());
                let traces = 40 * anomaly.exemplar_trace_ids.len();
                150 + anomaly.metric.len() + anomaly.service.len() + labels.sum::<usize>() + traces
            }
            Self::Change(change) => 32 + change.service.len() + change.kind.len() + change.summary.len(),
            Self::Traces(evidence) => evidence.size_bytes(),
            Self::Remark(remark) => {
                64 + remark.id.len() + remark.incident.len() + remark.cause.as_ref().map_or(0, String::len)
            }
        }
    }

    /// The event time that it is about; none if its place in the order of all findings is no matter.
    pub fn time_ms(&self) -> Option<i64> {
        match self {
            Self::Point { time_ms, .. } | Self::Normal { time_ms, .. } => Some(*time_ms),
            Self::Anomaly(anomaly)
            | Self::Amended(Amendment { anomaly, .. })
            | Self::Exemplified { anomaly, .. } => Some(anomaly.time_ms),
            // What was said counts from where it stands in the order on.
            Self::Service(_) | Self::Change(_) | Self::Traces(_) | Self::Remark(_) => None,
        }
    }
}

/// What one record tells, in its order, and how far its source has come with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    pub findings: Vec<Finding>,
    /// The event time at which they became known, if that is later than what they are about: nothing before it waits for them.
    pub known_ms: Option<i64>,
    pub watermark: Option<SourceWatermark>,
}

/// A record between stages, read.
#[derive(Debug)]
pub enum Incoming {
    Telemetry(Telemetry),
    Calls(Vec<EdgeCall>),
    Watermark(SourceWatermark),
    Findings(Findings),
}

/// Whether a record of that kind holds calls.
pub fn is_calls(kind: &str) -> bool {
    kind == CALLS
}

/// A record that another stage wrote, or the reason why it is none.
pub fn read(record: SourceRecord<'_>) -> Result<Incoming, String> {
    match record.header(ipc::KIND_HEADER).unwrap_or("") {
        WATERMARK => serde_json::from_slice(record.payload)
            .map(Incoming::Watermark)
            .map_err(|error| format!("no watermark: {error}")),
        CALLS => {
            read_calls(record.payload).map(Incoming::Calls).map_err(|reason| format!("no calls: {reason}"))
        }
        FINDINGS => state::decode(record.payload)
            .map(Incoming::Findings)
            .map_err(|reason| format!("no findings: {reason}")),
        kind => {
            ipc::from_bytes(kind, record.payload).map(Incoming::Telemetry).map_err(|error| error.to_string())
        }
    }
}

/// The version from which on calls name their trace.
const CALLS_WITH_TRACES: u8 = 7;

fn read_calls(payload: &[u8]) -> Result<Vec<EdgeCall>, String> {
    if payload.first().is_none_or(|version| *version >= CALLS_WITH_TRACES) {
        return state::decode(payload);
    }
    type CallWithoutTrace = (String, String, i64, i64, bool);
    let calls: Vec<CallWithoutTrace> = state::decode(payload)?;
    let call = |(caller, callee, end_ms, duration_us, error)| EdgeCall {
        caller,
        callee,
        end_ms,
        duration_us,
        error,
        trace_id: 0,
    };
    Ok(calls.into_iter().map(call).collect())
}

/// The format of a record between stages that a newer version of this program wrote, as while processes are upgraded one by one. It is
/// no damage: who knows the format can read it.
pub fn newer_format(record: SourceRecord<'_>) -> Option<u8> {
    let is_versioned = record.header(ipc::KIND_HEADER).is_some_and(|kind| [CALLS, FINDINGS].contains(&kind));
    record.payload.first().copied().filter(|found| is_versioned && *found > state::VERSION)
}

fn output(topic: OutputTopic, partition: i32, key: &[u8], kind: &str, payload: Vec<u8>) -> Output {
    let headers = vec![(ipc::KIND_HEADER.to_owned(), kind.as_bytes().to_vec())];
    Output { topic, partition: Some(partition), key: key.to_vec(), headers, payload }
}

pub fn telemetry(topic: OutputTopic, partition: i32, key: &[u8], telemetry: &Telemetry) -> Output {
    output(topic, partition, key, telemetry.kind(), ipc::to_bytes(telemetry))
}

/// The watermark, to every partition of a topic.
pub fn broadcast(topic: OutputTopic, router: &Router, watermark: &SourceWatermark, out: &mut Vec<Output>) {
    let payload = serde_json::to_vec(watermark).expect("plain data, and memory does not fail");
    out.extend(
        (0..router.partitions(topic))
            .map(|partition| output(topic, partition, router.tenant(), WATERMARK, payload.clone())),
    );
}

/// Calls, each to where the series of its callee are.
pub fn calls(router: &Router, calls: Vec<EdgeCall>, out: &mut Vec<Output>) {
    let mut parts = BTreeMap::<i32, Vec<EdgeCall>>::new();
    for call in calls {
        parts.entry(router.entity(&call.callee)).or_default().push(call);
    }
    for (partition, calls) in parts {
        let bytes = |call: &EdgeCall| 32 + call.caller.len() + call.callee.len();
        out.extend(in_parts(calls, bytes).into_iter().map(|calls| {
            output(OutputTopic::Samples, partition, router.tenant(), CALLS, state::encode(&calls))
        }));
    }
}

/// Findings in their order; the watermark comes with the last of them.
pub fn findings(router: &Router, findings: Findings, out: &mut Vec<Output>) {
    let Findings { findings, known_ms, watermark } = findings;
    let mut parts = in_parts(findings, Finding::size_bytes);
    if parts.is_empty() && watermark.is_some() {
        parts.push(Vec::new());
    }
    let count = parts.len();
    out.extend(parts.into_iter().enumerate().map(|(i, findings)| {
        let watermark = watermark.clone().filter(|_| i + 1 == count);
        let payload = state::encode(&Findings { findings, known_ms, watermark });
        output(OutputTopic::Findings, router.findings(), router.tenant(), FINDINGS, payload)
    }));
}

/// About as much as a record between stages may hold: half of what brokers allow by default.
pub const RECORD_BYTES: usize = 500_000;

/// The things in their order, so many together as fit into a record.
fn in_parts<T>(things: Vec<T>, size_bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for thing in things {
        let more = size_bytes(&thing);
        match parts.last_mut() {
            Some(part) if bytes + more <= RECORD_BYTES => {
                part.push(thing);
                bytes += more;
            }
            _ => {
                parts.push(vec![thing]);
                bytes = more;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Partitions;

    #[test]
    fn many_findings_go_in_several_records_and_the_watermark_in_the_last() {
        let point = |i: i64| Finding::Point {
            service: "cart".to_owned(),
            metric: format!("metric_{i}"),
            time_ms: i,
            value: 0.5,
        };
        let all: Vec<Finding> = (0..50_000).map(point).collect();
        let watermark = SourceWatermark { source: "samples/0".to_owned(), watermark_ms: Some(7) };
        let router = Router::new("acme", Partitions::ONE);
        let mut out = Vec::new();
        findings(
            &router,
            Findings { findings: all.clone(), known_ms: None, watermark: Some(watermark.clone()) },
            &mut out,
        );
        assert!(out.len() > 1 && out.iter().all(|output| output.payload.len() <= RECORD_BYTES));
        let read: Vec<Findings> = out.iter().map(|output| state::decode(&output.payload).unwrap()).collect();
        assert_eq!(read.iter().filter_map(|part| part.watermark.as_ref()).collect::<Vec<_>>(), [&watermark]);
        assert_eq!(read.last().unwrap().watermark, Some(watermark.clone()));
        assert!(read.into_iter().flat_map(|part| part.findings).eq(all));
        out.clear();
        findings(
            &router,
            Findings { findings: vec![], known_ms: None, watermark: Some(watermark) },
            &mut out,
        );
        assert_eq!(out.len(), 1);
        findings(&router, Findings { findings: vec![], known_ms: None, watermark: None }, &mut out);
        assert_eq!(out.len(), 1, "nothing to say is not said");
    }

    #[test]
    fn an_anomaly_travels_as_before_there_were_amended_ones() {
        let anomaly = Anomaly {
            id: "a".to_owned(),
            labels: Labels::of("cart", "cpu"),
            service: "cart".to_owned(),
            metric: "cpu".to_owned(),
            detector: "ewma".to_owned(),
            time_ms: 7,
            value: 9.0,
            expected: 1.0,
            lower: 0.0,
            upper: 2.0,
            anomaly_score: 0.7,
            severity: Severity::Warning,
            summary: "high".to_owned(),
            amended: false,
            exemplar_trace_ids: Vec::new(),
        };
        let mut payload = state::encode(&vec![Finding::Anomaly(anomaly.clone())]);
        payload[0] = 5;
        let fields = [&b"\x05\x01\x03\x01a"[..], &postcard::to_allocvec(&anomaly.labels).unwrap()].concat();
        assert_eq!(payload[..fields.len()], fields);
        assert_eq!(state::decode::<Vec<Finding>>(&payload).unwrap(), [Finding::Anomaly(anomaly.clone())]);
        let trace_ids = vec!["7".repeat(32)];
        let exemplified = Finding::from(Anomaly { exemplar_trace_ids: trace_ids.clone(), ..anomaly.clone() });
        let read = state::decode::<Finding>(&state::encode(&exemplified)).unwrap();
        assert_eq!(read, Finding::Exemplified { anomaly: anomaly.clone(), trace_ids });
        let amended = Anomaly { amended: true, ..anomaly };
        let finding = Finding::Amended(Amendment { anomaly: amended, was_told: true });
        assert_eq!(state::decode::<Finding>(&state::encode(&finding)).unwrap(), finding);
    }

    #[test]
    fn calls_of_a_version_without_traces_are_read() {
        let calls = vec![("cart".to_owned(), "stock".to_owned(), 7_i64, 5_i64, true)];
        let mut payload = state::encode(&calls);
        payload[0] = CALLS_WITH_TRACES - 1;
        let [call] = &read_calls(&payload).unwrap()[..] else { panic!("one call") };
        assert_eq!((call.callee.as_str(), call.end_ms, call.error, call.trace_id), ("stock", 7, true, 0));
        let call = EdgeCall { trace_id: u128::MAX - 3, ..call.clone() };
        let calls = vec![call.clone(), EdgeCall { error: false, ..call }];
        assert_eq!(read_calls(&state::encode(&calls)).unwrap(), calls);
        assert!(read_calls(&[]).is_err());
    }

    #[test]
    fn a_record_of_a_newer_version_is_told_from_damage() {
        let router = Router::new("acme", Partitions::ONE);
        let findings_of = |findings| Findings { findings, known_ms: None, watermark: None };
        let mut out = Vec::new();
        findings(&router, findings_of(vec![Finding::Service("cart".to_owned())]), &mut out);
        let mut payload = out[0].payload.clone();
        let newer = |payload: &[u8], kind: &str| {
            let headers = [(ipc::KIND_HEADER, kind.as_bytes())];
            let (topic, partition, offset, timestamp_ms, key) = ("findings", 0, 0, None, None);
            newer_format(SourceRecord {
                topic,
                partition,
                offset,
                timestamp_ms,
                key,
                headers: &headers,
                payload,
            })
        };
        assert_eq!(newer(&payload, FINDINGS), None);
        payload[0] = state::VERSION + 1;
        assert_eq!(newer(&payload, FINDINGS), Some(state::VERSION + 1));
        assert_eq!(newer(&payload, WATERMARK), None, "that is JSON");
        payload[0] = state::VERSION - 1;
        assert_eq!(newer(&payload, FINDINGS), None);
        assert_eq!(newer(&[], FINDINGS), None);
    }
}
