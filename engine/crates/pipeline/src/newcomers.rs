//! New members of a workload begin with what another has learned.
//!
//! A pod of today is mostly like those of yesterday, so a series that differs from a known one in the labels of instances only begins
//! with the states of that one's detectors, and a fault in its first minutes is seen. Not all are alike, though: memory of a new
//! pod is low. So a group of such series is tried first: what the known one's detectors say of the first points of
//! a newcomer is counted and not told, and only after [`CALM_MIN`] newcomers in a row of which little was anomalous does the next one inherit.
//! One that inherited and was anomalous counts against it, so a group that begins to differ loses that again.
//!
//! Only points and their order decide. Limits: it is the member that was tried last which hands on; one that has been forgotten, or set aside on disk, takes what
//! is known of its group with it. Groups are bounded; beyond, series begin with nothing.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use model::{SeriesId, StateSection};
use serde::{Deserialize, Serialize};

use crate::state::{self, InvalidState};

const SECTION: &str = "newcomers";
const GROUPS_MAX: usize = 100_000;
const TRIALS_MAX: usize = 10_000;
/// Judged points of a trial, and how many of them may be anomalous.
const TRIAL_POINTS: u32 = 30;
const ANOMALOUS_MAX: u32 = 3;
/// A trial that is not over by then is none.
const TRIAL_MS: i64 = 3_600_000;
const CALM_MIN: u8 = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Group {
    /// Who hands on.
    slot: u32,
    /// Newcomers in a row that began as others went on, up to [`CALM_MIN`].
    calm: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trial {
    group: SeriesId,
    judged_by: u32,
    until_ms: i64,
    points: u32,
    anomalous: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    groups: HashMap<SeriesId, Group>,
    /// By slot of the newcomer.
    trials: BTreeMap<u32, Trial>,
}

impl Newcomers {
    /// A new series of a group; returns whose states it begins with.
    pub fn admit(&mut self, slot: u32, group: SeriesId, time_ms: i64) -> Option<u32> {
        let Some(known) = self.groups.get(&group) else {
            if self.groups.len() < GROUPS_MAX {
                self.groups.insert(group, Group { slot, calm: 0 });
            }
            return None;
        };
        if self.trials.len() < TRIALS_MAX {
            let until_ms = time_ms.saturating_add(TRIAL_MS);
            let trial = Trial { group, judged_by: known.slot, until_ms, points: 0, anomalous: 0 };
            self.trials.insert(slot, trial);
        }
        (known.calm >= CALM_MIN).then_some(known.slot)
    }

    /// Whose detectors are to judge a point of the series for its trial, if it is on trial.
    pub fn judged_by(&self, slot: u32) -> Option<u32> {
        if self.trials.is_empty() {
            return None;
        }
        self.trials.get(&slot).map(|trial| trial.judged_by)
    }

    /// What was said of a point of a series on trial.
    pub fn judged(&mut self, slot: u32, time_ms: i64, is_anomalous: bool) {
        let Some(trial) = self.trials.get_mut(&slot) else { return };
        trial.points += 1;
        trial.anomalous += u32::from(is_anomalous);
        if trial.points < TRIAL_POINTS && time_ms < trial.until_ms {
            return;
        }
        let is_calm = trial.anomalous <= ANOMALOUS_MAX;
        let (group, is_complete) = (trial.group, trial.points >= TRIAL_POINTS);
        self.trials.remove(&slot);
        if let Some(group) = self.groups.get_mut(&group).filter(|_| is_complete) {
            group.calm = if is_calm { (group.calm + 1).min(CALM_MIN) } else { group.calm.saturating_sub(1) };
            if is_calm || group.calm == 0 {
                group.slot = slot;
            }
        }
    }

    /// The series in the slots, which are in order, are forgotten; `group` is that of a slot.
    pub fn forget(&mut self, slots: &[u32], group: impl Fn(u32) -> Option<SeriesId>) {
        for &slot in slots {
            self.trials.remove(&slot);
            if let Some(group) = group(slot)
                && self.groups.get(&group).is_some_and(|known| known.slot == slot)
            {
                self.groups.remove(&group);
            }
        }
        self.trials.retain(|_, trial| slots.binary_search(&trial.judged_by).is_err());
    }

    /// The state, under the slots of today.
    pub fn state(&self) -> StateSection {
        let mut groups: Vec<(&SeriesId, &Group)> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(id, _)| **id);
        StateSection { name: SECTION.to_owned(), bytes: state::encode(&(groups, &self.trials)) }
    }

    /// Takes up a state, of which those in slots without a series are left out. Without one, groups are learned anew.
    pub fn restore(
        &mut self,
        sections: &[StateSection],
        is_used: impl Fn(u32) -> bool,
    ) -> Result<(), InvalidState> {
        *self = Self::default();
        if !sections.iter().any(|section| section.name == SECTION) {
            return Ok(());
        }
        let (groups, trials): (Vec<(SeriesId, Group)>, BTreeMap<u32, Trial>) =
            state::section(sections, SECTION)?;
        self.groups = groups.into_iter().filter(|(_, group)| is_used(group.slot)).collect();
        let is_whole = |slot: u32, trial: &Trial| is_used(slot) && is_used(trial.judged_by);
        self.trials = trials.into_iter().filter(|(slot, trial)| is_whole(*slot, trial)).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
