//! What goes into and comes out of a task: records, without knowledge of who carries them.

/// One record as a task reads it. `partition` and `offset` say where it lay.
#[derive(Clone, Copy, Debug)]
pub struct SourceRecord<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// When it was written, as the broker has it on record.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// In the record's order; a header without a value has an empty one.
    pub headers: &'a [(&'a str, &'a [u8])],
    pub payload: &'a [u8],
}

impl<'a> SourceRecord<'a> {
    /// The last header of that name (without regard to case), as text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let last = self.headers.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name));
        last.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// Where an output goes; the driver maps it to the configured topic's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutputTopic {
    /// Decoded telemetry by entity, internal.
    Samples,
    /// Spans and the logs in them by trace, internal.
    Spans,
    /// What was found in samples and spans, by tenant, internal.
    Findings,
    Anomalies,
    Incidents,
    Alerts,
    /// What is watched of each service, compacted.
    Coverage,
    DeadLetter,
}

impl OutputTopic {
    /// The same whatever the topic is called in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            OutputTopic::Samples => "samples",
            OutputTopic::Spans => "spans",
            OutputTopic::Findings => "findings",
            OutputTopic::Anomalies => "anomalies",
            OutputTopic::Incidents => "incidents",
            OutputTopic::Alerts => "alerts",
            OutputTopic::Coverage => "coverage",
            OutputTopic::DeadLetter => "dead-letter",
        }
    }
}

/// A named part of a task's state, in a format that only its owner reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSection {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// One record that a task wants written in the current epoch's transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub topic: OutputTopic,
    /// The partition, where the task knows it; otherwise the key decides.
    pub partition: Option<i32>,
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub payload: Vec<u8>,
}
