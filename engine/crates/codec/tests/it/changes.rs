//! Alertmanager, Kubernetes and CDEvents.

use foreshock_codec::Dropped;

use crate::{reason, rows};

const ALERTMANAGER: (&str, &str) = ("events", "alertmanager_json");
const KUBERNETES: (&str, &str) = ("events", "kubernetes_events_json");
const CDEVENTS: (&str, &str) = ("events", "cdevents");

const TIME: &str = "time_ms: 1760000000000";

#[test]
fn alertmanager() {
    let payload = r#"{"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "r", "externalURL": "http://am",
        "commonLabels": {"alertname": "Slow"}, "alerts": [
        {"status": "firing", "labels": {"alertname": "Slow", "job": "cart"}, "annotations": {"summary": "p99 is 2 s"},
         "startsAt": "2025-10-09T08:53:20Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prom", "fingerprint": "f1"},
        {"status": "resolved", "labels": {"alertname": "Down"}, "annotations": {},
         "startsAt": "2025-10-09T08:00:00Z", "endsAt": "2025-10-09T08:53:20Z", "fingerprint": "f2"},
        {"status": "firing", "labels": {}}]}"#;
    let expected = [
        format!(
            r#"EventRow {{ {TIME}, service: "cart", kind: "other", id: "f1:firing", summary: "Slow is firing: p99 is 2 s", source: "http://prom" }}"#
        ),
        format!(
            r#"EventRow {{ {TIME}, service: "unknown_service", kind: "other", id: "f2:resolved", summary: "Down is resolved", source: "http://am" }}"#
        ),
    ];
    let (lines, dropped) = rows(ALERTMANAGER, payload);
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { no_time: 1, ..Dropped::default() });
    let expected = "no Alertmanager webhook: it has no member alerts that is an array of objects";
    for payload in ["{}", r#"{"alerts": [1]}"#, r#"{"alerts": {}}"#] {
        assert_eq!(reason(ALERTMANAGER, payload), expected);
    }
    let payload = r#"{"alerts": [{"startsAt": "never"}]}"#;
    assert_eq!(reason(ALERTMANAGER, payload), "no Alertmanager webhook: \"never\" is no time");
}

