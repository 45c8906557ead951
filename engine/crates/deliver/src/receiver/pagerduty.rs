//! Events API v2 of PagerDuty: one event an alert, `trigger` and `resolve` under the fingerprint.

use model::{Alert, AlertState, Secret};
use serde_json::{Value, json};

use super::{Receiver, Request, json, shortened};
use crate::notice::Notice;
use crate::secret::SecretError;
use crate::settings::PagerDutySettings;
use crate::time::time_text;

const SUMMARY_CHARACTERS_MAX: usize = 1_024;
/// Of each text in the details: an event may have 512 KB.
const DETAIL_CHARACTERS_MAX: usize = 4_096;
const DETAILS_MAX: usize = 64;

pub(super) struct PagerDuty {
    settings: PagerDutySettings,
}

impl PagerDuty {
    pub(super) fn new(settings: PagerDutySettings) -> Self {
        Self { settings }
    }
}

fn event(alert: &Alert, routing_key: &Secret) -> Value {
    let text = |name: &str| alert.annotations.get(name).map_or("", String::as_str);
    let mut event = json!({
        "routing_key": routing_key.reveal(),
        "dedup_key": alert.fingerprint,
        "event_action": match alert.state {
            AlertState::Firing => "trigger",
            AlertState::Resolved => "resolve",
        },
    });
    if alert.state == AlertState::Resolved {
        return event;
    }
    let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
    let summary = [text("summary"), label("alertname"), "alert"].into_iter().find(|text| !text.is_empty());
    let source = [label("service"), "foreshock"].into_iter().find(|text| !text.is_empty());
    let details = alert.annotations.iter().chain(&alert.labels).take(DETAILS_MAX);
    let details: serde_json::Map<String, Value> =
        details.map(|(name, text)| (name.clone(), shortened(text, DETAIL_CHARACTERS_MAX).into())).collect();
    event["payload"] = json!({
        "summary": shortened(summary.unwrap_or_default(), SUMMARY_CHARACTERS_MAX),
        "source": source,
        // The three that there are have the names of PagerDuty.
        "severity": alert.severity.as_str(),
        "timestamp": time_text(alert.starts_ms),
        "component": label("service"),
        "custom_details": details,
    });
    event["client"] = "Foreshock".into();
    let is_link = |text: &str| text.starts_with("https://") || text.starts_with("http://");
    let links = alert.annotations.iter().filter(|(_, text)| is_link(text));
    event["links"] = links.map(|(name, href)| json!({ "href": href, "text": name })).collect();
    event
}

impl Receiver for PagerDuty {
    fn requests(&self, notices: &[Notice], _now_ms: i64) -> Result<Vec<Request>, SecretError> {
        let routing_key = self.settings.routing_key.read()?;
        let request = |notice: &Notice| Request {
            url: self.settings.url.clone(),
            headers: Vec::new(),
            body: json(&event(&notice.alert, &routing_key)),
        };
        Ok(notices.iter().map(request).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_alert;

    #[test]
    fn an_alert_is_triggered_and_resolved_under_its_fingerprint() {
        let key = Secret::new("R0");
        let mut alert = test_alert("f", 1, AlertState::Firing);
        alert.annotations.insert("runbook_url".to_owned(), "https://runbooks/cart".to_owned());
        alert.annotations.insert("summary".to_owned(), "x".repeat(2_000));
        let trigger = event(&alert, &key);
        assert_eq!(
            (&trigger["event_action"], &trigger["dedup_key"], &trigger["routing_key"]),
            (&json!("trigger"), &json!("f"), &json!("R0"))
        );
        let payload = &trigger["payload"];
        assert_eq!((&payload["severity"], &payload["source"]), (&json!("warning"), &json!("cart/a")));
        assert_eq!(payload["summary"].as_str().unwrap().chars().count(), SUMMARY_CHARACTERS_MAX);
        assert_eq!(trigger["links"], json!([{ "href": "https://runbooks/cart", "text": "runbook_url" }]));
        let resolve = event(&test_alert("f", 2, AlertState::Resolved), &key);
        assert_eq!(resolve, json!({"routing_key": "R0", "dedup_key": "f", "event_action": "resolve"}));
    }

    #[test]
    fn a_huge_alert_stays_below_the_limit_of_an_event() {
        let mut alert = test_alert("f", 1, AlertState::Firing);
        alert.annotations.extend((0..500).map(|i| (format!("a{i}"), "ä".repeat(16_000))));
        assert!(event(&alert, &Secret::new("R0"))["payload"].to_string().len() < 600_000);
    }
}
