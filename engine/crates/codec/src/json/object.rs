//! JSON objects whose members are looked at only when they are needed, borrowed from their text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{Rejected, time};

/// An object's members in their order. Of two with one name the last one counts.
#[derive(Default)]
pub(crate) struct Object<'a>(Vec<(Key<'a>, &'a RawValue)>);

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Object<'a> {
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.0.as_ref(), *value))
    }

    /// The member of that name, unless it is null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().rfind(|(key, _)| key.0 == name)?;
        (value.get() != "null").then_some(*value)
    }

    /// The member of that name, else the one that is reached through objects, and by numbers into arrays, at the dots of the name.
    pub(crate) fn find(&self, name: &str) -> Option<&'a RawValue> {
        if let Some(value) = self.get(name) {
            return Some(value);
        }
        name.match_indices('.').find_map(|(at, _)| within(self.get(&name[..at])?, &name[at + 1..]))
    }

    /// With the members of another one before its own.
    pub(crate) fn after(&self, other: &Self) -> Self {
        Self(other.0.iter().chain(&self.0).map(|(Key(key), value)| (Key(key.clone()), *value)).collect())
    }

    /// Without the member that a path begins with.
    pub(crate) fn without(&self, path: &str) -> Self {
        let is_other =
            |key: &str| path != key && !path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        let others = self.0.iter().filter(|(Key(key), _)| is_other(key));
        Self(others.map(|(Key(key), value)| (Key(key.clone()), *value)).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Of names and values as they are written.
    pub(crate) fn text_bytes(&self) -> usize {
        self.0.iter().map(|(Key(key), value)| key.len() + value.get().len()).sum()
    }

    /// Whether the member of that name, or the one that its dots lead to, is there and null.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        if let Some((_, value)) = self.0.iter().rfind(|(key, _)| key.0 == name) {
            return value.get() == "null";
        }
        let last = name.rsplit_once('.').and_then(|(path, last)| Some((Self::of(self.find(path)?)?, last)));
        last.is_some_and(|(object, last)| object.is_null(last))
    }

    /// The first of the names that is found.
    pub(crate) fn first(&self, names: &[impl AsRef<str>]) -> Option<&'a RawValue> {
        names.iter().find_map(|name| self.find(name.as_ref()))
    }

    /// The [`text`] of the first member that has any.
    pub(crate) fn text(&self, names: &[impl AsRef<str>]) -> Option<Cow<'a, str>> {
        let texts = names.iter().filter_map(|name| text(self.find(name.as_ref())?));
        texts.into_iter().find(|text| !text.is_empty())
    }

    /// The object in the member, if it is one.
    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.find(name)?)
    }

    /// The time of the first member that there is, in milliseconds. Err if it cannot be read.
    pub(crate) fn time_ms(
        &self,
        format: &'static str,
        names: &[impl AsRef<str>],
    ) -> Result<Option<i64>, Rejected> {
        let Some(value) = self.first(names) else { return Ok(None) };
        let time = text(value).and_then(|text| time::of_text(&text));
        let unreadable = || Rejected::Format { format, reason: format!("{} is no time", value.get()) };
        time.map(Some).ok_or_else(unreadable)
    }

    pub(crate) fn of(value: &'a RawValue) -> Option<Self> {
        value.get().starts_with('{').then(|| serde_json::from_str(value.get()).ok()).flatten()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Object(members))
    }
}

/// What a path leads to within a value.
fn within<'a>(value: &'a RawValue, path: &str) -> Option<&'a RawValue> {
    if let Some(object) = Object::of(value) {
        return object.find(path);
    }
    let (index, rest) = path.split_once('.').map_or((path, None), |(index, rest)| (index, Some(rest)));
    let index: usize = if value.get().starts_with('[') { index.parse().ok()? } else { return None };
    let items: Vec<&'a RawValue> = serde_json::from_str(value.get()).ok()?;
    let item = items.get(index).copied().filter(|item| item.get() != "null")?;
    rest.map_or(Some(item), |rest| within(item, rest))
}

/// Neither an object nor an array.
pub(crate) fn is_scalar(value: &RawValue) -> bool {
    !value.get().starts_with(['{', '['])
}

/// What a value says as text: a string without its quotes, anything else as it is written. None for null, and for a
/// string that is not Unicode.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') if raw.contains('\\') => serde_json::from_str(raw).ok().map(Cow::Owned),
        Some(b'"') => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
        Some(b'n') => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// The number that a value is, also as a string; 1 and 0 for true and false.
pub(crate) fn number(value: &RawValue) -> Option<f64> {
    match value.get() {
        "true" => Some(1.0),
        "false" => Some(0.0),
        _ => text(value)?.trim().parse().ok(),
    }
}

/// Calls `each` with every object of a payload: one, several one after the other (with line breaks or without), or
/// arrays of them.
pub(crate) fn each_object<'a>(
    payload: &'a [u8],
    mut each: impl FnMut(&Object<'a>) -> Result<(), Rejected>,
) -> Result<(), Rejected> {
    let mut rest = payload.trim_ascii_start();
    while !rest.is_empty() {
        // The next document is told by its first byte, not by an error: those count their line from the beginning.
        let read = if rest.starts_with(b"[") { array(rest, &mut each)? } else { objects(rest, &mut each)? };
        rest = rest[read..].trim_ascii_start();
    }
    Ok(())
}

/// Reads objects as long as there are some, and tells how many bytes they take.
fn objects<'a>(
    text: &'a [u8],
    each: &mut impl FnMut(&Object<'a>) -> Result<(), Rejected>,
) -> Result<usize, Rejected> {
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<Object<'a>>();
    loop {
        match stream.next() {
            Some(object) => each(&object.map_err(json)?)?,
            None => return Ok(text.len()),
        }
        let read = stream.byte_offset();
        if text[read..].trim_ascii_start().starts_with(b"[") {
            return Ok(read);
        }
    }
}

/// Reads an array of objects, and tells how many bytes it takes.
fn array<'a>(
    text: &'a [u8],
    each: &mut impl FnMut(&Object<'a>) -> Result<(), Rejected>,
) -> Result<usize, Rejected> {
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<&'a RawValue>();
    let Some(array) = stream.next() else { return Ok(text.len()) };
    each_item(array.map_err(json)?, each)?;
    Ok(stream.byte_offset())
}

/// Calls `each` with every object of an array.
pub(crate) fn each_item<'a>(
    array: &'a RawValue,
    each: &mut impl FnMut(&Object<'a>) -> Result<(), Rejected>,
) -> Result<(), Rejected> {
    let mut rejected = None;
    let items = Items { each, rejected: &mut rejected };
    let read = items.deserialize(&mut serde_json::Deserializer::from_str(array.get()));
    match (rejected, read) {
        (Some(rejected), _) => Err(rejected),
        (None, read) => read.map_err(json),
    }
}

/// The [`Rejected`] of text that is no JSON.
pub(crate) fn json(error: serde_json::Error) -> Rejected {
    Rejected::Json { reason: error.to_string() }
}

/// The objects of an array, read one by one.
struct Items<'r, F> {
    each: &'r mut F,
    rejected: &'r mut Option<Rejected>,
}

impl<'de, F: FnMut(&Object<'de>) -> Result<(), Rejected>> DeserializeSeed<'de> for Items<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&Object<'de>) -> Result<(), Rejected>> Visitor<'de> for Items<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of JSON objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(object) = array.next_element::<Object<'de>>()? {
            if let Err(rejected) = (self.each)(&object) {
                *self.rejected = Some(rejected);
                return Err(A::Error::custom("rejected"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
