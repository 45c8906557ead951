//! A task that remembers everything: each output depends on all records before it, and on their order.

use model::{Output, OutputTopic, SourceRecord, StateSection};
use pipeline::{InvalidState, PartitionTask};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const HEAD: &str = "head";
const SECTION: &str = "chain";

#[derive(Default)]
pub(crate) struct Chain {
    hash: u64,
    /// The hash when a snapshot began, and slices until it is written.
    written: Option<(u64, u64)>,
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

    fn begin_snapshot(&mut self) -> Vec<StateSection> {
        self.written = Some((self.hash, self.hash % 4));
        vec![StateSection { name: HEAD.to_owned(), bytes: Vec::new() }]
    }

    fn continue_snapshot(&mut self, _series: usize) -> Option<Vec<StateSection>> {
        let (hash, slices_left) = self.written.as_mut()?;
        if *slices_left > 0 {
            *slices_left -= 1;
            return None;
        }
        let bytes = hash.to_le_bytes().to_vec();
        self.written = None;
        Some(vec![StateSection { name: SECTION.to_owned(), bytes }])
    }

    fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        let section = sections.iter().find(|section| section.name == SECTION);
        let bytes = section.and_then(|section| section.bytes.as_slice().try_into().ok());
        self.hash =
            u64::from_le_bytes(bytes.ok_or_else(|| InvalidState::new(SECTION, "8 bytes are wanted"))?);
        Ok(Vec::new())
    }
}
