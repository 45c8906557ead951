//! How long an alert takes, from the record that decides it being written to a gRPC client having it, on a real broker.
//!
//! `cargo run --release -p foreshock --example alert_latency -- BROKERS [ALERTS] [BACKGROUND_SAMPLES_PER_SECOND]`
//!
//! Each round breaks one of many services that have nothing to do with each other, with a record every three seconds, and
//! measures from the last record before the alert. Other series keep the engine busy meanwhile, by default at half of what it was
//! seen to manage before, broker and writer on the same machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use foreshock::config::{Config, Start};
use foreshock::engine::Engine;
use kafka::{ConnectionSettings, TopicSpec, TopicWriter, WriteRecord};
use model::{Labels, MetricKind, SampleBatchBuilder, SampleRow};
use proto::foreshock::v1;
use proto::foreshock::v1::alert_service_client::AlertServiceClient;

const PATIENCE: Duration = Duration::from_secs(30);
const STEP_MS: i64 = 10_000;
const LEARN_STEPS: i64 = 240;
const PAUSE: Duration = Duration::from_secs(3);
/// Series that keep the engine busy, and records in which their points come.
const BUSY_SERIES: i64 = 20_000;
const BUSY_RECORD: i64 = 500;
/// Records that are written at once to see what the engine manages.
const CAPACITY_RECORDS: i64 = 4_000;

fn record(points: &[(Labels, i64, f64)]) -> Vec<u8> {
    let mut builder = SampleBatchBuilder::default();
    for (labels, time_ms, value) in points {
        let (labels, kind, start_ms) = (labels.canonical(), MetricKind::Gauge, None);
        builder.push(&SampleRow { labels: &labels, kind, time_ms: *time_ms, start_ms, value: *value });
    }
    codec::encode::samples(&builder.finish())
}

fn series(service: usize) -> [Labels; 2] {
    ["queue.length", "cpu.utilization"].map(|metric| Labels::of(&format!("service-{service}"), metric))
}

fn noise(step: i64) -> f64 {
    [0.0, 0.7, -0.4, 0.3, -0.6][step.rem_euclid(5) as usize]
}

