//! Lines per second of log template mining on one core, next to the crates `drain3` and `logdrain`, in one run.
//!
//!   cargo run --release --manifest-path benches/log_templates/Cargo.toml -- [--rounds N] [--lines-out FILE] FILE...
//!
//! The files hold one message per line, and are read as one stream, their lines in turn. Each pass over them has other digits in every number
//! of two or more digits, so that no miner is measured on lines that it has seen byte for byte; `equal lines` is what the files hold as they
//! are, again and again. `first pass` has the cost of learning; `later passes` are those that follow. Every figure is the median of the rounds,
//! and the miners take turns in each round. Where the kernel tells the time that a thread was on a core, that is what counts. `--lines-out` writes the lines that were
//! measured, for `drain3_python.py`.

use std::hint::black_box;
use std::time::{Duration, Instant};

const PASSES: usize = 9;

type Mine = Box<dyn FnMut(&str)>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut rounds = 5;
    let mut lines_out = None;
    let mut files: Vec<Vec<String>> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().ok_or("--rounds needs a number")?.parse()?,
            "--lines-out" => lines_out = Some(arguments.next().ok_or("--lines-out needs a file")?),
            path => {
                let bytes = std::fs::read(path)?;
                files.push(String::from_utf8_lossy(&bytes).lines().map(String::from).collect());
            }
        }
    }
    let equal = in_turn(&files);
    if equal.is_empty() || rounds == 0 {
        return Err("usage: log-templates-bench [--rounds N] [--lines-out FILE] FILE...".into());
    }
    let mut random = Random(0x5eed);
    let passes: Vec<Vec<String>> = (0..PASSES)
        .map(|_| equal.iter().map(|line| with_other_digits(line, &mut random)).collect())
        .collect();
    if let Some(path) = lines_out {
        std::fs::write(path, passes.concat().join("\n") + "\n")?;
    }

    let miners: [(&str, fn() -> Mine); 5] = [
        ("foreshock-templates", foreshock),
        ("drain3", drain3),
        ("drain3, 4 masks", drain3_masked),
        ("logdrain", logdrain),
        ("logdrain, 4 masks", logdrain_masked),
    ];
    let mut figures = vec![[const { Vec::new() }; 3]; miners.len()];
    for _ in 0..rounds {
        for ((_, miner), figures) in miners.iter().zip(&mut figures) {
            let mut mine = miner();
            figures[0].push(run(&mut mine, &passes[..1]));
            figures[1].push(run(&mut mine, &passes[1..]));
            let again = vec![equal.clone(); 3];
            run(&mut mine, &again[..1]);
            figures[2].push(run(&mut mine, &again));
        }
    }
    let bytes: usize = passes.iter().flatten().map(String::len).sum();
    let mean = bytes as f64 / (passes.len() * equal.len()) as f64;
    println!(
        "{} lines in {PASSES} passes, {mean:.1} bytes a line; million lines/s, median of {rounds}",
        equal.len()
    );
    println!(
        "{:<22}{:>12}{:>14}{:>13}{:>20}",
        "", "first pass", "later passes", "equal lines", "later, least..most"
    );
    for ((name, _), mut figures) in miners.iter().zip(figures) {
        for column in &mut figures {
            column.sort_by(f64::total_cmp);
        }
        let middle = |column: &Vec<f64>| column[column.len() / 2];
        let [first, later, equal] = figures.each_ref().map(middle);
        let spread = format!("{:.2}..{:.2}", figures[1][0], figures[1][rounds - 1]);
        println!("{name:<22}{first:>12.2}{later:>14.2}{equal:>13.2}{spread:>20}");
    }
    Ok(())
}

fn foreshock() -> Mine {
    let mut miner = templates::TemplateMiner::default();
    Box::new(move |line| {
        black_box(miner.observe(line));
    })
}

fn drain3() -> Mine {
    let mut matcher = drain3::Matcher::new(drain3::Config::default());
    Box::new(move |line| {
        let _ = black_box(matcher.add_log_message(line));
    })
}

/// With the masks that its documentation shows, and those of a hexadecimal number and a UUID.
fn drain3_masked() -> Mine {
    let rules = [
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<UUID>"),
        (r"\b\d{1,3}(\.\d{1,3}){3}\b", "<IP>"),
        (r"\b0x[0-9a-f]+\b", "<HEX>"),
        (r"\d+", "<NUM>"),
    ];
    let masking = rules
        .map(|(pattern, mask)| drain3::MaskingInstruction { pattern: pattern.into(), mask: mask.into() })
        .into();
    let mut matcher = drain3::Matcher::new(drain3::Config::builder().masking(masking).build());
    Box::new(move |line| {
        let _ = black_box(matcher.add_log_message(line));
    })
}

fn logdrain() -> Mine {
    let miner = logdrain::Miner::builder().build().expect("the defaults are sound");
    Box::new(move |line| {
        black_box(miner.add(line));
    })
}

fn logdrain_masked() -> Mine {
    use logdrain::builtin_masks::{email, hex32, ipv4, uuid};
    let masks = [uuid(), hex32(), email(), ipv4()];
    let miner = logdrain::Miner::builder().masks(masks).build().expect("the defaults are sound");
    Box::new(move |line| {
        black_box(miner.add(line));
    })
}

/// Million lines per second.
fn run(mine: &mut Mine, passes: &[Vec<String>]) -> f64 {
    let begun = (Instant::now(), time_on_core());
    let mut lines = 0;
    for pass in passes {
        pass.iter().for_each(|line| mine(line));
        lines += pass.len();
    }
    let spent = match (begun.1, time_on_core()) {
        (Some(begun), Some(ended)) => ended.saturating_sub(begun),
        _ => begun.0.elapsed(),
    };
    lines as f64 / spent.max(Duration::from_nanos(1)).as_secs_f64() / 1e6
}

/// How long this thread has been on a core, where the kernel tells: on a busy machine that is what one core is worth.
fn time_on_core() -> Option<Duration> {
    // The kernel brings the figure up to date when the thread gives up its core.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The first lines of all files, then the second ones, and so on.
fn in_turn(files: &[Vec<String>]) -> Vec<String> {
    let longest = files.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|at| files.iter().filter_map(move |file| file.get(at).cloned())).collect()
}

fn with_other_digits(line: &str, random: &mut Random) -> String {
    let mut bytes = line.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length >= 2 {
            for digit in &mut bytes[at..at + length] {
                *digit = b'0' + random.below(10) as u8;
            }
        }
        at += length.max(1);
    }
    String::from_utf8(bytes).expect("digits took the place of digits")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound
    }
}
