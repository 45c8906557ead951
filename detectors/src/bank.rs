//! One detector with the states of many series.

use postcard::{take_from_bytes, to_extend};
use serde::Serialize;

use crate::slices::Slices;
use crate::{Detector, DetectorBank, InvalidSnapshot, Point, Slot, Verdict};

/// What follows the version, in postcard: the detector's name, the number of states, and each as an option, which is none
/// for one that is as it began. The version grows by one with every change of what a state holds: postcard names no fields, so
/// an older state could be taken for one of today.
pub(crate) const SNAPSHOT_VERSION: u8 = 6;

/// How many points ahead a state is asked for, and what lies behind one, two and three of its pointers.
const POINTS_AHEAD: [usize; 4] = [8, 6, 4, 2];

pub(crate) struct Bank<D: Detector> {
    detector: D,
    states: Vec<D::State>,
    /// A snapshot that is being written.
    slices: Option<Slices>,
}

impl<D: Detector> Bank<D> {
    pub(crate) fn new(detector: D) -> Self {
        Self { detector, states: Vec::new(), slices: None }
    }
}

impl<D: Detector> DetectorBank for Bank<D> {
    fn observe(&mut self, slots: &[Slot], points: &[Point], verdicts: &mut Vec<Option<Verdict>>) {
        assert_eq!(slots.len(), points.len(), "a slot for each point");
        let Self { detector, states, slices } = self;
        if let Some(last) = slots.iter().map(|Slot(slot)| *slot).max()
            && last as usize >= states.len()
        {
            states.resize_with(last as usize + 1, D::State::default);
        }
        if let Some(slices) = slices {
            slots.iter().for_each(|Slot(slot)| slices.keep(states, *slot as usize));
        }
        let observe = |(i, (Slot(slot), point)): (usize, (&Slot, &Point))| {
            for (depth, ahead) in POINTS_AHEAD.into_iter().enumerate() {
                if let Some(state) = slots.get(i + ahead).and_then(|slot| states.get(slot.0 as usize)) {
                    detector.prefetch(state, depth);
                }
            }
            let state = &mut states[*slot as usize];
            if point.value.is_finite() { detector.update(state, *point) } else { None }
        };
        verdicts.extend(slots.iter().zip(points).enumerate().map(observe));
    }

    fn judge(&self, Slot(slot): Slot, point: Point) -> Option<Verdict> {
        let mut state = self.states.get(slot as usize).filter(|_| point.value.is_finite())?.clone();
        self.detector.update(&mut state, point)
    }

    fn state_bytes_max(&self) -> usize {
        self.detector.state_bytes_max()
    }

    fn forget(&mut self, slot: Slot) {
        if self.states.len() > slot.0 as usize {
            *state_of(&mut self.states, &mut self.slices, slot) = D::State::default();
        }
    }

    fn inherit(&mut self, slot: Slot, Slot(from): Slot) {
        let state = self.states.get(from as usize).cloned().unwrap_or_default();
        *state_of(&mut self.states, &mut self.slices, slot) = state;
    }

    fn set_aside(&mut self, slot: Slot) -> Vec<u8> {
        let state = std::mem::take(state_of(&mut self.states, &mut self.slices, slot));
        written(written(vec![SNAPSHOT_VERSION], &(D::NAME, 1_usize)), &Some(state))
    }

    fn take_back(&mut self, slot: Slot, state: &[u8]) -> Result<(), InvalidSnapshot> {
        let mut states = read(&self.detector, state)?;
        match (states.pop(), states.is_empty()) {
            (Some(state), true) => *state_of(&mut self.states, &mut self.slices, slot) = state,
            _ => return Err(InvalidSnapshot::TooLong),
        }
        Ok(())
    }

    fn begin_snapshot(&mut self) {
        let head = written(vec![SNAPSHOT_VERSION], &(D::NAME, self.states.len()));
        self.slices =
            Some(Slices::new(head, self.states.len(), written(Vec::new(), &Some(D::State::default()))));
    }

    fn continue_snapshot(&mut self, series: usize) -> Option<Vec<u8>> {
        self.slices.as_mut()?.write_on(&self.states, series);
        self.slices.take_if(|slices| slices.is_complete()).map(Slices::into_bytes)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        self.states = read(&self.detector, snapshot)?;
        self.slices = None;
        Ok(())
    }

    fn points_left(&self, Slot(slot): Slot) -> u32 {
        let fresh = || self.detector.points_left(&D::State::default());
        self.states.get(slot as usize).map_or_else(fresh, |state| self.detector.points_left(state))
    }
}

/// The state of a slot, which is about to change.
fn state_of<'s, S: Clone + Default + Serialize>(
    states: &'s mut Vec<S>,
    slices: &mut Option<Slices>,
    Slot(slot): Slot,
) -> &'s mut S {
    let slot = slot as usize;
    if slot >= states.len() {
        states.resize_with(slot + 1, S::default);
    }
    if let Some(slices) = slices {
        slices.keep(states, slot);
    }
    &mut states[slot]
}

/// The states of a snapshot.
fn read<D: Detector>(detector: &D, snapshot: &[u8]) -> Result<Vec<D::State>, InvalidSnapshot> {
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
        if !detector.is_sound(&state) {
            return Err(InvalidSnapshot::Unsound { detector: D::NAME, slot });
        }
        states.push(state);
        content = rest;
    }
    if !content.is_empty() {
        return Err(InvalidSnapshot::TooLong);
    }
    Ok(states)
}

/// `bytes` with `value` behind them.
pub(crate) fn written(bytes: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    to_extend(value, bytes).expect("plain data of known lengths, and memory does not fail")
}
