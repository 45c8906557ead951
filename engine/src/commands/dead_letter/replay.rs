//! `foreshock dead-letter replay`.
//!
//! The records of a batch and the note that they were sent again are one transaction, so each is sent once, whatever happens to
//! this command. A second one that runs at the same time fences the first, and then reads what that has committed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use clap::Args;
use codec::dead_letter::{DeadLetter, Replayed};
use kafka::{TransactionalWriter, WriteRecord};
use model::SourceRecord;
use serde::Serialize;

use super::filter::Filter;
use super::{DeadLetterTopic, Listed, TIMEOUT};
use crate::commands::{OutputFormat, print};
use crate::config::Config;
use crate::engine::connection;

/// Of one transaction.
const BATCH_RECORDS_MAX: u64 = 500;
const BATCH_BYTES_MAX: usize = 4 << 20;

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
        let partitions = self.partitions(config, &topic)?;
        let mut outcome = Outcome { dry_run: self.dry_run, foreign: topic.foreign, ..Outcome::default() };
        let mut batch = Batch::new(&config.topics.dead_letter);
        let mut sent = 0;
        topic
            .for_each(&self.filter, "sending", |record, letter, is_replayed| {
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
                    Some(writer) => batch.send(writer, record, letter, target, partitions[target])?,
                    None => print(&Listed::of(record, letter, false).text(output)?)?,
                }
                *outcome.replayed.entry(target.to_owned()).or_default() += 1;
                sent += 1;
                Ok(self.filter.limit(sent))
            })
            .and_then(|()| writer.as_mut().map_or(Ok(()), |writer| batch.commit(writer)))
            .map_err(|error| error.context(format!("{} were sent again before this", batch.committed)))?;
        print(&outcome.text(output)?)
    }

    /// Of the topics to write to, so that a missing one is known before anything is sent.
    fn partitions(&self, config: &Config, topic: &DeadLetterTopic) -> anyhow::Result<BTreeMap<String, i32>> {
        let mut targets = BTreeSet::from_iter(self.to_topic.clone());
        if targets.is_empty() {
            topic.for_each(&self.filter, "reading", |_, letter, is_replayed| {
                if !is_replayed && letter.replays < self.replays_max && !targets.contains(letter.topic) {
                    targets.insert(letter.topic.to_owned());
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        let targets: Vec<String> = targets.into_iter().collect();
        let found = kafka::topics::require(&connection(config), &targets, TIMEOUT);
        let found = found.map_err(|error| {
            anyhow::Error::new(error)
                .context("the records cannot be sent to where they lay; name a topic with --to-topic")
        })?;
        Ok(found.into_iter().map(|state| (state.name, state.partitions)).collect())
    }
}

/// The transaction under way.
struct Batch<'a> {
    dead_letter_topic: &'a str,
    replayed: Replayed,
    records: u64,
    bytes: usize,
    /// Records of the transactions before.
    committed: u64,
}

impl<'a> Batch<'a> {
    fn new(dead_letter_topic: &'a str) -> Self {
        Self { dead_letter_topic, replayed: Replayed::default(), records: 0, bytes: 0, committed: 0 }
    }

    fn send(
        &mut self,
        writer: &mut TransactionalWriter,
        record: &SourceRecord<'_>,
        letter: &DeadLetter<'_>,
        target: &str,
        partitions: i32,
    ) -> anyhow::Result<()> {
        if self.records >= BATCH_RECORDS_MAX || self.bytes >= BATCH_BYTES_MAX {
            self.commit(writer)?;
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

    fn commit(&mut self, writer: &mut TransactionalWriter) -> anyhow::Result<()> {
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
