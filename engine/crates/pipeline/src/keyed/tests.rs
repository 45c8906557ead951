use model::{Labels, MetricKind, OutputTopic, SampleBatchBuilder, SampleRow, ServiceCoverage};

use super::*;
use crate::ingest::IngestTask;
use crate::routing::Partitions;
use crate::series::SeriesTask;
use crate::settings::DetectorSettings;
use crate::trace::TraceTask;
use crate::wire::{self, Incoming};

const STEP_MS: i64 = 10_000;
const START_MS: i64 = 1_700_000_000_000;

/// Reads the numbers of rounds: two series of each, of which one jumps at the end. Other records are none.
struct Rounds;

impl Decoder for Rounds {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), codec::Rejected> {
        let text = std::str::from_utf8(record.payload).unwrap_or_default();
        let Ok(rounds) = text.split(',').map(str::parse::<i64>).collect::<Result<Vec<_>, _>>() else {
            return Err(codec::Rejected::TooManyRows { limit: 0 });
        };
        let mut builder = SampleBatchBuilder::default();
        for round in rounds {
            for metric in ["cpu", "queue"] {
                let labels = Labels::of("cart", metric).canonical();
                let noise = [9.0, 10.5, 11.0, 9.5][(round % 4) as usize];
                let value = if round > 200 && metric == "cpu" { 900.0 } else { noise };
                let (kind, time_ms) = (MetricKind::Gauge, START_MS + round * STEP_MS);
                builder.push(&SampleRow { labels: &labels, kind, time_ms, start_ms: None, value });
            }
        }
        out.push(Telemetry::Samples(builder.finish()));
        Ok(())
    }

    fn dropped(&self) -> codec::Dropped {
        codec::Dropped::default()
    }
}

fn stage() -> SeriesStage {
    let detectors: Vec<DetectorSettings> = serde_json::from_str(r#"[{"kind": "ewma"}]"#).expect("settings");
    SeriesStage::new(&AnalysisSettings::default(), &detectors).expect("it can be made")
}

fn task() -> KeyedTask {
    let router = Router::new("acme", Partitions::ONE);
    KeyedTask::new("m/0", Box::new(Rounds), router, &AnalysisSettings::default(), stage())
}

fn record<'a>(offset: i64, payload: &'a [u8], headers: &'a [(&'a str, &'a [u8])]) -> SourceRecord<'a> {
    let (topic, partition, key) = ("m", 0, None);
    SourceRecord { timestamp_ms: None, topic, partition, offset, key, headers, payload }
}

fn give(task: &mut dyn PartitionTask, round: i64) -> Vec<Output> {
    let mut out = Vec::new();
    task.on_record(record(round, round.to_string().as_bytes(), &[]), &mut out);
    task.flush(&mut out);
    out
}

/// Gives those of `outputs` that lie on `topic` on to a task.
fn give_on(task: &mut dyn PartitionTask, topic: OutputTopic, outputs: &[Output], out: &mut Vec<Output>) {
    for output in outputs.iter().filter(|output| output.topic == topic) {
        let headers: Vec<(&str, &[u8])> =
            output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        task.on_record(record(0, &output.payload, &headers), out);
    }
}

fn read(output: &Output) -> Incoming {
    let headers: Vec<(&str, &[u8])> =
        output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    wire::read(record(0, &output.payload, &headers)).expect("what a stage wrote")
}

/// All findings, and the last watermark that was told.
fn findings(outputs: &[Output]) -> (Vec<Finding>, Option<i64>) {
    let (mut all, mut last_ms) = (Vec::new(), None);
    for output in outputs.iter().filter(|output| output.topic == OutputTopic::Findings) {
        let Incoming::Findings(findings) = read(output) else { panic!("findings lie there") };
        all.extend(findings.findings);
        last_ms = findings.watermark.and_then(|watermark| watermark.watermark_ms).or(last_ms);
    }
    (all, last_ms)
}

#[test]
fn the_same_is_found_as_on_the_way_over_samples() {
    let router = Router::new("acme", Partitions::ONE);
    let settings = AnalysisSettings::default();
    let mut ingest = IngestTask::new(Some("m/0"), Box::new(Rounds), router.clone(), &settings);
    let mut series = SeriesTask::new("samples/0", router, &["m/0".to_owned()], "spans", stage());
    let mut keyed = task();
    let (mut over_samples, mut at_once) = (Vec::new(), Vec::new());
    for round in 0..210 {
        give_on(&mut series, OutputTopic::Samples, &give(&mut ingest, round), &mut over_samples);
        at_once.extend(give(&mut keyed, round));
    }
    let (found, told_ms) = findings(&at_once);
    assert_eq!(found, findings(&over_samples).0);
    assert!(found.iter().any(|finding| matches!(finding, Finding::Anomaly(_))));
    assert_eq!(told_ms, keyed.status().watermark_ms);
    assert!(told_ms >= Some(START_MS + 207 * STEP_MS));
}

/// What is told of coverage, without who tells it.
fn coverage(outputs: &[Output]) -> Vec<ServiceCoverage> {
    let told = outputs.iter().filter(|output| output.topic == OutputTopic::Coverage);
    let read = |output: &Output| {
        let coverage: ServiceCoverage = serde_json::from_slice(&output.payload).expect("JSON");
        assert_eq!(output.key, format!("{}/{}", coverage.source, coverage.service).as_bytes());
        let header =
            |name: &str| output.headers.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_slice());
        assert_eq!(header("ce_type"), Some(&b"foreshock.coverage.v1"[..]));
        ServiceCoverage { source: String::new(), ..coverage }
    };
    told.map(read).collect()
}