/// A record of the series that keep the engine busy: each has a point every second.
fn busy_record(at: i64, now_ms: i64) -> Vec<u8> {
    let points = (0..BUSY_RECORD).map(|i| {
        let (series, round) = ((at * BUSY_RECORD + i) % BUSY_SERIES, (at * BUSY_RECORD + i) / BUSY_SERIES);
        let labels = Labels::of(&format!("busy-{}", series % 200), &format!("metric-{}", series / 200));
        (labels, now_ms + round * 1000, 20.0 + noise(round + series))
    });
    record(&points.collect::<Vec<_>>())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let brokers = arguments.first().ok_or_else(|| anyhow::anyhow!("give the brokers as host:port"))?;
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse::<usize>());
    let alerts = number(1, 40)?;

    let run = SystemTime::UNIX_EPOCH.elapsed()?.as_millis();
    let mut config = Config::default();
    config.kafka.brokers.clone_from(brokers);
    config.kafka.group = format!("latency-{run}");
    config.kafka.start = Start::Earliest;
    config.sources.retain(|source| source.signal.as_str() == "metrics");
    let source = format!("latency-{run}-metrics");
    config.sources[0].topic.clone_from(&source);
    let topics = &mut config.topics;
    for topic in [
        &mut topics.samples,
        &mut topics.spans,
        &mut topics.findings,
        &mut topics.anomalies,
        &mut topics.incidents,
        &mut topics.alerts,
        &mut topics.coverage,
        &mut topics.dead_letter,
        &mut topics.controls,
    ] {
        *topic = format!("latency-{run}-{topic}");
    }
    let state = std::env::temp_dir().join(format!("foreshock-latency-{run}"));
    config.state.location = Some(state.display().to_string());
    config.grpc.listen.set_port(0);
    config.http.listen.set_port(0);
    let connection = ConnectionSettings::new(brokers);
    let spec = TopicSpec { name: source.clone(), partitions: 1, replication: -1, config: vec![] };
    kafka::topics::ensure(&connection, &[spec], PATIENCE)?;
    let engine = Engine::start(&config)?;
    while !engine.is_ready() {
        std::thread::sleep(Duration::from_millis(50));
    }

    let writer = TopicWriter::new(&connection)?;
    let write = |payload: &[u8]| {
        writer.write(WriteRecord { topic: &source, payload, ..WriteRecord::default() })?;
        writer.flush(PATIENCE)
    };
    let now_ms = i64::try_from(run)?;
    for step in -LEARN_STEPS..0 {
        let points: Vec<_> = (0..alerts)
            .flat_map(series)
            .map(|labels| (labels, now_ms + step * STEP_MS, 20.0 + noise(step)))
            .collect();
        write(&record(&points))?;
    }

    let began = Instant::now();
    let busy_ms = now_ms - LEARN_STEPS * STEP_MS;
    for at in 0..CAPACITY_RECORDS {
        let payload = busy_record(at, busy_ms);
        writer.write(WriteRecord { topic: &source, payload: &payload, ..WriteRecord::default() })?;
    }
    writer.flush(PATIENCE)?;
    while !engine.has_processed((LEARN_STEPS + CAPACITY_RECORDS) as u64) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let capacity = (CAPACITY_RECORDS * BUSY_RECORD) as f64 / began.elapsed().as_secs_f64();
    let background = number(2, (capacity / 2.0) as usize)?;

    let stop = Arc::new(AtomicBool::new(false));
    let busy = {
        let (stop, source, connection) = (Arc::clone(&stop), source.clone(), connection.clone());
        std::thread::spawn(move || -> anyhow::Result<()> {
            let writer = TopicWriter::new(&connection)?;
            let began = Instant::now();
            let mut records = 0;
            while !stop.load(Ordering::Relaxed) && background > 0 {
                let payload = busy_record(CAPACITY_RECORDS + records, busy_ms);
                writer.write(WriteRecord { topic: &source, payload: &payload, ..WriteRecord::default() })?;
                records += 1;
                let due = Duration::from_secs_f64((records * BUSY_RECORD) as f64 / background as f64);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
            }
            Ok(writer.flush(PATIENCE)?)
        })
    };

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (sender, alerted) = std::sync::mpsc::channel();
    let address = format!("http://{}", engine.grpc());
    runtime.spawn(async move {
        let mut client = AlertServiceClient::connect(address).await.expect("gRPC answers");
        let request = v1::WatchAlertsRequest::default();
        let mut stream = client.watch_alerts(request).await.expect("a stream").into_inner();
        while let Ok(Some(response)) = stream.message().await {
            let Some(alert) = response.alert else { continue };
            // Later versions of an incident are not what is measured.
            if alert.incident_version == 1 {
                let _ = sender.send(Instant::now());
            }
        }
    });
    std::thread::sleep(Duration::from_secs(2));

    let mut latencies_ms = Vec::new();
    for service in 0..alerts {
        for step in 0..6 {
            let points = series(service).map(|labels| (labels, now_ms + step * STEP_MS, 400.0 + noise(step)));
            let written = Instant::now();
            write(&record(&points))?;
            let found = alerted.recv_timeout(PAUSE).ok();
            if let Some(at) = found {
                latencies_ms.push(at.saturating_duration_since(written).as_millis());
                break;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    busy.join().expect("no panic")?;
    engine.stop()?;
    std::fs::remove_dir_all(state)?;
    latencies_ms.sort_unstable();
    let quantile = |q: f64| {
        let last = latencies_ms.len().saturating_sub(1);
        latencies_ms.get((last as f64 * q).round() as usize).copied()
    };
    println!(
        "{{\"alerts\":{},\"of\":{alerts},\"samples_per_s_at_most\":{capacity:.0},\"samples_per_s\":{background},\"p50_ms\":{:?},\"p99_ms\":{:?}}}",
        latencies_ms.len(),
        quantile(0.5).unwrap_or_default(),
        quantile(0.99).unwrap_or_default()
    );
    Ok(())
}
