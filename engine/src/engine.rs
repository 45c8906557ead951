//! The running engine: workers on threads, readers of what they wrote, and the services.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use kafka::{
    Checkpoints, ConnectionSettings, KafkaWorker, SLICE_SERIES, StartOffset, TaskFactory, TopicReader,
    TopicSpec, WorkerSettings, WorkerState,
};
use model::{OutputTopic, SeriesState};
use pipeline::settings::Span;
use pipeline::{
    IncidentTask, IngestTask, KeyedTask, Partitions, Router, SeriesStage, SeriesTask, TraceTask, routing,
};
use receivers::Receivers;

use crate::change::ChangeReader;
use crate::config::{Config, Signal, SourceConfig, Stage, Start};
use crate::controls::{self, Controls};
use crate::delivery::Delivery;
use crate::doors;
use crate::service::http::{Metric, MetricValue, Status};
use crate::service::server::{self, Servers};
use crate::view::View;

const START_TIMEOUT: Duration = Duration::from_secs(15);

/// Stops everything when it is dropped; [`Engine::stop`] says what went wrong.
pub struct Engine {
    // First, so that clients are gone before what they look at.
    servers: Servers,
    running: Arc<Running>,
}

/// What the services look at.
struct Running {
    receivers: Mutex<Option<Receivers>>,
    workers: Mutex<Vec<(&'static str, KafkaWorker)>>,
    reader: Mutex<Option<TopicReader>>,
    controls: Arc<Controls>,
    delivery: Mutex<Option<Delivery>>,
    view: Arc<View>,
}

impl Engine {
    /// Checks the topics, creates those that the engine writes, and starts everything.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let connection = connection(config);
        connection.validate()?;
        let sources: Vec<String> = config.sources.iter().map(|source| source.topic.clone()).collect();
        let found = kafka::topics::require(&connection, &sources, START_TIMEOUT)?;
        let names_of = |is_meant: &dyn Fn(&SourceConfig) -> bool| -> Vec<String> {
            let meant = |topic: &str| config.sources.iter().any(|s| s.topic == topic && is_meant(s));
            let found = found.iter().filter(|found| meant(&found.name));
            found.flat_map(|found| routing::names(&found.name, found.partitions)).collect()
        };
        // Nobody waits for events.
        let ingests = names_of(&|source| source.keyed.is_none() && source.signal != Signal::Events);
        let keyed = names_of(&|source| source.keyed.is_some());
        let partitions = ensure_topics(config, &connection)?;
        let router = Router::new(&config.tenant, partitions);
        let digest = config.digest(&format!("{} {partitions:?} {ingests:?} {keyed:?}", config.tenant));

        let mut workers = Vec::new();
        for stage in Stage::BEHIND_INGEST {
            let topic = config.topic(stage).to_owned();
            let count = match stage {
                Stage::Series => partitions.samples,
                Stage::Traces => partitions.spans,
                _ => partitions.findings,
            };
            let mut settings = worker_settings(config, stage, BTreeMap::from([(topic, count)]));
            // What a stage before has written is never skipped, wherever the sources start.
            settings.start = StartOffset::Earliest;
            settings.checkpoints = checkpoints(config, digest)?;
            let tasks = match stage {
                Stage::Traces => trace_tasks(&router, &ingests),
                Stage::Series => series_tasks(config, &router, &ingests)?,
                _ => incident_tasks(config, &router, &ingests, &keyed),
            };
            workers.push((stage.as_str(), KafkaWorker::start(settings, tasks)?));
        }
        let is_keyed = |topic: &str| config.sources.iter().any(|s| s.topic == topic && s.keyed.is_some());
        let found = found.into_iter().map(|found| (found.name, found.partitions));
        let (keyed, ingested): (BTreeMap<_, _>, BTreeMap<_, _>) =
            found.partition(|(topic, _)| is_keyed(topic));
        if !keyed.is_empty() {
            let mut settings = worker_settings(config, Stage::Keyed, keyed);
            settings.checkpoints = checkpoints(config, digest)?;
            let worker = KafkaWorker::start(settings, keyed_tasks(config, &router)?)?;
            workers.insert(0, (Stage::Keyed.as_str(), worker));
        }
        if !ingested.is_empty() {
            let settings = worker_settings(config, Stage::Ingest, ingested);
            let worker = KafkaWorker::start(settings, ingest_tasks(config, &router, &ingests)?)?;
            workers.insert(0, (Stage::Ingest.as_str(), worker));
        }
        let view = Arc::new(View::new(config.delivery.inhibit_rules.clone()));
        let reader = read_back(config, &connection, &view)?;
        let findings = (config.topics.findings.clone(), router.clone());
        let controls = Controls::start(&connection, &config.topics.controls, findings, START_TIMEOUT)?;
        let controls = Arc::new(controls);
        let silencer: Arc<dyn deliver::Silencer> = Arc::<Controls>::clone(&controls);
        let delivery = Delivery::start(config, &silencer)?;
        let running = Arc::new(Running {
            receivers: Mutex::new(doors::open(config, &connection)?),
            workers: Mutex::new(workers),
            reader: Mutex::new(Some(reader)),
            controls: Arc::clone(&controls),
            delivery: Mutex::new(Some(delivery)),
            view: Arc::clone(&view),
        });
        let status: Arc<dyn Status> = Arc::<Running>::clone(&running);
        let servers =
            server::start(&config.grpc, &config.http, &view, &controls, ChangeReader::new(config), &status)?;
        Ok(Self { servers, running })
    }

