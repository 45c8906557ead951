//! Rows per second from the bytes of a record to Arrow on one core, next to other readers of the same bytes, in one run.
//!
//!   cargo run --release --manifest-path benches/decode/Cargo.toml -- [--rounds N] [CASE...]
//!
//! `foreshock` is the decoder of the product from bytes to batches, for metrics with the id of every series. What the peers do is in
//! their names: `messages` only builds the structs, `batches` fills the same columns from them (and hashes the same ids). `first` is the
//! pass in which no series is known, `later` the median of the passes that follow, each with other values and times; readers take turns in
//! each round. Where the kernel tells the time that a thread was on a core, that is what counts. A CASE is part of a title.

mod payloads;
mod peers;

/// OTLP read with prost into the batches of the product: what its tests hold its decoders to.
#[path = "../../../engine/crates/codec/tests/it"]
mod it {
    pub mod oracle;
}

use std::hint::black_box;
use std::time::{Duration, Instant};

use foreshock_codec::{Decoder, Limits, decoder};
use it::oracle;
use model::{SourceRecord, Telemetry};

/// Reads all records and tells how many rows they hold.
type Read = Box<dyn FnMut(&[Vec<u8>]) -> usize>;

struct Reader {
    name: &'static str,
    build: fn() -> Read,
}

struct Case {
    title: String,
    /// Each with other values and times of the same series.
    passes: Vec<Vec<Vec<u8>>>,
    rows_of_a_pass: usize,
    /// The product first.
    readers: Vec<Reader>,
}

fn main() {
    let mut rounds = 5;
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => {
                rounds = arguments
                    .next()
                    .and_then(|text| text.parse().ok())
                    .filter(|n| *n > 0)
                    .expect("--rounds N")
            }
            title => wanted.push(title.to_owned()),
        }
    }
    println!("{:<44}{:<30}{:>8}{:>8}{:>9}{:>9}", "M rows/s", "", "first", "later", "ns/row", "to us");
    for case in cases(&wanted) {
        run(&case, rounds);
    }
}

fn run(case: &Case, rounds: usize) {
    let mut first = vec![Vec::new(); case.readers.len()];
    let mut later = vec![Vec::new(); case.readers.len()];
    for _ in 0..rounds {
        for (at, reader) in case.readers.iter().enumerate() {
            let mut read = (reader.build)();
            for (pass, records) in case.passes.iter().enumerate() {
                let ns_per_row = timed(|| {
                    assert_eq!(
                        read(records),
                        case.rows_of_a_pass,
                        "{} {}: every row is read",
                        case.title,
                        reader.name
                    );
                }) / case.rows_of_a_pass as f64;
                let figures = if pass == 0 { &mut first } else { &mut later };
                figures[at].push(ns_per_row);
            }
        }
    }
    let median = |figures: &mut Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let bytes: usize = case.passes.iter().flatten().map(Vec::len).sum();
    let records: usize = case.passes.iter().map(Vec::len).sum();
    println!(
        "{} ({} bytes a row, {} a record)",
        case.title,
        bytes / (case.passes.len() * case.rows_of_a_pass),
        bytes / records
    );
    let own = median(&mut later[0].clone());
    for (at, reader) in case.readers.iter().enumerate() {
        let (first, later) = (median(&mut first[at]), median(&mut later[at]));
        println!(
            "{:<44}{:<30}{:>8.2}{:>8.2}{:>9.0}{:>8.1}x",
            "",
            reader.name,
            1e3 / first,
            1e3 / later,
            later,
            later / own
        );
    }
}

/// In nanoseconds.
fn timed(work: impl FnOnce()) -> f64 {
    let begun = (Instant::now(), time_on_core());
    work();
    let spent = match (begun.1, time_on_core()) {
        (Some(begun), Some(ended)) => ended.saturating_sub(begun),
        _ => begun.0.elapsed(),
    };
    spent.max(Duration::from_nanos(1)).as_secs_f64() * 1e9
}

/// How long this thread has been on a core, where the kernel tells: on a busy machine that is what one core is worth.
fn time_on_core() -> Option<Duration> {
    // The kernel brings the figure up to date when the thread gives up its core.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn record(payload: &[u8]) -> SourceRecord<'_> {
    SourceRecord { topic: "t", partition: 0, offset: 0, timestamp_ms: None, key: None, headers: &[], payload }
}

