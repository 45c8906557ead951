//! All tasks after ingest in one process, with queues in the place of topics: for simulated scenarios and tests.

use std::collections::{BTreeMap, VecDeque};

use model::{Output, OutputTopic, SourceRecord};

use crate::detect::InvalidDetector;
use crate::incident::IncidentTask;
use crate::routing::{Partitions, Router, names};
use crate::series::{SeriesStage, SeriesTask};
use crate::settings::{AnalysisSettings, DetectorSettings};
use crate::state::InvalidState;
use crate::task::PartitionTask;
use crate::trace::TraceTask;

/// A partition of a topic between the stages.
type Place = (OutputTopic, i32);

pub struct InProcess {
    router: Router,
    settings: AnalysisSettings,
    detectors: Vec<DetectorSettings>,
    sources: Vec<String>,
    tasks: BTreeMap<Place, Box<dyn PartitionTask>>,
    /// How many records each partition had.
    offsets: BTreeMap<Place, i64>,
}

impl InProcess {
    /// `sources` are the names of the ingest tasks whose rows are taken.
    pub fn new(
        tenant: &str,
        partitions: Partitions,
        sources: &[String],
        settings: &AnalysisSettings,
        detectors: &[DetectorSettings],
    ) -> Result<Self, InvalidDetector> {
        // Once beforehand, so that no task can fail to be made.
        SeriesStage::new(settings, detectors)?;
        Ok(Self {
            router: Router::new(tenant, partitions),
            settings: settings.clone(),
            detectors: detectors.to_vec(),
            sources: sources.to_vec(),
            tasks: BTreeMap::new(),
            offsets: BTreeMap::new(),
        })
    }

    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Takes what an ingest task gave. What leaves the engine goes to `out`, in the order in which it was said.
    pub fn take(&mut self, outputs: impl IntoIterator<Item = Output>, out: &mut Vec<Output>) {
        let mut queue: VecDeque<Output> = outputs.into_iter().collect();
        let mut given = Vec::new();
        while let Some(output) = queue.pop_front() {
            let Some(partition) = output.partition else {
                out.push(output);
                continue;
            };
            let place = (output.topic, partition);
            let offset = self.offsets.entry(place).or_default();
            let headers: Vec<(&str, &[u8])> =
                output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let record = SourceRecord {
                timestamp_ms: None,
                topic: output.topic.as_str(),
                partition,
                offset: *offset,
                key: Some(&output.key),
                headers: &headers,
                payload: &output.payload,
            };
            *offset += 1;
            self.task(place).on_record(record, &mut given);
            queue.extend(given.drain(..));
        }
    }

    /// Throws all tasks away; new ones go on from their snapshots.
    pub fn restart(&mut self) -> Result<(), InvalidState> {
        for (place, task) in std::mem::take(&mut self.tasks) {
            self.task(place).restore(&task.snapshot())?;
        }
        Ok(())
    }

    fn task(&mut self, place: Place) -> &mut dyn PartitionTask {
        let (router, settings, detectors, sources) =
            (&self.router, &self.settings, &self.detectors, &self.sources);
        let new = || -> Box<dyn PartitionTask> {
            let name = format!("{}/{}", place.0.as_str(), place.1);
            match place.0 {
                OutputTopic::Samples => {
                    let stage = SeriesStage::new(settings, detectors).expect("made once before");
                    Box::new(SeriesTask::new(
                        &name,
                        router.clone(),
                        sources,
                        OutputTopic::Spans.as_str(),
                        stage,
                    ))
                }
                OutputTopic::Spans => Box::new(TraceTask::new(&name, router.clone(), sources)),
                _ => {
                    let topics = [OutputTopic::Samples, OutputTopic::Spans];
                    let sources: Vec<String> = topics
                        .iter()
                        .flat_map(|topic| names(topic.as_str(), router.partitions(*topic)))
                        .collect();
                    Box::new(IncidentTask::new(settings, &sources))
                }
            }
        };
        self.tasks.entry(place).or_insert_with(new).as_mut()
    }
}

#[cfg(test)]
mod tests;
