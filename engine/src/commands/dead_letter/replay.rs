//! `foreshock dead-letter replay`.
//!
//! The records of a batch and the note that they were sent again are one transaction, so each is sent once, whatever happens to
//! this command. A second one that runs at the same time fences the first, and then reads what that has committed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::Args;
use codec::dead_letter::{DeadLetter, Replayed};
use kafka::{TransactionalWriter, WriteRecord};
use model::SourceRecord;
use serde::Serialize;

use super::filter::Filter;
use super::{DeadLetterTopic, Listed, Records, TIMEOUT};
use crate::commands::{OutputFormat, print};
use crate::config::Config;
use crate::engine::connection;

/// Of one transaction.
const BATCH_RECORDS_MAX: u64 = 500;
const BATCH_BYTES_MAX: usize = 4 << 20;
const BATCH_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct Replay {
    #[command(flatten)]
    filter: Filter,
    /// Write to this topic instead, where the key decides the partition
    #[arg(long, value_name = "TOPIC")]
    to_topic: Option<String>,
    /// Leave out records that were sent again so often and came back each time
    #[arg(long, value_name = "N", default_value_t = 3)]
    replays_max: u32,
    /// Only say what would be sent again
    #[arg(long)]
    dry_run: bool,
    /// Of one transaction
    #[arg(skip = BATCH_TIME_MAX)]
    batch_time_max: Duration,
}

/// What became of the records that the filter selects.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    dry_run: bool,
    /// By topic to which they were written.
    replayed: BTreeMap<String, u64>,
    skipped_replayed_before: u64,
    skipped_replays_max: u64,
    foreign: u64,
}

impl Replay {
    pub(super) fn run(&self, config: &Config, output: OutputFormat) -> anyhow::Result<()> {
        // Before the topic is read, so that nobody else adds to what was sent again after that.
        let id = format!("{}-dead-letter-replay", config.kafka.group);
        let connection = connection(config);
        let mut writer = match self.dry_run {
            true => None,
            false => Some(TransactionalWriter::new(&connection, &id, TIMEOUT)?),
        };
        let topic = DeadLetterTopic::open(config, &self.filter)?;
        let partitions = |targets: &[String]| {
            let found = kafka::topics::require(&connection, targets, TIMEOUT);
            let found = found.map_err(|error| {
                anyhow::Error::new(error)
                    .context("the records cannot be sent to where they lay; name a topic with --to-topic")
            })?;
            Ok(found.into_iter().map(|state| (state.name, state.partitions)).collect())
        };
        let outcome =
            self.replay(&config.topics.dead_letter, &topic, partitions, writer.as_mut(), |listed| {
                print(&listed.text(output)?)
            })?;
        print(&outcome.text(output)?)
    }

