//! What the receivers can be told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Where OTLP over gRPC is taken.
    pub grpc: Option<SocketAddr>,
    /// Where OTLP over HTTP and remote write are taken.
    pub http: Option<SocketAddr>,
    /// PEM files; without them connections are plain text.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// A PEM file with the authorities of clients' certificates; with it only clients that have one may connect.
    pub tls_client_ca: Option<PathBuf>,
    /// What senders must send as `authorization: Bearer TOKEN`. Not shown by `Debug`.
    pub token: Option<Token>,
    /// Of a body as it is sent.
    pub body_bytes_max: usize,
    /// Of a body once it is unpacked.
    pub decompressed_bytes_max: usize,
    /// Of a record that is written.
    pub record_bytes_max: usize,
    /// Of all requests that are not answered yet.
    pub in_flight_bytes_max: usize,
    /// Of both doors together.
    pub connections_max: usize,
    /// How long headers, and how long a body may take to arrive.
    pub read_timeout: Duration,
    /// How long the destination may take.
    pub acknowledge_timeout: Duration,
    /// When a sender that is turned away is to come back.
    pub retry_after: Duration,
}

impl Default for Settings {
    /// Nothing is listened to.
    fn default() -> Self {
        Self {
            grpc: None,
            http: None,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            token: None,
            body_bytes_max: 16 << 20,
            decompressed_bytes_max: 32 << 20,
            record_bytes_max: 900 << 10,
            in_flight_bytes_max: 256 << 20,
            connections_max: 1000,
            read_timeout: Duration::from_secs(30),
            acknowledge_timeout: Duration::from_secs(10),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// A secret that `Debug` does not show.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// None if there is nothing in the text but space.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(format!("Bearer {text}")))
    }

    /// Whether an `authorization` header holds it. Compares in a time that does not tell how much of it was right.
    pub fn is_held_by(&self, given: &[u8]) -> bool {
        let token = self.0.as_bytes();
        given.len() == token.len()
            && given.iter().zip(token).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
