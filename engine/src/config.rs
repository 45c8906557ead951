//! The configuration: YAML, unknown keys are errors, `${NAME}` is taken from the environment.

pub mod calendars;
pub mod receivers;
pub mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use checkpoint::SnapshotName;
use codec::EntityRules;
use deliver::DeliverySettings;
use detectors::series_gone::SeriesGone;
use pipeline::settings::{AnalysisSettings, BudgetSettings, DetectorSettings, SeriesCalendar, Span};
use pipeline::silence::Rule;
use serde::Deserialize;

pub use self::calendars::CalendarConfig;
use self::receivers::ReceiversConfig;
pub use self::sources::{Keyed, Signal, SourceConfig};

/// The commented defaults of every key.
pub const DEFAULT_YAML: &str = include_str!("../default.yaml");

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub tenant: String,
    pub kafka: KafkaConfig,
    /// How entities are named where a source has no rules of its own.
    pub entity: EntityRules,
    pub sources: Vec<SourceConfig>,
    pub topics: TopicsConfig,
    pub alerts: AlertsConfig,
    pub analysis: AnalysisSettings,
    pub calendars: Vec<CalendarConfig>,
    pub detectors: Vec<DetectorSettings>,
    pub state: StateConfig,
    pub delivery: DeliverySettings,
    pub grpc: GrpcConfig,
    pub http: HttpConfig,
    pub receivers: ReceiversConfig,
}

/// How alerts are written to their topic, and how many page.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    pub encoding: alerts::Encoding,
    /// Pages a week in place of thresholds.
    pub budget: Option<BudgetSettings>,
}

/// Where what was learned is kept.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// A directory, or `s3://BUCKET/PREFIX`. Without one each start learns anew.
    pub location: Option<String>,
    pub snapshot_interval: Span,
    /// Snapshots kept of each partition.
    pub keep: usize,
    /// What is read again, without a word, where there is no snapshot.
    pub warm_up: Span,
    /// Of the object store.
    pub options: BTreeMap<String, String>,
}

/// Without the values of options: one of them may be a password.
impl std::fmt::Debug for StateConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateConfig")
            .field("location", &self.location)
            .field("snapshot_interval", &self.snapshot_interval)
            .field("keep", &self.keep)
            .field("warm_up", &self.warm_up)
            .field("options", &self.options.keys())
            .finish()
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            location: Some("foreshock-state".to_owned()),
            snapshot_interval: Span::from_ms(60_000),
            keep: 3,
            warm_up: Span::from_ms(7_200_000),
            options: BTreeMap::new(),
        }
    }
}

/// Where `foreshock.v1` is served.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    pub listen: SocketAddr,
    /// PEM files; without them the connection is plain text.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// A file with a token that clients must send as `authorization: Bearer TOKEN`; without it
    /// everybody may read, and silence alerts if the address is a loopback one.
    pub token_file: Option<PathBuf>,
}

/// Where `/livez`, `/readyz` and `/metrics` are served, in plain text.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    pub listen: SocketAddr,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 4320));
        Self { listen, tls_certificate: None, tls_key: None, token_file: None }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    pub brokers: String,
    pub group: String,
    pub instance: String,
    pub epoch: Span,
    pub partitions: i32,
    pub start: Start,
    pub properties: BTreeMap<String, String>,
}

/// Without the values of properties: one of them may be a password.
impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("instance", &self.instance)
            .field("epoch", &self.epoch)
            .field("partitions", &self.partitions)
            .field("start", &self.start)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    Earliest,
    Latest,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsConfig {
    pub samples: String,
    pub spans: String,
    pub findings: String,
    pub anomalies: String,
    pub incidents: String,
    pub alerts: String,
    pub coverage: String,
    pub dead_letter: String,
    pub controls: String,
}

impl TopicsConfig {
    /// All that the engine writes.
    pub fn all(&self) -> [&String; 9] {
        [
            &self.samples,
            &self.spans,
            &self.findings,
            &self.anomalies,
            &self.incidents,
            &self.alerts,
            &self.coverage,
            &self.dead_letter,
            &self.controls,
        ]
    }
}

/// A stage, which is a consumer group of its own in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Sources in, rows out.
    Ingest,
    /// Series of sources that are keyed by entity are judged at once.
    Keyed,
    /// Traces are put together.
    Traces,
    /// Series are judged.
    Series,
    /// Anomalies become incidents.
    Incidents,
}

