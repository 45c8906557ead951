use model::Labels;

use super::*;
use crate::collector::TraceEvidence;

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
        amended: false,
        exemplar_trace_ids: Vec::new(),
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
        (1_020_000, "store", "queue", Severity::Critical),
    ] {
        assert!(grouper.observe(&anomaly(time_ms, service, metric, severity), &correlator).is_empty());
    }
    let opened = grouper.observe(&anomaly(1_030_000, "store", "queue", Severity::Critical), &correlator);
    assert_eq!(opened.len(), 1);
    assert_eq!(
        (opened[0].version, opened[0].state, opened[0].opened_ms),
        (1, IncidentState::Open, 1_000_000)
    );
    assert_eq!(opened[0].services, ["store", "web"]);
    assert_eq!((opened[0].severity, opened[0].anomalies), (Severity::Critical, 4));
    assert_eq!(opened[0].changes.len(), 1);
    assert_eq!(opened[0].root_causes[0].service, "cart");

    assert!(
        grouper.observe(&anomaly(1_040_000, "store", "queue", Severity::Critical), &correlator).is_empty()
    );
    assert!(grouper.observe(&anomaly(1_045_000, "disk", "io", Severity::Info), &correlator).is_empty());
    let joined = grouper.observe(&anomaly(1_050_000, "disk", "io", Severity::Info), &correlator);
    assert_eq!((joined[0].version, joined[0].services.len(), joined[0].anomalies), (2, 3, 6));

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

/// `web` calls `cart` and `ads`, which both call `cache`; usual memory for ten minutes, then of each service what is given, a point each 10 s.
fn shop(from_s: i64, to_s: i64, memory: &[(&str, i64)]) -> Correlator {
    let mut correlator = Correlator::default();
    let edges = [("web", "cart"), ("web", "ads"), ("cart", "cache"), ("ads", "cache"), ("cart", "store")];
    correlator.set_edges(&edges.map(|(caller, callee)| (caller.to_owned(), callee.to_owned())));
    for at in (from_s..to_s).step_by(10) {
        for service in ["web", "cart", "ads", "cache", "store"] {
            let since_s = memory.iter().find(|(broken, _)| *broken == service).map(|(_, since_s)| *since_s);
            let noise = [0.0, 0.01, 0.02][(at / 10 % 3) as usize];
            let value = if since_s.is_some_and(|since_s| at >= since_s) { 0.95 } else { 0.2 } + noise;
            correlator.observe_point(at * 1000, service, "memory", value);
        }
    }
    correlator
}

/// Every service is anomalous every 10 s from its time on, and told of in steps; the versions that come of it.
fn told(
    grouper: &mut Grouper,
    correlator: &Correlator,
    loud: &[(&str, i64)],
    from_s: i64,
    to_s: i64,
) -> Vec<Incident> {
    let mut versions = Vec::new();
    for at in (from_s..to_s).step_by(10) {
        for (service, _) in loud.iter().filter(|(_, since_s)| *since_s <= at) {
            let anomaly = anomaly(at * 1000, service, "latency", Severity::Warning);
            versions.extend(grouper.observe(&anomaly, correlator));
        }
        versions.extend(grouper.advance(at * 1000, correlator));
    }
    versions
}

fn newest(versions: &[Incident]) -> Vec<Incident> {
    let newest: BTreeMap<&str, &Incident> =
        versions.iter().map(|version| (version.incident.as_str(), version)).collect();
    let mut newest: Vec<Incident> = newest.into_values().cloned().collect();
    newest.sort_by_key(|incident| incident.opened_ms);
    newest
}

