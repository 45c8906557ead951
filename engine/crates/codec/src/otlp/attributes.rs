//! Attributes and the values in them, as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use model::labels::{self, SERVICE};

use crate::entity::{EntityRules, TenantRule};
use crate::wire::{ATTRIBUTES_MAX, Field, Fields, Kind, Message, Shape, WireError};
use crate::{Rejected, naming};

/// The service of telemetry that names none.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// An attribute, for checks of those that are not read.
pub(super) static KEY_VALUE: Shape =
    Shape(&[(1, Kind::Text), (2, Kind::Message(&ANY_VALUE)), (3, Kind::Varint)]);

pub(super) static ANY_VALUE: Shape = Shape(&[
    (1, Kind::Text),
    (2, Kind::Varint),
    (3, Kind::Varint),
    (4, Kind::Fixed64),
    (5, Kind::Message(&ARRAY_VALUE)),
    (6, Kind::Message(&KEY_VALUE_LIST)),
    (7, Kind::Bytes),
    (8, Kind::Varint),
]);

static ARRAY_VALUE: Shape = Shape(&[(1, Kind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Shape = Shape(&[(1, Kind::Message(&KEY_VALUE))]);

/// A key with its value, an `AnyValue`. Both are empty if absent.
#[derive(Default)]
pub(super) struct Attribute<'a> {
    pub(super) key: &'a str,
    pub(super) value: Message<'a>,
}

impl<'a> Attribute<'a> {
    pub(super) fn of(message: &'a [u8]) -> Result<Self, WireError> {
        let mut attribute = Self::default();
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => attribute.key = field.text()?,
                2 => attribute.value.merge(field.bytes()?),
                _ => {}
            }
        }
        Ok(attribute)
    }
}

/// The attributes of a `Resource`.
pub(super) struct Resource<'a> {
    message: &'static str,
    depth_max: usize,
    attributes: Vec<Attribute<'a>>,
}

impl<'a> Resource<'a> {
    /// `message` is what a reason names.
    pub(super) fn of(
        message: &'static str,
        resource: &Message<'a>,
        depth_max: usize,
    ) -> Result<Self, Rejected> {
        let reject = |error: WireError| error.reject(message);
        let mut attributes = Vec::new();
        for field in resource.fields() {
            let field = field.map_err(reject)?;
            if field.number != 1 {
                continue;
            }
            let bytes = field.bytes().map_err(reject)?;
            // Below the request, the telemetry of a resource, the resource and the attribute.
            crate::wire::validate(bytes, &KEY_VALUE, crate::wire::LEVELS_MAX - 3).map_err(reject)?;
            if attributes.len() == ATTRIBUTES_MAX {
                return Err(reject(WireError::TooManyAttributes));
            }
            attributes.push(Attribute::of(bytes).map_err(reject)?);
        }
        Ok(Self { message, depth_max, attributes })
    }

    /// Of two with one name the last one counts.
    fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Rejected> {
        let attribute = self.attributes.iter().rfind(|attribute| attribute.key == name);
        attribute.map(|attribute| text(self.message, &attribute.value, self.depth_max)).transpose()
    }

    /// None also if it is one that nests too deep.
    fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.text(name).ok().flatten()
    }

    pub(super) fn is_of(&self, tenant: Option<&TenantRule>) -> bool {
        tenant.is_none_or(|tenant| tenant.takes_resource(|name| self.get(name)))
    }

    /// `service.name`, with `service.namespace/` before it if there is one; of what has no name, what the rules say.
    pub(super) fn service(&self, entity: &EntityRules) -> Result<Cow<'a, str>, Rejected> {
        let namespace = self.text("service.namespace")?.unwrap_or_default();
        let name = self.text("service.name")?.unwrap_or_default();
        if entity.is_plain(&name) {
            return Ok(naming::qualified(namespace, name));
        }
        Ok(entity.service_of_resource(|name| self.get(name)))
    }

    /// The canonical text of the labels that the resource gives its metrics.
    pub(super) fn labels(&self, entity: &EntityRules) -> Result<String, Rejected> {
        let service = self.service(entity)?;
        let mut pairs = entity.labels_of_resource(|name| self.get(name));
        pairs.push((SERVICE, service.into_owned()));
        let mut text = String::new();
        labels::append_canonical(&mut pairs, &mut text);
        Ok(text)
    }
}

