//! Delivery of alerts: for each receiver a courier, with a consumer group of its own on the topic of alerts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use deliver::{AlertLog, Courier, Event, LogError, OpenLog, Position, Record, Silencer};
use kafka::{ConnectionSettings, GroupEvent, GroupReader, TopicWriter, WriteRecord};
use model::SourceRecord;

use crate::config::Config;
use crate::engine::connection;
use crate::service::http::{Metric, MetricValue};

const DEAD_LETTER_TIMEOUT: Duration = Duration::from_secs(10);

/// All receivers; dropping it ends delivery.
pub struct Delivery {
    couriers: Vec<Courier>,
}

impl Delivery {
    /// Returns at once: whether a receiver can be reached is nothing that the engine waits for.
    pub fn start(config: &Config, silencer: &Arc<dyn Silencer>) -> anyhow::Result<Self> {
        let mut couriers = Vec::new();
        for receiver in &config.delivery.receivers {
            let group = format!("{}-deliver-{}", config.kafka.group, receiver.name);
            let open = open(connection(config), group.clone(), config);
            let courier = Courier::start(
                &config.delivery,
                receiver,
                &config.kafka.instance,
                open,
                Arc::clone(silencer),
            );
            let courier = courier.with_context(|| format!("cannot start delivery to {}", receiver.name))?;
            tracing::info!(receiver = receiver.name, group, "delivers alerts");
            couriers.push(courier);
        }
        Ok(Self { couriers })
    }

    /// Asks all to end, then waits for them.
    pub fn stop(self) {
        self.couriers.iter().for_each(Courier::stop);
    }

    pub fn metrics(&self) -> Vec<Metric> {
        let values: Vec<_> = self.couriers.iter().map(|courier| (courier, courier.counters())).collect();
        let mut metrics = Vec::new();
        let mut each = |name, help, value: &dyn Fn(&Courier, &deliver::CounterValues) -> MetricValue| {
            metrics.extend(values.iter().map(|(courier, values)| Metric {
                name,
                help,
                value: value(courier, values),
                labels: vec![("receiver", courier.name().to_owned())],
            }));
        };
        let counter = |value: u64| MetricValue::Counter(value);
        let gauge = |value: u64| MetricValue::Gauge(value as f64);
        each("foreshock_delivery_attempts", "Requests to a receiver", &|_, v| counter(v.attempts));
        each("foreshock_delivery_attempts_failed", "Requests that are tried again", &|_, v| {
            counter(v.attempts_failed)
        });
        each("foreshock_delivery_attempts_refused", "Requests that the receiver refuses", &|_, v| {
            counter(v.attempts_refused)
        });
        each("foreshock_delivery_accepted", "Alerts that the receiver has accepted", &|_, v| {
            counter(v.accepted)
        });
        each("foreshock_delivery_repeated", "Alerts sent again because they still fire", &|_, v| {
            counter(v.resent)
        });
        each(
            "foreshock_delivery_dead_letters",
            "Alerts that were refused or are too old to be tried again",
            &|_, v| counter(v.dead),
        );
        each("foreshock_delivery_silenced", "Versions of alerts that a silence held back", &|_, v| {
            counter(v.silenced)
        });
        each("foreshock_delivery_inhibited", "Versions of alerts that another alert held back", &|_, v| {
            counter(v.inhibited)
        });
        each("foreshock_delivery_unmatched", "Alerts that the matchers do not choose", &|_, v| {
            counter(v.unmatched)
        });
        each(
            "foreshock_delivery_unwanted",
            "Ends of alerts that the receiver does not want or need not hear",
            &|_, v| counter(v.unwanted),
        );
        each("foreshock_delivery_unreadable", "Records that are no alerts", &|_, v| counter(v.unreadable));
        each(
            "foreshock_delivery_members_failed",
            "Requests that only another member of the cluster accepted",
            &|_, v| counter(v.members_failed),
        );
        each("foreshock_delivery_template_failures", "Annotations whose template failed", &|_, v| {
            counter(v.template_failures)
        });
        each("foreshock_delivery_forgotten", "Alerts that fire beyond those that are remembered", &|_, v| {
            counter(v.forgotten)
        });
        each(
            "foreshock_delivery_log_failures",
            "Times that the topic of alerts could not be used",
            &|_, v| counter(v.log_failures),
        );
        each("foreshock_delivery_waiting", "Alerts that were read and wait to be delivered", &|_, v| {
            gauge(v.waiting)
        });
        each(
            "foreshock_delivery_oldest_waiting_seconds",
            "When the first of them was written; 0 if none waits",
            &|_, v| MetricValue::Gauge(v.oldest_waiting_ms.unwrap_or(0) as f64 / 1e3),
        );
        each("foreshock_delivery_firing", "Alerts that fire and were told", &|_, v| gauge(v.firing));
        each(
            "foreshock_delivery_held",
            "Alerts that fire and are held back by a silence or another alert",
            &|_, v| gauge(v.held),
        );
        each(
            "foreshock_delivery_consecutive_failures",
            "Requests that failed since the last that did not",
            &|courier, _| MetricValue::Gauge(f64::from(courier.consecutive_failures())),
        );
        metrics
    }
}