#[test]
fn an_incident_with_two_causes_is_split_and_what_both_explain_is_in_both() {
    for later_s in [0, 240] {
        let correlator = shop(0, 1200, &[("store", 600), ("ads", 600 + later_s)]);
        let mut grouper = Grouper::default();
        let loud = [("store", 600), ("cart", 610), ("web", 610), ("ads", 600 + later_s)];
        let versions = told(&mut grouper, &correlator, &loud, 600, 1200);
        let newest = newest(&versions);
        assert_eq!(newest.len(), 2, "{newest:?}");
        let of = |cause: &str| {
            newest.iter().find(|incident| incident.root_causes[0].service == cause).expect("one of each")
        };
        let (store, ads) = (of("store"), of("ads"));
        assert_eq!(store.services, ["cart", "store", "web"]);
        assert_eq!(ads.services, ["ads", "web"]);
        let (part, whole) = if ads.split_from.is_some() { (ads, store) } else { (store, ads) };
        assert_eq!(part.split_from.as_ref(), Some(&whole.incident));
        for (incident, other) in [(store, "ads"), (ads, "store")] {
            assert!(incident.root_causes.iter().all(|cause| cause.service != other), "not its own");
        }
        let opened: Vec<&Incident> = versions.iter().filter(|version| version.version == 1).collect();
        assert!(opened.iter().all(|version| version.state == IncidentState::Open) && opened.len() == 2);
        // One goes on while the other ends.
        let versions = told(&mut grouper, &correlator, &[("ads", 0), ("web", 0)], 1200, 1800);
        let ended: Vec<&Incident> =
            versions.iter().filter(|version| version.state == IncidentState::Resolved).collect();
        assert_eq!(ended.iter().map(|version| &version.incident).collect::<Vec<_>>(), [&store.incident]);
        assert_eq!(ended[0].merged_into, None);
    }
}

#[test]
fn a_snapshot_between_any_two_steps_makes_no_difference() {
    let correlator = shop(0, 1200, &[("store", 600), ("ads", 840)]);
    let loud = [("store", 600), ("cart", 610), ("web", 610), ("ads", 840)];
    let mut whole = Grouper::default();
    let expected = told(&mut whole, &correlator, &loud, 600, 1600);
    let mut grouper = Grouper::default();
    let mut versions = Vec::new();
    for at in (600..1600).step_by(10) {
        versions.extend(told(&mut grouper, &correlator, &loud, at, at + 10));
        let state = serde_json::to_vec(&grouper).unwrap();
        grouper = Grouper::default();
        grouper.restore(serde_json::from_slice(&state).unwrap());
    }
    assert_eq!(versions, expected);
    assert!(expected.iter().any(|version| version.split_from.is_some()));
}

#[test]
fn trouble_that_passes_on_to_callers_is_one_incident() {
    // The callers are busy too, and one of them is louder at first.
    let correlator = shop(0, 1200, &[("store", 600), ("cart", 600), ("web", 620)]);
    let loud = [("web", 600), ("cart", 600), ("store", 610), ("ads", 640)];
    let versions = told(&mut Grouper::default(), &correlator, &loud, 600, 1200);
    assert_eq!(newest(&versions).len(), 1);
    // What two services call may be what both suffer from.
    let correlator = shop(0, 1200, &[("cache", 600), ("cart", 600), ("ads", 600)]);
    let versions = told(&mut Grouper::default(), &correlator, &[("cart", 600), ("ads", 600)], 600, 1200);
    assert_eq!(newest(&versions).len(), 1);
}

#[test]
fn incidents_with_one_cause_are_merged_into_the_older() {
    let mut correlator = shop(0, 610, &[]);
    let mut grouper = Grouper::new(GrouperSettings { hops_max: 0, ..GrouperSettings::default() });
    // With no hops between them, what one cause does opens two as long as the cause does not show.
    let mut versions = Vec::new();
    for at in (600..720).step_by(10) {
        let memory = if at >= 640 { 0.95 } else { 0.2 };
        correlator.observe_point(at * 1000, "store", "memory", memory);
        for service in ["cart", "web"] {
            for metric in ["latency", "errors"] {
                let anomaly = anomaly(at * 1000, service, metric, Severity::Warning);
                versions.extend(grouper.observe(&anomaly, &correlator));
            }
        }
        versions.extend(grouper.advance(at * 1000, &correlator));
    }
    let opened: Vec<&Incident> = versions.iter().filter(|version| version.version == 1).collect();
    assert_eq!(opened.len(), 2);
    let newest = newest(&versions);
    let (merged, left): (Vec<&Incident>, Vec<&Incident>) =
        newest.iter().partition(|incident| incident.merged_into.is_some());
    assert_eq!(merged[0].state, IncidentState::Resolved);
    assert_eq!(merged[0].merged_into.as_ref(), Some(&left[0].incident));
    assert_eq!(left[0].services, ["cart", "web"]);
    assert_eq!(grouper.open_incidents().count(), 1);
}

