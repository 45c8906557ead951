//! Pages a week, with a budget, over series that a generator makes: detectors, incidents and alerts as in the engine.
//!
//! `cargo run --release -p foreshock-pipeline --example page_budget -- [--series N] [--weeks N] [--pages N] [--teams N] [--faults N]
//! [--kind KIND] [--seed N]`
//!
//! Each ten series are a service, and services are dealt out to teams, each of which has a budget. After a week of learning there are
//! weeks without any fault, in which pages are counted; then services have faults, all their series at once, so many of each
//! kind, three a day. A table says how many of each kind opened an incident and how many paged while they lasted or within an hour after,
//! and how long that took at the median. Without `--kind`, detectors are those of the default configuration for metrics.
//!
//! Exits with 1 unless pages are at most twice the budget and at least half of it or of all incidents, and four of five faults that opened an
//! incident paged.

// As the generator knows it.
extern crate detectors as foreshock_detectors;

#[path = "../../../../detectors/examples/generated/generator.rs"]
#[expect(dead_code, reason = "the example of accuracy uses more of it")]
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
const HOUR_MS: i64 = 3_600_000;
/// One begins after the other.
const FAULT_EVERY_S: f64 = DAY_S / 3.0;
const FAULTS: [Fault; 6] =
    [Fault::Spike, Fault::LevelShift, Fault::Trend, Fault::LostSeason, Fault::DropToZero, Fault::Gone];

struct Options {
    series: usize,
    weeks: usize,
    pages: f64,
    teams: usize,
    /// Of each kind.
    faults: usize,
    kind: Option<String>,
    /// Other series of the same kinds.
    seed: u64,
}

fn options() -> Options {
    let mut options =
        Options { series: 10_000, weeks: 4, pages: 3.0, teams: 1, faults: 5, kind: None, seed: 0 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().expect("a value behind each option");
        let number = || value.parse().expect("a number behind this option");
        match argument.as_str() {
            "--series" => options.series = number(),
            "--weeks" => options.weeks = number(),
            "--pages" => options.pages = value.parse().expect("a number of pages"),
            "--teams" => options.teams = number(),
            "--faults" => options.faults = number(),
            "--kind" => options.kind = Some(value),
            "--seed" => options.seed = value.parse().expect("a whole number"),
            other => panic!("{other}: not an option"),
        }
    }
    assert!(options.weeks >= 2, "--weeks: the first is not counted, so 2 at the least");
    options
}

/// A fault in all series of a service, and what became of it.
struct Planted {
    fault: Fault,
    service: usize,
    start_ms: i64,
    /// When nothing that is found can be due to it any more.
    end_ms: i64,
    opened_ms: Option<i64>,
    paged_ms: Option<i64>,
}

/// Of each kind as many, in services in which it makes a difference.
fn planted(options: &Options, services: &[Service]) -> Vec<Planted> {
    let mut free: Vec<usize> = (0..options.series / PER_SERVICE).collect();
    let turns = (0..options.faults).flat_map(|_| FAULTS);
    let one = |(turn, fault): (usize, Fault)| {
        // The kinds of series have their turns too.
        let kinds = (0..KINDS.len()).map(|i| KINDS[(turn / FAULTS.len() + i) % KINDS.len()]);
        let kind = kinds.into_iter().find(|kind| fault.shows_in(*kind)).expect("each shows in some");
        let at = free.iter().position(|service| KINDS[service % KINDS.len()] == kind)?;
        let service = free.remove(at);
        let start_s = (7 * options.weeks) as f64 * DAY_S + (turn as f64 + 0.5) * FAULT_EVERY_S;
        let of_service = &services[service * PER_SERVICE..(service + 1) * PER_SERVICE];
        let longest_s = of_service.iter().map(|series| fault.duration_s(series.interval_s));
        let start_ms = START_MS + (start_s * 1000.0) as i64;
        let end_ms = start_ms + (longest_s.fold(0.0, f64::max) * 1000.0) as i64 + HOUR_MS;
        Some(Planted { fault, service, start_ms, end_ms, opened_ms: None, paged_ms: None })
    };
    turns.enumerate().map_while(one).collect()
}

fn detectors(kind: Option<&str>) -> Vec<DetectorSettings> {
    let detectors = match kind {
        Some(kind) => serde_json::json!([
            { "kind": kind, "parameters": if kind == "ensemble" { serde_json::json!({ "every_point": true }) } else { serde_json::json!({}) } },
            { "kind": "series_gone" },
        ]),
        None => serde_json::json!([{ "kind": "ewma" }, { "kind": "seasonal" }, { "kind": "series_gone" }]),
    };
    serde_json::from_value(detectors).expect("detectors")
}

