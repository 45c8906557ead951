//! What delivery can be told. The field docs are the user's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use model::{Matcher, Span};
use reqwest::Url;
use serde::Deserialize;

use crate::inhibition::{InhibitRule, RULES_MAX};
use crate::secret::SecretReference;
use crate::template;

/// Each receiver has a thread and a consumer of its own.
pub const RECEIVERS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 63;

/// Who is told of alerts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverySettings {
    /// Annotations that alerts are given on their way out, each a template; those of a receiver win.
    pub annotations: BTreeMap<String, String>,
    /// Alerts that hold others back from all receivers while they fire.
    pub inhibit_rules: Vec<InhibitRule>,
    pub receivers: Vec<ReceiverSettings>,
}

/// One receiver. It has exactly one of `alertmanager`, `webhook`, `pagerduty` and `slack`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverSettings {
    /// Stands in metrics and in the name of its consumer group: another name begins anew.
    pub name: String,
    /// The alerts must satisfy all of these; without any, all are delivered. `severity` is that of now.
    #[serde(default, rename = "match")]
    pub matchers: Vec<Matcher>,
    /// Whether the end of an alert is told.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// For one request, answer included.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// An alert that cannot be delivered and was written longer ago than this goes to the dead-letter topic.
    #[serde(default = "one_day")]
    pub give_up_after: Span,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub basic: Option<BasicSettings>,
    /// Sent as `authorization: Bearer TOKEN`.
    #[serde(default)]
    pub bearer_token: Option<SecretReference>,
    #[serde(default)]
    pub tls: TlsSettings,
    /// Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY count.
    #[serde(default)]
    pub proxy_from_environment: bool,
    #[serde(default)]
    pub alertmanager: Option<AlertmanagerSettings>,
    #[serde(default)]
    pub webhook: Option<WebhookSettings>,
    #[serde(default)]
    pub pagerduty: Option<PagerDutySettings>,
    #[serde(default)]
    pub slack: Option<SlackSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicSettings {
    pub username: String,
    pub password: SecretReference,
}

/// PEM files. They are read again when they change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// The only authorities that are trusted; without it those of the system are.
    pub ca_file: Option<PathBuf>,
    /// Of this client, for receivers that ask for one.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// The API v2 of Alertmanager.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerSettings {
    /// All members of the cluster, without `/api/v2/alerts`. Each is told, and one that accepts is enough.
    pub urls: Vec<String>,
    /// Alerts that fire are sent again so often; Alertmanager takes them for resolved after four times as long.
    #[serde(default = "one_minute")]
    pub resend: Span,
}

/// A POST of JSON for each alert.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    pub url: String,
    #[serde(default)]
    pub format: WebhookFormat,
    /// Signs each request as Standard Webhooks does.
    #[serde(default)]
    pub signing_secret: Option<SecretReference>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// As Alertmanager's own webhook receiver (`version: "4"`).
    #[default]
    Alertmanager,
    /// Structured CloudEvents 1.0 with the alert as on its topic.
    CloudEvents,
}

/// Events API v2 of PagerDuty.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDutySettings {
    /// The integration key of a service.
    pub routing_key: SecretReference,
    #[serde(default = "pagerduty_url")]
    pub url: String,
}

/// An incoming webhook of Slack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackSettings {
    /// Who knows the address may post, so it is a secret.
    pub url: SecretReference,
}

fn yes() -> bool {
    true
}

fn ten_seconds() -> Span {
    Span::from_ms(10_000)
}

fn one_minute() -> Span {
    Span::from_ms(60_000)
}

fn one_day() -> Span {
    Span::from_ms(86_400_000)
}

fn pagerduty_url() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

impl DeliverySettings {
    /// What is wrong with the values, in words that name the key. Secrets are not read.
    pub fn validate(&self) -> Result<(), String> {
        template::check(&self.annotations).map_err(|message| format!("annotations: {message}"))?;
        if self.inhibit_rules.len() > RULES_MAX {
            return Err(format!("inhibit_rules: there may be {RULES_MAX} at the most"));
        }
        for (number, rule) in (1..).zip(&self.inhibit_rules) {
            rule.validate().map_err(|message| format!("inhibit_rules: number {number}: {message}"))?;
        }
        if self.receivers.len() > RECEIVERS_MAX {
            return Err(format!("receivers: there may be {RECEIVERS_MAX} at the most"));
        }
        let mut names = BTreeSet::new();
        for receiver in &self.receivers {
            let name = &receiver.name;
            if !names.insert(name) {
                return Err(format!("receivers: two are called {name}; give one another name"));
            }
            receiver.validate().map_err(|message| format!("receivers: {name}: {message}"))?;
        }
        Ok(())
    }
}

