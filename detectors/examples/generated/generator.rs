//! Labelled series of services, made by a seed: what is usual for a kind of series, and faults in it.

use std::f64::consts::TAU;
use std::ops::Range;

use foreshock_detectors::Point;

pub const DAY_S: f64 = 86_400.0;
pub const WEEK_S: f64 = 7.0 * DAY_S;

/// What a series is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests a second of a service, by day and week, with noise that has a memory.
    Load,
    /// Latency that follows the load and has a heavy tail, with a short peak at each release.
    Latency,
    /// Small counts of errors, most of them 0.
    Sparse,
    /// Crashes an hour, more by day.
    Crashes,
    /// Work of a job that runs each night, more on Mondays.
    Batch,
    /// Bursts of any size at any time.
    Bursty,
    /// Increments of a counter that is read at uneven times and starts at 0 with each release.
    Counter,
    /// Memory that rises between releases.
    Memory,
}

pub const KINDS: [Kind; 8] = [
    Kind::Load,
    Kind::Latency,
    Kind::Sparse,
    Kind::Crashes,
    Kind::Batch,
    Kind::Bursty,
    Kind::Counter,
    Kind::Memory,
];

/// What goes wrong, in units of the noise of the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 15 sigmas, for three points.
    Spike,
    /// 8 sigmas, for half a day.
    LevelShift,
    /// From nothing to 15 sigmas in a day.
    Trend,
    /// No difference between day and night, for a day.
    LostSeason,
    /// For two hours, or two points.
    DropToZero,
    /// The last value again and again, for half a day.
    Stale,
    /// No points for half a day.
    Gone,
}

pub const FAULTS: [Fault; 7] = [
    Fault::Spike,
    Fault::LevelShift,
    Fault::Trend,
    Fault::LostSeason,
    Fault::DropToZero,
    Fault::Stale,
    Fault::Gone,
];

impl Fault {
    pub fn duration_s(self, interval_s: f64) -> f64 {
        match self {
            Fault::Spike => 3.0 * interval_s,
            Fault::LevelShift | Fault::Stale | Fault::Gone => DAY_S / 2.0,
            Fault::Trend | Fault::LostSeason => DAY_S,
            Fault::DropToZero => f64::max(2.0 * 3600.0, 2.0 * interval_s),
        }
    }

    /// Whether the fault makes a difference in such a series.
    pub fn shows_in(self, kind: Kind) -> bool {
        let is_mostly_zero = matches!(kind, Kind::Sparse | Kind::Crashes | Kind::Batch);
        match self {
            Fault::LostSeason => matches!(kind, Kind::Load | Kind::Latency | Kind::Batch | Kind::Counter),
            Fault::DropToZero | Fault::Stale => !is_mostly_zero,
            Fault::Spike | Fault::LevelShift | Fault::Trend | Fault::Gone => true,
        }
    }
}

/// splitmix64, with the distributions that are needed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// 0..1
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (mut count, mut product) = (0.0, self.unit());
        while product > (-mean).exp() {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}

/// A series of one kind, with its own size, noise and times.
pub struct Service {
    kind: Kind,
    pub interval_s: f64,
    size: f64,
    /// As a share of the size.
    noise: f64,
    /// How much of the noise is kept from one point to the next.
    memory: f64,
    day_share: f64,
    weekend_share: f64,
    peak_s: f64,
    release_s: f64,
}

impl Service {
    pub fn new(kind: Kind, random: &mut Random) -> Self {
        let minute = random.unit() < 0.2;
        let interval_s = match kind {
            Kind::Crashes => 3600.0,
            _ if minute => 60.0,
            _ => 300.0,
        };
        Self {
            kind,
            interval_s,
            size: 10.0_f64.powf(random.between(0.0, 5.0)),
            noise: random.between(0.02, 0.15),
            memory: random.between(0.0, 0.9),
            day_share: random.between(0.2, 0.8),
            weekend_share: random.between(0.5, 1.0),
            peak_s: random.between(0.0, DAY_S),
            release_s: random.between(1.0, 4.0) * DAY_S,
        }
    }

    /// The part of the full load at this time; without a season it is what it is on average.
    fn load(&self, time_s: f64, has_season: bool) -> f64 {
        if !has_season {
            return 1.0 - self.day_share / 2.0;
        }
        let wave = 0.5 + 0.5 * (TAU * (time_s - self.peak_s) / DAY_S).cos();
        let weekend = if time_s.rem_euclid(WEEK_S) >= 5.0 * DAY_S { self.weekend_share } else { 1.0 };
        (1.0 - self.day_share + self.day_share * wave) * weekend
    }