fn main() -> ExitCode {
    let options = options();
    let per = Some("team".to_owned());
    let budget = BudgetSettings { pages_per_week: options.pages, per, services: Default::default() };
    let settings = AnalysisSettings { budget: Some(budget), ..AnalysisSettings::default() };
    let detectors = detectors(options.kind.as_deref());
    let mut analysis = Analysis::new(&settings, &detectors).expect("detectors of these kinds");

    let mut randoms: Vec<Random> =
        (0..options.series).map(|i| Random::new((options.seed << 32) + i as u64)).collect();
    let services: Vec<Service> = randoms
        .iter_mut()
        .enumerate()
        .map(|(i, random)| Service::new(KINDS[i / PER_SERVICE % KINDS.len()], random))
        .collect();
    let labels: Vec<String> = (0..options.series)
        .map(|i| {
            let (service, team) = (i / PER_SERVICE, i / PER_SERVICE % options.teams);
            let labels = model::Labels::of(&format!("service-{service}"), &format!("metric_{i}"));
            labels.with("team", &format!("team-{team}")).canonical().to_owned()
        })
        .collect();
    let mut planted = planted(&options, &services);
    let name = |service: usize| format!("service-{service}");

    let last_ms = planted.iter().map(|planted| planted.end_ms).max().unwrap_or(START_MS);
    let days = (7 * options.weeks).max(((last_ms - START_MS) as f64 / 1000.0 / DAY_S).ceil() as usize);
    let (mut pages, mut incidents): (Vec<BTreeSet<String>>, Vec<usize>) =
        (vec![BTreeSet::new(); days], vec![0; days]);
    let mut wanders = vec![0.0; options.series];
    let mut conclusions = Vec::new();
    for day in 0..days {
        let mut points: Vec<(i64, u32, f64)> = Vec::new();
        for (i, service) in services.iter().enumerate() {
            let per_day = (DAY_S / service.interval_s) as i64;
            let numbers = day as i64 * per_day..(day as i64 + 1) * per_day;
            let own = planted.iter().find(|planted| planted.service == i / PER_SERVICE);
            let fault = own.map(|own| (own.fault, (own.start_ms - START_MS) as f64 / 1000.0));
            let of_day = service.points_of(numbers, fault, &mut wanders[i], &mut randoms[i]);
            points.extend(of_day.into_iter().map(|Point { time_ms, value }| (time_ms, i as u32, value)));
        }
        points.sort_unstable_by_key(|(time_ms, i, _)| (*time_ms, *i));
        for (time_ms, i, value) in points {
            let row = SampleRow {
                time_ms: START_MS + time_ms,
                start_ms: None,
                value,
                kind: MetricKind::Gauge,
                labels: &labels[i as usize],
            };
            analysis.on_sample(&row, &mut conclusions);
            for conclusion in conclusions.drain(..) {
                let now_ms = row.time_ms;
                let lasting = planted.iter_mut().filter(|own| (own.start_ms..own.end_ms).contains(&now_ms));
                match conclusion {
                    Conclusion::Incident(incident) => {
                        incidents[day] += usize::from(incident.version == 1);
                        for own in lasting.filter(|own| incident.services.contains(&name(own.service))) {
                            own.opened_ms.get_or_insert(now_ms);
                        }
                    }
                    Conclusion::Alert(alert)
                        if alert.state == AlertState::Firing && alert.severity > Severity::Info =>
                    {
                        let of = alert.labels.get("service");
                        for own in lasting.filter(|own| of == Some(&name(own.service))) {
                            own.paged_ms.get_or_insert(now_ms);
                        }
                        pages[day].insert(alert.incident);
                    }
                    _ => {}
                }
            }
        }
        if day % 7 == 6 || day + 1 == days {
            let from = day / 7 * 7;
            let phase = match from / 7 {
                0 => "learning",
                week if week < options.weeks => "without a fault",
                _ => "with faults",
            };
            let pages: BTreeSet<&String> = pages[from..=day].iter().flatten().collect();
            let incidents: usize = incidents[from..=day].iter().sum();
            println!("days {from:3} to {day:3}, {phase:16}{incidents:6} incidents {:5} pages", pages.len());
        }
    }
    let quiet = 7..7 * options.weeks;
    let per_week = |count: usize| count as f64 / (options.weeks - 1) as f64 / options.teams as f64;
    let paged = per_week(pages[quiet.clone()].iter().flatten().collect::<BTreeSet<_>>().len());
    let opened = per_week(incidents[quiet].iter().sum());
    println!(
        "without a fault, a week and team: {opened:.2} incidents, {paged:.2} pages where {} may be",
        options.pages
    );

    println!("{:12}{:>8}{:>8}{:>8}{:>12}", "", "faults", "opened", "paged", "delay");
    for fault in FAULTS {
        let of_kind = || planted.iter().filter(|planted| planted.fault == fault);
        let mut delays_ms: Vec<i64> =
            of_kind().filter_map(|own| Some(own.paged_ms? - own.start_ms)).collect();
        delays_ms.sort_unstable();
        let delay = delays_ms.get(delays_ms.len() / 2);
        println!(
            "{:12}{:8}{:8}{:8}{:>12}",
            format!("{fault:?}"),
            of_kind().count(),
            of_kind().filter(|own| own.opened_ms.is_some()).count(),
            delays_ms.len(),
            delay.map_or("-".to_owned(), |ms| format!("{:.0} min", *ms as f64 / 60_000.0)),
        );
    }
    let found = planted.iter().filter(|own| own.opened_ms.is_some());
    let (found, missed) = (found.clone().count(), found.filter(|own| own.paged_ms.is_none()).count());
    // A detector that does not find a fault is no matter of the budget; one that finds none shows nothing.
    let is_kept = paged <= 2.0 * options.pages && paged >= 0.5 * options.pages.min(opened);
    if is_kept && found > 0 && 5 * missed <= found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
