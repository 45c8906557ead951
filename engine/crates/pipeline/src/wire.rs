//! The records between the stages.
//!
//! Telemetry travels as Arrow IPC ([`codec::ipc`]), what stages tell each other as postcard behind a version, watermarks as JSON.
//! The header [`ipc::KIND_HEADER`] says which.

use codec::ipc;
use correlate::{EdgeCall, TraceEvidence};
use model::{Anomaly, Change, Output, OutputTopic, SeriesId, SourceRecord, Telemetry};
use serde::{Deserialize, Serialize};

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
    Anomaly(Anomaly),
    Change(Change),
    Traces(TraceEvidence),
}

impl Finding {
    /// The event time at which it belongs in the order of all findings; evidence and changes carry their own.
    pub fn time_ms(&self) -> Option<i64> {
        match self {
            Self::Point { time_ms, .. } | Self::Normal { time_ms, .. } => Some(*time_ms),
            Self::Anomaly(anomaly) => Some(anomaly.time_ms),
            Self::Service(_) | Self::Change(_) | Self::Traces(_) => None,
        }
    }
}

/// What one record tells, in its order, and how far its source has come with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    pub findings: Vec<Finding>,
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

/// A record that another stage wrote, or the reason why it is none.
pub fn read(record: SourceRecord<'_>) -> Result<Incoming, String> {
    match record.header(ipc::KIND_HEADER).unwrap_or("") {
        WATERMARK => serde_json::from_slice(record.payload)
            .map(Incoming::Watermark)
            .map_err(|error| format!("no watermark: {error}")),
        CALLS => {
            state::decode(record.payload).map(Incoming::Calls).map_err(|reason| format!("no calls: {reason}"))
        }
        FINDINGS => state::decode(record.payload)
            .map(Incoming::Findings)
            .map_err(|reason| format!("no findings: {reason}")),
        kind => {
            ipc::from_bytes(kind, record.payload).map(Incoming::Telemetry).map_err(|error| error.to_string())
        }
    }
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
    let mut parts = std::collections::BTreeMap::<i32, Vec<EdgeCall>>::new();
    for call in calls {
        parts.entry(router.entity(&call.callee)).or_default().push(call);
    }
    out.extend(parts.into_iter().map(|(partition, calls)| {
        output(OutputTopic::Samples, partition, router.tenant(), CALLS, state::encode(&calls))
    }));
}

pub fn findings(router: &Router, findings: &Findings) -> Output {
    let topic = OutputTopic::Findings;
    output(topic, router.findings(), router.tenant(), FINDINGS, state::encode(findings))
}
