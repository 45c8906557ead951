//! A POST of JSON for each alert, signed if asked for.

use model::{Alert, AlertState};
use serde_json::{Value, json};

use super::{Receiver, Request, json};
use crate::notice::{Notice, labels_of_now};
use crate::secret::SecretError;
use crate::settings::{WebhookFormat, WebhookSettings};
use crate::signature;
use crate::time::time_text;

pub(super) struct Webhook {
    name: String,
    settings: WebhookSettings,
}

impl Webhook {
    pub(super) fn new(name: &str, settings: WebhookSettings) -> Self {
        Self { name: name.to_owned(), settings }
    }

    /// As Alertmanager's webhook receiver writes a group of one alert.
    fn alertmanager(&self, alert: &Alert) -> Value {
        let labels = std::collections::BTreeMap::from(labels_of_now(alert));
        let ends_at = match alert.state {
            // As Go writes the time that is none.
            AlertState::Firing => "0001-01-01T00:00:00Z".to_owned(),
            AlertState::Resolved => time_text(alert.ends_ms.unwrap_or(alert.starts_ms)),
        };
        json!({
            "version": "4",
            "groupKey": format!("foreshock/{}", alert.fingerprint),
            "truncatedAlerts": 0,
            "status": alert.state.as_str(),
            "receiver": self.name,
            "groupLabels": { "incident": alert.incident },
            "commonLabels": labels,
            "commonAnnotations": alert.annotations,
            "externalURL": "",
            "alerts": [{
                "status": alert.state.as_str(),
                "labels": labels,
                "annotations": alert.annotations,
                "startsAt": time_text(alert.starts_ms),
                "endsAt": ends_at,
                "generatorURL": "",
                "fingerprint": alert.fingerprint,
            }],
        })
    }
}

/// The alert as it lies on its topic, in the structured mode of CloudEvents.
fn cloud_event(notice: &Notice) -> Value {
    let alert = &notice.alert;
    json!({
        "specversion": "1.0",
        "type": "foreshock.alert.v1",
        "source": "/foreshock",
        "id": notice.id(),
        "time": time_text(alert.ends_ms.unwrap_or(alert.starts_ms)),
        "datacontenttype": "application/json",
        "data": alert,
    })
}

impl Receiver for Webhook {
    fn requests(&self, notices: &[Notice], now_ms: i64) -> Result<Vec<Request>, SecretError> {
        let secret = self.settings.signing_secret.as_ref().map(|secret| secret.read()).transpose()?;
        let request = |notice: &Notice| {
            let id = notice.id();
            let (body, kind) = match self.settings.format {
                WebhookFormat::Alertmanager => (json(&self.alertmanager(&notice.alert)), "application/json"),
                WebhookFormat::CloudEvents => (json(&cloud_event(notice)), "application/cloudevents+json"),
            };
            let mut headers =
                vec![("content-type", kind.to_owned()), ("idempotency-key", format!("\"{id}\""))];
            headers.extend(signature::headers(&id, now_ms / 1_000, &body, secret.as_ref()));
            Request { url: self.settings.url.clone(), headers, body }
        };
        Ok(notices.iter().map(request).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_alert;

    fn request(settings: Value, state: AlertState) -> (Request, Value) {
        let webhook = Webhook::new("hook", serde_json::from_value(settings).unwrap());
        let notice = Notice { alert: test_alert("f", 3, state), former: vec![] };
        let request = webhook.requests(&[notice], 5_000).unwrap().pop().unwrap();
        let body = serde_json::from_slice(&request.body).unwrap();
        (request, body)
    }

    #[test]
    fn the_shape_of_alertmanager() {
        let (request, body) = request(json!({"url": "http://a/x"}), AlertState::Firing);
        assert_eq!(
            (&body["version"], &body["status"], &body["receiver"]),
            (&json!("4"), &json!("firing"), &json!("hook"))
        );
        let alert = &body["alerts"][0];
        assert_eq!((&alert["fingerprint"], &alert["endsAt"]), (&json!("f"), &json!("0001-01-01T00:00:00Z")));
        let header = |name: &str| {
            request.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
        };
        assert_eq!((header("idempotency-key"), header("webhook-id")), (Some("\"f/3\""), Some("f/3")));
        assert_eq!(header("webhook-signature"), None, "nothing is signed without a secret");
    }

    #[test]
    fn a_cloud_event_holds_the_alert_as_on_its_topic() {
        let settings = json!({"url": "http://a/x", "format": "cloud_events"});
        let (request, body) = request(settings, AlertState::Resolved);
        assert!(request.headers.contains(&("content-type", "application/cloudevents+json".to_owned())));
        assert_eq!((&body["id"], &body["time"]), (&json!("f/3"), &json!("1970-01-01T00:00:09Z")));
        assert_eq!(body["data"], json!(test_alert("f", 3, AlertState::Resolved)));
    }
}
