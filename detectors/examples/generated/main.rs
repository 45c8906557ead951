//! False alerts and found faults on series that a generator makes.
//!
//! `cargo run --release -p foreshock-detectors --example generated -- [--series N] [--detector NAME]`
//!
//! Prints for each kind of series the alerts a week without any fault, after a week of learning, against the budget; and for
//! each kind of fault how many are found while they last, the median delay, and how many would be by false alerts alone. The
//! same in the first week of a series, while it is learned. "At budget" is what is found with the threshold at which a series
//! without faults gives as many alerts as the budget has, so that detectors can be compared. What is gone is told by `series_gone`,
//! whatever the detector; how often it tells of series that come and go as they always do is in a table of its own.

mod generator;
mod presence;

use std::ops::Range;
use std::process::ExitCode;

use foreshock_detectors::{DETECTORS, DetectorSpec, Point, Slot};

use generator::{DAY_S, FAULTS, Fault, KINDS, Kind, Random, Service, WEEK_S};
use presence::PATTERNS;

const WEEKS: f64 = 4.0;
/// Alerts a series and week that an engineer on call puts up with.
const BUDGET_PER_WEEK: f64 = 1.0;
/// The fixed threshold, which is what users have.
const THRESHOLD: f64 = 0.5;
/// Lower thresholds are not looked at.
const THRESHOLD_MIN: f64 = 0.05;
/// Points between two alerts that are one.
const GAP: usize = 3;

/// A part of the life of a series.
struct Phase {
    name: &'static str,
    /// When alerts count.
    counted_s: Range<f64>,
    /// When a fault begins.
    fault_s: Range<f64>,
}

/// The second has seen day and week before a fault.
const PHASES: [Phase; 2] = [
    Phase { name: "learned", counted_s: WEEK_S..WEEKS * WEEK_S, fault_s: 2.0 * WEEK_S..3.5 * WEEK_S },
    Phase { name: "the first week", counted_s: DAY_S..WEEK_S, fault_s: 1.5 * DAY_S..6.0 * DAY_S },
];

impl Phase {
    fn weeks(&self) -> f64 {
        (self.counted_s.end - self.counted_s.start) / WEEK_S
    }
}

/// A point with a score.
struct Scored {
    row: usize,
    time_s: f64,
    score: f64,
}

fn scored(spec: &DetectorSpec, points: &[Point]) -> Vec<Scored> {
    let mut bank = (spec.build)(serde_json::json!({})).expect("the defaults are valid");
    let mut verdicts = Vec::with_capacity(points.len());
    bank.observe(&vec![Slot(0); points.len()], points, &mut verdicts);
    let scored = |(row, point): (usize, &Point)| {
        let score = verdicts[row].map_or(0.0, |verdict| verdict.anomaly_score);
        Scored { row, time_s: point.time_ms as f64 / 1000.0, score }
    };
    points.iter().enumerate().map(scored).filter(|scored| scored.score > THRESHOLD_MIN).collect()
}

/// When alerts begin in this time.
fn alerts_s(scored: &[Scored], threshold: f64, counted_s: &Range<f64>) -> Vec<f64> {
    let (mut alerts, mut last) = (Vec::new(), None);
    for point in scored.iter().filter(|point| point.score > threshold) {
        if last.is_none_or(|last| point.row - last > GAP) && counted_s.contains(&point.time_s) {
            alerts.push(point.time_s);
        }
        last = Some(point.row);
    }
    alerts
}

/// The points of a series, when its fault begins, and its interval.
fn series(kind: Kind, seed: u64, fault: Option<(Fault, &Phase)>) -> (Vec<Point>, f64, f64) {
    let mut random = Random::new(seed);
    let service = Service::new(kind, &mut random);
    let Range { start, end } = fault.map_or(&PHASES[0], |(_, phase)| phase).fault_s;
    let start_s = (random.between(start, end) / service.interval_s).floor() * service.interval_s;
    let points = service.points(WEEKS, fault.map(|(fault, _)| (fault, start_s)), &mut random);
    (points, start_s, service.interval_s)
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    if count == 0.0 { 0.0 } else { sum / count }
}

/// What a detector says of series without faults, by kind.
struct Quiet {
    by_kind: Vec<Vec<Vec<Scored>>>,
}

impl Quiet {
    fn of(spec: &DetectorSpec, per_kind: u64) -> Self {
        let of_kind = |kind| (0..per_kind).map(|seed| scored(spec, &series(kind, seed, None).0)).collect();
        Self { by_kind: KINDS.into_iter().map(of_kind).collect() }
    }

    /// Alerts a week of each series of a kind.
    fn per_week(&self, kind: usize, threshold: f64, phase: &Phase) -> Vec<f64> {
        let alerts = |scored: &Vec<Scored>| alerts_s(scored, threshold, &phase.counted_s).len() as f64;
        self.by_kind[kind].iter().map(|scored| alerts(scored) / phase.weeks()).collect()
    }

    fn mean_per_week(&self, threshold: f64, phase: &Phase) -> f64 {
        mean((0..KINDS.len()).flat_map(|kind| self.per_week(kind, threshold, phase)))
    }

