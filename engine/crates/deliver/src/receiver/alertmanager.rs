//! `POST /api/v2/alerts` of Alertmanager, every member of the cluster.

use model::{Alert, AlertState, Severity};
use serde_json::{Value, json};

use super::{Receiver, Request, json};
use crate::notice::Notice;
use crate::secret::SecretError;
use crate::settings::AlertmanagerSettings;
use crate::time::time_text;

/// As Prometheus sends them.
const BATCH_MAX: usize = 64;
/// An alert that was sent holds for so many intervals of sending.
const INTERVALS: i64 = 4;

pub(super) struct Alertmanager {
    settings: AlertmanagerSettings,
}

impl Alertmanager {
    pub(super) fn new(settings: AlertmanagerSettings) -> Self {
        Self { settings }
    }

    fn body(&self, notices: &[Notice], now_ms: i64) -> Value {
        let holds_until_ms = now_ms.saturating_add(self.settings.resend.ms().saturating_mul(INTERVALS));
        let mut alerts = Vec::new();
        for notice in notices {
            let alert = &notice.alert;
            // Alertmanager routes by the label, so it holds what is so now; the alert under the label of before is over.
            let over_ms = alert.ends_ms.unwrap_or(now_ms);
            alerts.extend(notice.former.iter().map(|severity| posted(alert, *severity, over_ms)));
            let ends_ms = match alert.state {
                AlertState::Firing => holds_until_ms,
                AlertState::Resolved => over_ms,
            };
            alerts.push(posted(alert, alert.severity, ends_ms));
        }
        Value::Array(alerts)
    }
}

fn posted(alert: &Alert, severity: Severity, ends_ms: i64) -> Value {
    let mut labels = alert.labels.clone();
    labels.insert("severity".to_owned(), severity.as_str().to_owned());
    json!({
        "labels": labels,
        "annotations": alert.annotations,
        "startsAt": time_text(alert.starts_ms),
        // An end before the beginning would be refused.
        "endsAt": time_text(ends_ms.max(alert.starts_ms)),
    })
}

impl Receiver for Alertmanager {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn resend_ms(&self) -> Option<i64> {
        Some(self.settings.resend.ms())
    }

    fn requests(&self, notices: &[Notice], now_ms: i64) -> Result<Vec<Request>, SecretError> {
        let body = json(&self.body(notices, now_ms));
        let request = |url: &String| Request {
            url: format!("{}/api/v2/alerts", url.trim_end_matches('/')),
            headers: Vec::new(),
            body: body.clone(),
        };
        Ok(self.settings.urls.iter().map(request).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_alert;

    fn alertmanager() -> Alertmanager {
        let json = json!({"urls": ["http://a:9093/", "http://b/prefix"], "resend": "1m"});
        Alertmanager::new(serde_json::from_value(json).unwrap())
    }

    fn notice(state: AlertState) -> Notice {
        Notice { alert: test_alert("f", 1, state), former: vec![] }
    }

    #[test]
    fn an_alert_holds_until_it_is_sent_again_some_times_and_ends_when_it_ended() {
        let now_ms = 10_000;
        let body = alertmanager().body(&[notice(AlertState::Firing), notice(AlertState::Resolved)], now_ms);
        assert_eq!(
            (&body[0]["startsAt"], &body[0]["endsAt"]),
            (&json!("1970-01-01T00:00:01Z"), &json!("1970-01-01T00:04:10Z"))
        );
        assert_eq!(body[1]["endsAt"], "1970-01-01T00:00:09Z");
        assert_eq!(
            (&body[0]["labels"]["service"], &body[0]["annotations"]["summary"]),
            (&json!("cart/a"), &json!("cart is slow"))
        );
    }

    #[test]
    fn what_becomes_more_severe_is_another_alert_and_the_first_is_over() {
        let mut notice = notice(AlertState::Firing);
        notice.alert.severity = Severity::Critical;
        notice.former = vec![Severity::Warning];
        let body = alertmanager().body(&[notice], 10_000);
        assert_eq!(
            (&body[0]["labels"]["severity"], &body[0]["endsAt"]),
            (&json!("warning"), &json!("1970-01-01T00:00:10Z"))
        );
        assert_eq!(
            (&body[1]["labels"]["severity"], &body[1]["endsAt"]),
            (&json!("critical"), &json!("1970-01-01T00:04:10Z"))
        );
    }

    #[test]
    fn no_alert_ends_before_it_begins() {
        let mut notice = notice(AlertState::Resolved);
        notice.alert.ends_ms = Some(0);
        assert_eq!(alertmanager().body(&[notice], 10_000)[0]["endsAt"], "1970-01-01T00:00:01Z");
    }

    #[test]
    fn every_member_is_told() {
        let requests = alertmanager().requests(&[notice(AlertState::Firing)], 0).unwrap();
        let urls: Vec<&str> = requests.iter().map(|request| request.url.as_str()).collect();
        assert_eq!(urls, ["http://a:9093/api/v2/alerts", "http://b/prefix/api/v2/alerts"]);
    }
}