impl Stage {
    pub const BEHIND_INGEST: [Self; 3] = [Self::Traces, Self::Series, Self::Incidents];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Keyed => "keyed",
            Self::Traces => "traces",
            Self::Series => "series",
            Self::Incidents => "incidents",
        }
    }

    /// Of the topic that it reads, in the configuration.
    fn topic_key(self) -> &'static str {
        match self {
            Self::Ingest | Self::Keyed => "sources",
            Self::Traces => "topics.spans",
            Self::Series => "topics.samples",
            Self::Incidents => "topics.findings",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let source = |topic: &str, signal, encoding: &str| SourceConfig {
            topic: topic.to_owned(),
            signal,
            encoding: encoding.to_owned(),
            keyed: None,
            mapping: None,
            entity: None,
            tenant: None,
        };
        Self {
            tenant: "default".to_owned(),
            kafka: KafkaConfig::default(),
            entity: EntityRules::default(),
            sources: vec![
                source("otlp_metrics", Signal::Metrics, "otlp_proto"),
                source("otlp_logs", Signal::Logs, "otlp_proto"),
                source("otlp_spans", Signal::Spans, "otlp_proto"),
                source("events", Signal::Events, "cloud_events"),
            ],
            alerts: AlertsConfig::default(),
            topics: TopicsConfig::default(),
            analysis: AnalysisSettings::default(),
            calendars: Vec::new(),
            detectors: default_detectors(),
            state: StateConfig::default(),
            delivery: DeliverySettings::default(),
            grpc: GrpcConfig::default(),
            http: HttpConfig::default(),
            receivers: ReceiversConfig::default(),
        }
    }
}

/// Those of the documented defaults, so that they are written down once.
fn default_detectors() -> Vec<DetectorSettings> {
    #[derive(Deserialize)]
    struct Detectors {
        detectors: Vec<DetectorSettings>,
    }
    let documented: Detectors =
        serde_saphyr::from_str(DEFAULT_YAML).expect("the embedded defaults are tested");
    documented.detectors
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            group: "foreshock".to_owned(),
            instance: "0".to_owned(),
            epoch: Span::from_ms(300),
            partitions: 8,
            start: Start::Latest,
            properties: BTreeMap::new(),
        }
    }
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            samples: "foreshock.samples".to_owned(),
            spans: "foreshock.spans".to_owned(),
            findings: "foreshock.findings".to_owned(),
            anomalies: "foreshock.anomalies".to_owned(),
            incidents: "foreshock.incidents".to_owned(),
            alerts: "foreshock.alerts".to_owned(),
            coverage: "foreshock.coverage".to_owned(),
            dead_letter: "foreshock.dead-letter".to_owned(),
            controls: "foreshock.controls".to_owned(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {source}; name the configuration with -c FILE")]
    Read { path: String, source: std::io::Error },
    #[error(
        "{path}: line {line}: the environment has no variable {name}; set it, or write $${{{name}}} for the text itself"
    )]
    NoVariable { path: String, line: usize, name: String },
    #[error("{path}: {message}\nevery key with its default: foreshock validate --print-default")]
    Invalid { path: String, message: String },
}

