//! A task that remembers everything: each output depends on all records before it, and on their order.

use model::{Output, OutputTopic, SourceRecord, StateSection};
use pipeline::{InvalidState, PartitionTask};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SECTION: &str = "chain";

#[derive(Default)]
pub(crate) struct Chain {
    hash: u64,
}

impl PartitionTask for Chain {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        self.hash = xxh3_64_with_seed(record.payload, self.hash ^ record.offset as u64);
        // None, one or two.
        for number in 0..self.hash % 3 {
            out.push(Output {
                topic: OutputTopic::Anomalies,
                partition: None,
                key: record.partition.to_le_bytes().to_vec(),
                headers: Vec::new(),
                payload: format!("{:016x}-{number}", self.hash).into_bytes(),
            });
        }
    }

    fn snapshot(&self) -> Vec<StateSection> {
        vec![StateSection { name: SECTION.to_owned(), bytes: self.hash.to_le_bytes().to_vec() }]
    }

    fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        let bytes = sections.first().and_then(|section| section.bytes.as_slice().try_into().ok());
        self.hash =
            u64::from_le_bytes(bytes.ok_or_else(|| InvalidState::new(SECTION, "8 bytes are wanted"))?);
        Ok(Vec::new())
    }
}