    /// The size of the noise, in the unit of the series.
    fn sigma(&self) -> f64 {
        match self.kind {
            Kind::Load | Kind::Batch | Kind::Memory => self.size * self.noise,
            Kind::Counter => self.size * self.noise.max(0.05),
            Kind::Latency => self.size * self.noise * 3.0,
            Kind::Sparse => 1.0,
            Kind::Crashes => 2.5,
            Kind::Bursty => self.size * 1.5,
        }
    }

    /// `wander` is noise with a memory, of size 1.
    fn value(&self, time_s: f64, wander: f64, has_season: bool, random: &mut Random) -> f64 {
        let load = self.load(time_s, has_season);
        let since_release_s = time_s.rem_euclid(self.release_s);
        let noisy = |base: f64, noise: f64| (base * (1.0 + noise)).max(0.0);
        match self.kind {
            Kind::Load => noisy(self.size * load, self.noise * wander),
            Kind::Latency => {
                let release = if since_release_s < 600.0 { 1.5 } else { 1.0 };
                let tail = (self.noise * 3.0 * random.normal()).exp();
                noisy(self.size * (0.5 + 0.5 * load) * release * tail, self.noise * wander)
            }
            Kind::Sparse => random.poisson(0.15 * load),
            Kind::Crashes => random.poisson(6.0 * load * (0.2 * wander).exp()),
            Kind::Batch => {
                let since_start_s = (time_s - self.peak_s).rem_euclid(DAY_S);
                let monday = if (time_s - self.peak_s).rem_euclid(WEEK_S) < DAY_S { 1.3 } else { 1.0 };
                let is_running = since_start_s < 3600.0 * (1.0 + self.day_share) * monday;
                noisy(self.size * if is_running && has_season { 1.0 } else { 0.1 }, self.noise * wander)
            }
            Kind::Bursty => self.size * (random.normal() + 0.3 * wander).exp(),
            Kind::Counter => {
                let elapsed = 1.0 + 0.03 * random.normal();
                let counted = if since_release_s < self.interval_s { random.unit() } else { 1.0 };
                noisy(self.size * load * elapsed * counted, self.noise * wander)
            }
            Kind::Memory => {
                let share = since_release_s / self.release_s;
                noisy(self.size * (1.0 + share), 0.2 * self.noise * wander)
            }
        }
    }

    /// The points of so many weeks, with one fault from a time on.
    pub fn points(&self, weeks: f64, fault: Option<(Fault, f64)>, random: &mut Random) -> Vec<Point> {
        let mut wander = random.normal();
        self.points_of(0..(weeks * WEEK_S / self.interval_s) as i64, fault, &mut wander, random)
    }

    /// The points of these numbers, which go on from those before by their wander.
    pub fn points_of(
        &self,
        numbers: Range<i64>,
        fault: Option<(Fault, f64)>,
        wander: &mut f64,
        random: &mut Random,
    ) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::with_capacity((numbers.end - numbers.start) as usize);
        for i in numbers {
            let time_s = i as f64 * self.interval_s;
            *wander = self.memory * *wander + (1.0 - self.memory * self.memory).sqrt() * random.normal();
            let since = |(fault, start_s): (Fault, f64)| {
                (fault, (time_s - start_s) / fault.duration_s(self.interval_s))
            };
            let now = fault.map(since).filter(|(_, share)| (0.0..1.0).contains(share));
            let has_season = !matches!(now, Some((Fault::LostSeason, _)));
            let value = self.value(time_s, *wander, has_season, random);
            let value = match now {
                None | Some((Fault::LostSeason, _)) => value,
                Some((Fault::Spike, _)) => value + 15.0 * self.sigma(),
                Some((Fault::LevelShift, _)) => value + 8.0 * self.sigma(),
                Some((Fault::Trend, share)) => value + 15.0 * share * self.sigma(),
                Some((Fault::DropToZero, _)) => 0.0,
                Some((Fault::Stale, _)) => points.last().map_or(value, |point| point.value),
                Some((Fault::Gone, _)) => continue,
            };
            points.push(Point { time_ms: (time_s * 1000.0) as i64, value });
        }
        points
    }
}
