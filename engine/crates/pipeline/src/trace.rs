//! The task of a partition of `spans`: traces in, calls and evidence out.

use correlate::{BUCKET_MS, TraceCollector};
use model::{Output, OutputTopic, SourceRecord, StateSection, Telemetry};

use crate::derive::step::AHEAD_MS;
use crate::routing::Router;
use crate::state::{self, InvalidState};
use crate::task::{PartitionTask, TaskStatus};
use crate::watermark::{SourceWatermarks, steps};
use crate::wire::{self, Finding, Findings, Incoming, SourceWatermark};

const TRACES: &str = "traces";

pub struct TraceTask {
    /// Of the partition, as a source of what it writes.
    name: String,
    router: Router,
    watermarks: SourceWatermarks,
    collector: TraceCollector,
}

impl TraceTask {
    /// `name` tells the partition apart from all others, `topic/partition`; `sources` are the partitions that rows come from.
    pub fn new(name: &str, router: Router, sources: &[String]) -> Self {
        Self {
            name: name.to_owned(),
            router,
            watermarks: SourceWatermarks::expecting(sources),
            collector: TraceCollector::default(),
        }
    }

    fn advance(&mut self, before_ms: Option<i64>, watermark_ms: i64, out: &mut Vec<Output>) {
        for watermark_ms in steps(before_ms, watermark_ms, BUCKET_MS, AHEAD_MS) {
            self.collector.advance(watermark_ms);
            let findings = self.collector.take_evidence().into_iter().map(Finding::Traces).collect();
            let known_ms = Some(watermark_ms);
            wire::findings(&self.router, Findings { findings, known_ms, watermark: None }, out);
        }
        wire::calls(&self.router, self.collector.take_edge_calls(), out);
        self.tell(Some(watermark_ms), out);
    }

    fn tell(&self, watermark_ms: Option<i64>, out: &mut Vec<Output>) {
        let watermark = SourceWatermark { source: self.name.clone(), watermark_ms };
        wire::broadcast(OutputTopic::Samples, &self.router, &watermark, out);
        let told = Findings { findings: Vec::new(), known_ms: None, watermark: Some(watermark) };
        wire::findings(&self.router, told, out);
    }
}

impl PartitionTask for TraceTask {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        match wire::read(record) {
            Ok(Incoming::Telemetry(Telemetry::Spans(batch))) => {
                batch.rows().for_each(|span| self.collector.observe_span(&span));
            }
            Ok(Incoming::Telemetry(Telemetry::Logs(batch))) => {
                batch.rows().for_each(|log| self.collector.observe_log(&log));
            }
            Ok(Incoming::Watermark(watermark)) => {
                let before_ms = self.watermarks.current_ms();
                if let Some(watermark_ms) = self.watermarks.observe(&watermark, record.timestamp_ms) {
                    self.advance(before_ms, watermark_ms, out);
                } else if watermark.watermark_ms.is_none() && self.watermarks.is_blank() {
                    self.tell(None, out);
                }
            }
            Ok(_) => {
                out.push(codec::dead_letter::unreadable(record, "this kind of record does not belong here"))
            }
            Err(reason) => out.push(codec::dead_letter::unreadable(record, &reason)),
        }
    }

    fn status(&self) -> TaskStatus {
        TaskStatus { watermark_ms: self.watermarks.current_ms(), ..TaskStatus::default() }
    }

    fn begin_snapshot(&mut self) -> Vec<StateSection> {
        let bytes = state::encode(&(&self.watermarks, &self.collector));
        vec![StateSection { name: TRACES.to_owned(), bytes }]
    }

    fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        let (watermarks, collector) = state::section(sections, TRACES)?;
        self.watermarks.restore(watermarks);
        self.collector.restore(collector);
        Ok(Vec::new())
    }
}
