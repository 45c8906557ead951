//! All tasks after ingest in one process, with queues in the place of topics: for simulated scenarios and tests.

use std::collections::{BTreeMap, VecDeque};

use model::{Output, OutputTopic, SourceRecord};

use crate::incident::IncidentTask;
use crate::routing::{Partitions, Router, names};
use crate::series::{SeriesStage, SeriesTask};
use crate::settings::{AnalysisSettings, DetectorSettings};
use crate::state::InvalidState;
use crate::task::PartitionTask;
use crate::trace::TraceTask;
use crate::watches::InvalidDetector;

/// A partition of a topic between the stages.
pub type Place = (OutputTopic, i32);

pub struct InProcess {
    router: Router,
    settings: AnalysisSettings,
    detectors: Vec<DetectorSettings>,
    sources: Vec<String>,
    tasks: BTreeMap<Place, Box<dyn PartitionTask>>,
    /// What waits for each task, and how many were given before it.
    queues: BTreeMap<Place, VecDeque<(u64, Output)>>,
    given: u64,
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
            queues: BTreeMap::new(),
            given: 0,
            offsets: BTreeMap::new(),
        })
    }

    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Takes what an ingest task gave. What leaves the engine goes to `out`, in the order in which it was said.
    pub fn take(&mut self, outputs: impl IntoIterator<Item = Output>, out: &mut Vec<Output>) {
        self.put(outputs, out);
        while let Some(place) = self.oldest() {
            self.run(place, out);
        }
    }

    /// As [`InProcess::take`], without going on: what is for a task waits for [`InProcess::run`].
    pub fn put(&mut self, outputs: impl IntoIterator<Item = Output>, out: &mut Vec<Output>) {
        for output in outputs {
            match output.partition {
                Some(partition) => {
                    self.queues.entry((output.topic, partition)).or_default().push_back((self.given, output));
                    self.given += 1;
                }
                None => out.push(output),
            }
        }
    }

    /// Where something waits.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(place, _)| *place)
    }

    fn oldest(&self) -> Option<Place> {
        let first = |(place, queue): (&Place, &VecDeque<(u64, Output)>)| Some((queue.front()?.0, *place));
        self.queues.iter().filter_map(first).min().map(|(_, place)| place)
    }

    /// Gives a task the next record that waits for it.
    pub fn run(&mut self, place: Place, out: &mut Vec<Output>) {
        let Some((_, output)) = self.queues.get_mut(&place).and_then(VecDeque::pop_front) else { return };
        let offset = self.offsets.entry(place).or_default();
        let headers: Vec<(&str, &[u8])> =
            output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let record = SourceRecord {
            timestamp_ms: None,
            topic: place.0.as_str(),
            partition: place.1,
            offset: *offset,
            key: Some(&output.key),
            headers: &headers,
            payload: &output.payload,
        };
        *offset += 1;
        let mut given = Vec::new();
        self.task(place).on_record(record, &mut given);
        self.put(given, out);
    }

    /// Throws all tasks away; new ones go on from their snapshots.
    pub fn restart(&mut self) -> Result<(), InvalidState> {
        for (place, mut task) in std::mem::take(&mut self.tasks) {
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