    pub fn grpc(&self) -> SocketAddr {
        self.servers.grpc
    }

    pub fn http(&self) -> SocketAddr {
        self.servers.http
    }

    /// Where OTLP over gRPC is received, and OTLP over HTTP with remote write.
    pub fn receivers(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.running.receivers().as_ref().map_or((None, None), |receivers| (receivers.grpc, receivers.http))
    }

    /// Whether all partitions are assigned and the views are read.
    pub fn is_ready(&self) -> bool {
        self.running.not_ready().is_none()
    }

    /// What the engine has said, as its clients see it.
    pub fn view(&self) -> &View {
        &self.running.view
    }

    /// Whether all that was written to the sources so far, which is `records`, has gone through the engine.
    pub fn has_processed(&self, records: u64) -> bool {
        let workers = self.running.workers();
        let all = || workers.iter().map(|(name, worker)| (*name, worker.counters().values()));
        let reads_sources = |name| [Stage::Ingest, Stage::Keyed].iter().any(|stage| stage.as_str() == name);
        // What was read first, so that it cannot have come later than what is compared with it.
        let of_stages = all().filter(|(name, _)| !reads_sources(*name));
        let read: u64 = of_stages.map(|(_, values)| values.records).sum();
        let of_sources = all().filter(|(name, _)| reads_sources(*name));
        of_sources.map(|(_, values)| values.records).sum::<u64>() >= records
            && read >= all().map(|(_, values)| values.routed).sum()
    }

    /// Whether a worker has ended by itself; [`Engine::stop`] says why.
    pub fn is_finished(&self) -> bool {
        self.running.workers().iter().any(|(_, worker)| worker.is_finished())
    }

    /// Finishes the epochs that are open, commits them and leaves the group.
    pub fn stop(self) -> Result<(), kafka::Error> {
        // First, so that what was accepted is read, if only after the next start.
        drop(self.running.receivers().take());
        let workers = std::mem::take(&mut *self.running.workers());
        workers.iter().for_each(|(_, worker)| worker.stop());
        let results: Vec<Result<(), kafka::Error>> =
            workers.into_iter().map(|(_, worker)| worker.join()).collect();
        // What the last epochs have said is on its topic, and told by whoever is there next.
        if let Some(delivery) = self.running.delivery().take() {
            delivery.stop();
        }
        self.running.controls.stop();
        if let Some(reader) = self.running.reader().take() {
            reader.stop();
        }
        results.into_iter().collect()
    }
}

