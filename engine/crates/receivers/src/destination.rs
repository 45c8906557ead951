//! Where requests are written to.

/// Writes records. The engine's is Kafka.
pub trait Destination: Send + Sync + 'static {
    /// Takes a record without waiting. `done` is called exactly once, when the record is safe or will never be.
    fn write(&self, topic: &str, payload: &[u8], done: Box<dyn FnOnce(Result<(), Undelivered>) + Send>);
}

/// Why a record is not safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// It may be later.
    #[error("{0}")]
    Later(String),
    /// It never will be.
    #[error("{0}")]
    Never(String),
}

/// The topics to write to. A request for which there is none is refused.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    /// Read as `otlp_proto`.
    pub metrics: Option<String>,
    pub logs: Option<String>,
    pub spans: Option<String>,
    /// Read as `prometheus_remote_write`.
    pub remote_write: Option<String>,
}
