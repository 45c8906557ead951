//! A few of the series of the example `generated`: the default detector stays near its budget and sees what is plain to see.

#[path = "../../examples/generated/generator.rs"]
mod generator;
#[path = "../../examples/generated/presence.rs"]
mod presence;

use foreshock_detectors::{DETECTORS, Point, Slot};
use generator::{FAULTS, Fault, KINDS, Kind, Random, Service};
use presence::PATTERNS;

const WEEK_S: f64 = 7.0 * 86_400.0;
const WEEKS: f64 = 3.0;
const SERIES: u64 = 6;
const FAULT_S: f64 = 2.5 * WEEK_S;

/// The times of alerts after the first week, in s, and the interval.
fn alerts(kind: Kind, seed: u64, fault: Option<Fault>) -> (Vec<f64>, f64) {
    let mut random = Random::new(seed);
    let service = Service::new(kind, &mut random);
    let points: Vec<Point> = service.points(WEEKS, fault.map(|fault| (fault, FAULT_S)), &mut random);
    let spec = DETECTORS.iter().find(|spec| spec.name == "ensemble").expect("it is in the list");
    let (mut bank, mut verdicts) =
        ((spec.build)(serde_json::json!({})).expect("the defaults are valid"), Vec::new());
    bank.observe(&vec![Slot(0); points.len()], &points, &mut verdicts);
    let judged = points.iter().zip(&verdicts);
    let alerting = judged.filter(|(_, verdict)| verdict.is_some_and(|verdict| verdict.is_anomalous()));
    let times = alerting.map(|(point, _)| point.time_ms as f64 / 1000.0).filter(|time_s| *time_s >= WEEK_S);
    (times.collect(), service.interval_s)
}

#[test]
fn without_faults_there_are_at_most_twice_as_many_alerts_as_the_budget_has() {
    let alerts_in = |kind: Kind| (0..SERIES).map(|seed| alerts(kind, seed, None).0.len()).sum::<usize>();
    let total: usize = KINDS.into_iter().map(alerts_in).sum();
    let per_week = total as f64 / (KINDS.len() as u64 * SERIES) as f64 / (WEEKS - 1.0);
    assert!(per_week <= 2.0, "{per_week} alerts a series and week, where 1 is the budget");
}

#[test]
fn every_fault_changes_a_series_while_it_lasts_and_nothing_before() {
    for fault in FAULTS {
        for kind in KINDS.into_iter().filter(|kind| fault.shows_in(*kind)) {
            let service = Service::new(kind, &mut Random::new(1));
            let points = |fault| service.points(WEEKS, fault, &mut Random::new(2));
            let (with, without) = (points(Some((fault, FAULT_S))), points(None));
            let split = |points: &[Point]| points.partition_point(|p| (p.time_ms as f64) < FAULT_S * 1000.0);
            let at = split(&without);
            assert!(
                at > 0 && split(&with) == at && with[..at] == without[..at],
                "{fault:?} in {kind:?}: before"
            );
            let end_ms = ((FAULT_S + fault.duration_s(service.interval_s)) * 1000.0) as i64;
            let during = |points: &[Point]| -> Vec<Point> {
                points[at..].iter().copied().filter(|point| point.time_ms < end_ms).collect()
            };
            assert_ne!(during(&with), during(&without), "{fault:?} in {kind:?}: while it lasts");
        }
    }
}

#[test]
fn plain_faults_are_found_while_they_last() {
    for (fault, share_min) in [
        (Fault::Spike, 0.8),
        (Fault::LevelShift, 0.8),
        (Fault::Trend, 0.8),
        (Fault::DropToZero, 0.8),
        (Fault::Stale, 0.7),
    ] {
        let (mut faults, mut found) = (0, 0);
        for kind in KINDS.into_iter().filter(|kind| fault.shows_in(*kind)) {
            for seed in 0..SERIES {
                let (alerts, interval_s) = alerts(kind, seed, Some(fault));
                let duration = FAULT_S..FAULT_S + fault.duration_s(interval_s);
                faults += 1;
                found += usize::from(alerts.iter().any(|time_s| duration.contains(time_s)));
            }
        }
        assert!(f64::from(faults) * share_min <= found as f64, "{fault:?}: {found} of {faults}");
    }
}

#[test]
fn half_a_day_without_points_is_told_while_it_lasts_and_habits_are_not() {
    for pattern in PATTERNS {
        let ([first, later], found) = presence::measure(pattern, 10);
        assert!(first <= 4.0 && later <= 0.7, "{pattern:?}: {first} in the first week, {later} a week later");
        if let Some((share, _)) = found {
            assert!(share >= 0.9, "{pattern:?}: {share}");
        }
    }
}