impl ReceiverSettings {
    fn validate(&self) -> Result<(), String> {
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        if !(1..=NAME_BYTES_MAX).contains(&self.name.len()) || !self.name.bytes().all(is_plain) {
            return Err("name: write 1 to 63 of a-z, 0-9, - and _".to_owned());
        }
        let kinds = [
            self.alertmanager.is_some(),
            self.webhook.is_some(),
            self.pagerduty.is_some(),
            self.slack.is_some(),
        ];
        if kinds.into_iter().filter(|is_given| *is_given).count() != 1 {
            return Err("give exactly one of alertmanager, webhook, pagerduty and slack".to_owned());
        }
        if !(100..=120_000).contains(&self.timeout.ms()) {
            return Err("timeout: must be from 100ms to 2m".to_owned());
        }
        if self.give_up_after.ms() < 60_000 {
            return Err("give_up_after: must be at least 1m".to_owned());
        }
        if self.basic.is_some() && self.bearer_token.is_some() {
            return Err("basic and bearer_token exclude each other".to_owned());
        }
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            return Err("tls: certificate_file and key_file go together".to_owned());
        }
        template::check(&self.annotations).map_err(|message| format!("annotations: {message}"))?;
        if let Some(alertmanager) = &self.alertmanager {
            if !(1..=16).contains(&alertmanager.urls.len()) {
                return Err("alertmanager.urls: name 1 to 16 addresses".to_owned());
            }
            if !(1_000..=3_600_000).contains(&alertmanager.resend.ms()) {
                return Err("alertmanager.resend: must be from 1s to 1h".to_owned());
            }
        }
        let plain = self.alertmanager.iter().flat_map(|alertmanager| &alertmanager.urls);
        let plain = plain.chain(self.webhook.iter().map(|webhook| &webhook.url));
        plain.chain(self.pagerduty.iter().map(|pagerduty| &pagerduty.url)).try_for_each(|url| check_url(url))
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretReference> {
        let basic = self.basic.iter().map(|basic| &basic.password);
        let signing = self.webhook.iter().filter_map(|webhook| webhook.signing_secret.as_ref());
        let routing = self.pagerduty.iter().map(|pagerduty| &pagerduty.routing_key);
        let slack = self.slack.iter().map(|slack| &slack.url);
        basic.chain(&self.bearer_token).chain(signing).chain(routing).chain(slack)
    }

    /// Whether a connection may need TLS; an address that is a secret is not looked at.
    pub(crate) fn wants_tls(&self) -> bool {
        let plain = |url: &String| url.starts_with("http://");
        let alertmanager = self.alertmanager.iter().all(|settings| settings.urls.iter().all(plain));
        let webhook = self.webhook.iter().all(|settings| plain(&settings.url));
        let pagerduty = self.pagerduty.iter().all(|settings| plain(&settings.url));
        !(alertmanager && webhook && pagerduty && self.slack.is_none())
    }
}

/// The address itself is not shown: somebody may have written a secret into it.
fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or("an address is not one; write it as http://host:port or https://host:port/path")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "an address holds a user or password; write them as basic: { username, password }".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(receiver: &str) -> String {
        let settings: DeliverySettings =
            match serde_json::from_str(&format!("{{\"receivers\": [{receiver}]}}")) {
                Ok(settings) => settings,
                Err(error) => return error.to_string(),
            };
        settings.validate().err().unwrap_or_default()
    }

    #[test]
    fn messages_name_the_receiver_the_key_and_what_is_allowed() {
        let ok = r#""name": "pager", "webhook": {"url": "https://example.com/x"}"#;
        assert_eq!(check(&format!("{{{ok}}}")), "");
        for (receiver, parts) in [
            (r#"{"name": "pager"}"#.to_owned(), ["pager", "exactly one"]),
            (format!(r#"{{{ok}, "slack": {{"url": {{"env": "X"}}}}}}"#), ["pager", "exactly one"]),
            (format!(r#"{{{ok}, "timeout": "5m"}}"#), ["timeout", "2m"]),
            (format!(r#"{{{ok}, "give_up_after": "5s"}}"#), ["give_up_after", "1m"]),
            (format!(r#"{{{ok}, "match": ["severity"]}}"#), ["severity", "no operator"]),
            (format!(r#"{{{ok}, "tls": {{"key_file": "k"}}}}"#), ["tls", "together"]),
            (format!(r#"{{{ok}, "annotations": {{"summary": "{{{{ x"}}}}"#), ["annotations", "summary"]),
            (format!(r#"{{{ok}, "bearer": "x"}}"#), ["bearer", "bearer_token"]),
            (format!("{{{ok}}}, {{{ok}}}"), ["pager", "two are called"]),
            (r#"{"name": "A b", "webhook": {"url": "http://a"}}"#.to_owned(), ["name", "a-z"]),
            (r#"{"name": "a", "alertmanager": {"urls": []}}"#.to_owned(), ["urls", "1 to 16"]),
        ] {
            let message = check(&receiver);
            assert!(parts.iter().all(|part| message.contains(part)), "{receiver}: {message}");
        }
    }

    #[test]
    fn a_secret_in_an_address_is_refused_and_not_shown() {
        for url in ["https://user:hunter2@example.com", "hunter2://example.com", "hunter2"] {
            let message = check(&format!(r#"{{"name": "a", "webhook": {{"url": "{url}"}}}}"#));
            assert!(message.contains("address") && !message.contains("hunter2"), "{message}");
        }
        let message = check(r#"{"name": "a", "pagerduty": {"routing_key": "hunter2"}}"#);
        assert!(message.contains("env: NAME") && !message.contains("hunter2"), "{message}");
    }
}
