//! A task without a state: what comes of several records goes on together.

use model::{Output, OutputTopic, SourceRecord};
use pipeline::PartitionTask;

/// Records whose outputs are kept back, at the most.
const GATHERED_MAX: usize = 5;

/// Gives a line for each record.
#[derive(Default)]
pub(crate) struct Gathering {
    partition: i32,
    lines: Vec<String>,
}

impl PartitionTask for Gathering {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        self.partition = record.partition;
        self.lines.push(format!("{}: {:x?}", record.offset, record.payload));
        if self.lines.len() == GATHERED_MAX {
            self.flush(out);
        }
    }

    fn flush(&mut self, out: &mut Vec<Output>) {
        if self.lines.is_empty() {
            return;
        }
        out.push(Output {
            topic: OutputTopic::Samples,
            partition: Some(self.partition),
            key: self.partition.to_le_bytes().to_vec(),
            headers: Vec::new(),
            payload: self.lines.join("\n").into_bytes(),
        });
        self.lines.clear();
    }
}
