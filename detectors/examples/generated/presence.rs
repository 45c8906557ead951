//! When series have points, made by a seed, and when they are told to be gone.

use foreshock_detectors::series_gone::{Presence, SeriesGone};

use super::generator::{DAY_S, Random, WEEK_S};

const MINUTE_S: f64 = 60.0;
const HOUR_S: f64 = 3600.0;

/// How a series comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A gauge that is scraped; one in fifty is lost.
    Steady,
    /// The same, and its service stands still for up to four minutes at each release.
    Released,
    /// A delta that is sent when there is something to count, less at night.
    Events,
    /// Events in bursts, with pauses of any length: their tail is a power law.
    Bursts,
    /// A job that runs each night, for one to six hours.
    Nightly,
    /// An office that works from Monday to Friday.
    Office,
}

pub const PATTERNS: [Pattern; 6] =
    [Pattern::Steady, Pattern::Released, Pattern::Events, Pattern::Bursts, Pattern::Nightly, Pattern::Office];

impl Pattern {
    /// Whether its absence for half a day is more than it does all the time.
    pub fn shows_gone(self) -> bool {
        matches!(self, Pattern::Steady | Pattern::Released | Pattern::Events)
    }

    /// The times of its points, in s.
    pub fn times_s(self, weeks: f64, random: &mut Random) -> Vec<f64> {
        let step_s = [15.0, 60.0, 300.0][(3.0 * random.unit()) as usize];
        let release_s = random.between(1.0, 4.0) * DAY_S;
        let stands_s = random.between(30.0, 240.0);
        let begins_s = random.between(0.0, 12.0) * HOUR_S;
        let lasts_s = random.between(1.0, 6.0) * HOUR_S;
        let pause_s = 10.0_f64.powf(random.between(2.0, 3.5));
        let (mut times_s, mut time_s) = (Vec::new(), random.between(0.0, step_s));
        while time_s < weeks * WEEK_S {
            let of_day_s = time_s.rem_euclid(DAY_S);
            let is_there = match self {
                Pattern::Steady => random.unit() > 0.02,
                Pattern::Released => random.unit() > 0.02 && time_s.rem_euclid(release_s) > stands_s,
                Pattern::Events | Pattern::Bursts => true,
                Pattern::Nightly => (begins_s..begins_s + lasts_s).contains(&of_day_s),
                Pattern::Office => {
                    let is_day = (7.0 * HOUR_S..19.0 * HOUR_S).contains(&of_day_s);
                    is_day && time_s.rem_euclid(WEEK_S) < 5.0 * DAY_S
                }
            };
            if is_there {
                times_s.push(time_s);
            }
            let chance = 1.0 - random.unit();
            time_s += match self {
                Pattern::Events => {
                    let night = if of_day_s < 6.0 * HOUR_S { 2.0 } else { 1.0 };
                    1.0 - night * pause_s * chance.ln()
                }
                Pattern::Bursts => 5.0 * (chance.powf(-1.0 / 1.2)).min(3.0 * DAY_S),
                _ => step_s,
            };
        }
        times_s
    }
}

/// When a series with these points was told to be gone, in s; the last point is `end_s`, when no more is looked at.
pub fn gone_s(times_s: &[f64], end_s: f64) -> Vec<f64> {
    let detector = SeriesGone::default();
    let times_ms = times_s.iter().map(|time_s| (1000.0 * time_s) as i64).chain([(1000.0 * end_s) as i64]);
    let (mut presence, mut gone) = (None, Vec::new());
    for time_ms in times_ms {
        let Some(presence) = &mut presence else {
            presence = Some(Presence::since(time_ms));
            continue;
        };
        let told_ms = detector.gone_ms(presence);
        if detector.observe(presence, time_ms, None).is_some() {
            gone.extend(told_ms.map(|ms| ms as f64 / 1000.0));
        }
    }
    gone
}

/// The points without those of half a day.
pub fn without_half_a_day(times_s: &[f64], start_s: f64) -> Vec<f64> {
    let is_out = |time_s: &f64| (start_s..start_s + 12.0 * HOUR_S).contains(time_s);
    times_s.iter().copied().filter(|time_s| !is_out(time_s)).collect()
}

/// Silences that are told a week, without any fault, in the first week and after it; and of half a day without points how many are
/// told while they last, and the median delay in minutes.
pub fn measure(pattern: Pattern, series: u64) -> ([f64; 2], Option<(f64, f64)>) {
    let weeks = 4.0;
    let (mut first, mut later, mut delays, mut faults) = (0.0, 0.0, Vec::new(), 0);
    for seed in 0..series {
        let mut random = Random::new(seed);
        let times_s = pattern.times_s(weeks, &mut random);
        for gone_s in gone_s(&times_s, weeks * WEEK_S) {
            *if gone_s < WEEK_S { &mut first } else { &mut later } += 1.0;
        }
        if pattern.shows_gone() {
            let start_s = random.between(2.0, 3.5) * WEEK_S;
            let told = gone_s(&without_half_a_day(&times_s, start_s), weeks * WEEK_S);
            let told = told.into_iter().find(|gone_s| (start_s..start_s + 12.0 * HOUR_S).contains(gone_s));
            faults += 1;
            delays.extend(told.map(|gone_s| (gone_s - start_s) / MINUTE_S));
        }
    }
    delays.sort_by(f64::total_cmp);
    let middle = delays.get(delays.len() / 2).copied().unwrap_or(f64::NAN);
    let found = (faults > 0).then(|| (delays.len() as f64 / f64::from(faults), middle));
    ([first / series as f64, later / series as f64 / (weeks - 1.0)], found)
}
