//! Hashes of tokens and of sequences of tokens. They are 64 bits wide and taken as equal when equal: with a million different texts the odds
//! that any two collide are below one in ten million.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

/// The symbol of a variable. No text has it.
pub(crate) const WILD: u64 = 0;

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) fn symbol(text: &str) -> u64 {
    symbol_of(text.as_bytes())
}

#[inline]
pub(crate) fn symbol_of(text: &[u8]) -> u64 {
    match text {
        [byte] => BYTE_SYMBOLS[usize::from(*byte)],
        bytes => never_wild(xxh3_64(bytes)),
    }
}

const fn never_wild(hash: u64) -> u64 {
    if hash == WILD { ODD } else { hash }
}

/// The symbol of each text of one byte.
static BYTE_SYMBOLS: [u64; 256] = byte_symbols();

const fn byte_symbols() -> [u64; 256] {
    let mut symbols = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        symbols[byte] = never_wild(mix(byte as u64));
        byte += 1;
    }
    symbols
}

/// Every bit of the result depends on every bit of `value` (the finalizer of SplitMix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(ODD);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The hash of a sequence, one element at a time.
#[derive(Clone, Copy, Default)]
pub(crate) struct SequenceHash(u64);

impl SequenceHash {
    #[inline]
    pub fn add(&mut self, element: u64) {
        self.0 = (self.0.rotate_left(5) ^ element).wrapping_add(1).wrapping_mul(ODD);
    }

    pub fn finish(self) -> u64 {
        mix(self.0)
    }
}

/// A summand for `symbol` at `position`: the sum over a template is a hash of it that can change in one place without the others.
pub(crate) fn place(symbol: u64, position: usize) -> u64 {
    mix(symbol ^ (position as u64).wrapping_mul(ODD))
}

/// A hash as it is written: always eight bytes, which a number of variable length would exceed.
#[derive(Clone, Copy)]
pub(crate) struct Written(pub u64);

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_le_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Written(u64::from_le_bytes(<[u8; 8]>::deserialize(deserializer)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_length_count() {
        let hash = |elements: &[u64]| {
            let mut sequence = SequenceHash::default();
            elements.iter().for_each(|&element| sequence.add(element));
            sequence.finish()
        };
        let all = [hash(&[]), hash(&[0]), hash(&[0, 0]), hash(&[1, 2]), hash(&[2, 1])];
        assert!((1..all.len()).all(|i| !all[..i].contains(&all[i])));
    }

    #[test]
    fn no_text_is_wild() {
        assert!(["", "a", "<*>", "\0"].iter().all(|text| symbol(text) != WILD));
    }
}
