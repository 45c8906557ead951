//! Attributes and the values in them, as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use proto::opentelemetry::common::v1::{AnyValue, KeyValue, any_value::Value};
use proto::opentelemetry::resource::v1::Resource;

use foreshock_codec::Rejected;

/// The service of telemetry that names none.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// Of a resource, in the order of how sure it is.
const SERVICE: &[&[&str]] = &[
    &["k8s.namespace.name", "k8s.deployment.name"],
    &["k8s.namespace.name", "k8s.statefulset.name"],
    &["k8s.namespace.name", "k8s.daemonset.name"],
    &["k8s.namespace.name", "k8s.cronjob.name"],
    &["k8s.deployment.name"],
    &["faas.name"],
    &["container.name"],
    &["k8s.node.name"],
    &["host.name"],
];
const INSTANCE: &[&str] = &["k8s.pod.name", "service.instance.id", "container.id", "host.name"];

fn attribute<'a>(
    resource: Option<&'a Resource>,
    key: &str,
    depth_max: usize,
) -> Result<Cow<'a, str>, Rejected> {
    let found = resource.into_iter().flat_map(|resource| &resource.attributes).rfind(|pair| pair.key == key);
    found.map_or(Ok(Cow::Borrowed("")), |pair| text(pair.value.as_ref(), depth_max))
}

fn first(resource: Option<&Resource>, rules: &[&[&str]], depth_max: usize) -> Option<String> {
    let value = |key: &&str| attribute(resource, key, depth_max).ok().filter(|value| !value.is_empty());
    let filled = |keys: &&[&str]| Some(keys.iter().map(value).collect::<Option<Vec<_>>>()?.join("/"));
    rules.iter().find_map(filled)
}

/// `service.name`, with `service.namespace/` before it if there is one, else the workload.
pub(super) fn service(resource: Option<&Resource>, depth_max: usize) -> Result<String, Rejected> {
    let namespace = attribute(resource, "service.namespace", depth_max)?;
    let name = attribute(resource, "service.name", depth_max)?;
    Ok(match (namespace.as_ref(), name.as_ref()) {
        ("", name) if !name.is_empty() && !name.starts_with(UNKNOWN_SERVICE) => name.to_owned(),
        (namespace, name) if !name.is_empty() && !name.starts_with(UNKNOWN_SERVICE) => {
            format!("{namespace}/{name}")
        }
        (_, name) => first(resource, SERVICE, depth_max)
            .unwrap_or_else(|| if name.is_empty() { UNKNOWN_SERVICE } else { name }.to_owned()),
    })
}

/// What tells the instances of a service apart: the name of an attribute and its value.
pub(super) fn instance(resource: Option<&Resource>, depth_max: usize) -> Option<(&'static str, String)> {
    INSTANCE.iter().find_map(|name| Some((*name, first(resource, &[&[name]], depth_max)?)))
}

/// Adds the attributes to the pairs of a series.
pub(super) fn push_labels<'a>(
    pairs: &mut Vec<(&'a str, Cow<'a, str>)>,
    attributes: &'a [KeyValue],
    depth_max: usize,
) -> Result<(), Rejected> {
    for pair in attributes {
        pairs.push((&pair.key, text(pair.value.as_ref(), depth_max)?));
    }
    Ok(())
}

/// A string as it is, bytes in base64, arrays and maps as JSON, nothing as the empty string.
pub(super) fn text(value: Option<&AnyValue>, depth_max: usize) -> Result<Cow<'_, str>, Rejected> {
    let mut text = String::new();
    match value.and_then(|value| value.value.as_ref()) {
        None => {}
        Some(Value::StringValue(string)) => return Ok(Cow::Borrowed(string)),
        Some(Value::BytesValue(bytes)) => push_base64(&mut text, bytes),
        Some(Value::DoubleValue(number)) => push_number(&mut text, *number),
        Some(value) => push_json(&mut text, Some(value), depth_max, depth_max)?,
    }
    Ok(Cow::Owned(text))
}

fn push_number(text: &mut String, number: f64) {
    let _ = write!(text, "{number}");
}

fn push_json(
    text: &mut String,
    value: Option<&Value>,
    depth: usize,
    depth_max: usize,
) -> Result<(), Rejected> {
    if depth == 0 {
        return Err(Rejected::TooDeep { limit: depth_max });
    }
    match value {
        // An index into the dictionary of a profile, which the other signals do not have.
        None | Some(Value::StringValueStrindex(_)) => text.push_str("null"),
        Some(Value::StringValue(string)) => push_json_string(text, string),
        Some(Value::BoolValue(value)) => text.push_str(if *value { "true" } else { "false" }),
        Some(Value::IntValue(number)) => {
            let _ = write!(text, "{number}");
        }
        Some(Value::DoubleValue(number)) if number.is_finite() => push_number(text, *number),
        Some(Value::DoubleValue(number)) => push_json_string(text, &number.to_string()),
        Some(Value::BytesValue(bytes)) => {
            text.push('"');
            push_base64(text, bytes);
            text.push('"');
        }
        Some(Value::ArrayValue(array)) => {
            text.push('[');
            for (i, item) in array.values.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                push_json(text, item.value.as_ref(), depth - 1, depth_max)?;
            }
            text.push(']');
        }
        Some(Value::KvlistValue(list)) => {
            text.push('{');
            for (i, pair) in list.values.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                push_json_string(text, &pair.key);
                text.push(':');
                let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
                push_json(text, value, depth - 1, depth_max)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn push_json_string(text: &mut String, string: &str) {
    text.push_str(&serde_json::Value::from(string).to_string());
}

fn push_base64(text: &mut String, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().enumerate().fold(0u32, |group, (i, byte)| group | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = (group >> (18 - 6 * i) & 63) as usize;
            text.push(if i <= chunk.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
}
