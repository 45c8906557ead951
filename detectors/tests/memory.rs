//! No state of a series takes more memory than its detector says.
//!
//! A program of its own, without the test harness, whose other threads would count.

use std::alloc::System;

use foreshock_detectors::{DETECTORS, Point, Slot};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// splitmix64, from 0 to 1
fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

fn main() {
    const SERIES: usize = 8;
    // Five weeks in which nearly every value is new, so that all room is used.
    let mut seed = 7;
    let times_ms = (0..10_000).map(|i: i64| i * 300_000);
    let points: Vec<Point> =
        times_ms.map(|time_ms| Point { time_ms, value: (8.0 * random(&mut seed)).exp() - 4.0 }).collect();
    let mut verdicts = Vec::with_capacity(points.len());
    let slots: Vec<Vec<Slot>> = (0..SERIES).map(|slot| vec![Slot(slot as u32); points.len()]).collect();
    for spec in DETECTORS {
        let mut bank = (spec.build)(json!({})).expect("the defaults are valid");
        let region = Region::new(ALLOCATOR);
        let mut most = 0;
        for at in (0..points.len()).step_by(20) {
            for slots in &slots {
                verdicts.clear();
                bank.observe(&slots[at..at + 20], &points[at..at + 20], &mut verdicts);
            }
            let change = region.change();
            most = most.max(change.bytes_allocated - change.bytes_deallocated);
        }
        let allowed = bank.state_bytes_max() * SERIES;
        assert!(most <= allowed, "{}: {most} bytes, {allowed} allowed", spec.name);
        assert!(
            most * 3 >= allowed,
            "{}: {most} bytes, {allowed} allowed, far more than it needs",
            spec.name
        );
        println!("{:20} {:6} bytes a series, {:6} at most", spec.name, most / SERIES, allowed / SERIES);
    }
}
