//! Creates the topics that the engine writes to and checks those that it reads from.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

use crate::Error;
use crate::client::{LogContext, block_on, lone_consumer, metadata};
use crate::error::Doing;
use crate::settings::{ConnectionSettings, setting_error};

/// A topic that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    /// For a new topic; an existing one keeps its own.
    pub partitions: i32,
    /// Copies of a new topic; -1 takes the broker's default.
    pub replication: i32,
    /// Such as `("retention.ms", "604800000")`; for a new topic only.
    pub config: Vec<(String, String)>,
}

/// How a topic was found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    pub name: String,
    pub partitions: i32,
    pub created: bool,
}

/// Creates those of `specs` that are missing. Existing topics are left as they are.
pub fn ensure(
    connection: &ConnectionSettings,
    specs: &[TopicSpec],
    timeout: Duration,
) -> Result<Vec<TopicState>, Error> {
    let deadline = Instant::now() + timeout;
    let consumer = asking_consumer(connection)?;
    let mut found = Vec::with_capacity(specs.len());
    for spec in specs {
        found.push(partitions(&consumer, connection, &spec.name, deadline)?);
    }
    let missing: Vec<&TopicSpec> =
        specs.iter().zip(&found).filter(|(_, count)| count.is_none()).map(|(spec, _)| spec).collect();
    if !missing.is_empty() {
        create(connection, &missing, left(deadline))?;
    }
    let mut states = Vec::with_capacity(specs.len());
    for (spec, before) in specs.iter().zip(found) {
        let count = match before {
            Some(count) => count,
            None => wait_for(&consumer, connection, &spec.name, deadline)?,
        };
        states.push(TopicState { name: spec.name.clone(), partitions: count, created: before.is_none() });
    }
    Ok(states)
}

/// How many partitions each of these topics has; an error that names those that do not exist.
pub fn require(
    connection: &ConnectionSettings,
    names: &[String],
    timeout: Duration,
) -> Result<Vec<TopicState>, Error> {
    let deadline = Instant::now() + timeout;
    let consumer = asking_consumer(connection)?;
    let mut states = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        match partitions(&consumer, connection, name, deadline)? {
            Some(partitions) => states.push(TopicState { name: name.clone(), partitions, created: false }),
            None => missing.push(name.clone()),
        }
    }
    if missing.is_empty() {
        Ok(states)
    } else {
        Err(Error::MissingTopics { brokers: connection.brokers.clone(), topics: missing })
    }
}

/// The names of all topics that this client may see, in order; internal ones (`__…`) left out.
pub fn names(connection: &ConnectionSettings, timeout: Duration) -> Result<Vec<String>, Error> {
    let consumer = asking_consumer(connection)?;
    let metadata = metadata(&consumer, connection, None, timeout)?;
    let mut names: Vec<String> = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
    names.retain(|name| !name.starts_with("__"));
    names.sort();
    Ok(names)
}

fn asking_consumer(connection: &ConnectionSettings) -> Result<BaseConsumer<LogContext>, Error> {
    connection.validate()?;
    let mut config = connection.client_config("topics")?;
    crate::settings::keep_known(connection, &mut config, crate::settings::Side::Consumer);
    config.set("allow.auto.create.topics", "false");
    lone_consumer(&config)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))
}

fn partitions(
    consumer: &BaseConsumer<LogContext>,
    connection: &ConnectionSettings,
    name: &str,
    deadline: Instant,
) -> Result<Option<i32>, Error> {
    let metadata = metadata(consumer, connection, Some(name), left(deadline))?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
    match topic.error() {
        None => Ok(Some(i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))),
        Some(
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            // Just created; its leader is being chosen.
            | RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        ) => Ok(None),
        Some(code) => {
            let code = RDKafkaErrorCode::from(code);
            Err(Error::from_refusal(code, Doing::Describing(name)).unwrap_or_else(|| Error::Kafka {
                doing: "could not look up a topic",
                source: rdkafka::error::KafkaError::MetadataFetch(code),
            }))
        }
    }
}

fn wait_for(
    consumer: &BaseConsumer<LogContext>,
    connection: &ConnectionSettings,
    name: &str,
    deadline: Instant,
) -> Result<i32, Error> {
    loop {
        match partitions(consumer, connection, name, deadline)? {
            Some(count) if count > 0 => return Ok(count),
            _ if Instant::now() > deadline => {
                let reason = "it was accepted but did not appear in time; try again".to_owned();
                return Err(Error::TopicNotCreated { topic: name.to_owned(), reason });
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn create(connection: &ConnectionSettings, specs: &[&TopicSpec], timeout: Duration) -> Result<(), Error> {
    let mut config = connection.client_config("topics")?;
    crate::settings::keep_known(connection, &mut config, crate::settings::Side::Producer);
    let admin: AdminClient<LogContext> =
        config.create_with_context(LogContext::default()).map_err(setting_error)?;
    let new_topics: Vec<NewTopic<'_>> = specs
        .iter()
        .map(|spec| {
            let new = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication));
            spec.config.iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let results = block_on(admin.create_topics(&new_topics, &options))
        .map_err(Error::kafka("could not ask for topics to be created"))?;
    for result in results {
        match result {
            // Another process of ours was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(Error::from_refusal(code, Doing::Creating(&topic))
                    .unwrap_or_else(|| Error::TopicNotCreated { topic, reason: reason(code) }));
            }
        }
    }
    Ok(())
}

fn reason(code: RDKafkaErrorCode) -> String {
    let advice = match code {
        RDKafkaErrorCode::InvalidReplicationFactor => {
            ": the cluster has fewer brokers than copies were asked for"
        }
        RDKafkaErrorCode::InvalidConfig => ": the broker does not take one of its settings",
        RDKafkaErrorCode::PolicyViolation => ": the broker's policy forbids it; have it created by hand",
        _ => "",
    };
    format!("{code}{advice}")
}
