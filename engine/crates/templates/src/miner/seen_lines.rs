//! The shapes of whole lines seen lately: many lines come again byte for byte, and need not be cut into tokens again.
//!
//! It only shortens the way to a shape, and so what it has forgotten changes no result. It is not written with the miner.

use xxhash_rust::xxh3::xxh3_64;

/// A power of two; a line takes the place of another whose hash ends alike.
const PLACES: usize = 4096;

#[derive(Clone, Copy, Default)]
struct Seen {
    /// Hash of the line; none has 0.
    line: u64,
    shape: Shape,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Shape {
    pub signature: u64,
    /// All tokens of the line were read.
    pub is_complete: bool,
}

pub(super) struct SeenLines {
    places: Box<[Seen]>,
}

impl SeenLines {
    pub fn new() -> Self {
        SeenLines { places: vec![Seen::default(); PLACES].into_boxed_slice() }
    }

    /// The shape of `line`, and whether it was not found with `find` but known.
    #[inline]
    pub fn shape(&mut self, line: &str, find: impl FnOnce() -> Shape) -> (Shape, bool) {
        let hash = xxh3_64(line.as_bytes()).max(1);
        let seen = &mut self.places[hash as usize % PLACES];
        let is_known = seen.line == hash;
        if !is_known {
            *seen = Seen { line: hash, shape: find() };
        }
        (seen.shape, is_known)
    }
}
