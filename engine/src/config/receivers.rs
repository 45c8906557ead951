//! The direct door: OTLP and remote write without Kafka in front.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pipeline::settings::{Size, Span};
use receivers::{Settings, Topics};
use serde::Deserialize;

use super::{Signal, SourceConfig};
use crate::token;

/// Where telemetry is taken over the network, to be written to the topics of `sources`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiversConfig {
    pub grpc: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    /// PEM files; without them connections are plain text.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// A PEM file with the authorities that sign the certificates of clients; without it they need none.
    pub tls_client_ca: Option<PathBuf>,
    /// A file with a token that clients must send as `authorization: Bearer TOKEN`; without it everybody may send.
    pub token_file: Option<PathBuf>,
    pub body_max: Size,
    pub decompressed_max: Size,
    pub record_max: Size,
    pub in_flight_max: Size,
    pub connections_max: usize,
    pub acknowledge_timeout: Span,
}

impl Default for ReceiversConfig {
    fn default() -> Self {
        let settings = Settings::default();
        let milliseconds = i64::try_from(settings.acknowledge_timeout.as_millis()).unwrap_or(i64::MAX);
        Self {
            grpc: None,
            http: None,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            token_file: None,
            body_max: Size::from_bytes(settings.body_bytes_max),
            decompressed_max: Size::from_bytes(settings.decompressed_bytes_max),
            record_max: Size::from_bytes(settings.record_bytes_max),
            in_flight_max: Size::from_bytes(settings.in_flight_bytes_max),
            connections_max: settings.connections_max,
            acknowledge_timeout: Span::from_ms(milliseconds),
        }
    }
}

impl ReceiversConfig {
    pub fn is_on(&self) -> bool {
        self.grpc.is_some() || self.http.is_some()
    }

    pub(super) fn validate(&self, sources: &[SourceConfig], others: [SocketAddr; 2]) -> Result<(), String> {
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err("receivers: tls_certificate and tls_key go together".to_owned());
        }
        if self.tls_client_ca.is_some() && self.tls_certificate.is_none() {
            return Err("receivers: tls_client_ca needs tls_certificate and tls_key".to_owned());
        }
        let (body, record) = (self.body_max.bytes(), self.record_max.bytes());
        if body == 0 || self.decompressed_max.bytes() < body {
            return Err(
                "receivers: body_max must be above zero, and decompressed_max not below it".to_owned()
            );
        }
        if !(16 << 10..=8 << 20).contains(&record) {
            return Err(
                "receivers.record_max: must be from 16KiB to 8MiB, and not above what the topics take (max.message.bytes)"
                    .to_owned(),
            );
        }
        // What one request may need while it is unpacked, and turned from JSON into protobuf.
        let needed = body.saturating_add(self.decompressed_max.bytes().saturating_mul(5));
        if self.in_flight_max.bytes() < needed {
            return Err(format!(
                "receivers.in_flight_max: must be at least body_max and five times decompressed_max, which are {} MiB, so \
                 that the largest request can be taken",
                needed.div_ceil(1 << 20)
            ));
        }
        if !(1..=100_000).contains(&self.connections_max) {
            return Err("receivers.connections_max: must be from 1 to 100000".to_owned());
        }
        if !(100..=300_000).contains(&self.acknowledge_timeout.ms()) {
            return Err("receivers.acknowledge_timeout: must be from 100ms to 5m".to_owned());
        }
        let addresses: Vec<SocketAddr> = [self.grpc, self.http].into_iter().flatten().chain(others).collect();
        let doubled = addresses
            .iter()
            .enumerate()
            .find(|(at, address)| address.port() != 0 && addresses[at + 1..].contains(address));
        if let Some((_, address)) = doubled {
            return Err(format!(
                "receivers: {address} is listened to twice; give each door a port of its own"
            ));
        }
        let Topics { metrics, logs, spans, remote_write } = topics(sources);
        if self.is_on() && [metrics, logs, spans, remote_write].iter().all(Option::is_none) {
            return Err(
                "receivers: no source reads otlp_proto or prometheus_remote_write, so there is nowhere to write to".to_owned()
            );
        }
        Ok(())
    }

    /// For the receivers, with the token of the file.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let token = token::read("receivers.token_file", self.token_file.as_deref())?;
        Ok(Settings {
            grpc: self.grpc,
            http: self.http,
            tls_certificate: self.tls_certificate.clone(),
            tls_key: self.tls_key.clone(),
            tls_client_ca: self.tls_client_ca.clone(),
            token,
            body_bytes_max: self.body_max.bytes(),
            decompressed_bytes_max: self.decompressed_max.bytes(),
            record_bytes_max: self.record_max.bytes(),
            in_flight_bytes_max: self.in_flight_max.bytes(),
            connections_max: self.connections_max,
            acknowledge_timeout: Duration::from_millis(self.acknowledge_timeout.ms().unsigned_abs()),
            ..Settings::default()
        })
    }
}

/// The first source of each kind that is read as it is written.
pub fn topics(sources: &[SourceConfig]) -> Topics {
    let topic = |signal: Signal, encoding: &str| {
        let source = sources.iter().find(|source| source.signal == signal && source.encoding == encoding);
        source.map(|source| source.topic.clone())
    };
    Topics {
        metrics: topic(Signal::Metrics, "otlp_proto"),
        logs: topic(Signal::Logs, "otlp_proto"),
        spans: topic(Signal::Spans, "otlp_proto"),
        remote_write: topic(Signal::Metrics, "prometheus_remote_write"),
    }
}
