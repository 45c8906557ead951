//! The task of a source partition of metrics whose records lie by entity already: it decodes and judges at once, without the way
//! over `samples`.

use codec::{Decoder, dead_letter};
use model::{Output, SourceRecord, StateSection, Telemetry};

use crate::ingest::MOVES_MAX;
use crate::routing::Router;
use crate::series::{SeriesStage, say};
use crate::settings::AnalysisSettings;
use crate::state::{self, InvalidState};
use crate::task::{PartitionTask, TaskStatus};
use crate::watermark::Watermark;
use crate::wire::{Finding, Findings, SourceWatermark};

const WATERMARK: &str = "watermark";

/// All rows of a series must lie on one partition, which is the promise of whoever keys the records.
pub struct KeyedTask {
    /// Of the partition, as a source of what it writes.
    name: String,
    router: Router,
    decoder: Box<dyn Decoder>,
    watermark: Watermark,
    stage: SeriesStage,
    decoded: Vec<Telemetry>,
}

impl KeyedTask {
    /// `name` tells the partition apart from all others, `topic/partition`.
    pub fn new(
        name: &str,
        decoder: Box<dyn Decoder>,
        router: Router,
        settings: &AnalysisSettings,
        stage: SeriesStage,
    ) -> Self {
        let watermark = Watermark::new(settings.step.ms(), settings.allowed_lateness.ms());
        Self { name: name.to_owned(), router, decoder, watermark, stage, decoded: Vec::new() }
    }

    /// Before a row of that time: what was taken lies before the watermark that it may move.
    fn reach(
        &mut self,
        row: (i64, Option<i64>),
        moves: &mut usize,
        findings: &mut Vec<Finding>,
        out: &mut Vec<Output>,
    ) {
        let Some(watermark_ms) = self.watermark.observe_written(row.0, row.1) else { return };
        *moves += 1;
        if *moves <= MOVES_MAX {
            self.stage.flush(findings);
            self.stage.advance(watermark_ms, findings);
            self.stage.cover(watermark_ms, &self.name, out);
        }
    }

    fn told(&self, watermark_ms: Option<i64>) -> Option<SourceWatermark> {
        Some(SourceWatermark { source: self.name.clone(), watermark_ms })
    }
}

impl PartitionTask for KeyedTask {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        let mut decoded = std::mem::take(&mut self.decoded);
        let (mut findings, mut moves) = (Vec::new(), 0);
        if let Err(rejected) = self.decoder.decode(record, &mut decoded) {
            decoded.clear();
            out.push(dead_letter(record, &rejected));
        }
        for telemetry in &decoded {
            match telemetry {
                Telemetry::Samples(batch) => {
                    let ids = batch.series_ids();
                    for (row, &labels) in batch.rows().zip(batch.label_keys()) {
                        self.reach((row.time_ms, record.timestamp_ms), &mut moves, &mut findings, out);
                        self.stage.on_sample_of(ids[labels as usize], &row, &mut findings);
                    }
                }
                Telemetry::Histograms(batch) => {
                    for row in batch.rows() {
                        self.reach((row.time_ms, record.timestamp_ms), &mut moves, &mut findings, out);
                        self.stage.on_histogram(&row, &mut findings);
                    }
                }
                // Decoders of metrics give no others.
                Telemetry::Spans(_) | Telemetry::Logs(_) | Telemetry::Events(_) => {}
            }
        }
        decoded.clear();
        self.decoded = decoded;
        self.stage.flush(&mut findings);
        if let Some(watermark_ms) = self.watermark.current_ms().filter(|_| moves > MOVES_MAX) {
            self.stage.advance(watermark_ms, &mut findings);
            self.stage.cover(watermark_ms, &self.name, out);
        }
        // Each time: who has said that he is idle is heard of again.
        let watermark = self.watermark.current_ms().and_then(|ms| self.told(Some(ms)));
        say(&self.router, Findings { findings, known_ms: None, watermark }, out);
    }

    fn on_idle(&mut self, out: &mut Vec<Output>) {
        let watermark = self.told(None);
        say(&self.router, Findings { findings: Vec::new(), known_ms: None, watermark }, out);
    }

    fn status(&self) -> TaskStatus {
        let status = TaskStatus { watermark_ms: self.watermark.current_ms(), ..self.stage.status() };
        status.with_dropped(self.decoder.dropped())
    }

    fn begin_snapshot(&mut self) -> Vec<StateSection> {
        let mut sections = self.stage.begin_snapshot();
        let bytes = state::encode(&self.watermark.position());
        sections.push(StateSection { name: WATERMARK.to_owned(), bytes });
        sections
    }

    fn continue_snapshot(&mut self, series: usize) -> Option<Vec<StateSection>> {
        self.stage.continue_snapshot(series)
    }

    fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        self.watermark.restore(state::section(sections, WATERMARK)?);
        self.stage.restore(sections)
    }
}

#[cfg(test)]
mod tests;
