//! Changes as JSON, by what wrote them: [`Alertmanager`]'s webhook, [`KubernetesEvents`] and [`CdEvents`].

use std::borrow::Cow;

use model::{EventBatchBuilder, EventRow};

use crate::json::object::{self, Object};
use crate::json::{JsonFormat, Rows};
use crate::naming::workload;
use crate::otlp::UNKNOWN_SERVICE;
use crate::{Rejected, naming};

/// Takes the row from the budget of the record and appends it.
fn push(rows: &mut Rows<EventBatchBuilder>, row: &EventRow<'_>) -> Result<(), Rejected> {
    rows.budget.take(1, row.service.len() + row.id.len() + row.summary.len() + row.source.len())?;
    rows.batch.push(row);
    Ok(())
}

/// Alertmanager's webhook, version 4: a row for each alert, at its start or, if it is resolved, its end. The service is a
/// label of the alert (`service`, `job` and the like); the id is its fingerprint and the status.
pub(crate) struct Alertmanager;

impl JsonFormat for Alertmanager {
    type Batch = EventBatchBuilder;

    fn read(webhook: &Object<'_>, rows: &mut Rows<EventBatchBuilder>) -> Result<(), Rejected> {
        const FORMAT: &str = "Alertmanager webhook";
        let alerts = webhook
            .get("alerts")
            .and_then(|alerts| serde_json::from_str::<Vec<Object<'_>>>(alerts.get()).ok());
        let Some(alerts) = alerts else {
            let reason = "it has no member alerts that is an array of objects".to_owned();
            return Err(Rejected::Format { format: FORMAT, reason });
        };
        for alert in &alerts {
            let labels = alert.object("labels").unwrap_or_default();
            let service = naming::service(|label| labels.get(label).and_then(object::text));
            let status = alert.text(&["status"]).unwrap_or(Cow::Borrowed("firing"));
            let time: &[&str] = if status == "resolved" { &["endsAt"] } else { &["startsAt"] };
            let Some(time_ms) = alert.time_ms(FORMAT, time)? else {
                rows.dropped.no_time += 1;
                rows.budget.take(1, 0)?;
                continue;
            };
            let name = labels.get("alertname").and_then(object::text).unwrap_or(Cow::Borrowed("alert"));
            let text = alert.text(&["annotations.summary", "annotations.message", "annotations.description"]);
            let summary = match text {
                Some(text) => format!("{name} is {status}: {text}"),
                None => format!("{name} is {status}"),
            };
            let id = format!("{}:{status}", alert.text(&["fingerprint"]).unwrap_or_default());
            let source = alert.text(&["generatorURL"]).or_else(|| webhook.text(&["externalURL"]));
            let source = source.unwrap_or(Cow::Borrowed("alertmanager"));
            push(
                rows,
                &EventRow {
                    time_ms,
                    service: &service,
                    kind: "other",
                    id: &id,
                    summary: &summary,
                    source: &source,
                },
            )?;
        }
        Ok(())
    }
}

/// Events of Kubernetes (`v1` and `events.k8s.io/v1`): alone, in lists, or in the `object` of a watch. The service is the
/// workload that the event is about, which for pods and replica sets is what their names begin with. A watch's bookmarks,
/// which only tell how far it has come, are passed over.
pub(crate) struct KubernetesEvents;

impl JsonFormat for KubernetesEvents {
    type Batch = EventBatchBuilder;