#[test]
fn what_has_the_cause_of_an_open_incident_becomes_a_part_of_it_at_once() {
    let correlator = shop(0, 1200, &[("store", 600)]);
    let mut grouper = Grouper::new(GrouperSettings { hops_max: 0, ..GrouperSettings::default() });
    let mut versions = Vec::new();
    for at in (600..720).step_by(10) {
        for (service, _) in [("cart", 600), ("web", 620)].iter().filter(|(_, since_s)| *since_s <= at) {
            for metric in ["latency", "errors"] {
                let anomaly = anomaly(at * 1000, service, metric, Severity::Warning);
                versions.extend(grouper.observe(&anomaly, &correlator));
            }
        }
        versions.extend(grouper.advance(at * 1000, &correlator));
    }
    let newest = newest(&versions);
    assert_eq!(newest.len(), 1, "{newest:?}");
    assert_eq!(newest[0].services, ["cart", "web"]);
}

#[test]
fn what_was_split_off_and_lost_its_cause_goes_back_and_stays() {
    let correlator = shop(0, 1200, &[("store", 600), ("ads", 600)]);
    let loud = [("store", 600), ("cart", 600), ("web", 600), ("ads", 600)];
    let mut grouper = Grouper::default();
    let versions = told(&mut grouper, &correlator, &loud, 600, 680);
    let part = versions.iter().find(|version| version.split_from.is_some()).expect("it was split");
    // Seen again with what is known now, only one of the two is broken.
    let cause = if part.root_causes[0].service == "ads" { "store" } else { "ads" };
    let correlator = shop(0, 1200, &[(cause, 600)]);
    let versions = told(&mut grouper, &correlator, &loud, 680, 1200);
    let last =
        newest(&versions).into_iter().find(|version| version.incident == part.incident).expect("it ends");
    assert_eq!((last.state, last.merged_into.as_ref()), (IncidentState::Resolved, part.split_from.as_ref()));
    assert!(versions.iter().all(|version| version.version > 1), "it is not split again");
    assert_eq!(grouper.open_incidents().count(), 1);
}

#[test]
fn traces_that_a_ranking_should_have_known_amend_the_cause() {
    let mut correlator = shop(0, 1_000, &[("cart", 600)]);
    let mut grouper = Grouper::default();
    let loud = [("cart", 600), ("web", 600)];
    let versions = told(&mut grouper, &correlator, &loud, 600, 860);
    let ranked = newest(&versions).remove(0);
    assert_eq!((ranked.root_causes[0].service.as_str(), ranked.amended), ("cart", false));
    // What was slow deeper down is known late.
    for at in (600..1_000).step_by(10) {
        correlator.observe_point(at * 1000 + 1, "store", "memory", 400.0);
        correlator.observe_point(at * 1000 + 1, "store", "queue", 400.0);
    }
    let evidence = |at_s: i64| TraceEvidence {
        names: vec![],
        operations: vec![],
        edges: vec![],
        buckets: vec![(at_s / 10, crate::statistics::TraceStats::default())],
    };
    correlator.advance(850_000);
    // In time, or of before: nothing is ranked again.
    grouper.review_after(&evidence(840), &correlator);
    grouper.review_after(&evidence(300), &correlator);
    assert!(told(&mut grouper, &correlator, &loud, 860, 930).is_empty());
    grouper.review_after(&evidence(650), &correlator);
    let versions = told(&mut grouper, &correlator, &loud, 930, 1_000);
    assert_eq!(versions.len(), 1, "{versions:?}");
    assert!(versions[0].amended && versions[0].root_causes[0].service == "store", "{versions:?}");
}

