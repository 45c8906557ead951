//! One detector with the states of many series.

use postcard::{take_from_bytes, to_extend};
use serde::Serialize;

use crate::{Detector, DetectorBank, InvalidSnapshot, Point, Slot, Verdict};

/// What follows the version, in postcard: the detector's name, the number of states, and each as an option, which is none
/// for one that is as it began. The version grows by one with every change of what a state holds: postcard names no fields, so
/// an older state could be taken for one of today.
pub(crate) const SNAPSHOT_VERSION: u8 = 4;

pub(crate) struct Bank<D: Detector> {
    detector: D,
    states: Vec<D::State>,
}

impl<D: Detector> Bank<D> {
    pub(crate) fn new(detector: D) -> Self {
        Self { detector, states: Vec::new() }
    }
}

impl<D: Detector> DetectorBank for Bank<D> {
    fn observe(&mut self, slots: &[Slot], points: &[Point], verdicts: &mut Vec<Option<Verdict>>) {
        assert_eq!(slots.len(), points.len(), "a slot for each point");
        for (slot, point) in slots.iter().zip(points) {
            let slot = slot.0 as usize;
            if slot >= self.states.len() {
                self.states.resize_with(slot + 1, D::State::default);
            }
            let finite = point.value.is_finite();
            verdicts.push(if finite { self.detector.update(&mut self.states[slot], *point) } else { None });
        }
    }

    fn state_bytes_max(&self) -> usize {
        self.detector.state_bytes_max()
    }

    fn forget(&mut self, slot: Slot) {
        if let Some(state) = self.states.get_mut(slot.0 as usize) {
            *state = D::State::default();
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut bytes = written(vec![SNAPSHOT_VERSION], &(D::NAME, self.states.len()));
        let initial = written(Vec::new(), &Some(D::State::default()));
        for state in &self.states {
            let start = bytes.len();
            bytes = written(bytes, &Some(state));
            if bytes[start..] == initial {
                bytes.truncate(start);
                bytes = written(bytes, &None::<D::State>);
            }
        }
        bytes
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        let content = match snapshot {
            [] => return Err(InvalidSnapshot::Empty),
            [SNAPSHOT_VERSION, content @ ..] => content,
            [version, ..] => return Err(InvalidSnapshot::Version(*version)),
        };
        // The name first: the states of another detector would only give a riddle of a message.
        let (found, content) = take_from_bytes::<&str>(content)?;
        if found != D::NAME {
            return Err(InvalidSnapshot::OtherDetector { found: found.to_owned(), expected: D::NAME });
        }
        let (count, mut content) = take_from_bytes::<usize>(content)?;
        // The number may be wrong, so it is nothing to allocate by.
        let mut states = Vec::with_capacity(count.min(content.len()));
        for slot in 0..count {
            let (state, rest) = take_from_bytes::<Option<D::State>>(content)?;
            let state = state.unwrap_or_default();
            if !self.detector.is_sound(&state) {
                return Err(InvalidSnapshot::Unsound { detector: D::NAME, slot });
            }
            states.push(state);
            content = rest;
        }
        if !content.is_empty() {
            return Err(InvalidSnapshot::TooLong);
        }
        self.states = states;
        Ok(())
    }
}

/// `bytes` with `value` behind them.
fn written(bytes: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    to_extend(value, bytes).expect("plain data of known lengths, and memory does not fail")
}
