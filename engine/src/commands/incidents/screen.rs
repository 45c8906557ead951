//! One incident on one screen: what, since when, who is hit, the cause and why, what changed, and what to look at next.

use model::{Change, Incident};

use crate::commands::time_text;

/// Causes that are written out; of the others the names.
const CAUSES: usize = 2;
const OTHERS: usize = 3;
const EVIDENCE: usize = 4;
/// Of what speaks against a cause.
const AGAINST: usize = 2;
const SERVICES: usize = 12;
const CHANGES: usize = 5;
const TRACES: usize = 2;

/// Ends with a line break.
pub fn text(incident: &Incident) -> String {
    let mut lines = vec![format!("{} ({})", incident.title, incident.severity.as_str())];
    lines.push(format!(
        "incident {}, version {}, {}",
        incident.incident,
        incident.version,
        incident.state.as_str()
    ));
    lines.push(String::new());
    let until_ms = incident.resolved_ms.unwrap_or(incident.updated_ms);
    let lasted = minutes_text(until_ms - incident.opened_ms);
    lines.push(match incident.resolved_ms {
        Some(resolved_ms) => {
            let opened = time_text(incident.opened_ms);
            format!("Since    {opened} until {}, for {lasted}", time_text(resolved_ms))
        }
        None => format!("Since    {}, for {lasted} by the newest version", time_text(incident.opened_ms)),
    });
    let anomalies = match incident.anomalies {
        0 if incident.amended => "none of the anomalies is left".to_owned(),
        0 => "no anomaly so far".to_owned(),
        1 => "1 anomaly".to_owned(),
        many => format!("{many} anomalies"),
    };
    lines.push(format!("Hit      {}; {anomalies}", listed(&incident.services, SERVICES)));
    if incident.amended {
        lines.push("Amended  data that came late corrected what was said before".to_owned());
    }
    if let Some(from) = &incident.split_from {
        lines.push(format!("Split    from incident {from}, which has another cause"));
    }
    if let Some(into) = &incident.merged_into {
        lines.push(format!("Merged   into incident {into}, which has the same cause"));
    }
    lines.push(String::new());
    causes(incident, &mut lines);
    lines.push(String::new());
    changes(&incident.changes, incident.opened_ms, &mut lines);
    lines.push(String::new());
    lines.push("Look at".to_owned());
    lines.extend(next(incident).into_iter().enumerate().map(|(at, step)| format!("  {}. {step}", at + 1)));
    lines.join("\n") + "\n"
}

fn causes(incident: &Incident, lines: &mut Vec<String>) {
    if incident.root_causes.is_empty() {
        lines.push(
            "Cause    not known: nothing that was measured tells one service from the others".to_owned(),
        );
        return;
    }
    for (at, cause) in incident.root_causes.iter().take(CAUSES).enumerate() {
        let title = if at == 0 { "Cause " } else { "Or    " };
        let place = cause.place.as_ref().map(|place| format!(", {} {}", place.level.as_str(), place.name));
        let place = place.unwrap_or_default();
        lines.push(format!("{title}   {}{place} ({})", cause.service, percent(cause.confidence)));
        lines.extend(
            cause.evidence.iter().take(EVIDENCE).map(|evidence| format!("           {}", evidence.summary)),
        );
        let left = cause.evidence.len().saturating_sub(EVIDENCE);
        if left > 0 {
            lines.push(format!("           and {left} more"));
        }
        lines.extend(
            cause
                .counter_evidence
                .iter()
                .take(AGAINST)
                .map(|evidence| format!("           but {}", evidence.summary)),
        );
    }
    let others: Vec<String> = incident
        .root_causes
        .iter()
        .skip(CAUSES)
        .take(OTHERS)
        .map(|cause| format!("{} ({})", cause.service, percent(cause.confidence)))
        .collect();
    if !others.is_empty() {
        lines.push(format!("Less likely: {}", others.join(", ")));
    }
}

fn changes(changes: &[Change], opened_ms: i64, lines: &mut Vec<String>) {
    if changes.is_empty() {
        lines.push("Changed  nothing that was told in the half hour before".to_owned());
        return;
    }
    lines.push("Changed".to_owned());
    // The newest are the likeliest.
    for change in changes.iter().rev().take(CHANGES) {
        let before_ms = opened_ms - change.time_ms;
        let when = if before_ms >= 0 { "before" } else { "after it began" };
        let age = minutes_text(before_ms.abs());
        lines.push(format!(
            "           {age} {when}: {} of {}: {}",
            change.kind, change.service, change.summary
        ));
    }
    let left = changes.len().saturating_sub(CHANGES);
    if left > 0 {
        lines.push(format!("           and {left} earlier ones"));
    }
}

