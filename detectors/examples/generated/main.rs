//! False alerts and found faults on series that a generator makes.
//!
//! `cargo run --release -p foreshock-detectors --example generated -- [--series N] [--detector NAME]`
//!
//! Prints for each kind of series the alerts a week without any fault, after a week of learning, against the budget; and for
//! each kind of fault how many are found while they last, the median delay, and how many would be by false alerts alone.

mod generator;

use std::process::ExitCode;

use foreshock_detectors::{DETECTORS, DetectorSpec, Point, Slot};

use generator::{FAULTS, Fault, KINDS, Kind, Random, Service};

const WEEKS: f64 = 4.0;
const LEARNING_WEEKS: f64 = 1.0;
const WEEK_MS: f64 = 7.0 * 86_400_000.0;
/// Alerts a series and week that an engineer on call puts up with.
const BUDGET_PER_WEEK: f64 = 1.0;
/// Points between two alerts that are one.
const GAP: usize = 3;

/// The times of alerts after the week of learning.
fn alerts_ms(spec: &DetectorSpec, points: &[Point]) -> Vec<i64> {
    let mut bank = (spec.build)(serde_json::json!({})).expect("the defaults are valid");
    let mut verdicts = Vec::with_capacity(points.len());
    bank.observe(&vec![Slot(0); points.len()], points, &mut verdicts);
    let (mut alerts, mut last) = (Vec::new(), None);
    for (i, point) in points.iter().enumerate() {
        if verdicts[i].is_some_and(|verdict| verdict.is_anomalous()) {
            if last.is_none_or(|last| i - last > GAP) {
                alerts.push(point.time_ms);
            }
            last = Some(i);
        }
    }
    alerts.retain(|time_ms| *time_ms as f64 >= LEARNING_WEEKS * WEEK_MS);
    alerts
}

fn series(kind: Kind, seed: u64, fault: Option<Fault>) -> (Vec<Point>, f64, f64) {
    let mut random = Random::new(seed);
    let service = Service::new(kind, &mut random);
    // After the second week: day and week were seen.
    let start_s =
        (random.between(2.0, 3.5) * WEEK_MS / 1000.0 / service.interval_s).floor() * service.interval_s;
    let points = service.points(WEEKS, fault.map(|fault| (fault, start_s)), &mut random);
    (points, start_s, service.interval_s)
}

/// Alerts a week of each series of a kind.
fn false_alerts(spec: &DetectorSpec, kind: Kind, count: u64) -> Vec<f64> {
    (0..count)
        .map(|seed| alerts_ms(spec, &series(kind, seed, None).0).len() as f64 / (WEEKS - LEARNING_WEEKS))
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[derive(Default)]
struct Found {
    faults: usize,
    /// Of those that were found.
    delays_s: Vec<f64>,
    chance: f64,
}

fn found(spec: &DetectorSpec, fault: Fault, kind: Kind, count: u64, false_per_week: f64) -> Found {
    let mut found = Found::default();
    for seed in 0..count {
        let (points, start_s, interval_s) = series(kind, seed, Some(fault));
        let duration_s = fault.duration_s(interval_s);
        // What is gone is seen at its return.
        let end_s = start_s + duration_s + if fault == Fault::Gone { 2.0 * interval_s } else { 0.0 };
        let alerts = alerts_ms(spec, &points);
        let seen = alerts.iter().map(|ms| *ms as f64 / 1000.0).find(|at| (start_s..end_s).contains(at));
        found.faults += 1;
        found.delays_s.extend(seen.map(|at_s| at_s - start_s));
        found.chance += 1.0 - (-false_per_week * duration_s * 1000.0 / WEEK_MS).exp();
    }
    found
}

fn main() -> ExitCode {
    let (mut count, mut name) = (10_000_u64, "ensemble".to_owned());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--series", Some(value)) => count = value.parse().expect("a number of series"),
            ("--detector", Some(value)) => name = value,
            (other, _) => panic!("{other}: not an option"),
        }
    }
    let spec = DETECTORS.iter().find(|spec| spec.name == name).expect("a detector's name");
    let per_kind = count.div_ceil(KINDS.len() as u64);

    println!(
        "{name}: {} series without faults, {WEEKS} weeks each, the first for learning",
        per_kind * KINDS.len() as u64
    );
    println!("{:12}{:>14}{:>14}{:>14}", "", "alerts a week", "most", "of the budget");
    let (mut all, mut by_kind) = (Vec::new(), Vec::new());
    for kind in KINDS {
        let alerts = false_alerts(spec, kind, per_kind);
        let most = alerts.iter().copied().fold(0.0, f64::max);
        let name = format!("{kind:?}");
        println!("{name:12}{:14.3}{most:14.1}{:14.2}", mean(&alerts), mean(&alerts) / BUDGET_PER_WEEK);
        by_kind.push(mean(&alerts));
        all.extend(alerts);
    }
    println!("{:12}{:14.3}{:14}{:14.2}", "all", mean(&all), "", mean(&all) / BUDGET_PER_WEEK);

    let per_fault = (count / 200).max(5);
    println!(
        "\nfaults, {per_fault} for each kind of series that shows them: found, of these by chance, median delay"
    );
    print!("{:12}{:>7}{:>8}{:>9}  ", "", "found", "chance", "delay");
    KINDS.iter().for_each(|kind| print!("{:>9}", format!("{kind:?}")));
    println!();
    for fault in FAULTS {
        let mut total = Found::default();
        let mut columns = String::new();
        for (kind, false_per_week) in KINDS.into_iter().zip(&by_kind) {
            if !fault.shows_in(kind) {
                columns += &format!("{:>9}", "-");
                continue;
            }
            let one = found(spec, fault, kind, per_fault, *false_per_week);
            columns += &format!("{:9.2}", one.delays_s.len() as f64 / one.faults as f64);
            total.faults += one.faults;
            total.chance += one.chance;
            total.delays_s.extend(one.delays_s);
        }
        total.delays_s.sort_by(f64::total_cmp);
        let delay = total
            .delays_s
            .get(total.delays_s.len() / 2)
            .map_or("-".to_owned(), |s| format!("{:.0} min", s / 60.0));
        let share = |count: f64| count / total.faults as f64;
        let name = format!("{fault:?}");
        println!(
            "{name:12}{:7.2}{:8.2}{delay:>9}  {columns}",
            share(total.delays_s.len() as f64),
            share(total.chance)
        );
    }
    // Twice the budget is as much as can be answered for.
    if mean(&all) <= 2.0 * BUDGET_PER_WEEK { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
