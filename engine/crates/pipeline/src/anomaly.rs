//! What is told of a point that a detector finds strange.

use detectors::{Point, Verdict};
use model::labels::NAME;
use model::{Anomaly, Labels, SeriesId, Severity};
use xxhash_rust::xxh3::xxh3_64;

/// As attention goes: from 2 : 1 on it is a warning, from 4 : 1 on critical.
pub(crate) fn severity_of(anomaly_score: f64) -> Severity {
    match anomaly_score {
        score if score > 0.8 => Severity::Critical,
        score if score > 2.0 / 3.0 => Severity::Warning,
        _ => Severity::Info,
    }
}

/// A number as short as tells it apart.
fn short(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-3..1e6).contains(&size) {
        let decimals = (3 - size.max(1e-3).log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{number:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{number:.3e}")
    }
}

pub(crate) fn anomaly(
    id: SeriesId,
    labels: &Labels,
    detector: &str,
    point: Point,
    verdict: &Verdict,
) -> Anomaly {
    let identity = format!("{id}/{detector}/{}", point.time_ms);
    let [value, expected, lower, upper] =
        [point.value, verdict.expected, verdict.lower, verdict.upper].map(short);
    Anomaly {
        id: format!("{:016x}", xxh3_64(identity.as_bytes())),
        labels: labels.clone(),
        service: labels.service().to_owned(),
        metric: metric_of(labels),
        detector: detector.to_owned(),
        time_ms: point.time_ms,
        value: point.value,
        expected: verdict.expected,
        lower: verdict.lower,
        upper: verdict.upper,
        anomaly_score: verdict.anomaly_score,
        severity: severity_of(verdict.anomaly_score),
        summary: format!("{value} where {expected} was expected ({lower} to {upper})"),
        amended: false,
        exemplar_trace_ids: Vec::new(),
    }
}

/// The metric's name with the labels that set it apart inside its service, as in `cpu{state="user"}`.
pub fn metric_of(labels: &Labels) -> String {
    let own = labels.iter().filter(|(key, _)| *key != model::labels::SERVICE && *key != NAME);
    Labels::new(own.chain([(NAME, labels.name())])).to_string()
}