/// What to do next, the most telling first.
fn next(incident: &Incident) -> Vec<String> {
    let mut steps = Vec::new();
    let Some(cause) = incident.root_causes.first() else {
        return vec!["the anomalies of the services above, on foreshock.anomalies".to_owned()];
    };
    let service = &cause.service;
    for change in incident.changes.iter().rev().filter(|change| change.service == *service).take(1) {
        let since = time_text(change.time_ms);
        steps.push(format!(
            "foreshock verdict --service '{service}' --since {since}, for the {}",
            change.kind
        ));
    }
    if !incident.exemplar_trace_ids.is_empty() {
        let shown: Vec<&str> = incident.exemplar_trace_ids.iter().take(TRACES).map(String::as_str).collect();
        steps.push(format!("traces that show it: {}", shown.join(", ")));
    }
    for evidence in &cause.evidence {
        let subject = &evidence.subject;
        let step = match evidence.kind.as_str() {
            "gap" => format!("traces with calls {subject}: the network, queues and CPU between the two"),
            "self_time" => format!(
                "traces of {subject} on {service}: what it does itself, such as code, locks and disks"
            ),
            "structure" => {
                let operation = subject.split(": ").next().unwrap_or(subject);
                format!("traces and log lines of {operation} on {service}")
            }
            "resource" => format!("{subject} of {service}, by instance"),
            "impact" => format!("requests to {service} that are slow or fail"),
            _ => continue,
        };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps.truncate(5);
    if let Some(second) = incident.root_causes.get(1).filter(|second| second.score > 0.5 * cause.score) {
        steps.push(format!("{} too, which is nearly as suspicious", second.service));
    }
    let id = &incident.incident;
    steps.push(format!("then say whether it was right: foreshock incidents feedback {id} right|wrong-cause"));
    steps
}

fn listed(names: &[String], most: usize) -> String {
    let shown = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "no service of its own".to_owned(),
        many if many > most => format!("{shown} and {} more", many - most),
        _ => shown,
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn minutes_text(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use model::{Evidence, IncidentState, Level, Place, RootCause, Severity};

    use super::*;

    #[test]
    fn one_screen_says_what_since_when_who_why_and_what_next() {
        let evidence = |kind: &str, subject: &str, summary: &str| Evidence {
            kind: kind.to_owned(),
            summary: summary.to_owned(),
            score: 9.0,
            subject: subject.to_owned(),
            baseline: Some(1.0),
            observed: Some(9.0),
        };
        let slow = evidence("self_time", "charge", "charge itself takes 90.0 ms, usually 9.0 ms");
        let busy = evidence("resource", "cpu", "cpu is at 0.95, usually 0.20 (12.0 deviations)");
        let cause = |service: &str, score, confidence, evidence| RootCause {
            service: service.to_owned(),
            score,
            confidence,
            evidence,
            ..RootCause::default()
        };
        let place = Some(Place { level: Level::Operation, name: "charge".to_owned() });
        let usual = "calls between it and 2 other services lose no more time than usual (90 calls)";
        let counter_evidence = vec![evidence("gap", "payment", usual)];
        let incident = Incident {
            incident: "inc-1".to_owned(),
            version: 3,
            state: IncidentState::Updated,
            severity: Severity::Critical,
            title: "spans.duration.p95 on web, likely caused by payment".to_owned(),
            opened_ms: 1_767_600_000_000,
            updated_ms: 1_767_600_300_000,
            resolved_ms: None,
            services: vec!["payment".to_owned(), "web".to_owned()],
            root_causes: vec![
                RootCause { place, counter_evidence, ..cause("payment", 1.2, 0.62, vec![slow, busy]) },
                cause("web", 0.9, 0.21, vec![]),
                cause("cart", 0.1, 0.02, vec![]),
            ],
            changes: vec![Change {
                service: "payment".to_owned(),
                kind: "deploy".to_owned(),
                summary: "v2".to_owned(),
                time_ms: 1_767_599_880_000,
            }],
            anomalies: 7,
            exemplar_trace_ids: vec!["4bf92f3577b34da6a3ce929d0e0e4736".to_owned()],
            split_from: None,
            merged_into: None,
            amended: false,
        };
        let expected = "\
spans.duration.p95 on web, likely caused by payment (critical)
incident inc-1, version 3, updated

Since    2026-01-05T08:00:00Z, for 5 min by the newest version
Hit      payment, web; 7 anomalies

Cause    payment, operation charge (62 %)
           charge itself takes 90.0 ms, usually 9.0 ms
           cpu is at 0.95, usually 0.20 (12.0 deviations)
           but calls between it and 2 other services lose no more time than usual (90 calls)
Or       web (21 %)
Less likely: cart (2 %)

Changed
           2 min before: deploy of payment: v2

Look at
  1. foreshock verdict --service 'payment' --since 2026-01-05T07:58:00Z, for the deploy
  2. traces that show it: 4bf92f3577b34da6a3ce929d0e0e4736
  3. traces of charge on payment: what it does itself, such as code, locks and disks
  4. cpu of payment, by instance
  5. web too, which is nearly as suspicious
  6. then say whether it was right: foreshock incidents feedback inc-1 right|wrong-cause
";
        assert_eq!(text(&incident), expected);
        let unknown = Incident { root_causes: vec![], changes: vec![], anomalies: 0, ..incident };
        let said = text(&unknown);
        assert!(
            said.contains("not known")
                && said.contains("no anomaly")
                && said.lines().count() < 24
                && !said.contains("Amended"),
            "{said}"
        );
    }
}
