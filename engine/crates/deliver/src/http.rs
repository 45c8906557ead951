//! Sends the requests of one receiver and says what became of them.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Secret;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, StatusCode, redirect};
use tokio::task::JoinSet;

use crate::outbox::Outcome;
use crate::receiver::Request;
use crate::secret::SecretError;
use crate::settings::ReceiverSettings;
use crate::time::retry_after_ms;

/// Of an answer, more is not read.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Of an answer, more is not shown.
const EXCERPT_CHARACTERS_MAX: usize = 200;
const CONNECT_TIMEOUT_MS: u64 = 5_000;

/// An HTTP client with the settings of one receiver. Follows no redirects: they would carry secrets elsewhere.
pub struct HttpSender {
    settings: ReceiverSettings,
    /// With the files that it was made of.
    client: Option<(TlsFiles, Client)>,
}

/// What became of the requests that were sent at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub outcome: Outcome,
    /// Those that were not accepted, although another was.
    pub members_failed: usize,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct TlsFiles {
    ca: Option<Vec<u8>>,
    identity: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("tls.{key}: cannot read {path}: {source}")]
    File { key: &'static str, path: String, source: std::io::Error },
    #[error("cannot make an HTTP client; are the PEM files of tls right? {0}")]
    Client(String),
}

impl HttpSender {
    pub fn new(settings: &ReceiverSettings) -> Self {
        // Fails where one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { settings: settings.clone(), client: None }
    }

