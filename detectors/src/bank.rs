//! One detector with the states of many series.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::{Detector, DetectorBank, InvalidSnapshot, Point, Slot, Verdict};

pub(crate) const SNAPSHOT_VERSION: u8 = 2;

/// What follows the version, as JSON. `S` is a list of states, borrowed or owned.
#[derive(Serialize, Deserialize)]
struct Snapshot<S> {
    detector: String,
    states: S,
}

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

    fn forget(&mut self, slot: Slot) {
        if let Some(state) = self.states.get_mut(slot.0 as usize) {
            *state = D::State::default();
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut bytes = vec![SNAPSHOT_VERSION];
        let content = Snapshot { detector: D::NAME.to_owned(), states: &self.states };
        serde_json::to_writer(&mut bytes, &content).expect("states are plain data and memory does not fail");
        bytes
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        let content = match snapshot {
            [] => return Err(InvalidSnapshot::Empty),
            [SNAPSHOT_VERSION, content @ ..] => content,
            [version, ..] => return Err(InvalidSnapshot::Version(*version)),
        };
        // The name first: the states of another detector would only give a riddle of a message.
        let Snapshot { detector: found, .. } = serde_json::from_slice::<Snapshot<IgnoredAny>>(content)?;
        if found != D::NAME {
            return Err(InvalidSnapshot::OtherDetector { found, expected: D::NAME });
        }
        let Snapshot { states, .. } = serde_json::from_slice::<Snapshot<Vec<D::State>>>(content)?;
        if let Some(slot) = states.iter().position(|state| !self.detector.is_sound(state)) {
            return Err(InvalidSnapshot::Unsound { detector: D::NAME, slot });
        }
        self.states = states;
        Ok(())
    }
}
