//! From the model to the messages of `foreshock.v1`.

use proto::foreshock::v1;

pub fn severity(severity: model::Severity) -> i32 {
    let severity = match severity {
        model::Severity::Info => v1::Severity::Info,
        model::Severity::Warning => v1::Severity::Warning,
        model::Severity::Critical => v1::Severity::Critical,
    };
    severity.into()
}

pub fn incident_state(state: model::IncidentState) -> v1::IncidentState {
    match state {
        model::IncidentState::Open => v1::IncidentState::Open,
        model::IncidentState::Updated => v1::IncidentState::Updated,
        model::IncidentState::Resolved => v1::IncidentState::Resolved,
    }
}

pub fn incident(incident: model::Incident) -> v1::Incident {
    v1::Incident {
        incident: incident.incident,
        version: incident.version,
        state: incident_state(incident.state).into(),
        severity: severity(incident.severity),
        title: incident.title,
        opened_ms: incident.opened_ms,
        updated_ms: incident.updated_ms,
        resolved_ms: incident.resolved_ms,
        services: incident.services,
        root_causes: incident.root_causes.into_iter().map(root_cause).collect(),
        changes: incident.changes.into_iter().map(change).collect(),
        anomalies: incident.anomalies,
        // Only those who know what people say can tell.
        silenced_by: Vec::new(),
        inhibited_by: Vec::new(),
        remarks: Vec::new(),
        split_from: incident.split_from.unwrap_or_default(),
        merged_into: incident.merged_into.unwrap_or_default(),
        amended: incident.amended,
        exemplar_trace_ids: incident.exemplar_trace_ids,
    }
}

fn root_cause(cause: model::RootCause) -> v1::RootCause {
    let evidence = |evidence: model::Evidence| v1::Evidence {
        kind: evidence.kind,
        summary: evidence.summary,
        score: evidence.score,
        subject: evidence.subject,
        baseline: evidence.baseline,
        observed: evidence.observed,
    };
    v1::RootCause {
        service: cause.service,
        score: cause.score,
        evidence: cause.evidence.into_iter().map(evidence).collect(),
        confidence: cause.confidence,
        place: cause.place.map(|place| v1::Place { level: level(place.level).into(), name: place.name }),
        counter_evidence: cause.counter_evidence.into_iter().map(evidence).collect(),
    }
}

fn level(level: model::Level) -> v1::Level {
    match level {
        model::Level::Operation => v1::Level::Operation,
        model::Level::Call => v1::Level::Call,
        model::Level::Instance => v1::Level::Instance,
        model::Level::Resource => v1::Level::Resource,
        model::Level::Template => v1::Level::Template,
        model::Level::Change => v1::Level::Change,
    }
}

fn change(change: model::Change) -> v1::Change {
    v1::Change {
        service: change.service,
        kind: change.kind,
        summary: change.summary,
        time_ms: change.time_ms,
    }
}

pub fn anomaly(anomaly: model::Anomaly) -> v1::Anomaly {
    v1::Anomaly {
        id: anomaly.id,
        labels: anomaly.labels.into(),
        service: anomaly.service,
        metric: anomaly.metric,
        detector: anomaly.detector,
        time_ms: anomaly.time_ms,
        value: anomaly.value,
        expected: anomaly.expected,
        lower: anomaly.lower,
        upper: anomaly.upper,
        anomaly_score: anomaly.anomaly_score,
        summary: anomaly.summary,
        severity: severity(anomaly.severity),
        amended: anomaly.amended,
        exemplar_trace_ids: anomaly.exemplar_trace_ids,
    }
}
