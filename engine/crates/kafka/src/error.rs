//! What can go wrong, said so that the reader knows who must act.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What the caller should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The same call may succeed later.
    Retry,
    /// Somebody must change something first: settings, rights, topics.
    Stop,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Kafka setting `{key}`: {problem}")]
    Setting { key: String, problem: String },

    #[error(
        "no answer from Kafka at {brokers} within {:.0} s{}; check that the address is right, that the broker runs and \
         that TLS and SASL settings match its listener",
        waited.as_secs_f32(), last_error.as_ref().map(|e| format!(" ({e})")).unwrap_or_default()
    )]
    Unreachable { brokers: String, waited: Duration, last_error: Option<String> },

    #[error("{} not exist at {brokers}: create {} or correct the topic names in the configuration", list(.topics, "topic", "topics", "does", "do"), if .topics.len() == 1 { "it" } else { "them" })]
    MissingTopics { brokers: String, topics: Vec<String> },

    #[error(
        "Kafka refuses {right} on {resource}: grant it, for example with `kafka-acls.sh --add --operation {operation} …`{advice}"
    )]
    MissingRight { right: &'static str, operation: &'static str, resource: String, advice: &'static str },

    #[error("topic `{topic}` could not be created: {reason}")]
    TopicNotCreated { topic: String, reason: String },

    #[error(
        "topic `{topic}` has {now} partitions now and had {before} when this process began: start all processes anew, they \
         then share the work over all of them. What lies in other partitions than before is learned anew"
    )]
    PartitionsChanged { topic: String, before: i32, now: i32 },

    #[error("a task wrote to {output:?}, but no topic is configured for it")]
    NoTopicForOutput { output: model::OutputTopic },

    #[error(
        "topic `{topic}` refuses a record as too large: raise its `max.message.bytes`, or lower `message.max.bytes` of \
         this client so that such a record becomes a dead letter"
    )]
    RecordTooLarge { topic: String },

    #[error(
        "another producer took over the transactional id `{transactional_id}` ({reason}): either a second process runs \
         with the same worker name, then give it another; or this process stood still for longer than the transaction \
         timeout, then start it again. Nothing was lost or written twice"
    )]
    Fenced { transactional_id: String, reason: String },

    #[error(
        "the transactional producer cannot go on ({reason}): start the worker again. It continues from the last \
         committed epoch; nothing was lost or written twice"
    )]
    Fatal { reason: String },

    #[error("another member uses the same `group.instance.id` ({reason}): give every process its own")]
    InstanceFenced { reason: String },

    #[error(
        "a task panicked, which is a bug; its epoch was aborted. The panic's message stands above in the log. To skip the \
         record that causes it, move the group behind it: kafka-consumer-groups.sh --reset-offsets --to-offset"
    )]
    TaskPanicked,

    #[error("{doing}: {source}")]
    Kafka {
        doing: &'static str,
        #[source]
        source: KafkaError,
    },

    #[error("{0}; to go on without the state would be to lose it")]
    Recovery(#[from] worker::RecoveryError),

    #[error("could not start the thread `{name}`: {source}")]
    Thread {
        name: String,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub fn action(&self) -> Action {
        match self {
            Error::Unreachable { .. }
            | Error::Kafka { .. }
            | Error::Fatal { .. }
            | Error::Thread { .. }
            | Error::PartitionsChanged { .. } => Action::Retry,
            Error::Recovery(worker::RecoveryError::Store(error)) if error.is_transient() => Action::Retry,
            _ => Action::Stop,
        }
    }

    pub(crate) fn kafka(doing: &'static str) -> impl Fn(KafkaError) -> Error {
        move |source| Error::Kafka { doing, source }
    }

    /// The error of a broker that refuses for want of a right, if `code` says so.
    pub(crate) fn from_refusal(code: RDKafkaErrorCode, doing: Doing<'_>) -> Option<Error> {
        let (right, operation, resource) = match (code, doing) {
            (RDKafkaErrorCode::TopicAuthorizationFailed, Doing::Reading(topics)) => {
                ("READ", "Read", topic(topics))
            }
            (RDKafkaErrorCode::TopicAuthorizationFailed, Doing::Writing(topics)) => {
                ("WRITE", "Write", topic(topics))
            }
            (RDKafkaErrorCode::TopicAuthorizationFailed, Doing::Creating(topics)) => {
                ("CREATE", "Create", topic(topics))
            }
            (RDKafkaErrorCode::TopicAuthorizationFailed, Doing::Describing(topics)) => {
                ("DESCRIBE", "Describe", topic(topics))
            }
            (RDKafkaErrorCode::GroupAuthorizationFailed, _) => {
                ("READ", "Read", "the consumer group".to_owned())
            }
            (RDKafkaErrorCode::TransactionalIdAuthorizationFailed, _) => {
                ("WRITE", "Write", "the transactional id".to_owned())
            }
            (RDKafkaErrorCode::ClusterAuthorizationFailed, Doing::Creating(_)) => {
                ("CREATE", "Create", "the cluster".to_owned())
            }
            (RDKafkaErrorCode::ClusterAuthorizationFailed, _) => {
                ("IDEMPOTENT_WRITE", "IdempotentWrite", "the cluster".to_owned())
            }
            _ => return None,
        };
        let advice = match doing {
            Doing::Creating(_) => ", or have the topic created by somebody who may",
            _ => "",
        };
        Some(Error::MissingRight { right, operation, resource, advice })
    }
}

/// What was being done when a broker refused, and with which topics.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doing<'a> {
    Reading(&'a str),
    Writing(&'a str),
    Creating(&'a str),
    Describing(&'a str),
}

fn topic(name: &str) -> String {
    format!("topic `{name}`")
}

fn list(items: &[String], one: &str, many: &str, verb_one: &str, verb_many: &str) -> String {
    let names = items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    match items.len() {
        1 => format!("{one} {names} {verb_one}"),
        _ => format!("{many} {names} {verb_many}"),
    }
}