#[test]
fn an_anomaly_that_is_withdrawn_takes_its_service_along() {
    let correlator = correlator();
    let mut grouper = Grouper::default();
    let loud = [("web", 1_000), ("cart", 1_000)];
    let opened = newest(&told(&mut grouper, &correlator, &loud, 1_000, 1_040)).remove(0);
    assert_eq!(opened.services, ["cart", "web"]);
    for at in (1_000..1_040).step_by(10) {
        grouper.withdraw(&anomaly(at * 1000, "web", "latency", Severity::Warning));
    }
    let amended = told(&mut grouper, &correlator, &[], 1_040, 1_050).remove(0);
    assert_eq!((amended.amended, amended.state), (true, IncidentState::Updated));
    assert_eq!(amended.services, ["cart"]);
    assert!(amended.anomalies > 0 && amended.anomalies < opened.anomalies + 3, "{amended:?}");
    // One that was a suspect only opens nothing any more.
    let mut grouper = Grouper::default();
    let first = anomaly(1_000_000, "web", "latency", Severity::Critical);
    assert!(grouper.observe(&first, &correlator).is_empty());
    grouper.withdraw(&first);
    assert!(grouper.suspects.is_empty());
}

#[test]
fn an_incident_names_traces_of_its_cause_first() {
    let correlator = correlator();
    let mut grouper = Grouper::default();
    let shown = |time_ms, service: &str, trace_ids: &[&str]| Anomaly {
        exemplar_trace_ids: trace_ids.iter().map(|id| (*id).to_owned()).collect(),
        ..anomaly(time_ms, service, "latency", Severity::Warning)
    };
    let mut versions = Vec::new();
    for (time_ms, service, trace_ids) in [
        (1_000_000, "web", &["a", "b", "c"][..]),
        (1_000_000, "cart", &["d", "a"]),
        (1_010_000, "web", &["e", "b", "c"]),
        // Without any it keeps what it had.
        (1_010_000, "cart", &[]),
    ] {
        versions.extend(grouper.observe(&shown(time_ms, service, trace_ids), &correlator));
    }
    let [opened] = &versions[..] else { panic!("{versions:?}") };
    assert_eq!(opened.exemplar_trace_ids, ["d", "a", "e", "b", "c"], "of equals by name, the newest of each");
    let late = correlator_with_a_change("web");
    let ranked = grouper.advance(1_070_000, &late);
    assert_eq!(ranked[0].root_causes[0].service, "web");
    assert_eq!(ranked[0].exemplar_trace_ids, ["e", "b", "c", "d", "a"]);
}

fn correlator_with_a_change(service: &str) -> Correlator {
    let mut correlator = correlator();
    let (service, kind, summary) = (service.to_owned(), "deploy".to_owned(), "v2".to_owned());
    correlator.observe_change(model::Change { service, kind, summary, time_ms: 990_000 });
    correlator
}

/// Anomalies of one series on `web`, a point each `step_ms`, of which the values of the detector are given: where it expects the
/// series and what it is. Returns the incidents that opened.
fn opened_by(step_ms: i64, points: &[(f64, f64)]) -> usize {
    let correlator = correlator();
    let mut grouper = Grouper::default();
    let mut opened = BTreeSet::new();
    let mut now_ms = 0;
    for (i, &(expected, value)) in points.iter().enumerate() {
        let time_ms = i as i64 * step_ms;
        // As the stages do: event time first, in steps, then the point.
        while now_ms < time_ms - 5_000 {
            let versions = grouper.advance(now_ms, &correlator);
            opened.extend(versions.into_iter().map(|incident| incident.incident));
            now_ms += 10_000;
        }
        if (value - expected).abs() <= 1.0 {
            grouper.normal(Labels::of("web", "queue").id());
            continue;
        }
        let (lower, upper) = (expected - 1.0, expected + 1.0);
        let critical = anomaly(time_ms, "web", "queue", Severity::Critical);
        let anomaly = Anomaly { value, expected, lower, upper, ..critical };
        opened.extend(grouper.observe(&anomaly, &correlator).into_iter().map(|incident| incident.incident));
    }
    opened.len()
}