impl Running {
    fn workers(&self) -> MutexGuard<'_, Vec<(&'static str, KafkaWorker)>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receivers(&self) -> MutexGuard<'_, Option<Receivers>> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivery(&self) -> MutexGuard<'_, Option<Delivery>> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Option<TopicReader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status for Running {
    fn not_ready(&self) -> Option<String> {
        let workers = self.workers();
        if let Some((name, _)) = workers.iter().find(|(_, worker)| worker.state() != WorkerState::Ready) {
            return Some(format!("worker {name} has no partitions yet"));
        }
        let caught_up = self.reader().as_ref().is_some_and(TopicReader::is_caught_up);
        (workers.is_empty() || !caught_up).then(|| "the output topics are still being read".to_owned())
    }

    fn failed(&self) -> Option<String> {
        let workers = self.workers();
        let failed = workers.iter().find(|(_, worker)| worker.state() == WorkerState::Failed);
        failed.map(|(name, _)| format!("worker {name} has failed; the log says why"))
    }

    fn metrics(&self) -> Vec<Metric> {
        let workers = self.workers();
        let values: Vec<_> =
            workers.iter().map(|(name, worker)| (*name, worker.counters().values())).collect();
        let mut metrics = Vec::new();
        let mut of_workers = |name, help, value: &dyn Fn(&kafka::CounterValues) -> MetricValue| {
            metrics.extend(values.iter().map(|(worker, counters)| Metric {
                name,
                help,
                value: value(counters),
                labels: vec![("worker", (*worker).to_owned())],
            }));
        };
        of_workers("foreshock_records", "Records read", &|v| MetricValue::Counter(v.records));
        of_workers("foreshock_record_bytes", "Bytes of records read", &|v| {
            MetricValue::Counter(v.record_bytes)
        });
        of_workers("foreshock_outputs", "Records written", &|v| MetricValue::Counter(v.outputs));
        of_workers("foreshock_dead_letters", "Records that could not be read", &|v| {
            MetricValue::Counter(v.dead_letters)
        });
        of_workers("foreshock_epochs", "Transactions committed", &|v| MetricValue::Counter(v.epochs));
        of_workers("foreshock_epochs_aborted", "Transactions aborted", &|v| MetricValue::Counter(v.aborts));
        of_workers("foreshock_partitions", "Partitions assigned", &|v| {
            MetricValue::Gauge(v.partitions as f64)
        });
        of_workers("foreshock_commit_seconds_max", "Longest commit", &|v| {
            MetricValue::Gauge(v.commit_latency_us_max as f64 / 1e6)
        });
        of_workers("foreshock_replayed_records", "Records read again to restore state", &|v| {
            MetricValue::Counter(v.replayed_records)
        });
        of_workers("foreshock_replay_divergence", "Replays that gave other outputs than before", &|v| {
            MetricValue::Counter(v.replay_divergences)
        });
        of_workers("foreshock_state_restored", "Partitions that went on from a snapshot", &|v| {
            MetricValue::Counter(v.restores)
        });
        of_workers("foreshock_state_cold_starts", "Partitions that had to learn anew", &|v| {
            MetricValue::Counter(v.cold_starts)
        });
        of_workers("foreshock_snapshots", "Snapshots stored", &|v| MetricValue::Counter(v.snapshots));
        of_workers("foreshock_snapshot_failures", "Snapshots that could not be stored", &|v| {
            MetricValue::Counter(v.snapshot_failures)
        });
        of_workers("foreshock_snapshot_bytes", "Size of the last snapshot", &|v| {
            MetricValue::Gauge(v.snapshot_bytes_last as f64)
        });
        of_workers("foreshock_snapshot_pause_seconds", "Pause of reading for the last snapshot", &|v| {
            MetricValue::Gauge(v.snapshot_pause_us_last as f64 / 1e6)
        });
        of_workers(
            "foreshock_lag_records",
            "Records not yet read, with markers of transactions; -1 is unknown",
            &|v| MetricValue::Gauge(v.lag_records as f64),
        );
        of_workers(
            "foreshock_watermark_seconds",
            "Event time reached, of the partition that is least far",
            &|v| MetricValue::Gauge(v.watermark_ms as f64 / 1e3),
        );
        of_workers(
            "foreshock_rows_left_out",
            "Rows left out of records that can be read: without a time or a finite value, or malformed",
            &|v| MetricValue::Gauge(v.rows_left_out as f64),
        );
        of_workers("foreshock_rows_of_others", "Rows and records of tenants that are not read", &|v| {
            MetricValue::Gauge(v.rows_of_others as f64)
        });
        of_workers("foreshock_series", "Series that are modelled", &|v| MetricValue::Gauge(v.series as f64));
        of_workers("foreshock_series_bytes", "Memory that is set aside for series", &|v| {
            MetricValue::Gauge(v.series_bytes as f64)
        });
        of_workers("foreshock_series_aside", "Idle series on disk, for want of memory", &|v| {
            MetricValue::Gauge(v.series_aside as f64)
        });
        of_workers("foreshock_series_aside_bytes", "What idle series take on disk", &|v| {
            MetricValue::Gauge(v.series_aside_bytes as f64)
        });
        of_workers(
            "foreshock_series_forgotten",
            "States of idle series that were forgotten beyond series_disk, or because the disk failed",
            &|v| MetricValue::Gauge(v.series_forgotten as f64),
        );
        of_workers("foreshock_series_refused", "Points of series beyond series_max or series_memory", &|v| {
            MetricValue::Gauge(v.series_refused as f64)
        });
        of_workers("foreshock_keys_refused", "Spans and logs of keys beyond step_keys_max", &|v| {
            MetricValue::Gauge(v.keys_refused as f64)
        });
        of_workers(
            "foreshock_late_rows",
            "Spans and logs that came too long after their step was closed and were left out",
            &|v| MetricValue::Gauge(v.late_rows as f64),
        );
        of_workers(
            "foreshock_amended_rows",
            "Spans and logs that came after their step was closed and amended it",
            &|v| MetricValue::Gauge(v.amended_rows as f64),
        );
        of_workers("foreshock_early_rows", "Spans and logs too far ahead of all others", &|v| {
            MetricValue::Gauge(v.early_rows as f64)
        });
        of_workers(
            "foreshock_findings_before_turn",
            "Findings taken out of order after an outage, since too many waited",
            &|v| MetricValue::Gauge(v.findings_before_turn as f64),
        );
        of_workers(
            "foreshock_silences_untold",
            "Minutes of series that were gone and not told of, since too many were",
            &|v| MetricValue::Gauge(v.silences_untold as f64),
        );
        of_workers(
            "foreshock_points_filled",
            "Points in the place of missing ones, where analysis.on_missing says so",
            &|v| MetricValue::Gauge(v.points_filled as f64),
        );
        of_workers("foreshock_pages", "Incidents that paged, where alerts.budget is set", &|v| {
            MetricValue::Gauge(v.pages as f64)
        });
        of_workers(
            "foreshock_pages_withheld",
            "Incidents that ended without a page, since alerts.budget did not allow it",
            &|v| MetricValue::Gauge(v.pages_withheld as f64),
        );
        for (i, state) in SeriesState::ALL.into_iter().enumerate() {
            metrics.extend(values.iter().map(|(worker, counters)| Metric {
                name: "foreshock_series_by_state",
                help: "Series that are modelled, learning and so on, by the last sweep of the coverage ledger",
                value: MetricValue::Gauge(counters.coverage[i] as f64),
                labels: vec![("worker", (*worker).to_owned()), ("state", state.as_str().to_owned())],
            }));
        }
        let alone = |name, help, value| Metric { name, help, value, labels: Vec::new() };
        let open = MetricValue::Gauge(self.view.open_incidents() as f64);
        metrics.push(alone("foreshock_incidents_open", "Incidents that are not resolved", open));
        let unreadable = MetricValue::Counter(self.view.unreadable());
        metrics.push(alone(
            "foreshock_view_unreadable",
            "Records of output topics that are foreign",
            unreadable,
        ));
        metrics.push(alone(
            "foreshock_coverage_left_out",
            "Records of the coverage ledger that are not shown, since there are too many services",
            MetricValue::Counter(self.view.coverage_left_out()),
        ));
        let received = self.receivers().as_ref().map(Receivers::counters);
        metrics.extend(received.iter().flat_map(doors::metrics));
        let (holding, unreadable) = {
            let known = self.controls.known();
            let silences = &known.silences;
            let holding =
                silences.list(controls::now_ms()).into_iter().filter(|(_, holds, _)| *holds).count();
            (holding, silences.unreadable())
        };
        metrics.push(alone(
            "foreshock_silences_active",
            "Silences that hold",
            MetricValue::Gauge(holding as f64),
        ));
        metrics.push(alone(
            "foreshock_silences_unreadable",
            "Records that are no silences although their key says so",
            MetricValue::Counter(unreadable),
        ));
        metrics.extend(self.delivery().iter().flat_map(Delivery::metrics));
        metrics
    }
}

