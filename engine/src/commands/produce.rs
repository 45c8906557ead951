//! `foreshock produce`: recorded telemetry as OTLP onto Kafka topics, at its own speed or faster.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use kafka::{TopicWriter, WriteRecord};
use model::{LogBatchBuilder, SampleBatchBuilder, SpanBatchBuilder};
use replay::history::{History, Row};

use crate::config::{Config, Signal};
use crate::engine::connection;
use crate::feed::{EngineRow, Feed};

/// Rows in one record at the most, as a Collector's batch processor would send.
const ROWS_MAX: usize = 500;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Write recorded telemetry as OTLP onto the source topics
///
/// DIR holds any of metrics, traces and logs (.parquet or .csv). Times stay as they were recorded.
#[derive(Args)]
pub struct Produce {
    /// Folder with the telemetry
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// Brokers, in place of those in the configuration
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// The configuration, for the connection and the topics; the defaults if it is not given
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seconds of the recording per second: 1 is its own speed, 0 as fast as possible
    #[arg(long, value_name = "FACTOR", default_value_t = 0.0, value_parser = speed)]
    speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: Result<f64, _> = text.parse();
    speed
        .ok()
        .filter(|speed| *speed >= 0.0 && speed.is_finite())
        .ok_or_else(|| "give 0 or a positive number".to_owned())
}

/// Rows of one second of the recording, by signal.
#[derive(Default)]
struct Second {
    samples: SampleBatchBuilder,
    spans: SpanBatchBuilder,
    logs: LogBatchBuilder,
    rows: [usize; 3],
}

impl Produce {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        if let Some(brokers) = self.brokers {
            config.kafka.brokers = brokers;
        }
        let topic_of = |signal: Signal| config.sources.iter().find(|source| source.signal == signal);
        let topics = [Signal::Metrics, Signal::Spans, Signal::Logs]
            .map(|signal| topic_of(signal).map(|source| source.topic.clone()));
        let history = History::read(&self.input)?;
        anyhow::ensure!(
            !history.rows.is_empty(),
            "{}: no telemetry; name a folder with metrics, traces or logs (.parquet or .csv)",
            self.input.display()
        );
        let connection = connection(&config);
        connection.validate()?;
        let named: Vec<String> = topics.iter().flatten().cloned().collect();
        kafka::topics::require(&connection, &named, CONNECT_TIMEOUT)?;
        let writer = TopicWriter::new(&connection)?;
        let progress = super::progress("producing", history.rows.len(), std::io::stderr().is_terminal());
        let started = Instant::now();
        let first_us = history.rows.first().map_or(0, Row::time_us);
        let (mut feed, mut second) = (Feed::default(), Second::default());
        let (mut at_s, mut records) = (first_us.div_euclid(1_000_000), 0_u64);
        for (i, row) in history.rows.iter().enumerate() {
            let row_s = row.time_us().div_euclid(1_000_000);
            if row_s != at_s || second.rows.contains(&ROWS_MAX) {
                records += second.write(&writer, &topics, at_s)?;
                at_s = row_s;
                progress.set_position(i as u64);
                if self.speed > 0.0 {
                    let due_s = (row.time_us() - first_us) as f64 / 1e6 / self.speed;
                    let wait = Duration::from_secs_f64(due_s).saturating_sub(started.elapsed());
                    std::thread::sleep(wait);
                }
            }
            second.push(feed.row(row));
        }
        records += second.write(&writer, &topics, at_s)?;
        writer.flush(FLUSH_TIMEOUT)?;
        progress.finish_and_clear();
        eprintln!("wrote {} rows in {records} records to {}", history.rows.len(), config.kafka.brokers);
        Ok(ExitCode::SUCCESS)
    }
}

impl Second {
    fn push(&mut self, row: EngineRow<'_>) {
        let signal = match row {
            EngineRow::Sample(row) => {
                self.samples.push(&row);
                0
            }
            EngineRow::Span(row) => {
                self.spans.push(&row);
                1
            }
            EngineRow::Log(row) => {
                self.logs.push(&row);
                2
            }
        };
        self.rows[signal] += 1;
    }

    /// Writes what there is, as one record a signal; returns the number of records.
    fn write(
        &mut self,
        writer: &TopicWriter,
        topics: &[Option<String>; 3],
        at_s: i64,
    ) -> anyhow::Result<u64> {
        let payloads: [Vec<u8>; 3] = [
            codec::encode::samples(&self.samples.finish()),
            codec::encode::spans(&self.spans.finish()),
            codec::encode::logs(&self.logs.finish()),
        ];
        let rows = std::mem::take(&mut self.rows);
        let mut records = 0;
        for ((topic, payload), rows) in topics.iter().zip(&payloads).zip(rows) {
            if rows == 0 {
                continue;
            }
            let topic = topic.as_deref().ok_or_else(|| {
                anyhow::anyhow!("the folder holds a signal for which `sources` names no topic; add one")
            })?;
            let timestamp_ms = Some(at_s * 1000);
            let (partition, key, headers) = (None, None, &[][..]);
            writer.write(WriteRecord { topic, partition, key, headers, payload, timestamp_ms })?;
            records += 1;
        }
        Ok(records)
    }
}
