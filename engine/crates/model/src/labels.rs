//! The identity of a series: its name and labels, and a stable hash of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize, Serializer};

/// Label that holds the metric's name.
pub const NAME: &str = "__name__";
/// Label that holds the service (OpenTelemetry `service.name`, with `service.namespace/` before it if there is one).
pub const SERVICE: &str = "service.name";

/// The labels of one series, sorted by key, without duplicates (of two equal keys the last one wins).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Labels(Vec<(String, String)>);

/// As a map. Without one in between: a snapshot holds the labels of every series.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl Labels {
    /// Sorts and deduplicates the pairs.
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut pairs: Vec<(String, String)> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        // Stable, so that among equal keys the last one given stays last.
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let mut unique: Vec<(String, String)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        Self(unique)
    }

    /// A series of `service` named `name`.
    pub fn of(service: &str, name: &str) -> Self {
        Self::new([(SERVICE, service), (NAME, name)])
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|pair| pair.0.as_str().cmp(key)).ok().map(|i| self.0[i].1.as_str())
    }

    /// The metric's name, or the empty string.
    pub fn name(&self) -> &str {
        self.get(NAME).unwrap_or("")
    }

    /// The service, or the empty string.
    pub fn service(&self) -> &str {
        self.get(SERVICE).unwrap_or("")
    }

    /// The same labels with one replaced or added.
    pub fn with(&self, key: &str, value: &str) -> Self {
        let own = self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        Self::new(own.chain([(key, value)]))
    }

    /// What they take in memory.
    pub fn size_bytes(&self) -> usize {
        let pair = size_of::<(String, String)>();
        size_of::<Self>() + self.0.iter().map(|(key, value)| pair + key.len() + value.len()).sum::<usize>()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The canonical text: `key=value` pairs in order of their keys, each part with `\`, `=` and `,` escaped by `\`.
    /// It is what batches carry and what [`SeriesId`] hashes.
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        append_sorted(&self.0, &mut text);
        text
    }

    /// Reads [`Labels::canonical`] text. Total: any text gives some labels, a part without `=` gives a key with an empty value.
    pub fn parse(canonical: &str) -> Self {
        let mut pairs = Vec::new();
        let (mut key, mut current) = (None::<String>, String::new());
        let mut characters = canonical.chars();
        let mut any = false;
        while let Some(character) = characters.next() {
            any = true;
            match character {
                '\\' => current.extend(characters.next()),
                '=' if key.is_none() => key = Some(std::mem::take(&mut current)),
                ',' => {
                    let last = std::mem::take(&mut current);
                    pairs.push(match key.take() {
                        Some(key) => (key, last),
                        None => (last, String::new()),
                    });
                }
                other => current.push(other),
            }
        }
        if any {
            pairs.push(match key {
                Some(key) => (key, current),
                None => (current, String::new()),
            });
        }
        Self::new(pairs)
    }

    pub fn id(&self) -> SeriesId {
        SeriesId::of_canonical(&self.canonical())
    }
}

/// The value of a label in [`Labels::canonical`] text, unescaped, without reading the rest; empty if there is none.
pub fn value_in<'a>(canonical: &'a str, key: &str) -> Cow<'a, str> {
    let mut rest = canonical;
    while !rest.is_empty() {
        let end = unescaped(rest, b',').unwrap_or(rest.len());
        let part = &rest[..end];
        let at = unescaped(part, b'=').unwrap_or(part.len());
        if unescape(&part[..at]) == key {
            return unescape(part.get(at + 1..).unwrap_or_default());
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    Cow::Borrowed("")
}

fn unescaped(text: &str, wanted: u8) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let found = byte == wanted && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        found
    })
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut unescaped = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => unescaped.extend(characters.next()),
            other => unescaped.push(other),
        }
    }
    Cow::Owned(unescaped)
}

/// Appends the [`Labels::canonical`] text of the pairs without making [`Labels`] of them. Sorts and deduplicates as
/// [`Labels::new`] does.
pub fn append_canonical<K: AsRef<str>, V: AsRef<str>>(pairs: &mut [(K, V)], text: &mut String) {
    pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
    append_sorted(pairs, text);
}

fn append_sorted<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)], text: &mut String) {
    let mut separator = "";
    for (i, (key, value)) in pairs.iter().enumerate() {
        if pairs.get(i + 1).is_some_and(|next| next.0.as_ref() == key.as_ref()) {
            continue;
        }
        text.push_str(separator);
        separator = ",";
        escape_into(text, key.as_ref());
        text.push('=');
        escape_into(text, value.as_ref());
    }
}

/// As a JSON object: what people and programs expect of labels.
impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0.into_iter().collect()
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(map: BTreeMap<String, String>) -> Self {
        Self::new(map)
    }
}

fn escape_into(text: &mut String, part: &str) {
    // Without an early end, so that many bytes are looked at together.
    let is_special = |byte: u8| matches!(byte, b'\\' | b'=' | b',');
    if !part.bytes().fold(false, |any, byte| any | is_special(byte)) {
        return text.push_str(part);
    }
    for character in part.chars() {
        if matches!(character, '\\' | '=' | ',') {
            text.push('\\');
        }
        text.push(character);
    }
}

/// `name{key="value",…}`, as Prometheus writes a series.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut separator = '{';
        for (key, value) in self.iter().filter(|(key, _)| *key != NAME) {
            write!(f, "{separator}{key}={value:?}")?;
            separator = ',';
        }
        if separator == ',' { f.write_char('}') } else { Ok(()) }
    }
}

/// 128-bit XXH3 of the canonical labels: the same on every machine and in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesId(pub u128);

impl SeriesId {
    pub fn of_canonical(canonical: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(canonical.as_bytes()))
    }
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn series_id_is_pinned() {
        let labels = Labels::new([("service.name", "cart"), ("__name__", "cpu"), ("zone", "a,b=c\\d")]);
        assert_eq!(labels.canonical(), "__name__=cpu,service.name=cart,zone=a\\,b\\=c\\\\d");
        assert_eq!(labels.to_string(), r#"cpu{service.name="cart",zone="a,b=c\\d"}"#);
        assert_eq!(labels.id(), Labels::parse(&labels.canonical()).id());
        assert_eq!(labels.id().to_string(), "d2e0a40ac90bb063250fd53d34ae5689");
    }

    proptest! {
        #[test]
        fn a_value_is_found_without_reading_all(
            pairs in proptest::collection::vec(("[a-c,=\\\\]{0,3}", "[x-z,=\\\\]{0,3}"), 0..5),
            key in "[a-c,=\\\\]{0,3}",
        ) {
            let labels = Labels::new(pairs);
            let canonical = labels.canonical();
            prop_assert_eq!(value_in(&canonical, &key), labels.get(&key).unwrap_or(""));
        }

        #[test]
        fn canonical_text_reads_back(pairs in proptest::collection::vec((".{0,6}", ".{0,6}"), 0..6)) {
            let labels = Labels::new(pairs);
            let expected = if labels.canonical().is_empty() { Labels::default() } else { labels.clone() };
            prop_assert_eq!(Labels::parse(&labels.canonical()), expected);
        }

        #[test]
        fn canonical_text_is_the_same_without_labels(pairs in proptest::collection::vec(("[a-c=]{0,2}", ".{0,3}"), 0..6)) {
            let mut text = String::new();
            append_canonical(&mut pairs.clone(), &mut text);
            prop_assert_eq!(text, Labels::new(pairs).canonical());
        }
    }
}