/// How to reach Kafka, as the configuration says.
pub fn connection(config: &Config) -> ConnectionSettings {
    let mut connection = ConnectionSettings::new(&config.kafka.brokers);
    connection.properties = config.kafka.properties.clone();
    connection
}

fn outputs(config: &Config) -> BTreeMap<OutputTopic, String> {
    let topics = &config.topics;
    BTreeMap::from([
        (OutputTopic::Samples, topics.samples.clone()),
        (OutputTopic::Spans, topics.spans.clone()),
        (OutputTopic::Findings, topics.findings.clone()),
        (OutputTopic::Anomalies, topics.anomalies.clone()),
        (OutputTopic::Incidents, topics.incidents.clone()),
        (OutputTopic::Alerts, topics.alerts.clone()),
        (OutputTopic::Coverage, topics.coverage.clone()),
        (OutputTopic::DeadLetter, topics.dead_letter.clone()),
    ])
}

/// Records between stages are kept for so long, 26 h: longer than anybody would want to warm up, and so that a change can be compared
/// with the same time of the day before.
const BETWEEN_RETENTION_MS: &str = "93600000";

/// Creates the topics that the engine writes, where they do not exist.
fn ensure_topics(config: &Config, connection: &ConnectionSettings) -> anyhow::Result<Partitions> {
    let spec = |(output, name): (OutputTopic, String)| {
        let between = Some(("retention.ms", BETWEEN_RETENTION_MS));
        let (partitions, setting) = match output {
            OutputTopic::Samples | OutputTopic::Spans => (config.kafka.partitions, between),
            OutputTopic::Findings => (1, between),
            OutputTopic::Coverage => (1, Some(("cleanup.policy", "compact"))),
            _ => (1, None),
        };
        let config = setting.map(|(key, value)| (key.to_owned(), value.to_owned()));
        (output, TopicSpec { name, partitions, replication: -1, config: config.into_iter().collect() })
    };
    let (outputs, mut specs): (Vec<_>, Vec<_>) = outputs(config).into_iter().map(spec).unzip();
    specs.push(controls::topic_spec(&config.topics.controls));
    let states = kafka::topics::ensure(connection, &specs, START_TIMEOUT)?;
    let mut partitions = Partitions::ONE;
    for state in states.iter().filter(|state| state.created) {
        tracing::info!(topic = state.name, partitions = state.partitions, "created topic");
    }
    for (output, state) in outputs.into_iter().zip(states) {
        match output {
            OutputTopic::Samples => partitions.samples = state.partitions,
            OutputTopic::Spans => partitions.spans = state.partitions,
            OutputTopic::Findings => partitions.findings = state.partitions,
            _ => {}
        }
    }
    Ok(partitions)
}

