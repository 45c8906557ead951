//! When different words in one place prove that the place is a variable.
//!
//! For each template with one place left open the miner keeps the words seen in that place. Their number must reach a threshold that depends on
//! what kind of word it is, and falls with the number of other constant words: the more of the line is equal, the less a difference means. What
//! earlier variables taught lowers it: names seen as values, words that values follow, and values equal up to their digits.

use serde::{Deserialize, Serialize};

use crate::classify::Kind;
use crate::clusters::{Clusters, Slot};
use crate::hashing::{SequenceHash, Written, mix, symbol};
use crate::lexicon;
use crate::recent::{self, RecentMap};
use crate::snapshot::Unsound;
use crate::tokenize::Token;

/// More values than any threshold asks for.
const VALUES_MAX: usize = 16;

/// A word seen in the open place.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "SavedValue", from = "SavedValue")]
pub(crate) struct Value {
    symbol: u64,
    /// The last cluster that had it.
    slot: Slot,
    /// Hash of the text with `#` for each run of digits, if it has any.
    stem: Option<u64>,
    is_name: bool,
}

/// One place of one template.
pub(crate) struct Place<'a> {
    /// Hash of the template with the place open, or two places.
    pub key: u64,
    pub token: &'a Token,
    pub text: &'a str,
    /// The constant word right before it.
    pub word_before: Option<&'a str>,
    /// No word comes before it.
    pub is_first: bool,
    /// Other constant words of the template, at least 1.
    pub constants: usize,
}

/// What is written of a [`Value`], field by field.
#[derive(Serialize, Deserialize)]
struct SavedValue(Written, Slot, Option<Written>, bool);

impl From<Value> for SavedValue {
    fn from(value: Value) -> Self {
        SavedValue(Written(value.symbol), value.slot, value.stem.map(Written), value.is_name)
    }
}

impl From<SavedValue> for Value {
    fn from(SavedValue(Written(symbol), slot, stem, is_name): SavedValue) -> Self {
        Value { symbol, slot, stem: stem.map(|Written(stem)| stem), is_name }
    }
}

/// What is written of [`Evidence`], field by field. `V` is the words of a place, borrowed or owned.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved<V>(recent::Saved<V>, recent::Saved<()>, recent::Saved<()>);

pub(crate) struct Evidence {
    values: RecentMap<Vec<Value>>,
    /// Names that were values.
    vocabulary: RecentMap<()>,
    /// Words that came before values.
    contexts: RecentMap<()>,
}

impl Evidence {
    pub fn new(places_max: usize, words_max: usize) -> Self {
        Evidence {
            values: RecentMap::new(places_max),
            vocabulary: RecentMap::new(words_max),
            contexts: RecentMap::new(words_max),
        }
    }

    pub fn saved(&self) -> Saved<&[Value]> {
        Saved(self.values.saved(Vec::as_slice), self.vocabulary.saved(|()| ()), self.contexts.saved(|()| ()))
    }

    pub fn restored(
        saved: Saved<Vec<Value>>,
        places_max: usize,
        words_max: usize,
        clusters: &Clusters,
    ) -> Result<Self, Unsound> {
        let values = |values: Vec<Value>| {
            Unsound::unless(values.len() <= VALUES_MAX, "a place has too many words")?;
            let taken = values.iter().all(|value| clusters.is_taken(value.slot));
            Unsound::unless(taken, "a word is of no cluster").map(|()| values)
        };
        let Saved(places, vocabulary, contexts) = saved;
        Ok(Evidence {
            values: RecentMap::restored(places, places_max, values)?,
            vocabulary: RecentMap::restored(vocabulary, words_max, Ok)?,
            contexts: RecentMap::restored(contexts, words_max, Ok)?,
        })
    }

    pub fn places(&self) -> usize {
        self.values.len()
    }

    pub fn forgotten(&self) -> u64 {
        self.values.forgotten() + self.vocabulary.forgotten() + self.contexts.forgotten()
    }

