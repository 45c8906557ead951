//! A snapshot of many states that is written in slices, while the states go on.

use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;

use crate::bank::written;

/// States as they were when it began: they are written in order, some at a time, and one that is about to change before its
/// turn is written ahead. What comes out is the same, whatever the slices were.
pub(crate) struct Slices {
    /// The states up to `next`.
    bytes: Vec<u8>,
    next: usize,
    count: usize,
    /// Those that were written before their turn, as ranges of `ahead_bytes`.
    ahead: HashMap<usize, Range<usize>>,
    ahead_bytes: Vec<u8>,
    /// A state as it begins, which is left out.
    initial: Vec<u8>,
}

impl Slices {
    /// Of `count` states, behind `head`.
    pub(crate) fn new(head: Vec<u8>, count: usize, initial: Vec<u8>) -> Self {
        Self { bytes: head, next: 0, count, ahead: HashMap::new(), ahead_bytes: Vec::new(), initial }
    }

    /// To be called before the state of a slot changes.
    pub(crate) fn keep<S: Serialize>(&mut self, states: &[S], slot: usize) {
        if (self.next..self.count).contains(&slot) && !self.ahead.contains_key(&slot) {
            let start = self.ahead_bytes.len();
            write(&mut self.ahead_bytes, &states[slot], &self.initial);
            self.ahead.insert(slot, start..self.ahead_bytes.len());
        }
    }

    /// Writes the next so many states.
    pub(crate) fn write_on<S: Serialize>(&mut self, states: &[S], slots: usize) {
        let end = self.next.saturating_add(slots).min(self.count);
        for (slot, state) in (self.next..).zip(&states[self.next..end]) {
            match self.ahead.get(&slot) {
                Some(range) => self.bytes.extend_from_slice(&self.ahead_bytes[range.clone()]),
                None => write(&mut self.bytes, state, &self.initial),
            }
        }
        self.next = end;
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.next == self.count
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A state as an option, which is none for one that is as it began.
fn write<S: Serialize>(bytes: &mut Vec<u8>, state: &S, initial: &[u8]) {
    let start = bytes.len();
    *bytes = written(std::mem::take(bytes), &Some(state));
    if bytes[start..] == *initial {
        bytes.truncate(start);
        *bytes = written(std::mem::take(bytes), &None::<S>);
    }
}