#[test]
fn kubernetes() {
    let core = r#"{"kind": "Event", "apiVersion": "v1", "metadata": {"name": "cart.17", "namespace": "shop", "uid": "u1"},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "cart-5d9f7c6b8-x2x7z"}, "reason": "BackOff",
        "message": "Back-off restarting", "source": {"component": "kubelet"}, "type": "Warning", "eventTime": null,
        "firstTimestamp": "2025-10-09T08:00:00Z", "lastTimestamp": "2025-10-09T08:53:20Z", "count": 3}"#;
    let new = r#"{"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "n"}, "eventTime": "2025-10-09T08:53:20.000000Z",
        "regarding": {"kind": "Deployment", "name": "cart"}, "reason": "ScalingReplicaSet", "note": "Scaled up", "reportingController": "deployment-controller"}"#;
    let first = format!(
        r#"EventRow {{ {TIME}, service: "cart", kind: "kubernetes", id: "u1", summary: "BackOff Pod/cart-5d9f7c6b8-x2x7z: Back-off restarting", source: "kubelet" }}"#
    );
    let second = format!(
        r#"EventRow {{ {TIME}, service: "cart", kind: "kubernetes", id: "n", summary: "ScalingReplicaSet Deployment/cart: Scaled up", source: "deployment-controller" }}"#
    );
    for payload in [
        format!("{core}\n{new}"),
        format!(r#"{{"kind": "EventList", "items": [{core}, {new}]}}"#),
        format!(r#"[{{"type": "ADDED", "object": {core}}}, {{"type": "MODIFIED", "object": {new}}}]"#),
    ] {
        assert_eq!(rows(KUBERNETES, payload), (vec![first.clone(), second.clone()], Dropped::default()));
    }
    let bookmark = r#"{"type": "BOOKMARK", "object": {"kind": "Event", "apiVersion": "v1", "metadata": {"resourceVersion": "12746"}}}"#;
    assert_eq!(rows(KUBERNETES, bookmark), (Vec::new(), Dropped::default()));
    let around =
        format!(r#"{{"type": "ADDED", "object": {core}}}{bookmark}{{"type": "ADDED", "object": {new}}}"#);
    assert_eq!(rows(KUBERNETES, around), (vec![first, second], Dropped::default()));
    assert_eq!(
        reason(KUBERNETES, r#"{"type": "ERROR", "object": {"kind": "Status", "code": 410}}"#),
        "no Kubernetes event: it has neither involvedObject nor regarding"
    );
    assert_eq!(rows(KUBERNETES, r#"{"involvedObject": {}}"#).1, Dropped { no_time: 1, ..Dropped::default() });
    assert_eq!(reason(KUBERNETES, "{}"), "no Kubernetes event: it has neither involvedObject nor regarding");
    assert_eq!(
        reason(KUBERNETES, r#"{"items": 1}"#),
        "no Kubernetes event: its items are no array of objects"
    );
    let payload = r#"{"regarding": {}, "eventTime": 1e99}"#;
    assert_eq!(reason(KUBERNETES, payload), "no Kubernetes event: 1e99 is no time");
}

#[test]
fn names_of_pods_tell_their_workload() {
    for (kind, name, service) in [
        ("Pod", "cart-5d9f7c6b8-x2x7z", "cart"),
        ("Pod", "node-exporter-x2x7z", "node-exporter"),
        ("Pod", "kafka-0", "kafka"),
        ("Pod", "cart-main", "cart-main"),
        ("ReplicaSet", "cart-5d9f7c6b8", "cart"),
        ("Job", "backup-29333333", "backup"),
        ("Job", "migrate", "migrate"),
        ("Node", "node-1", "node-1"),
        ("Pod", "", "unknown_service"),
    ] {
        let payload =
            format!(r#"{{"eventTime": 1760000000, "regarding": {{"kind": "{kind}", "name": "{name}"}}}}"#);
        let (lines, _) = rows(KUBERNETES, payload);
        assert!(lines[0].contains(&format!("service: {service:?}")), "{kind} {name}: {}", lines[0]);
    }
    let labelled = r#"{"eventTime": 1760000000, "involvedObject": {"kind": "Pod", "name": "x-1", "labels": {"app.kubernetes.io/name": "cart"}}}"#;
    assert!(rows(KUBERNETES, labelled).0[0].contains(r#"service: "cart""#));
}

#[test]
fn cdevents() {
    let event = |event_type: &str, subject: &str| {
        format!(
            r#"{{"context": {{"version": "0.4.1", "id": "i", "source": "/ci", "type": "{event_type}", "timestamp": "2025-10-09T08:53:20Z"}}, "subject": {subject}}}"#
        )
    };
    let deployed = event(
        "dev.cdevents.service.deployed.0.1.1",
        r#"{"id": "/services/cart", "source": "/ci", "type": "service", "content": {"environment": {"id": "prod"}, "artifactId": "pkg:oci/cart@1"}}"#,
    );
    let expected = format!(
        r#"EventRow {{ {TIME}, service: "cart", kind: "deploy", id: "i", summary: "service deployed: /services/cart, artifact pkg:oci/cart@1, environment prod", source: "/ci" }}"#
    );
    assert_eq!(rows(CDEVENTS, &deployed), (vec![expected.clone()], Dropped::default()));
    let wrapped = format!(
        r#"{{"specversion": "1.0", "id": "x", "type": "dev.cdevents.service.deployed.0.1.1", "source": "/ci", "data": {deployed}}}"#
    );
    assert_eq!(rows(CDEVENTS, wrapped), (vec![expected], Dropped::default()));
    let environment = event("dev.cdevents.environment.modified.0.1.1", r#"{"id": "prod", "content": {}}"#);
    assert!(rows(CDEVENTS, environment).0[0].contains(r#"service: "unknown_service", kind: "config""#));
    let incident = event(
        "dev.cdevents.incident.detected.0.1.0",
        r#"{"id": "i1", "content": {"service": {"id": "/s/web"}}}"#,
    );
    assert!(rows(CDEVENTS, incident).0[0].contains(r#"service: "web", kind: "other""#));
    for (payload, expected) in [
        (
            event("com.example.deployed", r#"{"id": "x"}"#),
            r#"its type is "com.example.deployed", which is none of dev.cdevents"#,
        ),
        (event("dev.cdevents.service.deployed.0.1.1", "{}"), "it has no subject.id"),
        ("{}".to_owned(), "it has no context.type"),
        (deployed.replace("2025-10-09T08:53:20Z", "then"), r#""then" is no time"#),
    ] {
        assert_eq!(reason(CDEVENTS, payload), format!("no CDEvent: {expected}"));
    }
}
