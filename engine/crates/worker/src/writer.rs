//! Writes outputs to a broker and counts them, also those that it does not take.

use std::sync::atomic::Ordering;

use codec::dead_letter;
use model::{Output, OutputTopic, SourceRecord};

use crate::broker::{Failure, Sink, Written};
use crate::counters::WorkerCounters;

/// An output of more bytes came from one record: tasks put less of several together.
const GATHERED_MAX: usize = 2 * pipeline::wire::RECORD_BYTES;

/// Writes outputs and counts them.
pub(crate) struct Writer<'w, K> {
    pub sink: &'w mut K,
    pub counters: &'w WorkerCounters,
    pub routed: &'w mut u64,
    pub gathers: &'w mut bool,
}

impl<K: Sink> Writer<'_, K> {
    /// For an output that is too large to send the record that it came from becomes a dead letter. One that may have come from
    /// several takes the epoch back, and from then on each is of one record.
    pub fn write(
        &mut self,
        output: &Output,
        record: Option<SourceRecord<'_>>,
    ) -> Result<(), Failure<K::Error>> {
        let Self { sink, counters, routed, gathers } = self;
        **routed += u64::from(output.partition.is_some());
        let mut written = sink.write(output)?;
        let mut dead = output.topic == OutputTopic::DeadLetter;
        if written == Written::TooLarge {
            let (bytes, topic) = (output.payload.len(), output.topic.as_str());
            let reason = format!(
                "an output of {bytes} bytes for {topic} is larger than message.max.bytes allows; raise it"
            );
            let gathered = record.is_none() || bytes <= GATHERED_MAX;
            let Some(record) = record.filter(|_| !(**gathers && gathered)) else {
                **gathers = false;
                return Err(Failure::Abort(format!("{reason}. Outputs of several records are smaller now")));
            };
            dead = true;
            let mut letter = dead_letter::unreadable(record, &reason);
            written = sink.write(&letter)?;
            if written == Written::TooLarge {
                // Its place says where to find it.
                let place = SourceRecord { key: None, headers: &[], payload: &[], ..record };
                letter = dead_letter::unreadable(place, &reason);
                written = sink.write(&letter)?;
            }
            if written == Written::TooLarge {
                tracing::error!(
                    record.topic,
                    record.partition,
                    record.offset,
                    reason,
                    "not even a dead letter can be sent"
                );
            }
        }
        if let Written::Queued { waits } = written {
            counters.queue_full.fetch_add(waits, Ordering::Relaxed);
        }
        counters.outputs.fetch_add(1, Ordering::Relaxed);
        counters.dead_letters.fetch_add(u64::from(dead), Ordering::Relaxed);
        Ok(())
    }
}