    /// The lowest threshold that keeps the budget.
    fn threshold_at_budget(&self, phase: &Phase) -> f64 {
        let mut thresholds = (0..100).map(|i| THRESHOLD_MIN + f64::from(i) * (1.0 - THRESHOLD_MIN) / 100.0);
        let keeps = |threshold: &f64| self.mean_per_week(*threshold, phase) <= BUDGET_PER_WEEK;
        thresholds.find(keeps).unwrap_or(1.0)
    }

    fn print(&self, phase: &Phase) {
        println!("{:12}{:>14}{:>14}{:>14}", "", "alerts a week", "most", "of the budget");
        for (i, kind) in KINDS.iter().enumerate() {
            let alerts = self.per_week(i, THRESHOLD, phase);
            let most = alerts.iter().copied().fold(0.0, f64::max);
            let (name, mean) = (format!("{kind:?}"), mean(alerts));
            println!("{name:12}{mean:14.3}{most:14.1}{:14.2}", mean / BUDGET_PER_WEEK);
        }
        let mean = self.mean_per_week(THRESHOLD, phase);
        println!("{:12}{mean:14.3}{:14}{:14.2}", "all", "", mean / BUDGET_PER_WEEK);
    }
}

#[derive(Default)]
struct Found {
    faults: usize,
    /// Of those that were found.
    delays_s: Vec<f64>,
    chance: f64,
    at_budget: usize,
}

fn found(
    spec: &DetectorSpec,
    (fault, phase): (Fault, &Phase),
    quiet: &Quiet,
    kind: usize,
    count: u64,
) -> Found {
    let mut found = Found::default();
    let false_per_week = mean(quiet.per_week(kind, THRESHOLD, phase));
    let at_budget = quiet.threshold_at_budget(phase);
    for seed in 0..count {
        let (points, start_s, interval_s) = series(KINDS[kind], seed, Some((fault, phase)));
        let duration_s = fault.duration_s(interval_s);
        let lasts_s = start_s..start_s + duration_s;
        let scored = scored(spec, &points);
        let times_s: Vec<f64> = points.iter().map(|point| point.time_ms as f64 / 1000.0).collect();
        let gone_s =
            presence::gone_s(&times_s, WEEKS * WEEK_S).into_iter().find(|at_s| lasts_s.contains(at_s));
        let alert_s = |threshold: f64| alerts_s(&scored, threshold, &lasts_s).first().copied();
        let seen = |threshold: f64| gone_s.into_iter().chain(alert_s(threshold)).reduce(f64::min);
        found.faults += 1;
        found.delays_s.extend(seen(THRESHOLD).map(|at_s| at_s - start_s));
        found.at_budget += usize::from(seen(at_budget).is_some());
        found.chance += 1.0 - (-false_per_week * duration_s / WEEK_S).exp();
    }
    found
}

fn print_faults(spec: &DetectorSpec, phase: &Phase, quiet: &Quiet, per_fault: u64) {
    print!("{:12}{:>7}{:>8}{:>9}{:>11}  ", "", "found", "chance", "delay", "at budget");
    KINDS.iter().for_each(|kind| print!("{:>9}", format!("{kind:?}")));
    println!();
    for fault in FAULTS {
        let mut total = Found::default();
        let mut columns = String::new();
        for (i, kind) in KINDS.into_iter().enumerate() {
            if !fault.shows_in(kind) {
                columns += &format!("{:>9}", "-");
                continue;
            }
            let one = found(spec, (fault, phase), quiet, i, per_fault);
            columns += &format!("{:9.2}", one.delays_s.len() as f64 / one.faults as f64);
            total.faults += one.faults;
            total.chance += one.chance;
            total.at_budget += one.at_budget;
            total.delays_s.extend(one.delays_s);
        }
        total.delays_s.sort_by(f64::total_cmp);
        let middle = total.delays_s.get(total.delays_s.len() / 2);
        let delay = middle.map_or("-".to_owned(), |s| format!("{:.0} min", s / 60.0));
        let share = |count: f64| count / total.faults as f64;
        println!(
            "{:12}{:7.2}{:8.2}{delay:>9}{:11.2}  {columns}",
            format!("{fault:?}"),
            share(total.delays_s.len() as f64),
            share(total.chance),
            share(total.at_budget as f64),
        );
    }
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
    let per_fault = (count / 200).max(5);
    println!(
        "series_gone: {per_kind} series of each pattern, silences told a week in the first week, later; half a day without points: found, delay"
    );
    for pattern in PATTERNS {
        let ([first, later], gone) = presence::measure(pattern, per_kind);
        let gone = gone.map_or("-".to_owned(), |(share, minutes)| format!("{share:.2}{minutes:9.0} min"));
        println!("{:12}{first:14.4}{later:14.4}{gone:>24}", format!("{pattern:?}"));
    }
    println!();
    let quiet = Quiet::of(spec, per_kind);
    for phase in &PHASES {
        println!("{name}, {}: {} series without faults", phase.name, per_kind * KINDS.len() as u64);
        quiet.print(phase);
        println!(
            "\nfaults, {per_fault} for each kind of series that shows them: found, of these by chance, median delay; \
             found with the threshold {:.2}, which keeps the budget; found by kind",
            quiet.threshold_at_budget(phase)
        );
        print_faults(spec, phase, &quiet, per_fault);
        println!();
    }
    // Twice the budget is as much as can be answered for.
    let kept = quiet.mean_per_week(THRESHOLD, &PHASES[0]) <= 2.0 * BUDGET_PER_WEEK;
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
