//! The receivers that there are, each of which writes alerts as HTTP requests.

mod alertmanager;
mod pagerduty;
mod slack;
mod webhook;

use std::fmt;

use serde_json::Value;

use crate::notice::Notice;
use crate::secret::SecretError;
use crate::settings::ReceiverSettings;

/// One POST of JSON.
pub struct Request {
    /// May be a secret.
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// Without values, which may be secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

pub trait Receiver: Send {
    /// Alerts in one request at the most.
    fn batch_max(&self) -> usize {
        1
    }

    /// How often alerts that fire are sent again, if at all.
    fn resend_ms(&self) -> Option<i64> {
        None
    }

    /// The requests that tell of these alerts; one that is accepted is enough.
    fn requests(&self, notices: &[Notice], now_ms: i64) -> Result<Vec<Request>, SecretError>;
}

/// # Panics
/// If the settings name no kind of receiver, which [`DeliverySettings::validate`](crate::DeliverySettings::validate) refuses.
pub fn receiver(settings: &ReceiverSettings) -> Box<dyn Receiver> {
    if let Some(settings) = &settings.alertmanager {
        return Box::new(alertmanager::Alertmanager::new(settings.clone()));
    }
    if let Some(webhook) = &settings.webhook {
        return Box::new(webhook::Webhook::new(&settings.name, webhook.clone()));
    }
    if let Some(settings) = &settings.pagerduty {
        return Box::new(pagerduty::PagerDuty::new(settings.clone()));
    }
    let settings = settings.slack.clone().expect("validated settings have a kind");
    Box::new(slack::Slack::new(settings))
}

fn json(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// At most so many characters, with `…` where some are missing.
fn shortened(text: &str, characters_max: usize) -> String {
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    text.chars().take(characters_max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shortened_by_characters() {
        assert_eq!((shortened("äöü", 3).as_str(), shortened("äöüß", 3).as_str()), ("äöü", "äö…"));
    }
}