impl Config {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        Self::parse(&shown, &text, |name| std::env::var(name).ok())
    }

    /// `path` stands in the messages; `variable` looks a name up in the environment.
    pub fn parse(
        path: &str,
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let invalid = |message: String| ConfigError::Invalid { path: path.to_owned(), message };
        let text = expand(path, text, variable)?;
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        // Without the lines around, which may hold what was taken from the environment.
        let wrong = |error: serde_saphyr::Error| invalid(error.without_snippet().to_string());
        let mut config: Self = serde_saphyr::from_str(&text).map_err(wrong)?;
        config.validate().map_err(invalid)?;
        config.analysis.budget.clone_from(&config.alerts.budget);
        config.analysis.calendars = config.resolved_calendars().map_err(invalid)?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        self.analysis.validate().map_err(|message| format!("analysis: {message}"))?;
        if let Some(budget) = &self.alerts.budget {
            budget.validate().map_err(|message| format!("alerts.budget: {message}"))?;
        }
        if self.sources.is_empty() {
            return Err("sources: name at least one topic to read".to_owned());
        }
        let mut seen = BTreeSet::new();
        for source in &self.sources {
            if !seen.insert(source.topic.as_str()) {
                return Err(format!("sources: topic {} is named twice", source.topic));
            }
            if source.keyed.is_some() && source.signal != Signal::Metrics {
                return Err(format!(
                    "sources: topic {}: only metrics can be keyed: entity; {} are also routed by trace or tenant",
                    source.topic,
                    source.signal.as_str()
                ));
            }
            source.decoder(self).map_err(|error| format!("sources: topic {}: {error}", source.topic))?;
        }
        let topics = &self.topics;
        for topic in topics.all() {
            if topic.is_empty() || topic.len() > 249 {
                return Err(format!(
                    "topics: {topic:?} is no name for a topic: 1 to 249 characters are allowed"
                ));
            }
            if !seen.insert(topic.as_str()) {
                return Err(format!("topics: {topic} is named twice; each output needs a topic of its own"));
            }
        }
        if self.kafka.brokers.trim().is_empty() {
            return Err("kafka.brokers: name at least one broker as host:port".to_owned());
        }
        if self.kafka.group.is_empty() {
            return Err("kafka.group: must not be empty".to_owned());
        }
        if !(10..=60_000).contains(&self.kafka.epoch.ms()) {
            return Err("kafka.epoch: must be from 10ms to 1m".to_owned());
        }
        if self.kafka.instance.is_empty() {
            return Err(
                "kafka.instance: must not be empty; give each process of the group one of its own".to_owned()
            );
        }
        if self.state.location.as_deref().is_some_and(|location| location.trim().is_empty()) {
            return Err(
                "state.location: name a directory or s3://BUCKET/PREFIX, or null to keep nothing".to_owned()
            );
        }
        for (stage, topic) in self.states() {
            SnapshotName::new(&self.group(stage), topic, i32::MAX, 0, 0)
                .map_err(|error| format!("kafka.group, {}: {error}", stage.topic_key()))?;
        }
        if !(1..=128).contains(&self.kafka.partitions) {
            return Err(
                "kafka.partitions: must be from 1 to 128; each partition tells each other how far it has come".to_owned()
            );
        }
        if self.state.snapshot_interval.ms() < 100 {
            return Err("state.snapshot_interval: must be at least 100ms".to_owned());
        }
        if !(1..=1000).contains(&self.state.keep) {
            return Err("state.keep: must be from 1 to 1000".to_owned());
        }
        self.delivery.validate().map_err(|message| format!("delivery: {message}"))?;
        if self.grpc.tls_certificate.is_some() != self.grpc.tls_key.is_some() {
            return Err("grpc: tls_certificate and tls_key go together".to_owned());
        }
        let listen = self.grpc.listen;
        if listen == self.http.listen && listen.port() != 0 {
            return Err(format!(
                "grpc.listen and http.listen are both {listen}; give each a port of its own"
            ));
        }
        self.receivers.validate(&self.sources, [self.grpc.listen, self.http.listen])?;
        self.validate_detectors()
    }

    fn resolved_calendars(&self) -> Result<Vec<SeriesCalendar>, String> {
        let mut names = BTreeSet::new();
        let resolve = |calendar: &CalendarConfig| {
            if !names.insert(calendar.name().to_owned()) {
                return Err(format!(
                    "calendars: two are called {}; give one a name: of its own",
                    calendar.name()
                ));
            }
            calendar.resolve().map_err(|reason| format!("calendars: {}: {reason}", calendar.name()))
        };
        self.calendars.iter().map(resolve).collect()
    }

    /// The consumer group of a stage.
    pub fn group(&self, stage: Stage) -> String {
        format!("{}-{}", self.kafka.group, stage.as_str())
    }

    /// All stages that keep a state, with the topics that they read.
    pub fn states(&self) -> impl Iterator<Item = (Stage, &str)> {
        let keyed = self.sources.iter().filter(|source| source.keyed.is_some());
        let keyed = keyed.map(|source| (Stage::Keyed, source.topic.as_str()));
        keyed.chain(Stage::BEHIND_INGEST.map(|stage| (stage, self.topic(stage))))
    }

    /// The topic between the stages that a stage reads.
    ///
    /// # Panics
    /// For those that read the sources.
    pub fn topic(&self, stage: Stage) -> &str {
        match stage {
            Stage::Ingest | Stage::Keyed => panic!("this stage reads the sources"),
            Stage::Traces => &self.topics.spans,
            Stage::Series => &self.topics.samples,
            Stage::Incidents => &self.topics.findings,
        }
    }

    /// Of everything that has an influence on what the stages say, this program included. `found` is what was found on the brokers.
    pub fn digest(&self, found: &str) -> u64 {
        let version = env!("CARGO_PKG_VERSION");
        let encoding = self.alerts.encoding;
        let settings = format!("{version} {:?} {:?} {encoding:?} {found}", self.analysis, self.detectors);
        xxhash_rust::xxh3::xxh3_64(settings.as_bytes())
    }

    fn validate_detectors(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for detector in &self.detectors {
            let name = detector.name.as_deref().unwrap_or(&detector.kind);
            if !names.insert(name) {
                return Err(format!("detectors: two are called {name}; give one a name: of its own"));
            }
            // States are known by the name, with that of the calendar behind this sign.
            if name.contains('@') {
                return Err(format!("detectors: {name}: a name must not hold @"));
            }
            if detector.kind == SeriesGone::NAME {
                Rule::new(detector).map_err(|error| format!("detectors: {name}: {error}"))?;
                continue;
            }
            let Some(spec) = detectors::DETECTORS.iter().find(|spec| spec.name == detector.kind) else {
                let known = detectors::DETECTORS.iter().map(|spec| spec.name).chain([SeriesGone::NAME]);
                let known: Vec<&str> = known.collect();
                return Err(format!(
                    "detectors: kind {:?} is unknown; there are {}",
                    detector.kind,
                    known.join(", ")
                ));
            };
            let parameters = serde_json::Value::Object(detector.parameters.clone());
            (spec.build)(parameters).map_err(|error| format!("detectors: {name}: {error}"))?;
        }
        Ok(())
    }
}

