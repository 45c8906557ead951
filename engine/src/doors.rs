//! The receivers of the engine: what comes through their doors is written to Kafka.

use std::sync::Arc;
use std::time::Duration;

use kafka::{AcknowledgedWriter, ConnectionSettings, WriteRecord};
use receivers::{Counters, Destination, Receivers, Undelivered};

use crate::config::{Config, receivers::topics};
use crate::service::http::{Metric, MetricValue};

struct KafkaDestination(AcknowledgedWriter);

impl Destination for KafkaDestination {
    fn write(&self, topic: &str, payload: &[u8], done: Box<dyn FnOnce(Result<(), Undelivered>) + Send>) {
        self.0.write(WriteRecord { topic, payload, ..WriteRecord::default() }, move |result| {
            done(result.map_err(|error| match error {
                kafka::Error::RecordTooLarge { .. } => {
                    Undelivered::Never(format!("{error}; or lower receivers.record_max"))
                }
                // Whatever it is, it can be mended while the sender tries again.
                error => Undelivered::Later(error.to_string()),
            }));
        });
    }
}

/// Opens the doors that the configuration names, if it names some.
pub(crate) fn open(config: &Config, connection: &ConnectionSettings) -> anyhow::Result<Option<Receivers>> {
    if !config.receivers.is_on() {
        return Ok(None);
    }
    let timeout = Duration::from_millis(config.receivers.acknowledge_timeout.ms().unsigned_abs());
    let writer = AcknowledgedWriter::new(connection, timeout)?;
    let destination = Arc::new(KafkaDestination(writer));
    let receivers = receivers::start(config.receivers.settings()?, topics(&config.sources), destination)?;
    for (door, address) in [("grpc", receivers.grpc), ("http", receivers.http)] {
        if let Some(address) = address {
            tracing::info!(door, %address, "receiving");
        }
    }
    Ok(Some(receivers))
}

pub(crate) fn metrics(counters: &Counters) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let doors = counters.by_door();
    let mut of_doors = |name, help, value: &dyn Fn(&receivers::DoorCounters) -> u64| {
        metrics.extend(doors.iter().map(|(door, counters)| Metric {
            name,
            help,
            value: MetricValue::Counter(value(counters)),
            labels: vec![("door", (*door).to_owned())],
        }));
    };
    of_doors("foreshock_receiver_requests", "Requests accepted, at least in part", &|door| door.requests);
    of_doors("foreshock_receiver_items", "Points, log records and spans written", &|door| door.items);
    of_doors("foreshock_receiver_items_rejected", "Of accepted requests, those that were not", &|door| {
        door.items_rejected
    });
    for (door, counters) in &doors {
        metrics.extend(counters.refusals.by_reason().map(|(reason, count)| Metric {
            name: "foreshock_receiver_refusals",
            help: "Requests refused",
            value: MetricValue::Counter(count),
            labels: vec![("door", (*door).to_owned()), ("reason", reason.to_owned())],
        }));
    }
    let alone = |name, help, value| Metric { name, help, value, labels: Vec::new() };
    metrics.push(alone(
        "foreshock_receiver_in_flight_bytes",
        "Bytes of requests that are not answered yet",
        MetricValue::Gauge(counters.in_flight_bytes as f64),
    ));
    metrics.push(alone(
        "foreshock_receiver_connections",
        "Connections that are open",
        MetricValue::Gauge(counters.connections as f64),
    ));
    metrics.push(alone(
        "foreshock_receiver_connections_refused",
        "Connections beyond connections_max",
        MetricValue::Counter(counters.connections_refused),
    ));
    metrics
}
