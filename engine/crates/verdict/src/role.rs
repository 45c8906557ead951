//! What a series says about a service, by the names that OpenTelemetry and Prometheus give.

use model::Labels;
use serde::Serialize;

/// What a change of a series means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Failures, durations and lines of errors: what users feel. Worse if higher.
    Symptom,
    /// How much is asked of the service. Worse if it goes away.
    Traffic,
    /// What the service takes: CPU, memory, threads, connections. Worse if much higher.
    Resource,
    /// Calls of the service to others: more of them, or slower ones, are told but are not its failure.
    Downstream,
    /// Nobody but its owner knows whether more is better; told if it changes.
    Other,
}

const SYMPTOMS: &[&str] = &[
    "error", "errors", "fail", "failed", "failure", "failures", "timeout", "timeouts", "latency", "duration",
];
const RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "heap",
    "gc",
    "thread",
    "threads",
    "goroutines",
    "queue",
    "lag",
    "connections",
    "restarts",
    "throttled",
    "retries",
    "fds",
    "rss",
];

impl Role {
    /// Of a series of `service`, or of a call by it.
    pub fn of(labels: &Labels, service: &str) -> Self {
        if labels.service() != service {
            return Self::Downstream;
        }
        let name = labels.name();
        match name {
            "spans.rate" | "calls.rate" => return Self::Traffic,
            "logs.rate" => {
                let severity = labels.get("severity");
                let is_error = severity.is_some_and(|severity| ["ERROR", "FATAL"].contains(&severity));
                return if is_error { Self::Symptom } else { Self::Other };
            }
            _ => {}
        }
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        // What is derived from a histogram of durations.
        if name.ends_with(".count") {
            return Self::Traffic;
        }
        let is_idle = labels.iter().any(|(_, value)| ["idle", "free", "available"].contains(&value));
        if words.clone().any(|word| SYMPTOMS.contains(&word)) {
            Self::Symptom
        } else if !is_idle && words.any(|word| RESOURCES.contains(&word)) {
            Self::Resource
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_worse() {
        let of = |name: &str| Role::of(&Labels::of("cart", name), "cart");
        assert_eq!(of("spans.duration.p95"), Role::Symptom);
        assert_eq!(of("spans.error_ratio"), Role::Symptom);
        assert_eq!(of("http.server.request.duration.p99"), Role::Symptom);
        assert_eq!(of("http.server.request.duration.count"), Role::Traffic);
        assert_eq!(of("spans.rate"), Role::Traffic);
        assert_eq!(of("process_cpu_seconds_total"), Role::Resource);
        assert_eq!(of("orders.placed"), Role::Other);
        let idle = Labels::of("cart", "cpu.time").with("state", "idle");
        assert_eq!(Role::of(&idle, "cart"), Role::Other);
        let lines = Labels::of("cart", "logs.rate");
        assert_eq!(Role::of(&lines.with("severity", "ERROR"), "cart"), Role::Symptom);
        assert_eq!(Role::of(&lines.with("template", "x"), "cart"), Role::Other);
        assert_eq!(
            Role::of(&Labels::of("db", "calls.rate").with("caller", "cart"), "cart"),
            Role::Downstream
        );
    }
}
