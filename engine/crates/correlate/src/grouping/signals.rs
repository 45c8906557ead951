//! Which series open an incident by themselves or together.
//!
//! Statistics of one measurement (a median, a tail, a rate and a sum of the same) say one thing, and so do all series of a node, which each
//! service on it reports. Load hurts nobody: how much goes over a network or through system calls says how many requests there are, so
//! it makes no other series more suspect. What is judged by evidence opens nothing, since that knows better what is usual: CPU,
//! latencies and load where there are traces, and what services report on a given graph.

use super::{GrouperSettings, Suspect};
use crate::evidence::Correlator;
use crate::ranking::{MetricRole, is_of_node, role_of};

/// A lone latency must be critical for so long, since where requests are few, one slow one stays in its tail for minutes; and so must load,
/// and the memory and CPU of a node, which hurt nobody as long as there is some.
const LONE_MS: i64 = 600_000;
/// What a name ends with that says how a measurement is summed up.
const STATISTICS: &[&str] = &[
    "p50", "p75", "p90", "p95", "p99", "avg", "average", "mean", "median", "max", "min", "sum", "total",
    "rate",
];
/// What names of metrics hold that say how much goes through, by themselves or for something that it goes through, unless it is lost.
const LOAD: &[&str] = &["syscall", "packet", "throughput"];
const THROUGH: &[&str] = &["network", "workload", "traffic"];
const FLOW: &[&str] = &["byte", "octet", "receive", "transmit", ".io", "_io", "ops"];
const LOST: &[&str] = &["err", "drop", "discard", "fail", "lost", "loss", "retrans", "latency", "delay"];

fn holds(metric: &str, words: &[&str]) -> bool {
    words.iter().any(|word| metric.contains(word))
}

fn is_load(metric: &str) -> bool {
    let name = metric.to_ascii_lowercase();
    let is_load = holds(&name, LOAD) || (holds(&name, THROUGH) && holds(&name, FLOW));
    is_load && !holds(&name, LOST)
}

/// What a node has left for all services on it.
fn of_node(metric: &str) -> Option<&'static str> {
    let name = metric.to_ascii_lowercase();
    let of_node = [("cpu", "cpu of a node"), ("mem", "memory of a node")];
    of_node.into_iter().find(|(word, _)| is_of_node(&name) && name.contains(word)).map(|(_, what)| what)
}

/// Where something is measured and what, however it is summed up; `None` when that says nothing about other series.
pub(super) fn signal(suspect: &Suspect) -> Option<(&str, String)> {
    let metric = suspect.metric.as_str();
    if is_load(metric) {
        return None;
    }
    Some(match of_node(metric) {
        Some(what) => ("", what.to_owned()),
        None => (&suspect.service, measurement(metric)),
    })
}

fn measurement(metric: &str) -> String {
    match role_of(metric) {
        MetricRole::Cpu => return "cpu".to_owned(),
        MetricRole::Memory => return "memory".to_owned(),
        MetricRole::Latency => return "latency".to_owned(),
        MetricRole::Availability => return "availability".to_owned(),
        MetricRole::Requests | MetricRole::Other => {}
    }
    let name = metric.split(['{', '(']).next().unwrap_or(metric).to_ascii_lowercase();
    let ending = STATISTICS.iter().find_map(|ending| name.strip_suffix(ending));
    ending.unwrap_or(&name).trim_end_matches(['.', '_', '-']).to_owned()
}

/// Whether anomalies of a series are left to the evidence.
pub(super) fn is_left_to_evidence(suspect: &Suspect, correlator: &Correlator) -> bool {
    match role_of(&suspect.metric) {
        _ if is_load(&suspect.metric) => correlator.has_traces() || correlator.has_reports(&suspect.service),
        MetricRole::Cpu => true,
        MetricRole::Latency if correlator.has_traces() => !is_derived(suspect),
        MetricRole::Latency | MetricRole::Availability | MetricRole::Requests => {
            correlator.has_reports(&suspect.service)
        }
        MetricRole::Memory | MetricRole::Other => false,
    }
}

/// What is derived of spans is not given where they are few.
fn is_derived(suspect: &Suspect) -> bool {
    ["spans.", "calls."].iter().any(|derived| suspect.metric.starts_with(derived))
}

/// Whether a series opens an incident by itself.
pub(super) fn opens_alone(suspect: &Suspect, settings: &GrouperSettings) -> bool {
    let is_long = || suspect.last_ms - suspect.first_ms >= LONE_MS;
    suspect.critical_run >= settings.critical_run
        && match role_of(&suspect.metric) {
            MetricRole::Memory | MetricRole::Latency => is_derived(suspect) || is_long(),
            _ if is_load(&suspect.metric) || of_node(&suspect.metric).is_some() => is_long(),
            _ => true,
        }
}
