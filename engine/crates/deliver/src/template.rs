//! Templates of annotations, in the language of Jinja: `https://runbooks.example.com/{{ labels.service | urlencode }}`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use minijinja::Environment;
use model::{Alert, AlertState, Severity};
use serde::Serialize;

use crate::time::time_text;

/// Longer texts are cut off.
pub const ANNOTATION_BYTES_MAX: usize = 16 << 10;
/// Steps of a template, so that none runs forever.
const FUEL: u64 = 50_000;

/// What a template may use.
#[derive(Serialize)]
struct Context<'a> {
    fingerprint: &'a str,
    state: &'static str,
    severity: &'static str,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_ms: i64,
    starts_at: String,
    ends_ms: Option<i64>,
    ends_at: Option<String>,
    incident: &'a str,
    incident_version: u32,
}

/// The templates of one receiver.
#[derive(Clone, Debug)]
pub struct Templates {
    annotations: BTreeMap<String, String>,
}

impl Templates {
    /// Those of `own` win over those of `all`.
    pub fn new(all: &BTreeMap<String, String>, own: &BTreeMap<String, String>) -> Self {
        let mut annotations = all.clone();
        annotations.extend(own.iter().map(|(name, text)| (name.clone(), text.clone())));
        Self { annotations }
    }

    /// Adds the annotations. One that fails keeps what the alert had; the names of those are returned.
    pub fn apply(&self, alert: &mut Alert) -> Vec<String> {
        let mut failed = Vec::new();
        let mut rendered = Vec::new();
        for (name, source) in &self.annotations {
            match render(source, alert) {
                Ok(text) => rendered.push((name.clone(), text)),
                Err(error) => {
                    tracing::warn!(annotation = name, %error, "a template fails; the alert is delivered without it");
                    failed.push(name.clone());
                }
            }
        }
        alert.annotations.extend(rendered);
        failed
    }
}

fn render(source: &str, alert: &Alert) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    let context = Context {
        fingerprint: &alert.fingerprint,
        state: alert.state.as_str(),
        severity: alert.severity.as_str(),
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_ms: alert.starts_ms,
        starts_at: time_text(alert.starts_ms),
        ends_ms: alert.ends_ms,
        ends_at: alert.ends_ms.map(time_text),
        incident: &alert.incident,
        incident_version: alert.incident_version,
    };
    let mut text = Bounded(Vec::new());
    environment.template_from_str(source)?.render_captured_to(&context, &mut text)?;
    Ok(text.into_text())
}

/// Forgets what goes beyond [`ANNOTATION_BYTES_MAX`].
struct Bounded(Vec<u8>);

impl Bounded {
    fn into_text(self) -> String {
        let end = self.0.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
        String::from_utf8_lossy(&self.0[..end]).into_owned()
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = ANNOTATION_BYTES_MAX - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(left)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is wrong with templates, by trying them on an alert.
pub(crate) fn check(annotations: &BTreeMap<String, String>) -> Result<(), String> {
    let text = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let alert = Alert {
        fingerprint: "0123456789abcdef".to_owned(),
        state: AlertState::Resolved,
        severity: Severity::Critical,
        labels: text(&[("alertname", "ForeshockIncident"), ("service", "cart"), ("severity", "warning")]),
        annotations: text(&[("summary", "cart is slow"), ("description", "1. cart")]),
        starts_ms: 0,
        ends_ms: Some(1_000),
        incident: "incident".to_owned(),
        incident_version: 1,
    };
    for (name, source) in annotations {
        let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        if name.is_empty() || !name.bytes().all(is_word) || name.as_bytes()[0].is_ascii_digit() {
            return Err(format!("{name:?} is no name: write letters, digits and _"));
        }
        render(source, &alert).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_alert;

    fn applied(source: &str) -> (Alert, Vec<String>) {
        let own = BTreeMap::from([("link".to_owned(), source.to_owned())]);
        let mut alert = test_alert("f", 2, AlertState::Firing);
        let failed = Templates::new(&BTreeMap::new(), &own).apply(&mut alert);
        (alert, failed)
    }

    #[test]
    fn links_are_made_of_what_the_alert_says() {
        let source = "https://x/{{ annotations.summary | urlencode }}?from={{ starts_ms }}&v={{ incident_version }}&t={{ starts_at }}";
        let (alert, failed) = applied(source);
        let expected = "https://x/cart%20is%20slow?from=1000&v=2&t=1970-01-01T00:00:01Z";
        assert_eq!((alert.annotations["link"].as_str(), failed.len()), (expected, 0));
        assert_eq!(
            applied("{{ labels.absent }}").0.annotations["link"],
            "",
            "not every alert has every label"
        );
    }

    #[test]
    fn the_templates_of_a_receiver_win() {
        let of = |text: &str| BTreeMap::from([("summary".to_owned(), text.to_owned())]);
        let mut alert = test_alert("f", 1, AlertState::Firing);
        Templates::new(&of("all"), &of("own: {{ annotations.summary }}")).apply(&mut alert);
        assert_eq!(alert.annotations["summary"], "own: cart is slow");
    }

    #[test]
    fn a_template_that_fails_loses_neither_the_alert_nor_its_text() {
        let own = BTreeMap::from([("summary".to_owned(), "{{ nothing.of.this }}".to_owned())]);
        let mut alert = test_alert("f", 1, AlertState::Firing);
        assert_eq!(Templates::new(&BTreeMap::new(), &own).apply(&mut alert), ["summary"]);
        assert_eq!(alert.annotations["summary"], "cart is slow");
    }

    #[test]
    fn work_and_length_are_bounded() {
        let long = "{% for i in range(9999) %}{% for j in range(9999) %}{{ i }}{% endfor %}{% endfor %}";
        let (_, failed) = applied(long);
        assert_eq!(failed, ["link"]);
        let (alert, failed) = applied("{% for i in range(2000) %}ä {{ labels.service }}{% endfor %}");
        assert_eq!(failed.len(), 0);
        assert!((ANNOTATION_BYTES_MAX - 2..=ANNOTATION_BYTES_MAX).contains(&alert.annotations["link"].len()));
    }

    #[test]
    fn mistakes_are_found_before_anything_runs() {
        let check = |name: &str, source: &str| check(&BTreeMap::from([(name.to_owned(), source.to_owned())]));
        assert!(check("link", "{{ labels.service").unwrap_err().contains("link"));
        assert!(check("link", "{{ labels.service | urlencod }}").unwrap_err().contains("urlencod"));
        assert!(check("a b", "x").unwrap_err().contains("a b"));
        assert_eq!(check("link", "{{ labels.service }}"), Ok(()));
    }
}