#[test]
fn coverage_is_the_same_on_either_way_and_however_rows_come_together() {
    let router = Router::new("acme", Partitions::ONE);
    let settings = AnalysisSettings::default();
    let mut ingest = IngestTask::new(Some("m/0"), Box::new(Rounds), router.clone(), &settings);
    let mut series = SeriesTask::new("samples/0", router, &["m/0".to_owned()], "spans", stage());
    let (mut keyed, mut together) = (task(), task());
    let (mut over_samples, mut at_once, mut in_batches) = (Vec::new(), Vec::new(), Vec::new());
    let rounds: Vec<i64> = (0..1_000).collect();
    for &round in &rounds {
        give_on(&mut series, OutputTopic::Samples, &give(&mut ingest, round), &mut over_samples);
        at_once.extend(give(&mut keyed, round));
    }
    for batch in rounds.chunks(50) {
        let text: Vec<String> = batch.iter().map(i64::to_string).collect();
        together.on_record(record(0, text.join(",").as_bytes(), &[]), &mut in_batches);
    }
    let told = coverage(&at_once);
    let states: Vec<(u64, u64)> = told.iter().map(|told| (told.learning.series, told.modelled)).collect();
    assert_eq!(states, [(2, 0), (0, 2)], "{told:?}");
    assert_eq!(told[0].time_ms, START_MS + 4 * 60_000 - STEP_MS);
    assert_eq!(coverage(&over_samples), told);
    assert_eq!(coverage(&in_batches), told);
    assert_eq!(keyed.status().coverage, [2, 0, 0, 0, 0]);
}

#[test]
fn a_snapshot_goes_on_and_what_cannot_be_read_is_a_dead_letter() {
    let (mut whole, mut resumed) = (task(), task());
    for round in 0..210 {
        if round % 50 == 7 {
            let mut next = task();
            next.restore(&resumed.snapshot()).expect("a snapshot can be taken up");
            resumed = next;
            let mut out = Vec::new();
            resumed.on_record(record(0, b"?", &[]), &mut out);
            assert!(out.iter().any(|output| output.topic == OutputTopic::DeadLetter));
        }
        assert_eq!(give(&mut resumed, round), give(&mut whole, round), "round {round}");
    }
}

#[test]
fn a_partition_at_its_end_says_so_and_is_no_other_for_it() {
    let (mut whole, mut idle) = (task(), task());
    for round in 0..20 {
        let mut out = Vec::new();
        idle.on_idle(&mut out);
        let Incoming::Findings(said) = read(&out[0]) else { panic!("findings lie there") };
        assert_eq!(said.watermark, Some(SourceWatermark { source: "m/0".to_owned(), watermark_ms: None }));
        assert_eq!(give(&mut idle, round), give(&mut whole, round));
        assert_eq!(idle.snapshot(), whole.snapshot());
    }
}

#[test]
fn stages_that_nothing_has_ever_come_to_say_that_they_are_idle() {
    let router = Router::new("acme", Partitions::ONE);
    let ingests = ["m/0".to_owned()];
    let mut ingest =
        IngestTask::new(Some("m/0"), Box::new(Rounds), router.clone(), &AnalysisSettings::default());
    let mut traces = TraceTask::new("spans/0", router.clone(), &ingests);
    let mut series = SeriesTask::new("samples/0", router, &ingests, "spans", stage());
    let mut told = |ingested: Vec<Output>| {
        let (mut from_traces, mut from_series) = (Vec::new(), Vec::new());
        give_on(&mut traces, OutputTopic::Spans, &ingested, &mut from_traces);
        give_on(&mut series, OutputTopic::Samples, &ingested, &mut from_series);
        let before = from_series.len();
        give_on(&mut series, OutputTopic::Samples, &from_traces, &mut from_series);
        let said = |outputs: &[Output]| -> Vec<(String, Option<i64>)> {
            let findings = outputs.iter().filter(|output| output.topic == OutputTopic::Findings);
            let watermark = |output: &Output| match read(output) {
                Incoming::Findings(findings) => findings.watermark.map(|w| (w.source, w.watermark_ms)),
                _ => None,
            };
            findings.filter_map(watermark).collect()
        };
        (said(&from_traces), said(&from_series[..before]), said(&from_series[before..]))
    };
    let mut idle = Vec::new();
    ingest.on_idle(&mut idle);
    let none = |source: &str| vec![(source.to_owned(), None)];
    // The series may still get calls until the traces have said so.
    assert_eq!(told(idle.clone()), (none("spans/0"), Vec::new(), none("samples/0")));
    let (of_traces, _, of_series) = told(give(&mut ingest, 7));
    let reached = Some(START_MS + 7 * STEP_MS - 10_000);
    assert_eq!(of_traces, [("spans/0".to_owned(), reached)]);
    assert_eq!(of_series, [("samples/0".to_owned(), reached)]);
    assert_eq!(told(idle), (Vec::new(), Vec::new(), Vec::new()), "there is a time now");
}