fn open(connection: ConnectionSettings, group: String, config: &Config) -> OpenLog {
    let (alerts, dead_letter) = (config.topics.alerts.clone(), config.topics.dead_letter.clone());
    Box::new(move || {
        let reader = GroupReader::join(&connection, &group, &alerts)?;
        let (alerts, dead_letter) = (alerts.clone(), dead_letter.clone());
        let connection = connection.clone();
        Ok(Box::new(KafkaLog {
            reader,
            connection,
            writer: None,
            alerts,
            dead_letter,
            events: VecDeque::new(),
        }))
    })
}

struct KafkaLog {
    reader: GroupReader,
    connection: ConnectionSettings,
    /// Of dead letters, once there is one.
    writer: Option<TopicWriter>,
    alerts: String,
    dead_letter: String,
    events: VecDeque<Event>,
}

impl AlertLog for KafkaLog {
    fn next(&mut self, timeout: Duration) -> Result<Option<Event>, LogError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let left = until.saturating_duration_since(Instant::now());
            let events = &mut self.events;
            let happened = self.reader.poll(left, |record| events.push_back(Event::Record(owned(record))))?;
            self.events.extend(happened.map(event));
            if self.events.is_empty() && left.is_zero() {
                return Ok(None);
            }
        }
    }

    fn commit(&mut self, partition: i32, position: &Position, wait: bool) -> Result<(), LogError> {
        Ok(self.reader.commit(partition, position.offset, &position.metadata, wait)?)
    }

    fn pause(&mut self, partition: i32, is_paused: bool) -> Result<(), LogError> {
        Ok(self.reader.pause(partition, is_paused)?)
    }

    fn dead_letter(&mut self, record: &Record, reason: &str) -> Result<(), LogError> {
        let writer = match &self.writer {
            Some(writer) => writer,
            None => self.writer.insert(TopicWriter::new(&self.connection)?),
        };
        let headers: Vec<(&str, &[u8])> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let source = SourceRecord {
            topic: &self.alerts,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: Some(record.timestamp_ms),
            key: Some(&record.key),
            headers: &headers,
            payload: &record.payload,
        };
        let output = codec::dead_letter::unreadable(source, reason);
        writer.write(WriteRecord {
            topic: &self.dead_letter,
            key: Some(&output.key),
            headers: &output.headers,
            payload: &output.payload,
            ..WriteRecord::default()
        })?;
        Ok(writer.flush(DEAD_LETTER_TIMEOUT)?)
    }
}

fn owned(record: SourceRecord<'_>) -> Record {
    Record {
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms.unwrap_or_default(),
        key: record.key.unwrap_or_default().to_vec(),
        headers: record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect(),
        payload: record.payload.to_vec(),
    }
}

fn event(event: GroupEvent) -> Event {
    match event {
        GroupEvent::Assigned { partition, committed, begin, end } => {
            let committed = committed.map(|(offset, metadata)| Position { offset, metadata });
            Event::Assigned { partition, committed, begin, end }
        }
        GroupEvent::Revoked { partition } => Event::Revoked { partition },
        GroupEvent::End { partition } => Event::End { partition },
    }
}