    fn read(event: &Object<'_>, rows: &mut Rows<EventBatchBuilder>) -> Result<(), Rejected> {
        if let Some(items) = event.get("items") {
            let items: Vec<Object<'_>> = serde_json::from_str(items.get())
                .map_err(|_| no_event("its items are no array of objects"))?;
            return items.iter().try_for_each(|event| kubernetes_event(event, rows));
        }
        match event.object("object") {
            Some(_) if event.text(&["type"]).is_some_and(|watched| watched == "BOOKMARK") => Ok(()),
            Some(watched) => kubernetes_event(&watched, rows),
            None => kubernetes_event(event, rows),
        }
    }
}

const KUBERNETES: &str = "Kubernetes event";

fn no_event(reason: &str) -> Rejected {
    Rejected::Format { format: KUBERNETES, reason: reason.to_owned() }
}

fn kubernetes_event(event: &Object<'_>, rows: &mut Rows<EventBatchBuilder>) -> Result<(), Rejected> {
    let about = event.object("involvedObject").or_else(|| event.object("regarding"));
    let about = about.ok_or_else(|| no_event("it has neither involvedObject nor regarding"))?;
    let times = [
        "series.lastObservedTime",
        "eventTime",
        "lastTimestamp",
        "deprecatedLastTimestamp",
        "firstTimestamp",
        "deprecatedFirstTimestamp",
        "metadata.creationTimestamp",
    ];
    let Some(time_ms) = event.time_ms(KUBERNETES, &times)? else {
        rows.dropped.no_time += 1;
        return rows.budget.take(1, 0);
    };
    let (kind, name) = (about.text(&["kind"]).unwrap_or_default(), about.text(&["name"]).unwrap_or_default());
    let labelled = about.text(&["labels.app.kubernetes.io/name", "labels.app"]);
    let service = labelled.as_deref().unwrap_or_else(|| workload(&kind, &name));
    let service = if service.is_empty() { UNKNOWN_SERVICE } else { service };
    let reason = event.text(&["reason"]).unwrap_or_default();
    let message = event.text(&["message", "note"]).unwrap_or_default();
    let source = event.text(&["source.component", "reportingController", "reportingComponent"]);
    push(
        rows,
        &EventRow {
            time_ms,
            service,
            kind: "kubernetes",
            id: &event.text(&["metadata.uid", "metadata.name"]).unwrap_or_default(),
            summary: format!("{reason} {kind}/{name}: {message}").trim_start(),
            source: source.as_deref().unwrap_or("kubernetes"),
        },
    )
}

/// CDEvents: alone, or as the `data` of a CloudEvent. The subject of a service or environment is the service.
pub(crate) struct CdEvents;

impl JsonFormat for CdEvents {
    type Batch = EventBatchBuilder;

    fn read(event: &Object<'_>, rows: &mut Rows<EventBatchBuilder>) -> Result<(), Rejected> {
        const FORMAT: &str = "CDEvent";
        let in_data = event.object("data").filter(|data| data.get("context").is_some());
        let event = in_data.as_ref().unwrap_or(event);
        let missing = |name: &str| Rejected::Format { format: FORMAT, reason: format!("it has no {name}") };
        let required = |name: &str| event.text(&[name]).ok_or_else(|| missing(name));
        let (event_type, id, source) =
            (required("context.type")?, required("context.id")?, required("context.source")?);
        let Some(what) = event_type.strip_prefix("dev.cdevents.") else {
            let reason = format!("its type is {event_type:?}, which is none of dev.cdevents");
            return Err(Rejected::Format { format: FORMAT, reason });
        };
        let mut words = what.split('.');
        let (subject, predicate) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let time_ms =
            event.time_ms(FORMAT, &["context.timestamp"])?.ok_or_else(|| missing("context.timestamp"))?;
        let subject_id = required("subject.id")?;
        let named =
            event.text(&["subject.content.service.id", "subject.content.service", "customData.service.name"]);
        let service = match subject {
            "service" => last_segment(&subject_id),
            _ => named.as_deref().map_or(UNKNOWN_SERVICE, last_segment),
        };
        let artifact = event.text(&["subject.content.artifactId", "subject.content.artifact.id"]);
        let environment = event.text(&["subject.content.environment.id"]);
        let mut summary = format!("{subject} {predicate}: {subject_id}");
        for (word, text) in [(", artifact ", artifact), (", environment ", environment)] {
            if let Some(text) = text {
                summary.extend([word, &text]);
            }
        }
        let kind = match subject {
            "service" => "deploy",
            "environment" => "config",
            _ => "other",
        };
        push(rows, &EventRow { time_ms, service, kind, id: &id, summary: &summary, source: &source })
    }
}

/// Ids are often paths.
fn last_segment(id: &str) -> &str {
    id.trim_end_matches('/').rsplit('/').next().filter(|segment| !segment.is_empty()).unwrap_or(id)
}