#[test]
fn what_lasts_is_one_incident_however_seldom_points_come() {
    let lasting = [vec![(5.0, 5.0); 10], vec![(5.0, 50.0); 30], vec![(5.0, 5.0); 10]].concat();
    // One lost point, or one normal one, ends nothing.
    let mut broken = lasting.clone();
    broken[25] = (5.0, 5.0);
    for step_ms in [10_000, 60_000, 300_000, 900_000, 3_600_000] {
        assert_eq!(opened_by(step_ms, &lasting), 1, "a point each {step_ms} ms");
        assert_eq!(opened_by(step_ms, &broken), 1, "a point each {step_ms} ms");
    }
    // A day of nothing, and the same again is another.
    let twice = [lasting.clone(), vec![(5.0, 5.0); 288], lasting].concat();
    assert_eq!(opened_by(300_000, &twice), 2);
}

#[test]
fn the_end_of_what_has_become_usual_is_no_incident() {
    let usual = |level: f64, count: usize| vec![(level, level); count];
    let shift = [usual(5.0, 10), vec![(5.0, 50.0); 10], usual(50.0, 130)].concat();
    let (back, worse, lower) = (vec![(50.0, 5.5); 10], vec![(50.0, 90.0); 10], vec![(50.0, -20.0); 10]);
    for (after, incidents) in [(&back, 1), (&worse, 2), (&lower, 2)] {
        assert_eq!(opened_by(300_000, &[&shift[..], after].concat()), incidents);
    }
    // The same trouble again is one again, and so is what was usual long ago.
    assert_eq!(opened_by(300_000, &[&shift[..], &back, &usual(5.0, 10), &[(5.0, 50.0); 10]].concat()), 2);
    assert_eq!(opened_by(300_000, &[&shift[..], &usual(50.0, 3 * 288), &back].concat()), 2);
}

/// When an incident opened, if series with anomalies each minute from those on do open one.
fn opened_of(series: &[(&str, &str, i64)], severity: Severity, minutes: i64) -> Option<Incident> {
    let correlator = correlator();
    let mut grouper = Grouper::default();
    (0..minutes).find_map(|minute| {
        let due = series.iter().filter(|(_, _, from)| minute >= *from);
        let observed = due
            .map(|(service, metric, _)| anomaly(1_000_000 + minute * 60_000, service, metric, severity))
            .flat_map(|anomaly| grouper.observe(&anomaly, &correlator))
            .collect::<Vec<_>>();
        observed.into_iter().next()
    })
}

#[test]
fn load_makes_no_other_series_more_suspect() {
    let opened = |series: &[&str]| {
        let series: Vec<_> = series.iter().map(|metric| ("store", *metric, 0)).collect();
        opened_of(&series, Severity::Warning, 30).is_some()
    };
    assert!(opened(&["queue", "latency_p95"]));
    assert!(opened(&["network_receive_errors", "queue"]), "what is lost is no load");
    assert!(opened(&["workload_unavailable_replicas", "queue"]), "nothing goes through");
    assert!(!opened(&["syscalls_read", "syscalls_write"]), "both say how many requests there are");
    assert!(!opened(&["network_receive_bytes", "latency_p95"]));
}

#[test]
fn load_alone_opens_an_incident_when_it_is_critical_for_long() {
    let opened = opened_of(&[("store", "network_receive_bytes", 0)], Severity::Critical, 30);
    assert_eq!(opened.map(|incident| incident.updated_ms), Some(1_600_000));
}

#[test]
fn what_all_services_on_a_node_report_is_one_signal() {
    let node = [("store", "node_cpu_usage", 0), ("cart", "node_cpu_usage", 0)];
    assert_eq!(opened_of(&node, Severity::Warning, 30), None);
    let runtime = [("store", "nodejs_memory_heap", 0), ("cart", "nodejs_memory_heap", 0)];
    assert!(opened_of(&runtime, Severity::Warning, 30).is_some(), "each has a runtime of its own");
    let own = [("store", "node_cpu_usage", 0), ("cart", "queue", 0)];
    assert!(opened_of(&own, Severity::Warning, 30).is_some());
}

#[test]
fn an_incident_begins_with_what_opens_it() {
    let series = [("store", "cpu", 0), ("cart", "queue", 10), ("cart", "errors", 11)];
    let opened = opened_of(&series, Severity::Warning, 30).expect("two signals");
    assert_eq!(opened.opened_ms, 1_600_000, "CPU is left to the evidence");
    assert_eq!(opened.services, ["cart", "store"]);
}
