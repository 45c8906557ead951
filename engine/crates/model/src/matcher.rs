//! Label matchers, as Prometheus writes them: `service.name="cart"`, `__name__=~"spans\..*"`, `zone!=""`.

use std::fmt;

use crate::Labels;
use regex::Regex;
use serde::Deserialize;

/// One condition on a label. A label that a series does not have counts as empty. Regular expressions match the whole value.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Matcher {
    label: String,
    condition: Condition,
    text: String,
}

#[derive(Clone, Debug)]
enum Condition {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
    DoesNotMatch(Regex),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("matcher {text:?} {reason}; write it as label=\"value\", !=, =~ or !~ with a regular expression")]
pub struct InvalidMatcher {
    text: String,
    reason: String,
}

impl TryFrom<String> for Matcher {
    type Error = InvalidMatcher;

    fn try_from(text: String) -> Result<Self, InvalidMatcher> {
        let fail = |reason: &str| InvalidMatcher { text: text.clone(), reason: reason.to_owned() };
        let at = text.find(['=', '!']).ok_or_else(|| fail("has no operator"))?;
        let label = text[..at].trim().to_owned();
        if label.is_empty() {
            return Err(fail("names no label"));
        }
        let rest = &text[at..];
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| rest.starts_with(operator));
        let operator = operator.ok_or_else(|| fail("has an unknown operator"))?;
        let value = rest[operator.len()..].trim();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value).to_owned();
        let regex = || {
            Regex::new(&format!("^(?:{value})$"))
                .map_err(|error| fail(&format!("has a bad regular expression ({error})")))
        };
        let condition = match operator {
            "=~" => Condition::Matches(regex()?),
            "!~" => Condition::DoesNotMatch(regex()?),
            "!=" => Condition::NotEqual(value),
            _ => Condition::Equal(value),
        };
        Ok(Self { label, condition, text })
    }
}

impl Matcher {
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.label).unwrap_or("");
        match &self.condition {
            Condition::Equal(expected) => value == expected,
            Condition::NotEqual(expected) => value != expected,
            Condition::Matches(regex) => regex.is_match(value),
            Condition::DoesNotMatch(regex) => !regex.is_match(value),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(matcher: &str) -> bool {
        let labels = Labels::new([("__name__", "spans.rate"), ("service.name", "cart")]);
        Matcher::try_from(matcher.to_owned()).unwrap().matches(&labels)
    }

    #[test]
    fn operators() {
        assert!(
            matches(r#"service.name="cart""#) && matches("service.name=cart") && !matches("service.name=car")
        );
        assert!(matches(r#"service.name!="ad""#) && !matches("service.name!=cart"));
        assert!(
            matches(r#"__name__=~"spans\..*""#) && !matches("__name__=~spans"),
            "the whole value must match"
        );
        assert!(matches("__name__!~logs.*") && matches("zone=") && !matches("zone!="));
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, part) in
            [("cart", "no operator"), ("=x", "names no label"), ("a=~(", "bad regular expression")]
        {
            let message = Matcher::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("label=\"value\""), "{message}");
        }
    }
}