/// Decodes into batches; ids of series as well.
fn batches(mut decoder: Box<dyn Decoder>) -> Read {
    let mut out = Vec::new();
    Box::new(move |records| {
        let mut rows = 0;
        for payload in records {
            decoder.decode(record(payload), &mut out).expect("a valid record");
            for batch in out.drain(..) {
                if let Telemetry::Samples(batch) = &batch {
                    black_box(batch.series_ids());
                }
                rows += batch.record_batch().num_rows();
                black_box(batch);
            }
        }
        rows
    })
}

macro_rules! product {
    ($signal:literal, $encoding:literal) => {
        Reader {
            name: "foreshock",
            build: || batches(decoder($signal, $encoding, Limits::default()).expect("a decoder of the list")),
        }
    };
}

macro_rules! reader {
    ($name:literal, $read:expr) => {
        Reader {
            name: $name,
            build: || Box::new(|records: &[Vec<u8>]| records.iter().map(|payload| $read(payload)).sum()),
        }
    };
}

fn cases(wanted: &[String]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |title: String,
                   rows_of_a_pass: usize,
                   passes: &dyn Fn(usize) -> Vec<Vec<u8>>,
                   readers: Vec<Reader>| {
        if wanted.is_empty() || wanted.iter().any(|wanted| title.contains(wanted.as_str())) {
            cases.push(Case { passes: (0..6).map(passes).collect(), title, rows_of_a_pass, readers });
        }
    };
    for (series, of_a_metric) in [(10_000, 10), (10_000, 1), (100_000, 10)] {
        add(
            format!("OTLP metrics, {series} series, {of_a_metric} a metric"),
            series,
            &move |pass| payloads::metrics(series, of_a_metric, pass),
            vec![
                product!("metrics", "otlp_proto"),
                reader!("opentelemetry-proto, messages", peers::otlp_metrics),
                Reader {
                    name: "prost, batches",
                    build: || batches(Box::new(oracle::MetricsDecoder::new(Limits::default()))),
                },
            ],
        );
    }
    add(
        "OTLP logs, 6 attributes".to_owned(),
        20_000,
        &payloads::logs,
        vec![
            product!("logs", "otlp_proto"),
            reader!("opentelemetry-proto, messages", peers::otlp_logs),
            Reader {
                name: "prost, batches",
                build: || batches(Box::new(oracle::LogsDecoder::new(Limits::default()))),
            },
        ],
    );
    add(
        "OTLP spans, 8 attributes".to_owned(),
        20_000,
        &payloads::spans,
        vec![
            product!("spans", "otlp_proto"),
            reader!("opentelemetry-proto, messages", peers::otlp_spans),
            Reader {
                name: "prost, batches",
                build: || batches(Box::new(oracle::SpansDecoder::new(Limits::default()))),
            },
        ],
    );
    add(
        "Prometheus remote write 1.0, 10000 series".to_owned(),
        10_000,
        &payloads::remote_write,
        vec![product!("metrics", "prometheus_remote_write"), reader!("prost, messages", peers::remote_write)],
    );
    add(
        "Prometheus remote write 2.0, 10000 series".to_owned(),
        10_000,
        &payloads::remote_write_2,
        vec![
            product!("metrics", "prometheus_remote_write"),
            reader!("prost, messages", peers::remote_write_2),
        ],
    );
    for samples_of_a_record in [1, 500] {
        add(
            format!("JSON, 6 labels, {samples_of_a_record} a record"),
            10_000,
            &move |pass| payloads::json(10_000, samples_of_a_record, pass),
            vec![
                product!("metrics", "json"),
                reader!("serde_json::Value", peers::json),
                reader!("simd_json::BorrowedValue", peers::simd_json),
            ],
        );
    }
    add(
        "Influx, 6 tags, 2 fields".to_owned(),
        10_000,
        &payloads::influx,
        vec![product!("metrics", "influx"), reader!("influxdb-line-protocol, lines", peers::influx)],
    );
    cases
}