/// What an `AnyValue` holds.
enum Value<'a> {
    None,
    Text(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(Message<'a>),
    List(Message<'a>),
    Bytes(&'a [u8]),
    /// An index into the dictionary of a profile, which the other signals do not have.
    TextIndex,
}

impl<'a> Value<'a> {
    fn of(any_value: &Message<'a>) -> Result<Self, WireError> {
        let mut value = Self::None;
        for field in any_value.fields() {
            value.set(field?)?;
        }
        Ok(value)
    }

    /// The last member of a `oneof` wins; a message that follows one of its own kind is merged into it.
    fn set(&mut self, field: Field<'a>) -> Result<(), WireError> {
        *self = match (field.number, &mut *self) {
            (1, _) => Self::Text(field.text()?),
            (2, _) => Self::Bool(field.varint()? != 0),
            (3, _) => Self::Int(field.varint()? as i64),
            (4, _) => Self::Double(field.double()?),
            (5, Self::Array(message)) | (6, Self::List(message)) => {
                message.merge(field.bytes()?);
                return Ok(());
            }
            (5, _) => Self::Array(Message::of(field.bytes()?)),
            (6, _) => Self::List(Message::of(field.bytes()?)),
            (7, _) => Self::Bytes(field.bytes()?),
            (8, _) => {
                field.varint()?;
                Self::TextIndex
            }
            _ => return Ok(()),
        };
        Ok(())
    }
}

/// The text of an `AnyValue`: a string as it is, bytes in base64, arrays and maps as JSON, nothing as the empty string.
/// `message` is what a reason names.
pub(super) fn text<'a>(
    message: &'static str,
    value: &Message<'a>,
    depth_max: usize,
) -> Result<Cow<'a, str>, Rejected> {
    let mut text = String::new();
    match Value::of(value).map_err(|error| error.reject(message))? {
        Value::None => {}
        Value::Text(string) => return Ok(Cow::Borrowed(string)),
        Value::Bytes(bytes) => push_base64(&mut text, bytes),
        Value::Double(number) => push_number(&mut text, number),
        value => Json { text: &mut text, message, depth_max }.push(&value, depth_max)?,
    }
    Ok(Cow::Owned(text))
}

/// Writes values as JSON.
struct Json<'t> {
    text: &'t mut String,
    message: &'static str,
    depth_max: usize,
}

impl Json<'_> {
    fn push(&mut self, value: &Value<'_>, depth: usize) -> Result<(), Rejected> {
        if depth == 0 {
            return Err(Rejected::TooDeep { limit: self.depth_max });
        }
        match value {
            Value::None | Value::TextIndex => self.text.push_str("null"),
            Value::Text(string) => push_json_string(self.text, string),
            Value::Bool(value) => self.text.push_str(if *value { "true" } else { "false" }),
            Value::Int(number) => {
                let _ = write!(self.text, "{number}");
            }
            Value::Double(number) if number.is_finite() => push_number(self.text, *number),
            Value::Double(number) => push_json_string(self.text, &number.to_string()),
            Value::Bytes(bytes) => {
                self.text.push('"');
                push_base64(self.text, bytes);
                self.text.push('"');
            }
            Value::Array(array) => {
                self.text.push('[');
                self.items(array, |json, item| json.any(&Message::of(item), depth - 1))?;
                self.text.push(']');
            }
            Value::List(list) => {
                self.text.push('{');
                self.items(list, |json, item| {
                    let Attribute { key, value } = json.read(Attribute::of(item))?;
                    push_json_string(json.text, key);
                    json.text.push(':');
                    json.any(&value, depth - 1)
                })?;
                self.text.push('}');
            }
        }
        Ok(())
    }

    /// The items of an `ArrayValue` or `KeyValueList`, with commas between them.
    fn items<'a>(
        &mut self,
        items: &Message<'a>,
        mut push: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Rejected>,
    ) -> Result<(), Rejected> {
        let mut is_first = true;
        for field in items.fields() {
            let field = self.read(field)?;
            if field.number != 1 {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                self.text.push(',');
            }
            push(self, self.read(field.bytes())?)?;
        }
        Ok(())
    }

    fn any(&mut self, value: &Message<'_>, depth: usize) -> Result<(), Rejected> {
        let value = self.read(Value::of(value))?;
        self.push(&value, depth)
    }

    fn read<T>(&self, result: Result<T, WireError>) -> Result<T, Rejected> {
        result.map_err(|error| error.reject(self.message))
    }
}

fn push_number(text: &mut String, number: f64) {
    let _ = write!(text, "{number}");
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

#[cfg(test)]
mod tests;
