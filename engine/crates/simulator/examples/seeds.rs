//! Many seeds: `cargo run --release -p foreshock-simulator --example seeds -- FIRST COUNT`. Prints those that fail.

use std::process::ExitCode;

use foreshock_simulator::{Report, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (first, count) = (arguments.next().unwrap_or(0_u64), arguments.next().unwrap_or(10_000));
    let (mut sum, mut failed) = (Report::default(), 0_u64);
    for seed in first..first + count {
        match run(seed, None) {
            Ok(report) => sum += report,
            Err(violation) => {
                failed += 1;
                println!("seed {seed}: {violation}");
            }
        }
    }
    println!("{failed} of {count} seeds failed; {sum:?}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
