//! How to reach Kafka, and what a worker needs to know.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::{OutputTopic, Secret};
use rdkafka::ClientConfig;
use serde::Deserialize;
use worker::Checkpoints;

use crate::Error;

/// Brokers, security, and any property of librdkafka.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionSettings {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    pub security: Security,
    /// Passed to librdkafka as they are and stronger than everything else here, except for those that exactly-once rests on.
    pub properties: BTreeMap<String, String>,
}

/// TLS and SASL. What is absent keeps librdkafka's default: plain text, the system's certificate authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub protocol: Option<String>,
    /// PEM file of the certificate authority.
    pub ca_location: Option<String>,
    /// PEM file of this client's certificate.
    pub certificate_location: Option<String>,
    /// PEM file of this client's private key.
    pub key_location: Option<String>,
    pub key_password: Option<Secret>,
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`.
    pub sasl_mechanism: Option<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
}

/// Properties that this crate sets itself, with the reason why nobody else may.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set `brokers` instead"),
    ("metadata.broker.list", "set `brokers` instead"),
    ("group.id", "the engine names its groups itself"),
    ("transactional.id", "the engine names its producers itself"),
    ("enable.auto.commit", "offsets are committed with the outputs, in one transaction"),
    ("enable.auto.offset.store", "offsets are committed with the outputs, in one transaction"),
    ("enable.idempotence", "transactions need it"),
    ("isolation.level", "only committed records may be read"),
    ("enable.partition.eof", "readers set it where they need it"),
    ("transaction.timeout.ms", "set the worker's transaction timeout instead"),
];

const REDACTED: &str = "***";

const SECRET_WORDS: &[&str] = &["password", "secret", "jaas", "token", "key.pem", "sasl.oauthbearer.config"];

impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_secret = |key: &str| SECRET_WORDS.iter().any(|word| key.contains(word));
        let properties: BTreeMap<&str, &str> = self
            .properties
            .iter()
            .map(|(key, value)| (key.as_str(), if is_secret(key) { REDACTED } else { value.as_str() }))
            .collect();
        f.debug_struct("ConnectionSettings")
            .field("brokers", &self.brokers)
            .field("security", &self.security)
            .field("properties", &properties)
            .finish()
    }
}

impl ConnectionSettings {
    /// Plain text, no properties.
    pub fn new(brokers: impl Into<String>) -> ConnectionSettings {
        ConnectionSettings { brokers: brokers.into(), ..ConnectionSettings::default() }
    }

    /// Whether librdkafka takes these settings. Opens no connection.
    pub fn validate(&self) -> Result<(), Error> {
        if self.brokers.split(',').all(|broker| broker.trim().is_empty()) {
            let problem = "empty; give at least one `host:port`".to_owned();
            return Err(Error::Setting { key: "brokers".to_owned(), problem });
        }
        for (key, why) in RESERVED {
            if self.properties.contains_key(*key) {
                return Err(Error::Setting {
                    key: (*key).to_owned(),
                    problem: format!("cannot be set here: {why}"),
                });
            }
        }
        let mut config = self.client_config("validate")?;
        self.add_properties(&mut config);
        config.create_native_config().map(drop).map_err(setting_error)
    }

    /// What all clients share.
    pub(crate) fn client_config(&self, client: &str) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", format!("foreshock-{client}"));
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Notice);
        let security = &self.security;
        let plain = [
            ("security.protocol", &security.protocol),
            ("ssl.ca.location", &security.ca_location),
            ("ssl.certificate.location", &security.certificate_location),
            ("ssl.key.location", &security.key_location),
            ("sasl.mechanism", &security.sasl_mechanism),
            ("sasl.username", &security.username),
        ];
        let secret = [("ssl.key.password", &security.key_password), ("sasl.password", &security.password)];
        for (key, value) in plain {
            if let Some(value) = value {
                config.set(key, value);
            }
        }
        for (key, value) in secret {
            if let Some(value) = value {
                config.set(key, value.reveal());
            }
        }
        Ok(config)
    }

    /// Adds the user's properties; they come last so that they win over the defaults.
    pub(crate) fn add_properties(&self, config: &mut ClientConfig) {
        for (key, value) in &self.properties {
            config.set(key, value);
        }
    }
}

/// librdkafka's answer to a property, without the value: it may be a secret.
pub(crate) fn setting_error(error: rdkafka::error::KafkaError) -> Error {
    match error {
        rdkafka::error::KafkaError::ClientConfig(_, problem, key, _) => Error::Setting { key, problem },
        source => Error::Kafka { doing: "could not create a Kafka client", source },
    }
}

/// Where to start on a partition without a committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartOffset {
    #[default]
    Earliest,
    Latest,
}

impl StartOffset {
    pub(crate) fn as_property(self) -> &'static str {
        match self {
            StartOffset::Earliest => "earliest",
            StartOffset::Latest => "latest",
        }
    }
}

/// What one [`KafkaWorker`](crate::KafkaWorker) does.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    pub connection: ConnectionSettings,
    /// Names the thread, the client and the log lines.
    pub name: String,
    /// Workers of one group share the partitions of `topics`.
    pub group: String,
    /// Unique among all running workers.
    pub transactional_id: String,
    pub topics: Vec<String>,
    /// How many partitions those of `topics` have whose number others rely on. The worker ends once it is another.
    pub partitions: BTreeMap<String, i32>,
    /// The topic of each output that the tasks may write.
    pub outputs: BTreeMap<OutputTopic, String>,
    pub start: StartOffset,
    /// How long records are gathered before they are committed.
    pub epoch: Duration,
    /// After this long without a commit the broker aborts by itself. Well above `epoch`.
    pub transaction_timeout: Duration,
    /// Where the states of tasks are kept; without, a task begins anew with each owner.
    pub checkpoints: Option<Checkpoints>,
    /// How long to try at start before the brokers count as unreachable.
    pub start_timeout: Duration,
}

impl WorkerSettings {
    /// Starts at the earliest record; epochs of 300 ms, a transaction timeout of 60 s, 30 s to start.
    pub fn new(connection: ConnectionSettings, name: &str, group: &str) -> WorkerSettings {
        WorkerSettings {
            connection,
            name: name.to_owned(),
            group: group.to_owned(),
            transactional_id: format!("{group}-{name}"),
            topics: Vec::new(),
            partitions: BTreeMap::new(),
            outputs: BTreeMap::new(),
            start: StartOffset::Earliest,
            epoch: Duration::from_millis(300),
            transaction_timeout: Duration::from_secs(60),
            checkpoints: None,
            start_timeout: Duration::from_secs(30),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.connection.validate()?;
        let wrong = |key: &str, problem: &str| {
            Err(Error::Setting {
                key: key.to_owned(),
                problem: format!("{problem} (worker `{}`)", self.name),
            })
        };
        if self.topics.is_empty() {
            return wrong("topics", "a worker needs at least one topic to read");
        }
        if self.epoch.is_zero() {
            return wrong("epoch", "must be longer than zero");
        }
        if self.transaction_timeout < self.epoch * 2 {
            return wrong("transaction_timeout", "must be at least twice the epoch");
        }
        Ok(())
    }

    pub(crate) fn consumer_config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.connection.client_config(&self.name)?;
        // A static member that is killed and comes back gets what it had, without a rebalance. Where that was half of a cooperative
        // one, partitions that were given up and not yet given on would stay without an owner; so all are given out at once.
        let is_static = self.connection.properties.contains_key("group.instance.id");
        let strategy = if is_static { "roundrobin" } else { "cooperative-sticky" };
        config.set("partition.assignment.strategy", strategy);
        config.set("auto.offset.reset", self.start.as_property());
        config.set("statistics.interval.ms", "1000");
        config.set("fetch.wait.max.ms", "100");
        keep_known(&self.connection, &mut config, Side::Consumer);
        if config.get("group.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer")) {
            // There the broker assigns, and librdkafka refuses a strategy of the client's.
            config.remove("partition.assignment.strategy");
        }
        config.set("group.id", &self.group);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        Ok(config)
    }

    /// Of a consumer that asks for the group's offsets and is no member.
    pub(crate) fn onlooker_config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.consumer_config()?;
        config.remove("group.instance.id");
        config.remove("statistics.interval.ms");
        // What others are just committing is not waited for.
        config.set("isolation.level", "read_uncommitted");
        Ok(config)
    }

    pub(crate) fn producer_config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.connection.client_config(&self.name)?;
        producer_defaults(&mut config);
        keep_known(&self.connection, &mut config, Side::Producer);
        config.set("transactional.id", &self.transactional_id);
        config.set("transaction.timeout.ms", self.transaction_timeout.as_millis().to_string());
        Ok(config)
    }
}

/// Which of the user's properties a client takes: librdkafka only warns about those of the other side, on every start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Consumer,
    Producer,
}

const CONSUMER_ONLY: &[&str] =
    &["fetch.", "group.", "auto.offset.", "partition.assignment.", "session.", "heartbeat.", "max.poll."];
const PRODUCER_ONLY: &[&str] =
    &["linger.", "queue.buffering.", "compression.", "batch.", "partitioner", "acks", "message.timeout."];

pub(crate) fn keep_known(connection: &ConnectionSettings, config: &mut ClientConfig, side: Side) {
    connection.add_properties(config);
    let others = if side == Side::Consumer { PRODUCER_ONLY } else { CONSUMER_ONLY };
    for key in connection.properties.keys() {
        if others.iter().any(|prefix| key.starts_with(prefix)) {
            config.remove(key);
        }
    }
}

pub(crate) fn producer_defaults(config: &mut ClientConfig) {
    config.set("compression.type", "lz4");
    config.set("linger.ms", "5");
    // Java's default, so that a key lies where every other client of this cluster would put it.
    config.set("partitioner", "murmur2_random");
    config.set("enable.idempotence", "true");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let mut settings = ConnectionSettings::new("localhost:9092");
        settings.security.password = Some(Secret::new("hunter2"));
        settings.properties.insert("ssl.keystore.password".into(), "hunter2".into());
        settings.properties.insert("linger.ms".into(), "7".into());
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("localhost:9092") && shown.contains("\"7\""), "{shown}");
    }

    #[test]
    fn what_exactly_once_rests_on_cannot_be_set() {
        let mut settings = ConnectionSettings::new("localhost:9092");
        settings.properties.insert("isolation.level".into(), "read_uncommitted".into());
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.contains("isolation.level") && error.contains("committed"), "{error}");
    }

    #[test]
    fn librdkafka_judges_the_rest() {
        let mut settings = ConnectionSettings::new("localhost:9092");
        settings.properties.insert("socket.keepalive.enable".into(), "true".into());
        settings.validate().unwrap();
        settings.properties.insert("socket.keep".into(), "hunter2".into());
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.contains("socket.keep") && !error.contains("hunter2"), "{error}");
        assert!(ConnectionSettings::new(" ").validate().is_err());
    }
}
