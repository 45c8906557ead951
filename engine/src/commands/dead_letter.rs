//! `foreshock dead-letter`: what could not be read, and a second try after what was wrong has been mended.

mod filter;
mod replay;

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use codec::dead_letter::{self, Replayed};
use kafka::{ConnectionSettings, PartitionExtent, ScanEnd, TopicScan};
use model::SourceRecord;
use serde::Serialize;

use self::filter::Filter;
use super::{OutputFormat, print, progress, time_text};
use crate::config::Config;
use crate::engine::connection;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A scan ends where the topic ended when it began, so only brokers that are slow make it long.
const SCAN_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Between lines that say how far a scan has come.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Of a key that is shown.
const KEY_CHARACTERS_MAX: usize = 128;

/// List the records that could not be read, and send them again after a fix
#[derive(Args)]
pub struct DeadLetter {
    #[command(subcommand)]
    action: Action,
    /// The configuration, for the connection and the topics; the defaults if it is not given
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Subcommand)]
enum Action {
    /// What lies in the dead-letter topic, oldest first within a partition
    List(List),
    /// Write records back to where they lay, each once: what is sent again is remembered in the dead-letter topic
    ///
    /// Key, headers, payload and time are those of the record; the header foreshock-replays counts how often it was sent again.
    Replay(replay::Replay),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// Leave out what was sent again already
    #[arg(long)]
    pending: bool,
}

impl DeadLetter {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        match self.action {
            Action::List(list) => list.run(&config, self.output)?,
            Action::Replay(replay) => replay.run(&config, self.output)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(&self, config: &Config, output: OutputFormat) -> anyhow::Result<()> {
        let topic = DeadLetterTopic::open(config, &self.filter)?;
        let mut counts = Counts::default();
        topic.for_each(&self.filter, "listing", |record, letter, is_replayed| {
            if self.pending && is_replayed {
                return Ok(ControlFlow::Continue(()));
            }
            counts.listed += 1;
            counts.replayed += u64::from(is_replayed);
            let listed = Listed::of(record, letter, is_replayed);
            print(&listed.text(output)?)?;
            Ok(self.filter.limit(counts.listed))
        })?;
        if output == OutputFormat::Text {
            let Counts { listed, replayed } = counts;
            eprintln!("{listed} dead letters, {replayed} of them sent again already");
        }
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    listed: u64,
    replayed: u64,
}

/// The records of a topic as they were at one time.
trait Records {
    fn extents(&self) -> &[PartitionExtent];

    /// Offsets to begin with what was written at this time or later.
    fn since(&self, time_ms: i64) -> anyhow::Result<Vec<i64>>;

    /// Gives all records from these offsets on to `take`, in order within a partition, until it breaks off.
    fn read(
        &self,
        starts: &[i64],
        take: &mut dyn FnMut(SourceRecord<'_>) -> ControlFlow<()>,
    ) -> anyhow::Result<ScanEnd>;
}

impl Records for TopicScan {
    fn extents(&self) -> &[PartitionExtent] {
        self.extents()
    }

    fn since(&self, time_ms: i64) -> anyhow::Result<Vec<i64>> {
        Ok(self.since(time_ms)?)
    }

