//! What it takes to look for changes in the evidence at each step, at the bounds of what is kept.
//!
//! `cargo run --release -p foreshock-correlate --example watch_cost -- [OPERATIONS] [TRACES_PER_SECOND]`
//!
//! As many operations, of which each calls the next of ten in a row and logs in between, are hit by so many traces a second for an hour of event time.
//! Prints how long steps of ten seconds took: the taking in of evidence and looking for changes.

use std::time::{Duration, Instant};

use foreshock_correlate::{Correlator, Grouper, TraceCollector};
use model::{LogRow, SpanRow};

const STEP_MS: i64 = 10_000;
const STEPS: i64 = 180;
const DEPTH: usize = 10;

fn median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let operations = arguments.next().unwrap_or(2_000);
    let per_s = arguments.next().unwrap_or(200) as i64;
    let names: Vec<(String, String)> =
        (0..operations).map(|i| (format!("service-{}", i / 4), format!("operation-{i}"))).collect();
    let mut correlator = Correlator::default();
    let mut grouper = Grouper::default();
    let mut collector = TraceCollector::default();
    let (mut taken, mut watched) = (Vec::new(), Vec::new());
    let mut incidents = 0;
    for step in 0..STEPS {
        for request in 0..per_s * STEP_MS / 1000 {
            let number = (step * per_s * STEP_MS / 1000 + request) as u64;
            let start_us = step * STEP_MS * 1000 + request * 1_000_000 / per_s;
            let chance = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let first = (chance as usize % operations) / DEPTH * DEPTH;
            for depth in (0..DEPTH).rev() {
                let (service, operation) = &names[(first + depth).min(operations - 1)];
                let duration_us = 1_000 * (DEPTH - depth) as i64 + (chance >> depth) as i64 % 500;
                let (trace_id, span_id) = (u128::from(number) + 1, number * DEPTH as u64 + depth as u64 + 1);
                let parent = (depth > 0).then(|| span_id - 1);
                collector.observe_span(&SpanRow {
                    start_us: start_us + depth as i64 * 100,
                    duration_us,
                    trace_id,
                    span_id,
                    parent,
                    service,
                    operation,
                    kind: 0,
                    error: false,
                });
                let body = ["found in cache", "read from store", "read from a replica"]
                    [(chance >> depth) as usize % 3];
                collector.observe_log(&LogRow {
                    time_ms: start_us / 1000,
                    service,
                    severity: 9,
                    body,
                    trace_id: Some(trace_id),
                    span_id: Some(span_id),
                });
            }
        }
        let now_ms = (step + 1) * STEP_MS;
        collector.advance(now_ms);
        let start = Instant::now();
        collector.take_evidence().iter().for_each(|evidence| correlator.absorb(evidence));
        correlator.advance(now_ms);
        taken.push(start.elapsed());
        let start = Instant::now();
        incidents += grouper.advance(now_ms, &correlator).len();
        watched.push(start.elapsed());
    }
    let ((taken, taken_max), (watched, watched_max)) = (median(taken), median(watched.split_off(120)));
    println!("taking evidence in: median {taken:.1?}, at most {taken_max:.1?} a step");
    println!(
        "looking for changes: median {watched:.1?}, at most {watched_max:.1?} a step; {incidents} versions"
    );
}
