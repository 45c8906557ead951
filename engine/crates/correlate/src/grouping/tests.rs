use model::Labels;

use super::*;

fn anomaly(time_ms: i64, service: &str, metric: &str, severity: Severity) -> Anomaly {
    Anomaly {
        id: format!("{service}{metric}{time_ms}"),
        labels: Labels::of(service, metric),
        service: service.to_owned(),
        metric: metric.to_owned(),
        detector: "test".to_owned(),
        time_ms,
        value: 2.0,
        expected: 1.0,
        lower: 0.0,
        upper: 1.5,
        anomaly_score: 0.9,
        summary: String::new(),
        severity,
    }
}

fn correlator() -> Correlator {
    let mut correlator = Correlator::default();
    let edges = [("web", "cart"), ("cart", "store"), ("store", "disk"), ("far", "away")];
    correlator.set_edges(&edges.map(|(caller, callee)| (caller.to_owned(), callee.to_owned())));
    correlator
}

#[test]
fn two_related_series_open_an_incident_that_is_ranked_again_and_resolves() {
    let mut correlator = correlator();
    correlator.observe_change(model::Change {
        service: "cart".to_owned(),
        kind: "deploy".to_owned(),
        summary: "v2".to_owned(),
        time_ms: 990_000,
    });
    let mut grouper = Grouper::default();
    // One series, a series far away, and a series that is anomalous once are not enough.
    for (time_ms, service, metric, severity) in [
        (1_000_000, "web", "latency", Severity::Warning),
        (1_010_000, "web", "latency", Severity::Warning),
        (1_010_000, "away", "latency", Severity::Warning),
        (1_020_000, "away", "latency", Severity::Warning),
        (1_020_000, "store", "cpu", Severity::Critical),
    ] {
        assert!(grouper.observe(&anomaly(time_ms, service, metric, severity), &correlator).is_empty());
    }
    let opened = grouper.observe(&anomaly(1_030_000, "store", "cpu", Severity::Critical), &correlator);
    assert_eq!(opened.len(), 1);
    assert_eq!(
        (opened[0].version, opened[0].state, opened[0].opened_ms),
        (1, IncidentState::Open, 1_000_000)
    );
    assert_eq!(opened[0].services, ["store", "web"]);
    assert_eq!((opened[0].severity, opened[0].anomalies), (Severity::Critical, 4));
    assert_eq!(opened[0].changes.len(), 1);
    assert_eq!(opened[0].root_causes[0].service, "cart");

    assert!(grouper.observe(&anomaly(1_040_000, "store", "cpu", Severity::Critical), &correlator).is_empty());
    assert!(grouper.observe(&anomaly(1_045_000, "disk", "io", Severity::Info), &correlator).is_empty());
    let joined = grouper.observe(&anomaly(1_050_000, "disk", "io", Severity::Info), &correlator);
    assert_eq!((joined[0].version, joined[0].services.len(), joined[0].anomalies), (2, 3, 5));

    assert!(grouper.advance(1_059_999, &correlator).is_empty());
    assert_eq!(grouper.advance(1_060_000, &correlator)[0].version, 3);
    assert_eq!(grouper.advance(1_200_000, &correlator).len(), 1);
    let resolved = grouper.advance(1_350_000, &correlator);
    assert_eq!((resolved[0].state, resolved[0].resolved_ms), (IncidentState::Resolved, Some(1_350_000)));
    assert_eq!(resolved[0].incident, opened[0].incident);
    assert_eq!(grouper.open_incidents().count(), 0);
}

#[test]
fn one_series_opens_an_incident_after_three_critical_points() {
    let correlator = correlator();
    let mut grouper = Grouper::default();
    let mut critical =
        |time_ms| grouper.observe(&anomaly(time_ms, "web", "errors", Severity::Critical), &correlator).len();
    // Twice at one time, from two detectors, is one point.
    assert_eq!([critical(0), critical(0), critical(15_000), critical(30_000)], [0, 0, 0, 1]);
    let mut grouper = Grouper::default();
    for time_ms in [0, 15_000] {
        assert!(
            grouper.observe(&anomaly(time_ms, "web", "errors", Severity::Critical), &correlator).is_empty()
        );
    }
    grouper.normal(Labels::of("web", "errors").id());
    assert!(grouper.observe(&anomaly(30_000, "web", "errors", Severity::Critical), &correlator).is_empty());
}

#[test]
fn too_many_incidents_are_counted_not_opened() {
    let correlator = correlator();
    let mut grouper = Grouper::new(GrouperSettings { open_max: 1, ..GrouperSettings::default() });
    assert!(grouper.open_at(1_000, 2_000, &correlator).is_some());
    assert!(grouper.open_at(3_000, 4_000, &correlator).is_none());
    assert_eq!(grouper.suppressed(), 1);
}