    fn read(
        &self,
        starts: &[i64],
        take: &mut dyn FnMut(SourceRecord<'_>) -> ControlFlow<()>,
    ) -> anyhow::Result<ScanEnd> {
        Ok(self.read(starts, SCAN_TIME_MAX, take)?)
    }
}

/// The dead-letter topic as it was when this was made. It is read as often as needed, and never held in memory.
struct DeadLetterTopic<R> {
    records: R,
    starts: Vec<i64>,
    replayed: Replayed,
    /// Records that are neither dead letters nor say what was sent again.
    foreign: u64,
}

impl DeadLetterTopic<TopicScan> {
    fn open(config: &Config, filter: &Filter) -> anyhow::Result<Self> {
        let connection: ConnectionSettings = connection(config);
        let topic = &config.topics.dead_letter;
        let topic = Self::of(TopicScan::new(&connection, topic, TIMEOUT)?, filter)?;
        if topic.foreign > 0 {
            tracing::warn!(
                records = topic.foreign,
                topic = config.topics.dead_letter,
                "the topic holds records that Foreshock did not write; they are passed over"
            );
        }
        Ok(topic)
    }
}

impl<R: Records> DeadLetterTopic<R> {
    /// Reads which of the records were sent again.
    fn of(records: R, filter: &Filter) -> anyhow::Result<Self> {
        let firsts: Vec<i64> = records.extents().iter().map(|extent| extent.first).collect();
        let starts = match filter.begin_ms() {
            // That a record was sent again is said behind it.
            Some(begin_ms) => records.since(begin_ms)?,
            None => firsts.clone(),
        };
        let mut topic = Self { records, starts, replayed: Replayed::default(), foreign: 0 };
        let (mut foreign, mut replayed) = (0, Replayed::from(firsts));
        topic.scan("reading", |record| {
            if Replayed::is_said_by(&record) {
                replayed.add(&record).map_err(anyhow::Error::msg)?;
            } else if dead_letter::DeadLetter::of(&record).is_none() {
                foreign += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        (topic.foreign, topic.replayed) = (foreign, replayed);
        Ok(topic)
    }

    /// Gives those that the filter selects to `take`, with whether they were sent again.
    fn for_each(
        &self,
        filter: &Filter,
        doing: &str,
        mut take: impl FnMut(&SourceRecord<'_>, &dead_letter::DeadLetter<'_>, bool) -> Taken,
    ) -> anyhow::Result<()> {
        self.for_each_record(filter, doing, |selected| match selected {
            Some((record, letter, is_replayed)) => take(record, letter, is_replayed),
            None => Ok(ControlFlow::Continue(())),
        })
    }

    /// The same, but `take` is called for what is not selected too, without it.
    fn for_each_record(
        &self,
        filter: &Filter,
        doing: &str,
        mut take: impl FnMut(Option<(&SourceRecord<'_>, &dead_letter::DeadLetter<'_>, bool)>) -> Taken,
    ) -> anyhow::Result<()> {
        self.scan(doing, |record| match dead_letter::DeadLetter::of(&record) {
            Some(letter) if filter.selects(&record, &letter) => {
                let is_replayed = self.replayed.contains(record.partition, record.offset);
                take(Some((&record, &letter, is_replayed)))
            }
            _ => take(None),
        })
    }

    fn scan(&self, doing: &str, mut take: impl FnMut(SourceRecord<'_>) -> Taken) -> anyhow::Result<()> {
        let extents = self.records.extents();
        let count = extents.iter().zip(&self.starts).map(|(extent, start)| extent.end - start).sum::<i64>();
        let mut told = Progress::new(doing, usize::try_from(count).unwrap_or_default());
        let mut failed = None;
        let end = self.records.read(&self.starts, &mut |record| {
            told.another();
            take(record).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        })?;
        told.bar.finish_and_clear();
        anyhow::ensure!(end != ScanEnd::OutOfTime, "the topic could not be read within {SCAN_TIME_MAX:?}");
        failed.map_or(Ok(()), Err)
    }
}

/// How far a scan has come: a bar where somebody looks, else a line now and then.
struct Progress {
    doing: String,
    count: usize,
    read: usize,
    bar: indicatif::ProgressBar,
    is_terminal: bool,
    told: Instant,
}

impl Progress {
    fn new(doing: &str, count: usize) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = progress(doing, count, is_terminal);
        Self { doing: doing.to_owned(), count, read: 0, bar, is_terminal, told: Instant::now() }
    }

    fn another(&mut self) {
        self.read += 1;
        self.bar.inc(1);
        if !self.is_terminal && self.read.is_multiple_of(1000) && self.told.elapsed() > TELL_EVERY {
            self.told = Instant::now();
            eprintln!("{}: {} of at most {} records", self.doing, self.read, self.count);
        }
    }
}

/// Whether to go on.
type Taken = anyhow::Result<ControlFlow<()>>;

/// One dead letter as it is shown.
#[derive(Serialize)]
struct Listed<'a> {
    partition: i32,
    offset: i64,
    /// When it was found to be unreadable.
    time_ms: Option<i64>,
    source: Source<'a>,
    key: Option<String>,
    size_bytes: usize,
    reason: &'a str,
    /// How often the record had been sent again before it came here.
    replays: u32,
    /// Whether it was sent again from here.
    is_replayed: bool,
}

#[derive(Serialize)]
struct Source<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    time_ms: Option<i64>,
}

impl<'a> Listed<'a> {
    fn of(record: &SourceRecord<'a>, letter: &dead_letter::DeadLetter<'a>, is_replayed: bool) -> Self {
        let key = |key: &[u8]| String::from_utf8_lossy(key).chars().take(KEY_CHARACTERS_MAX).collect();
        Self {
            partition: record.partition,
            offset: record.offset,
            time_ms: record.timestamp_ms,
            source: Source {
                topic: letter.topic,
                partition: letter.partition,
                offset: letter.offset,
                time_ms: letter.timestamp_ms,
            },
            key: record.key.map(key),
            size_bytes: record.payload.len(),
            reason: letter.reason,
            replays: letter.replays,
            is_replayed,
        }
    }

    /// A line.
    fn text(&self, output: OutputFormat) -> anyhow::Result<String> {
        if output == OutputFormat::Json {
            return Ok(serde_json::to_string(self)? + "\n");
        }
        let Source { topic, partition, offset, .. } = &self.source;
        let mut line = format!(
            "{}@{}  {}  {topic}/{partition}@{offset}  {} bytes  {}",
            self.partition,
            self.offset,
            self.time_ms.map_or_else(|| "-".to_owned(), time_text),
            self.size_bytes,
            // It quotes what anybody may have written.
            self.reason.escape_debug()
        );
        match (self.is_replayed, self.replays) {
            (true, _) => line.push_str("  (sent again already)"),
            (false, 0) => {}
            (false, replays) => line += &format!("  (came back; sent again {replays} times)"),
        }
        Ok(line + "\n")
    }
}
