//! What many series cost: nanoseconds a point, bytes of state, the pause for a snapshot, and the time of a recovery.
//!
//! `cargo run --release -p foreshock-worker --example scale -- SERIES PARTITIONS ROUNDS DETECTOR FOLDER`
//!
//! Each round is a point of every series, ten seconds after the last. Snapshots are stored in FOLDER, which is emptied before.

use std::error::Error;
use std::time::{Duration, Instant};

use checkpoint::{Snapshot, SnapshotName};
use codec::ipc;
use foreshock_worker::SLICE_SERIES;
use model::{Labels, MetricKind, Output, SampleBatchBuilder, SampleRow, SourceRecord, Telemetry};
use pipeline::settings::{AnalysisSettings, DetectorSettings};
use pipeline::{PartitionTask, Partitions, Router, SeriesStage, SeriesTask};

const GROUP: &str = "scale";
const TOPIC: &str = "samples";
/// Points in a record.
const RECORD_ROWS: usize = 1_000;
const START_MS: i64 = 1_767_600_000_000;
const ROUND_MS: i64 = 10_000;

/// splitmix64
fn mixed(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

/// A daily wave with noise.
fn value(series: usize, round: u64) -> f64 {
    let noise = mixed(round ^ ((series as u64) << 20)) as f64 / u64::MAX as f64;
    let phase = round as f64 / 8_640.0 * std::f64::consts::TAU + series as f64;
    100.0 + 20.0 * phase.sin() + 5.0 * noise
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}

fn task(
    detectors: &[DetectorSettings],
    partitions: usize,
    partition: usize,
) -> Result<SeriesTask, Box<dyn Error>> {
    let router =
        Router::new("default", Partitions { samples: i32::try_from(partitions)?, ..Partitions::ONE });
    let stage = SeriesStage::new(&AnalysisSettings::default(), detectors)?;
    Ok(SeriesTask::new(&format!("{TOPIC}/{partition}"), router, &[], "spans", stage))
}

/// A record of one point of each of these series.
fn payload(labels: &[String], rows: &[usize], round: usize) -> Vec<u8> {
    let mut builder = SampleBatchBuilder::default();
    for &row in rows {
        let (kind, start_ms) = (MetricKind::Gauge, None);
        let time_ms = START_MS + round as i64 * ROUND_MS;
        let value = value(row, round as u64);
        builder.push(&SampleRow { labels: &labels[row], kind, time_ms, start_ms, value });
    }
    ipc::to_bytes(&Telemetry::Samples(builder.finish()))
}

/// Gives a record to a task; returns how long it took.
fn take(task: &mut dyn PartitionTask, partition: usize, offset: &mut i64, payload: &[u8]) -> Duration {
    let headers: &[(&str, &[u8])] = &[(ipc::KIND_HEADER, b"samples")];
    let record = SourceRecord {
        timestamp_ms: None,
        topic: TOPIC,
        partition: partition as i32,
        offset: *offset,
        key: None,
        headers,
        payload,
    };
    *offset += 1;
    let mut out: Vec<Output> = Vec::new();
    let began = Instant::now();
    task.on_record(record, &mut out);
    began.elapsed()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (series, partitions, rounds) = (number(0, 100_000)?, number(1, 8)?, number(2, 60)?);
    let kind = arguments.get(3).map_or("ensemble", String::as_str);
    let folder = arguments
        .get(4)
        .cloned()
        .unwrap_or_else(|| std::env::temp_dir().join("foreshock-scale").display().to_string());
    let _ = std::fs::remove_dir_all(&folder);
    let store = checkpoint::open(&folder, &std::collections::BTreeMap::new())?;
    let detectors: Vec<DetectorSettings> = vec![DetectorSettings {
        name: None,
        kind: kind.to_owned(),
        matchers: Vec::new(),
        parameters: serde_json::Map::new(),
    }];

    let labels: Vec<String> = (0..series)
        .map(|i| Labels::of(&format!("service-{}", i / 100), &format!("metric_{}", i % 100)).canonical())
        .collect();
    let mut of_partition = vec![Vec::new(); partitions];
    (0..series).for_each(|i| of_partition[i % partitions].push(i));
    let before_bytes = resident_bytes();
    let mut tasks = (0..partitions)
        .map(|partition| task(&detectors, partitions, partition).map(Box::new))
        .collect::<Result<Vec<_>, _>>()?;
    let mut offsets = vec![0_i64; partitions];
    let (mut busy, mut payload_bytes) = (Duration::ZERO, 0);
    for round in 0..rounds {
        for (partition, task) in tasks.iter_mut().enumerate() {
            for rows in of_partition[partition].chunks(RECORD_ROWS) {
                let payload = payload(&labels, rows, round);
                payload_bytes += payload.len();
                busy += take(task.as_mut(), partition, &mut offsets[partition], &payload);
            }
        }
    }
    let points = (series * rounds) as f64;
    println!("{series} series in {partitions} partitions, {rounds} rounds, {kind}");
    println!(
        "judging          {:8.0} ns a point, with decoding of Arrow and findings",
        busy.as_nanos() as f64 / points
    );
    println!(
        "between stages   {:8.0} bytes a point, {RECORD_ROWS} in a record",
        payload_bytes as f64 / points
    );
    println!(
        "memory           {:8.0} bytes a series",
        (resident_bytes() - before_bytes) as f64 / series as f64
    );

    // As a worker takes them: a slice after each record.
    let (mut pauses, mut records_ms, mut stored_bytes, mut storing) =
        (Vec::new(), Vec::new(), 0, Duration::ZERO);
    let mut names = Vec::new();
    for (partition, task) in tasks.iter_mut().enumerate() {
        let offset = offsets[partition];
        let began = Instant::now();
        let mut sections = task.begin_snapshot();
        let mut pause = began.elapsed();
        for rows in of_partition[partition].chunks(RECORD_ROWS).cycle() {
            let payload = payload(&labels, rows, rounds);
            records_ms.push(milliseconds(take(task.as_mut(), partition, &mut offsets[partition], &payload)));
            let began = Instant::now();
            let others = task.continue_snapshot(SLICE_SERIES);
            pause = pause.max(began.elapsed());
            if let Some(others) = others {
                sections.extend(others);
                break;
            }
        }
        pauses.push(pause);
        let snapshot = Snapshot {
            topic: TOPIC.to_owned(),
            partition: partition as i32,
            offset,
            config_digest: 0,
            sections,
        };
        let name = SnapshotName::new(GROUP, TOPIC, partition as i32, offset, 1)?;
        let began = Instant::now();
        let bytes = snapshot.to_bytes();
        store.put(&name.to_string(), &bytes)?;
        storing += began.elapsed();
        stored_bytes += bytes.len();
        names.push((partition, name.to_string()));
    }
    records_ms.sort_unstable_by(f64::total_cmp);
    pauses.sort_unstable();
    println!("snapshot         {:8.0} bytes a series", stored_bytes as f64 / series as f64);
    println!(
        "pause            {:8.0} ms for one partition (median), {:.0} ms at most",
        milliseconds(pauses[pauses.len() / 2]),
        milliseconds(pauses[pauses.len() - 1])
    );
    println!(
        "meanwhile        {:8.1} ms for a record (median), {:.1} ms at most",
        records_ms[records_ms.len() / 2],
        records_ms[records_ms.len() - 1]
    );
    println!("storing          {:8.1} s for all, beside the reading", storing.as_secs_f64());

    drop(tasks);
    let began = Instant::now();
    let (first, second) = names.split_at(names.len() / 2);
    let restore = |names: &[(usize, String)]| {
        let restore_one = |(partition, name): &(usize, String)| {
            let snapshot = Snapshot::from_bytes(&store.get(name)?)?;
            let mut task = task(&detectors, partitions, *partition)?;
            task.restore(&snapshot.sections)?;
            Ok::<_, Box<dyn Error>>(task)
        };
        names.iter().map(restore_one).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
    };
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| restore(second));
        (restore(first), other.join())
    });
    let restored = first?.len() + second.map_err(|_| "a thread panicked")??.len();
    let took_s = began.elapsed().as_secs_f64();
    println!("recovery         {took_s:8.1} s for {restored} partitions on two threads");
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
