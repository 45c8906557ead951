//! Incoming webhooks of Slack: one message an alert.

use model::{Alert, AlertState};
use serde_json::{Value, json};

use super::{Receiver, Request, json, shortened};
use crate::notice::Notice;
use crate::secret::SecretError;
use crate::settings::SlackSettings;

/// Slack refuses 3,000 or more in a section.
const TITLE_CHARACTERS_MAX: usize = 500;
const TEXT_CHARACTERS_MAX: usize = 2_900;

pub(super) struct Slack {
    settings: SlackSettings,
}

impl Slack {
    pub(super) fn new(settings: SlackSettings) -> Self {
        Self { settings }
    }
}

/// What has a meaning to Slack: a text may neither mention anybody nor hide a link.
fn escaped(text: &str) -> String {
    section_text(text, usize::MAX)
}

/// Escaped and at most so long; an escape is never cut.
fn section_text(text: &str, characters_max: usize) -> String {
    let mut escaped = String::new();
    let mut characters = 0;
    for character in text.chars() {
        let mut buffer = [0; 4];
        let part = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => other.encode_utf8(&mut buffer),
        };
        characters += part.chars().count();
        if characters >= characters_max {
            escaped.push('…');
            break;
        }
        escaped.push_str(part);
    }
    escaped
}

fn message(alert: &Alert) -> Value {
    let text = |name: &str| alert.annotations.get(name).map_or("", String::as_str);
    let sign = match alert.state {
        AlertState::Firing => ":rotating_light:",
        AlertState::Resolved => ":white_check_mark:",
    };
    let state = match alert.state {
        AlertState::Firing => alert.severity.as_str(),
        AlertState::Resolved => "resolved",
    };
    let title = format!("{sign} *{state}* {}", section_text(text("summary"), TITLE_CHARACTERS_MAX));
    let mut blocks = vec![section(&title)];
    if alert.state == AlertState::Firing && !text("description").is_empty() {
        blocks.push(section(&section_text(text("description"), TEXT_CHARACTERS_MAX)));
    }
    let is_link = |text: &str| {
        let is_web = text.starts_with("https://") || text.starts_with("http://");
        is_web && text.len() < 500 && !text.contains(['|', '>', '<'])
    };
    let links = alert.annotations.iter().filter(|(_, text)| is_link(text)).take(5);
    let links: Vec<String> =
        links.map(|(name, href)| format!("<{}|{}>", escaped(href), name.trim_end_matches("_url"))).collect();
    let mut context = vec![format!("incident {}", escaped(&shortened(&alert.incident, 100)))];
    context.extend(links);
    blocks
        .push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": context.join(" · ") }] }));
    json!({ "text": title, "blocks": blocks })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

impl Receiver for Slack {
    fn requests(&self, notices: &[Notice], _now_ms: i64) -> Result<Vec<Request>, SecretError> {
        let url = self.settings.url.read()?;
        let request = |notice: &Notice| Request {
            url: url.reveal().to_owned(),
            headers: Vec::new(),
            body: json(&message(&notice.alert)),
        };
        Ok(notices.iter().map(request).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_alert;

    #[test]
    fn a_message_says_what_is_wrong_and_where_to_look() {
        let mut alert = test_alert("f", 1, AlertState::Firing);
        alert.annotations.insert("runbook_url".to_owned(), "https://runbooks/cart?a=1&b=2".to_owned());
        let message = message(&alert);
        assert_eq!(message["text"], ":rotating_light: *warning* cart is slow");
        assert_eq!(message["blocks"][1]["text"]["text"], "1. cart");
        let context = message["blocks"][2]["elements"][0]["text"].as_str().unwrap();
        assert_eq!(context, "incident i · <https://runbooks/cart?a=1&amp;b=2|runbook>");
    }

    #[test]
    fn telemetry_can_mention_nobody_and_is_short_enough() {
        let mut alert = test_alert("f", 1, AlertState::Firing);
        alert.annotations.insert("summary".to_owned(), "<!channel> & more".to_owned());
        alert.annotations.insert("description".to_owned(), "<ä".repeat(9_000));
        let message = message(&alert);
        assert_eq!(message["text"], ":rotating_light: *warning* &lt;!channel&gt; &amp; more");
        let text = message["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(
            text.chars().count() <= 3_000 && text.ends_with('…') && !text.contains('<'),
            "{}",
            text.len()
        );
        assert!(text.chars().count() > 2_000, "not more is cut than must be: {}", text.len());
    }

    #[test]
    fn the_end_is_short() {
        let message = message(&test_alert("f", 2, AlertState::Resolved));
        assert_eq!(message["text"], ":white_check_mark: *resolved* cart is slow");
        assert_eq!(message["blocks"].as_array().unwrap().len(), 2);
    }
}
