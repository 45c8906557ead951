//! Time a sample and memory a series of each detector, next to peers in the same run.
//!
//! `cargo run --release --manifest-path benches/detectors/Cargo.toml`
//!
//! Every detector judges the same series one point after the other: requests with a daily load, 5 minutes apart. The points of
//! all series come in turn, as they do in an engine. The time is the median of several rounds, the memory what the allocator gave; "of many" is
//! the time with as many series as a task of an engine may have, whose states fit into no cache. Exits with 1 where one of our bars is missed. Peers: the random cut forest of krcf with 30 trees of 256
//! points and a shingle of 8, as OpenSearch has it, and the extended isolation forest over shingles of 4, rebuilt each 256 points
//! from the last 256.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use extended_isolation_forest::{Forest, ForestOptions};
use foreshock_detectors::{DETECTORS, DetectorBank, Point, Slot};
use krcf::{RandomCutForest, RandomCutForestOptions};

const SERIES: usize = 100;
const WARMUP_POINTS: usize = 4000;
const MANY_SERIES: usize = 10_000;
const MANY_WARMUP_POINTS: usize = 500;
/// Rounds are shorter than what a scheduler gives at a time, so that most of them are not interrupted.
const ROUNDS: usize = 99;
const ROUND_POINTS: usize = 10;
/// Detector, ns a sample, bytes a series.
const BARS: [(&str, f64, f64); 2] = [("ensemble", 600.0, 8192.0), ("ewma", 20.0, 64.0)];

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator, with what the caller gave.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Of point `i` of a series; about the same for all, with other noise.
fn value(series: usize, i: usize) -> f64 {
    let mut mixed = ((series << 32 | i) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let noise = (mixed >> 48) as f64 / 65_536.0 + (mixed >> 32 & 0xffff) as f64 / 65_536.0 - 1.0;
    100.0 + 40.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin() + 10.0 * noise
}

/// Something that judges the points `from..to` of some series.
trait Judge {
    fn judge(&mut self, series: usize, from: usize, to: usize);

    /// Gives up what is no part of a series.
    fn end(&mut self) {}
}

struct Ours {
    bank: Box<dyn DetectorBank>,
    verdicts: Vec<Option<foreshock_detectors::Verdict>>,
}

impl Judge for Ours {
    fn judge(&mut self, series: usize, from: usize, to: usize) {
        let slots: Vec<Slot> = (0..series as u32).map(Slot).collect();
        for i in from..to {
            let point = |series: usize| Point { time_ms: i as i64 * 300_000, value: value(series, i) };
            let points: Vec<Point> = (0..series).map(point).collect();
            self.verdicts.clear();
            self.bank.observe(&slots, &points, &mut self.verdicts);
        }
    }

    fn end(&mut self) {
        self.verdicts = Vec::new();
    }
}

struct CutForests(Vec<RandomCutForest>);

impl Judge for CutForests {
    fn judge(&mut self, series: usize, from: usize, to: usize) {
        for i in from..to {
            for (series, forest) in self.0.iter_mut().enumerate().take(series) {
                let point = [value(series, i) as f32];
                std::hint::black_box(forest.score(&point).unwrap_or(0.0));
                forest.update(&point).expect("a point of one dimension");
            }
        }
    }
}

/// The last four points of a series.
type Shingle = [f64; 4];

#[derive(Default)]
struct Windowed {
    last: Shingle,
    window: Vec<Shingle>,
    forest: Option<Forest<f64, 4>>,
}

struct IsolationForests(Vec<Windowed>);

impl Judge for IsolationForests {
    fn judge(&mut self, series: usize, from: usize, to: usize) {
        let options = ForestOptions { n_trees: 100, sample_size: 128, ..ForestOptions::default() };
        for i in from..to {
            for (series, Windowed { last, window, forest }) in self.0.iter_mut().enumerate().take(series) {
                last.rotate_left(1);
                last[3] = value(series, i);
                std::hint::black_box(forest.as_ref().map(|forest| forest.score(last)));
                window.push(*last);
                if window.len() == 256 {
                    *forest = Some(Forest::from_slice(window, &options).expect("enough points"));
                    window.clear();
                }
            }
        }
    }
}

struct Measure {
    name: String,
    sample_ns: f64,
    series_bytes: f64,
}

fn measure(name: &str, series: usize, warmup: usize, make: impl FnOnce() -> Box<dyn Judge>) -> Measure {
    let before = LIVE_BYTES.load(Relaxed);
    let mut judge = make();
    judge.judge(series, 0, warmup);
    judge.end();
    let series_bytes = (LIVE_BYTES.load(Relaxed) - before) as f64 / series as f64;
    // What the values cost is no part of it.
    let values = Instant::now();
    let mut sum = 0.0;
    for i in warmup..warmup + ROUND_POINTS {
        sum += (0..series).map(|series| value(series, i)).sum::<f64>();
    }
    std::hint::black_box(sum);
    let values_s = values.elapsed().as_secs_f64();
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let from = warmup + round * ROUND_POINTS;
            let start = Instant::now();
            judge.judge(series, from, from + ROUND_POINTS);
            (start.elapsed().as_secs_f64() - values_s) * 1e9 / (series * ROUND_POINTS) as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    Measure { name: name.to_owned(), sample_ns: rounds[ROUNDS / 2], series_bytes }
}

fn main() -> ExitCode {
    let (mut measures, mut of_many) = (Vec::new(), Vec::new());
    for spec in DETECTORS {
        let make = || -> Box<dyn Judge> {
            let bank = (spec.build)(serde_json::json!({})).expect("the defaults are valid");
            Box::new(Ours { bank, verdicts: Vec::new() })
        };
        measures.push(measure(spec.name, SERIES, WARMUP_POINTS, make));
        of_many.push(measure(spec.name, MANY_SERIES, MANY_WARMUP_POINTS, make).sample_ns);
    }
    let ours = measures.len();
    let forest = |seed: u64| {
        RandomCutForest::new(RandomCutForestOptions {
            dimensions: 1,
            shingle_size: 8,
            num_trees: Some(30),
            sample_size: Some(256),
            random_seed: Some(seed),
            ..Default::default()
        })
        .expect("valid options")
    };
    measures.push(measure("krcf", 5, 1000, || Box::new(CutForests((0..5).map(forest).collect()))));
    let windows = || (0..5).map(|_| Windowed::default()).collect();
    measures.push(measure("extended-isolation-forest", 5, 1000, || Box::new(IsolationForests(windows()))));

    println!("{:28}{:>12}{:>10}{:>16}", "", "ns a sample", "of many", "bytes a series");
    let mut holds = true;
    for (i, Measure { name, sample_ns, series_bytes }) in measures.iter().enumerate() {
        let of_many = of_many.get(i).map_or("-".to_owned(), |ns| format!("{ns:.0}"));
        print!("{name:28}{sample_ns:12.0}{of_many:>10}{series_bytes:16.0}");
        if let Some((_, ns, bytes)) = BARS.iter().find(|bar| bar.0 == name) {
            let is_met = *sample_ns <= *ns && *series_bytes <= *bytes;
            print!("   at most {ns} and {bytes}: {}", if is_met { "holds" } else { "missed" });
            holds &= is_met;
        }
        for peer in &measures[ours..] {
            if measures[..ours].iter().any(|own| own.name == *name) {
                print!("   {:.0}x faster than {}", peer.sample_ns / sample_ns, peer.name);
            }
        }
        println!();
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