fn worker_settings(config: &Config, stage: Stage, partitions: BTreeMap<String, i32>) -> WorkerSettings {
    let kafka = &config.kafka;
    let group = config.group(stage);
    let mut settings = WorkerSettings::new(connection(config), stage.as_str(), &group);
    settings.transactional_id = format!("{group}-{}", kafka.instance);
    settings.topics = partitions.keys().cloned().collect();
    settings.partitions = partitions;
    settings.outputs = outputs(config);
    settings.epoch = Duration::from_millis(kafka.epoch.ms().unsigned_abs());
    settings.start = match kafka.start {
        Start::Earliest => StartOffset::Earliest,
        Start::Latest => StartOffset::Latest,
    };
    settings
}

/// Where the states of the analysis are kept; decoding has none.
fn checkpoints(config: &Config, config_digest: u64) -> anyhow::Result<Option<Checkpoints>> {
    let state = &config.state;
    let Some(location) = &state.location else { return Ok(None) };
    let store = checkpoint::open(location, &state.options).context("state.location")?;
    let duration = |span: Span| Duration::from_millis(span.ms().unsigned_abs());
    Ok(Some(Checkpoints {
        interval: duration(state.snapshot_interval),
        keep: state.keep,
        slice_series: SLICE_SERIES,
        warm_up: duration(state.warm_up),
        store: store.into(),
        config_digest,
        run: kafka::on_threads(),
    }))
}