/// Replaces `${NAME}` by the variable's value, and `$${` by `${`. Comments are left alone.
fn expand(path: &str, text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    let mut expanded = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        while !rest.trim_start().starts_with('#') {
            let Some(at) = rest.find("${") else { break };
            if rest[..at].ends_with('$') {
                expanded.push_str(&rest[..at]);
                expanded.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            let Some(end) = rest[at..].find('}') else { break };
            let name = &rest[at + 2..at + end];
            let missing =
                || ConfigError::NoVariable { path: path.to_owned(), line: number + 1, name: name.to_owned() };
            expanded.push_str(&rest[..at]);
            expanded.push_str(&variable(name).ok_or_else(missing)?);
            rest = &rest[at + end + 1..];
        }
        expanded.push_str(rest);
        expanded.push('\n');
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let variable = |name: &str| (name == "PASSWORD").then(|| "hunter2".to_owned());
        Config::parse("foreshock.yaml", text, variable).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let documented = parse(DEFAULT_YAML).unwrap();
        assert_eq!(format!("{documented:?}"), format!("{:?}", Config::default()));
        assert_eq!(format!("{:?}", parse("# nothing\n").unwrap()), format!("{:?}", Config::default()));
    }

    #[test]
    fn secrets_come_from_the_environment_and_stay_out_of_debug() {
        let config = parse("kafka:\n  properties: { sasl.password: \"${PASSWORD}\" }\n").unwrap();
        assert_eq!(config.kafka.properties["sasl.password"], "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        let message =
            parse("kafka:\n  grup: x\n  properties: { sasl.password: \"${PASSWORD}\" }\n").unwrap_err();
        assert!(
            message.contains("grup") && message.contains('2') && !message.contains("hunter2"),
            "{message}"
        );
        let message = parse("# ${ABSENT}\nkafka:\n  brokers: ${ABSENT}\n").unwrap_err();
        assert!(message.contains("line 3") && message.contains("ABSENT"), "{message}");
        assert_eq!(parse("tenant: $${x}\n").unwrap().tenant, "${x}");
    }

    #[test]
    fn the_documented_receivers_are_valid() {
        let example = DEFAULT_YAML.lines().filter_map(|line| line.strip_prefix("  #| "));
        let example: String = example.map(|line| format!("  {line}\n")).collect();
        let config = parse(&format!("delivery:\n{example}")).unwrap();
        let receivers = config.delivery.receivers;
        let kinds = receivers.iter().map(|receiver| {
            let kinds = [
                receiver.alertmanager.is_some(),
                receiver.webhook.is_some(),
                receiver.pagerduty.is_some(),
                receiver.slack.is_some(),
            ];
            kinds.iter().position(|is_given| *is_given)
        });
        assert_eq!(kinds.collect::<Vec<_>>(), [Some(0), Some(1), Some(2), Some(3)], "one of each kind");
        assert_eq!(receivers[0].matchers.len(), 1);
    }

    #[test]
    fn the_documented_mappings_are_valid_and_name_every_key() {
        let example = DEFAULT_YAML.lines().filter_map(|line| line.strip_prefix("#| "));
        let example: String = example.map(|line| format!("  {line}\n")).collect();
        let config = parse(&format!("sources:\n{example}")).unwrap();
        assert_eq!(config.sources.len(), 3);
        for signal in ["metrics", "logs"] {
            // The message lists what is allowed.
            let nonsense = serde_json::json!({ "nonsense": 1 });
            let message = codec::Mapping::parse(signal, nonsense).unwrap_err();
            let keys = message.split('`').skip(3).step_by(2);
            assert!(keys.clone().count() > 5, "{message}");
            for key in keys {
                assert!(example.contains(&format!("{key}:")), "{signal}: {key} is not documented");
            }
        }
    }

    #[test]
    fn a_secret_in_the_configuration_is_refused_and_not_shown() {
        let message =
            parse("delivery:\n  receivers:\n    - name: pager\n      pagerduty: { routing_key: hunter2 }\n")
                .unwrap_err();
        assert!(message.contains("env: NAME") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn every_encoding_is_documented() {
        for spec in codec::DECODERS {
            let words = DEFAULT_YAML.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            assert!(
                words.clone().any(|word| word == spec.encoding),
                "{} is not in default.yaml",
                spec.encoding
            );
        }
    }

    #[test]
    fn errors_name_the_key_and_what_is_allowed() {
        for (text, parts) in [
            ("kafak: {}\n", ["kafak", "kafka"]),
            ("analysis:\n  step: 10\n", ["30s", "2"]),
            ("analysis: { step: 0s }\n", ["analysis", "step"]),
            ("sources: []\n", ["sources", "at least one"]),
            ("detectors:\n  - { kind: emwa }\n", ["emwa", "ewma"]),
            ("detectors:\n  - { kind: ewma, parameters: { nonsense: 1 } }\n", ["ewma", "nonsense"]),
            ("detectors:\n  - { kind: ewma, match: [oops] }\n", ["oops", "label"]),
            ("sources:\n  - { topic: a, signal: events, encoding: otlp_proto }\n", ["a", "cloud_events"]),
            (
                "sources:\n  - { topic: a, signal: metrics, encoding: json, mapping: { valeu: x } }\n",
                ["topic a: mapping", "valeu"],
            ),
            (
                "sources:\n  - { topic: a, signal: metrics, encoding: json, mapping: { time_format: \"%H:%M\" } }\n",
                ["topic a: mapping: time_format", "strptime"],
            ),
            (
                "sources:\n  - { topic: a, signal: logs, encoding: json, mapping: { value: x } }\n",
                ["topic a: mapping: unknown field `value`", "body"],
            ),
            (
                "sources:\n  - { topic: a, signal: logs, encoding: plain, mapping: { body: x } }\n",
                ["topic a: only", "json"],
            ),
            ("entity: { service: [\"{service.name\"] }\n", ["{service.name", "braces"]),
            (
                "sources:\n  - { topic: a, signal: metrics, encoding: influx, entity: { instance: [] } }\n",
                ["topic a: entity: instance", "OTLP"],
            ),
            (
                "sources:\n  - { topic: a, signal: metrics, encoding: influx, tenant: { attribute: t } }\n",
                ["topic a: tenant", "header"],
            ),
            (
                "sources:\n  - { topic: a, signal: metrics, encoding: influx, tenant: {} }\n",
                ["topic a: tenant", "header"],
            ),
            ("state: { location: \"\" }\n", ["state.location", "null"]),
            ("state: { snapshot_interval: 1ms }\n", ["state.snapshot_interval", "100ms"]),
            ("calendars: [{ time_zone: Berlin }]\n", ["Berlin", "Europe/Berlin"]),
            ("calendars: [{ time_zone: UTC, holidays: /no/such.ics }]\n", ["/no/such.ics", "holidays"]),
            ("calendars: [{ time_zone: UTC }, { time_zone: UTC }]\n", ["two are called UTC", "name"]),
            ("alerts: { budget: { pages_per_week: 0 } }\n", ["alerts.budget", "from 0.01"]),
            ("receivers: { tls_key: a }\n", ["tls_certificate", "together"]),
            ("receivers: { tls_client_ca: a }\n", ["tls_client_ca", "tls_certificate"]),
            ("receivers: { in_flight_max: 100MiB }\n", ["in_flight_max", "176 MiB"]),
            ("receivers: { record_max: 64MiB }\n", ["record_max", "max.message.bytes"]),
            ("receivers: { http: 127.0.0.1:4320 }\n", ["127.0.0.1:4320", "port of its own"]),
            (
                "sources: [{ topic: a, signal: logs, encoding: plain }]\nreceivers: { http: 127.0.0.1:4318 }\n",
                ["receivers", "prometheus_remote_write"],
            ),
            ("delivery: { receivers: [{ name: a }] }\n", ["delivery: receivers: a", "exactly one"]),
            ("topics: { alerts: foreshock.incidents }\n", ["foreshock.incidents", "twice"]),
        ] {
            let message = parse(text).unwrap_err();
            assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
        }
    }
}