    /// Without a `writer`, `show` is given what would be sent.
    fn replay<R: Records, W: Writer>(
        &self,
        dead_letter_topic: &str,
        topic: &DeadLetterTopic<R>,
        partitions: impl Fn(&[String]) -> anyhow::Result<BTreeMap<String, i32>>,
        mut writer: Option<&mut W>,
        mut show: impl FnMut(&Listed<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Outcome> {
        // A missing topic is known before anything is sent.
        let partitions = partitions(&self.targets(topic)?)?;
        let mut outcome = Outcome { dry_run: self.dry_run, foreign: topic.foreign, ..Outcome::default() };
        let mut batch = Batch::new(dead_letter_topic, self.batch_time_max);
        let mut sent = 0;
        topic
            .for_each_record(&self.filter, "sending", |selected| {
                if let Some(writer) = &mut writer {
                    batch.commit_if_old(*writer)?;
                }
                let Some((record, letter, is_replayed)) = selected else {
                    return Ok(ControlFlow::Continue(()));
                };
                if is_replayed {
                    outcome.skipped_replayed_before += 1;
                    return Ok(ControlFlow::Continue(()));
                }
                if letter.replays >= self.replays_max {
                    outcome.skipped_replays_max += 1;
                    return Ok(ControlFlow::Continue(()));
                }
                let target = self.to_topic.as_deref().unwrap_or(letter.topic);
                match &mut writer {
                    Some(writer) => batch.send(*writer, record, letter, target, partitions[target])?,
                    None => show(&Listed::of(record, letter, false))?,
                }
                *outcome.replayed.entry(target.to_owned()).or_default() += 1;
                sent += 1;
                Ok(self.filter.limit(sent))
            })
            .and_then(|()| writer.as_mut().map_or(Ok(()), |writer| batch.commit(*writer)))
            .map_err(|error| {
                let committed = batch.committed;
                error.context(format!(
                    "{committed} were sent again before this; the same command goes on behind them"
                ))
            })?;
        Ok(outcome)
    }

    /// The topics to write to.
    fn targets<R: Records>(&self, topic: &DeadLetterTopic<R>) -> anyhow::Result<Vec<String>> {
        let mut targets = BTreeSet::from_iter(self.to_topic.clone());
        if targets.is_empty() {
            topic.for_each(&self.filter, "reading", |_, letter, is_replayed| {
                if !is_replayed && letter.replays < self.replays_max && !targets.contains(letter.topic) {
                    targets.insert(letter.topic.to_owned());
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(targets.into_iter().collect())
    }
}

/// Writes records that become visible together or not at all.
trait Writer {
    fn write(&mut self, record: WriteRecord<'_>) -> anyhow::Result<()>;
    fn commit(&mut self) -> anyhow::Result<()>;
}

impl Writer for TransactionalWriter {
    fn write(&mut self, record: WriteRecord<'_>) -> anyhow::Result<()> {
        Ok(self.write(record)?)
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        Ok(self.commit()?)
    }
}

/// The transaction under way.
struct Batch<'a> {
    dead_letter_topic: &'a str,
    replayed: Replayed,
    records: u64,
    bytes: usize,
    begun: Instant,
    time_max: Duration,
    /// Records of the transactions before.
    committed: u64,
}

impl<'a> Batch<'a> {
    fn new(dead_letter_topic: &'a str, time_max: Duration) -> Self {
        let (replayed, begun) = (Replayed::default(), Instant::now());
        Self { dead_letter_topic, replayed, records: 0, bytes: 0, begun, time_max, committed: 0 }
    }

    /// So that what is selected here and there on a large topic does not outlive the timeout of transactions.
    fn commit_if_old(&mut self, writer: &mut impl Writer) -> anyhow::Result<()> {
        if self.records > 0 && self.begun.elapsed() > self.time_max { self.commit(writer) } else { Ok(()) }
    }

    fn send(
        &mut self,
        writer: &mut impl Writer,
        record: &SourceRecord<'_>,
        letter: &DeadLetter<'_>,
        target: &str,
        partitions: i32,
    ) -> anyhow::Result<()> {
        if self.records >= BATCH_RECORDS_MAX || self.bytes >= BATCH_BYTES_MAX {
            self.commit(writer)?;
        }
        if self.records == 0 {
            self.begun = Instant::now();
        }
        // Back among its neighbours, where the topic still is the same.
        let is_back = target == letter.topic && (0..partitions).contains(&letter.partition);
        writer.write(WriteRecord {
            topic: target,
            partition: is_back.then_some(letter.partition),
            key: record.key,
            headers: &letter.headers_of_replay(),
            payload: record.payload,
            timestamp_ms: letter.timestamp_ms,
        })?;
        self.replayed.insert(record.partition, record.offset);
        self.records += 1;
        self.bytes += record.payload.len();
        Ok(())
    }

    fn commit(&mut self, writer: &mut impl Writer) -> anyhow::Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        let (headers, payload) = std::mem::take(&mut self.replayed).to_record();
        let (topic, headers, payload) = (self.dead_letter_topic, &headers[..], &payload[..]);
        writer.write(WriteRecord { topic, headers, payload, ..WriteRecord::default() })?;
        writer.commit()?;
        self.committed += self.records;
        (self.records, self.bytes) = (0, 0);
        Ok(())
    }
}

impl Outcome {
    fn text(&self, output: OutputFormat) -> anyhow::Result<String> {
        if output == OutputFormat::Json {
            return Ok(serde_json::to_string(self)? + "\n");
        }
        let mut text = String::new();
        let did = if self.dry_run { "would send" } else { "sent" };
        for (topic, records) in &self.replayed {
            text += &format!("{did} {records} records to {topic}\n");
        }
        if self.replayed.is_empty() {
            text += &format!("{did} nothing\n");
        }
        if self.skipped_replayed_before > 0 {
            text += &format!("{} were sent again before\n", self.skipped_replayed_before);
        }
        if self.skipped_replays_max > 0 {
            text += &format!(
                "{} came back as often as --replays-max allows; look into them before you send them again\n",
                self.skipped_replays_max
            );
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
