//! Pages a week, with a budget, over series that a generator makes: detectors, incidents and alerts as in the engine.
//!
//! `cargo run --release -p foreshock-pipeline --example page_budget -- [--series N] [--weeks N] [--pages N] [--kind ensemble]`
//!
//! Each ten series are a service. From the second week on there may be twice as many pages as the budget has at the most; then five
//! services have a fault, all their series, one after the other and a day apart, and those that open an incident must page, one at least.
//! Exits with 1 where one of both does not hold.

// As the generator knows it.
extern crate detectors as foreshock_detectors;

#[path = "../../../../detectors/examples/generated/generator.rs"]
#[allow(dead_code)]
mod generator;

use std::collections::BTreeSet;
use std::process::ExitCode;

use detectors::Point;
use foreshock_pipeline::settings::{AnalysisSettings, BudgetSettings, DetectorSettings};
use foreshock_pipeline::{Analysis, Conclusion};
use generator::{DAY_S, Fault, KINDS, Random, Service};
use model::{AlertState, MetricKind, SampleRow, Severity};

const PER_SERVICE: usize = 10;
const START_MS: i64 = 1_699_920_000_000;
/// Services that have a fault in the last days, one a day.
const FAULTS: usize = 5;

struct Options {
    series: usize,
    weeks: usize,
    pages: f64,
    kind: String,
}

fn options() -> Options {
    let mut options = Options { series: 10_000, weeks: 3, pages: 3.0, kind: "ensemble".to_owned() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().expect("a value behind each option");
        match argument.as_str() {
            "--series" => options.series = value.parse().expect("a number of series"),
            "--weeks" => options.weeks = value.parse().expect("a number of weeks"),
            "--pages" => options.pages = value.parse().expect("a number of pages"),
            "--kind" => options.kind = value,
            other => panic!("{other}: not an option"),
        }
    }
    assert!(options.weeks >= 2, "--weeks: the first is not counted, so 2 at the least");
    options
}

/// All series, of which one day at a time is made.
struct Series {
    labels: String,
    service: Service,
    random: Random,
    fault: Option<(Fault, f64)>,
}

fn main() -> ExitCode {
    let options = options();
    let budget = BudgetSettings { pages_per_week: options.pages, per: None, services: Default::default() };
    let settings = AnalysisSettings { budget: Some(budget), ..AnalysisSettings::default() };
    let detector = serde_json::json!({ "kind": options.kind, "parameters": { "every_point": true } });
    let detector: DetectorSettings = serde_json::from_value(detector).expect("a detector");
    let mut analysis = Analysis::new(&settings, &[detector]).expect("a detector of that kind");

    let days = 7 * options.weeks + FAULTS;
    let mut series: Vec<Series> = (0..options.series)
        .map(|i| {
            let mut random = Random::new(i as u64);
            let service = Service::new(KINDS[i / PER_SERVICE % KINDS.len()], &mut random);
            let name = format!("service-{}", i / PER_SERVICE);
            let labels = model::Labels::of(&name, &format!("metric_{i}")).canonical().to_owned();
            // Of ten services one after the other, so that each kind has its turn.
            let turn = i / PER_SERVICE;
            let day = (turn < FAULTS).then(|| 7 * options.weeks + turn);
            let fault = day.map(|day| (Fault::LevelShift, day as f64 * DAY_S + DAY_S / 4.0));
            Series { labels, service, random, fault }
        })
        .collect();

    let (mut pages, mut incidents): (Vec<BTreeSet<String>>, Vec<usize>) =
        (vec![BTreeSet::new(); days], vec![0; days]);
    let (mut opened, mut found) = (BTreeSet::new(), BTreeSet::new());
    let mut wanders = vec![0.0; series.len()];
    for day in 0..days {
        let mut points: Vec<(i64, u32, f64)> = Vec::new();
        for (i, series) in series.iter_mut().enumerate() {
            let per_day = (DAY_S / series.service.interval_s) as i64;
            let numbers = day as i64 * per_day..(day as i64 + 1) * per_day;
            let Series { service, random, fault, .. } = series;
            let of_day = service.points_of(numbers, *fault, &mut wanders[i], random);
            points.extend(of_day.into_iter().map(|Point { time_ms, value }| (time_ms, i as u32, value)));
        }
        points.sort_unstable_by_key(|(time_ms, i, _)| (*time_ms, *i));
        let mut conclusions = Vec::new();
        for (time_ms, i, value) in points {
            let row = SampleRow {
                time_ms: START_MS + time_ms,
                start_ms: None,
                value,
                kind: MetricKind::Gauge,
                labels: &series[i as usize].labels,
            };
            analysis.on_sample(&row, &mut conclusions);
            for conclusion in conclusions.drain(..) {
                let is_faulty =
                    |service: &String| faulty_on(day, &options).is_some_and(|faulty| faulty == *service);
                match conclusion {
                    Conclusion::Incident(incident) if incident.version == 1 => {
                        incidents[day] += 1;
                        opened.extend(incident.services.iter().any(is_faulty).then_some(day));
                    }
                    Conclusion::Alert(alert)
                        if alert.state == AlertState::Firing && alert.severity > Severity::Info =>
                    {
                        pages[day].insert(alert.incident.clone());
                        found.extend(alert.labels.get("service").is_some_and(is_faulty).then_some(day));
                    }
                    _ => {}
                }
            }
        }
        if day % 7 == 6 || day + 1 == days {
            let from = day / 7 * 7;
            println!(
                "days {from} to {day}: {} incidents, {} pages",
                incidents[from..=day].iter().sum::<usize>(),
                pages[from..=day].iter().map(BTreeSet::len).sum::<usize>()
            );
        }
    }
    let quiet = &pages[7..7 * options.weeks];
    let weeks = (options.weeks - 1) as f64;
    let per_week = quiet.iter().map(BTreeSet::len).sum::<usize>() as f64 / weeks;
    println!(
        "{per_week:.2} pages a week without a fault, {} is the budget; of {FAULTS} faults {} opened an incident, {} paged",
        options.pages,
        opened.len(),
        found.len()
    );
    let kept = per_week <= 2.0 * options.pages;
    // A detector that does not find a fault is no matter of the budget; one that finds none shows nothing.
    if kept && !opened.is_empty() && found.is_superset(&opened) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The service whose fault begins on that day.
fn faulty_on(day: usize, options: &Options) -> Option<String> {
    day.checked_sub(7 * options.weeks).map(|turn| format!("service-{turn}"))
}