    /// Sends all at once. One that is accepted is enough; else one that may be accepted later is worth trying again.
    pub async fn send(&mut self, requests: Result<Vec<Request>, SecretError>, now_ms: i64) -> Sent {
        let failed = |error: SendError| {
            let outcome = Outcome::Failed { reason: error.to_string(), retry_after_ms: None };
            Sent { outcome, members_failed: 0 }
        };
        let prepared = requests.map_err(SendError::from).and_then(|requests| {
            let authorization = self.authorization()?;
            Ok((requests, authorization, self.client()?))
        });
        let (requests, authorization, client) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return failed(error),
        };
        let mut tasks = JoinSet::new();
        for (member, request) in requests.into_iter().enumerate() {
            let answer = post(client.clone(), request, authorization.clone(), now_ms);
            tasks.spawn(async move { (member, answer.await) });
        }
        let mut outcomes = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let lost = |error| (0, Outcome::Failed { reason: format!("{error}"), retry_after_ms: None });
            outcomes.push(ended.unwrap_or_else(lost));
        }
        outcomes.sort_by_key(|(member, outcome)| (rank(outcome), *member));
        let Some((_, outcome)) = outcomes.first().cloned() else {
            return Sent { outcome: Outcome::Accepted, members_failed: 0 };
        };
        let mut members_failed = 0;
        for (member, other) in outcomes.iter().filter(|_| outcome == Outcome::Accepted) {
            let (Outcome::Failed { reason, .. } | Outcome::Refused(reason)) = other else { continue };
            members_failed += 1;
            let (receiver, reason) = (&self.settings.name, self.shown(reason));
            tracing::warn!(receiver, member, reason, "one member of a cluster fails; another has accepted");
        }
        Sent { outcome, members_failed }
    }

    /// What a receiver said, without secrets that it may have repeated.
    pub(crate) fn shown(&self, reason: &str) -> String {
        let secrets: Vec<Secret> = self.settings.secrets().filter_map(|secret| secret.read().ok()).collect();
        without(reason, &secrets)
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, SecretError> {
        let text = match (&self.settings.basic, &self.settings.bearer_token) {
            (Some(basic), _) => {
                let pair = format!("{}:{}", basic.username, basic.password.read()?.reveal());
                Some(("basic.password", format!("Basic {}", STANDARD.encode(pair))))
            }
            (None, Some(token)) => Some(("bearer_token", format!("Bearer {}", token.read()?.reveal()))),
            (None, None) => None,
        };
        let value = text.map(|(key, text)| {
            let mut value =
                HeaderValue::from_str(&text).map_err(|_| SecretError::Unusable(key.to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        value.transpose()
    }

    /// The client; a new one when files have changed. While changed ones cannot be used, the one before goes on.
    fn client(&mut self) -> Result<Client, SendError> {
        let made = self.files().and_then(|files| match &self.client {
            Some((of, client)) if *of == files => Ok((files, client.clone())),
            _ => self.build(&files).map(|client| (files, client)),
        });
        match (made, &self.client) {
            (Ok((files, client)), _) => {
                self.client = Some((files, client.clone()));
                Ok(client)
            }
            (Err(error), Some((_, before))) => {
                let receiver = &self.settings.name;
                tracing::warn!(receiver, %error, "goes on with the certificates of before");
                Ok(before.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn files(&self) -> Result<TlsFiles, SendError> {
        let read = |key, path: &Path| {
            let fail = |source| SendError::File { key, path: path.display().to_string(), source };
            std::fs::read(path).map_err(fail)
        };
        let tls = &self.settings.tls;
        let ca = tls.ca_file.as_deref().map(|path| read("ca_file", path)).transpose()?;
        let identity = match (&tls.certificate_file, &tls.key_file) {
            (Some(certificate), Some(key)) => {
                let mut pem = read("certificate_file", certificate)?;
                pem.push(b'\n');
                pem.extend(read("key_file", key)?);
                Some(pem)
            }
            _ => None,
        };
        Ok(TlsFiles { ca, identity })
    }

    fn build(&self, files: &TlsFiles) -> Result<Client, SendError> {
        let fail = |error: reqwest::Error| SendError::Client(causes(&error));
        let timeout = Duration::from_millis(self.settings.timeout.ms().unsigned_abs());
        let mut builder = Client::builder()
            .user_agent(concat!("foreshock/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_millis(CONNECT_TIMEOUT_MS)))
            .pool_max_idle_per_host(1);
        if !self.settings.proxy_from_environment {
            builder = builder.no_proxy();
        }
        builder = match &files.ca {
            Some(pem) => builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(fail)?),
            // A system without authorities is no reason against plain text.
            None if !self.settings.wants_tls() => builder.tls_certs_only([]),
            None => builder,
        };
        if let Some(pem) = &files.identity {
            builder = builder.identity(Identity::from_pem(pem).map_err(fail)?);
        }
        builder.build().map_err(fail)
    }
}

fn rank(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Accepted => 0,
        Outcome::Failed { .. } => 1,
        Outcome::Refused(_) => 2,
    }
}

async fn post(client: Client, request: Request, authorization: Option<HeaderValue>, now_ms: i64) -> Outcome {
    let mut builder = client.post(&request.url).header(CONTENT_TYPE, "application/json").body(request.body);
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in request.headers {
        // Identifiers and times of our own; what is no header value is left out.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
    builder = builder.headers(headers);
    let mut response = match builder.send().await {
        Ok(response) => response,
        Err(error) => return Outcome::Failed { reason: causes(&error), retry_after_ms: None },
    };
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after_ms = retry_after.and_then(|text| retry_after_ms(text, now_ms));
    let status = response.status();
    if status.is_success() {
        // What else it says does not matter; a connection that has more to say is closed.
        return Outcome::Accepted;
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let left = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(left)]);
        if body.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    judge(status, &excerpt(&body), retry_after_ms)
}

/// What an answer other than success means.
fn judge(status: StatusCode, said: &str, retry_after_ms: Option<i64>) -> Outcome {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let advice = match status.as_u16() {
        401 | 403 | 407 => "; check the credentials of the receiver",
        404 | 405 | 410 | 421 => "; check the address of the receiver",
        300..=399 => "; redirects are not followed: give the address that it leads to",
        408 | 425 | 429 | 500.. => "",
        400..=499 => return Outcome::Refused(format!("HTTP {status}{said}")),
        _ => "; is this the right address?",
    };
    Outcome::Failed { reason: format!("HTTP {status}{said}{advice}"), retry_after_ms }
}

/// The beginning of an answer as one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_CHARACTERS_MAX)]);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(EXCERPT_CHARACTERS_MAX).collect()
}

/// What went wrong with all its causes, without the address, which may be a secret.
fn causes(error: &reqwest::Error) -> String {
    let mut text = match () {
        () if error.is_timeout() => "no answer in time".to_owned(),
        () if error.is_connect() => "cannot connect".to_owned(),
        () if error.is_builder() => "the request cannot be made; is the address one?".to_owned(),
        () => "the connection failed".to_owned(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// Replaces a secret that an answer or an error repeats.
fn without(text: &str, secrets: &[Secret]) -> String {
    let long = secrets.iter().filter(|secret| secret.reveal().len() >= 4);
    long.fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_blame_decides_whether_it_is_tried_again() {
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), "why", Some(7));
        for status in [400, 406, 409, 411, 413, 415, 422, 431] {
            assert!(matches!(judged(status), Outcome::Refused(reason) if reason.contains("why")), "{status}");
        }
        for (status, advice) in [
            (301, "redirects"),
            (401, "credentials"),
            (403, "credentials"),
            (404, "address"),
            (410, "address"),
            (408, "408"),
            (429, "429"),
            (500, "500"),
            (503, "why"),
            (599, "599"),
        ] {
            let Outcome::Failed { reason, retry_after_ms } = judged(status) else { panic!("{status}") };
            assert!(reason.contains(advice) && retry_after_ms == Some(7), "{reason}");
        }
    }

    #[test]
    fn an_answer_is_shown_as_one_short_line() {
        assert_eq!(excerpt(b" a\r\n\x1b[31mb\0 "), "a [31mb");
        assert_eq!(excerpt(&[b'x'; 5_000]).len(), EXCERPT_CHARACTERS_MAX);
        assert_eq!(
            without("no key R0123 here", &[Secret::new("R0123"), Secret::new("no")]),
            "no key *** here"
        );
    }
}