    /// Adds what `slot` has in `place`. If that is now a variable, the clusters that had a value there, as they were then.
    pub fn add(&mut self, place: &Place<'_>, slot: Slot) -> Option<Vec<Slot>> {
        let values = watch(&mut self.values, place.key, place, slot);
        let context = place.word_before.map(symbol);
        let mut threshold = threshold(place);
        let known = context.is_some_and(|word| self.contexts.contains(word))
            || values.iter().filter(|value| self.vocabulary.contains(value.symbol)).take(2).count() == 2;
        if known {
            threshold = round_half_even(threshold, 2).max(2);
        }
        if place.token.kind == Kind::Identifier && have_equal_stems(values) {
            threshold = 2;
        }
        if values.len() < threshold {
            return None;
        }
        if place.token.kind != Kind::Word || place.token.value {
            for value in values.iter().filter(|value| value.is_name) {
                self.vocabulary.entry(value.symbol, || ());
            }
        }
        if let Some(word) = context
            && matches!(place.token.kind, Kind::Name | Kind::Identifier)
        {
            self.contexts.entry(word, || ());
        }
        Some(values.iter().map(|value| value.slot).collect())
    }

    /// The same for two places of one template that are both open; each must have shown enough words. Their keys are equal.
    pub fn add_pair(&mut self, places: &[Place<'_>; 2], slot: Slot) -> Option<Vec<Slot>> {
        let mut members = Vec::new();
        let mut proven = true;
        for (place, number) in places.iter().zip(1..) {
            let values = watch(&mut self.values, mix(place.key ^ number), place, slot);
            proven &= values.len() >= threshold(place);
            members.extend(values.iter().map(|value| value.slot));
        }
        members.sort_unstable();
        members.dedup();
        proven.then_some(members)
    }

    /// Refers to the clusters that the known ones were merged into, and forgets evicted ones.
    pub fn resolve(&mut self, clusters: &mut Clusters) {
        self.values.retain(|values| {
            values.retain_mut(|value| {
                let found = clusters.find(value.slot);
                value.slot = found.unwrap_or(value.slot);
                found.is_some()
            });
            !values.is_empty()
        });
    }
}

/// The words seen so far under `key`, with what `slot` has in `place`.
fn watch<'a>(
    values: &'a mut RecentMap<Vec<Value>>,
    key: u64,
    place: &Place<'_>,
    slot: Slot,
) -> &'a mut Vec<Value> {
    let values = values.entry(key, Vec::new);
    match values.iter().position(|value| value.symbol == place.token.symbol) {
        Some(at) => values[at].slot = slot,
        None if values.len() < VALUES_MAX => {
            values.push(Value::new(place.token.symbol, place.text, slot));
        }
        None => {}
    }
    values
}

impl Value {
    fn new(symbol: u64, text: &str, slot: Slot) -> Self {
        let is_name = text.chars().all(char::is_alphabetic) && !lexicon::is_common(text);
        Value { symbol, slot, stem: stem(text), is_name }
    }
}

fn stem(text: &str) -> Option<u64> {
    if !text.contains(char::is_numeric) {
        return None;
    }
    let mut hash = SequenceHash::default();
    let mut in_digits = false;
    for character in text.chars() {
        let is_digit = character.is_numeric();
        if !is_digit {
            hash.add(u64::from(character));
        } else if !in_digits {
            hash.add(u64::from('#'));
        }
        in_digits = is_digit;
    }
    Some(hash.finish())
}

fn have_equal_stems(values: &[Value]) -> bool {
    values.iter().enumerate().any(|(at, value)| {
        value.stem.is_some() && values[..at].iter().any(|before| before.stem == value.stem)
    })
}

/// How many different words prove a variable.
fn threshold(place: &Place<'_>) -> usize {
    let (usual, least) = match place.token.kind {
        _ if place.is_first => (8, 4),
        Kind::Word | Kind::Name if place.token.value => (6, 3),
        _ if place.token.value => (3, 3),
        Kind::Identifier => (4, 4),
        Kind::Name => (5, 4),
        _ => (8, 4),
    };
    round_half_even(4 * usual, place.constants + 2).max(least)
}

fn round_half_even(numerator: usize, denominator: usize) -> usize {
    let (quotient, rest) = (numerator / denominator, numerator % denominator);
    let up = 2 * rest > denominator || (2 * rest == denominator && quotient % 2 == 1);
    quotient + usize::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_to_even() {
        let rounded: Vec<usize> = [(1, 2), (3, 2), (5, 2), (7, 2), (10, 4), (11, 4), (9, 4)]
            .iter()
            .map(|&(n, d)| round_half_even(n, d))
            .collect();
        assert_eq!(rounded, [0, 2, 2, 4, 2, 3, 2]);
    }

    #[test]
    fn stems_are_equal_up_to_digits() {
        assert_eq!(stem("eth0"), stem("eth12"));
        assert_ne!(stem("eth0"), stem("eth0a"));
        assert_eq!(stem("eth"), None);
    }
}