/// What reads each source.
type Decoders = BTreeMap<String, (&'static codec::DecoderSpec, codec::DecoderSettings)>;

fn decoders(config: &Config) -> anyhow::Result<Decoders> {
    let decoder = |source: &SourceConfig| {
        let decoder = source.decoder(config).map_err(anyhow::Error::msg)?;
        Ok((source.topic.clone(), decoder))
    };
    config.sources.iter().map(decoder).collect()
}

fn ingest_tasks(config: &Config, router: &Router, ingests: &[String]) -> anyhow::Result<TaskFactory> {
    let decoders = decoders(config)?;
    let (router, settings, ingests) = (router.clone(), config.analysis.clone(), ingests.to_vec());
    Ok(Box::new(move |topic, partition| {
        let (spec, settings_of) = decoders.get(topic).expect("the worker subscribes to the sources only");
        let decoder = (spec.build)(settings_of);
        let name = format!("{topic}/{partition}");
        let name = ingests.contains(&name).then_some(name.as_str());
        Box::new(IngestTask::new(name, decoder, router.clone(), &settings))
    }))
}

fn keyed_tasks(config: &Config, router: &Router) -> anyhow::Result<TaskFactory> {
    let decoders = decoders(config)?;
    let (router, settings, detectors) = (router.clone(), config.analysis.clone(), config.detectors.clone());
    SeriesStage::new(&settings, &detectors)?;
    Ok(Box::new(move |topic, partition| {
        let (spec, settings_of) = decoders.get(topic).expect("the worker subscribes to the sources only");
        let decoder = (spec.build)(settings_of);
        let stage = SeriesStage::new(&settings, &detectors).expect("made once before");
        let name = format!("{topic}/{partition}");
        Box::new(KeyedTask::new(&name, decoder, router.clone(), &settings, stage))
    }))
}

fn trace_tasks(router: &Router, ingests: &[String]) -> TaskFactory {
    let (router, ingests) = (router.clone(), ingests.to_vec());
    Box::new(move |topic, partition| {
        Box::new(TraceTask::new(&format!("{topic}/{partition}"), router.clone(), &ingests))
    })
}

fn series_tasks(config: &Config, router: &Router, ingests: &[String]) -> anyhow::Result<TaskFactory> {
    let (settings, detectors) = (config.analysis.clone(), config.detectors.clone());
    let (router, ingests, spans) = (router.clone(), ingests.to_vec(), config.topics.spans.clone());
    // Once beforehand, so that a detector that cannot be made is an error of the start.
    SeriesStage::new(&settings, &detectors)?;
    Ok(Box::new(move |topic, partition| {
        let stage = SeriesStage::new(&settings, &detectors).expect("made once before");
        let name = format!("{topic}/{partition}");
        Box::new(SeriesTask::new(&name, router.clone(), &ingests, &spans, stage))
    }))
}

fn incident_tasks(config: &Config, router: &Router, ingests: &[String], keyed: &[String]) -> TaskFactory {
    let settings = config.analysis.clone();
    let topics = [(OutputTopic::Samples, Stage::Series), (OutputTopic::Spans, Stage::Traces)];
    let sources =
        topics.map(|(output, stage)| routing::names(config.topic(stage), router.partitions(output)));
    // Where nothing is ingested, nothing comes to the stages behind, nor from them.
    let between = sources.into_iter().flatten().filter(|_| !ingests.is_empty());
    let sources: Vec<String> = between.chain(keyed.iter().cloned()).collect();
    let encoding = config.alerts.encoding;
    Box::new(move |_topic, _partition| {
        Box::new(IncidentTask::new(&settings, &sources).with_alerts_as(encoding))
    })
}

fn read_back(
    config: &Config,
    connection: &ConnectionSettings,
    view: &Arc<View>,
) -> anyhow::Result<TopicReader> {
    let (topics, view) = (config.topics.clone(), Arc::clone(view));
    let read = vec![
        topics.anomalies.clone(),
        topics.incidents.clone(),
        topics.alerts.clone(),
        topics.coverage.clone(),
    ];
    let reader = TopicReader::start(connection, &read, START_TIMEOUT, move |read| {
        let record = read.record;
        if record.topic == topics.anomalies {
            view.on_anomaly(record.payload);
        } else if record.topic == topics.incidents {
            view.on_incident(record.partition, record.offset, record.payload);
        } else if record.topic == topics.coverage {
            view.on_coverage(record.payload);
        } else {
            let content_type = record.header(alerts::CONTENT_TYPE);
            view.on_alert(record.partition, record.offset, content_type, record.payload);
        }
    })?;
    Ok(reader)
}
