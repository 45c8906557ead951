//! What a missing point means: that its series may be gone, that it is as before, that it is zero, or nothing.
//!
//! `alert` is what [`silence`](crate::silence) makes of it, if a `series_gone` is configured. `hold` and `zero` give detectors a point in its
//! place: for what is only sent when it changes, such as the state of a switch, and for what is only sent when there is something, such as
//! requests that failed. With `skip` the series is told of by its points alone.
//!
//! How often a series has points is learned: the interval follows shorter ones fast and longer ones slowly, so that one that
//! pauses often is known by its points that follow each other. A point is missing when the next one should be there, too; whether it is
//! is looked at at the full minutes of event time, from a wheel in which each series stands once. Points are filled in
//! at that interval, ten seconds at least, until the series comes back or is forgotten (`series_idle`). Time that passed for all at once, as
//! after an outage of whatever sends, is not filled.
//!
//! Limits: a series is filled from its fourth point on. A point that comes later than it was filled counts beside it. A series that is set aside on disk is
//! not filled until it is back. A pod that ends is held on, too: match what outlives pods.

use std::collections::BTreeMap;

use model::{Labels, StateSection};
use serde::{Deserialize, Serialize};

use crate::settings::{MissingPolicy, MissingRule};
use crate::state::{self, InvalidState};

const SECTION: &str = "missing";
const MINUTE_MS: i64 = 60_000;
/// Event time that moves by more than this at once has passed for everybody.
const LEAP_MS: i64 = 600_000;
const INTERVAL_MS_MIN: f64 = 10_000.0;
/// How fast the interval follows shorter and longer ones, and at most how many times as long one counts for it.
const SHORTER_WEIGHT: f64 = 0.2;
const LONGER_WEIGHT: f64 = 0.01;
const LONGER_CLIP: f64 = 2.0;
const INTERVALS_MIN: u32 = 3;
/// What a series takes that is filled, in bytes.
pub(crate) const FILL_BYTES: usize = 80;

/// A series of which missing points are filled in.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fill {
    /// Its newest point, and the newest one or what was filled in last.
    point_ms: i64,
    last_ms: i64,
    interval_ms: f64,
    intervals: u32,
    /// What is filled in.
    value: f64,
    holds: bool,
    /// Where it stands in the wheel.
    due_ms: Option<i64>,
}

impl Fill {
    fn new(holds: bool) -> Self {
        let (point_ms, last_ms) = (i64::MIN, i64::MIN);
        Self { point_ms, last_ms, interval_ms: 0.0, intervals: 0, value: 0.0, holds, due_ms: None }
    }

    fn interval_ms(&self) -> i64 {
        self.interval_ms.max(INTERVAL_MS_MIN) as i64
    }

    /// When the next point is missing, once it is known how often it has some.
    fn missing_ms(&self) -> Option<i64> {
        if self.intervals < INTERVALS_MIN {
            return None;
        }
        self.last_ms.checked_add(self.interval_ms().checked_mul(2)?)
    }

    fn observe(&mut self, time_ms: i64, value: f64) {
        if time_ms <= self.point_ms {
            return;
        }
        if self.point_ms != i64::MIN {
            let interval_ms = time_ms.saturating_sub(self.point_ms) as f64;
            let known_ms = self.interval_ms;
            self.interval_ms = match self.intervals {
                0 => interval_ms,
                _ if interval_ms < known_ms => known_ms + SHORTER_WEIGHT * (interval_ms - known_ms),
                _ => known_ms + LONGER_WEIGHT * (interval_ms.min(LONGER_CLIP * known_ms) - known_ms),
            };
            self.intervals = self.intervals.saturating_add(1);
        }
        self.point_ms = time_ms;
        self.last_ms = self.last_ms.max(time_ms);
        if self.holds {
            self.value = value;
        }
    }

    fn is_sound(&self) -> bool {
        let is_interval = (0.0..=1e19).contains(&self.interval_ms);
        is_interval && self.value.is_finite() && self.point_ms <= self.last_ms
    }
}

/// A point in the place of one that is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Filled {
    pub time_ms: i64,
    pub slot: u32,
    pub value: f64,
}

#[derive(Debug, Default)]
pub(crate) struct Fills {
    rules: Vec<MissingRule>,
    /// By slot.
    fills: Vec<Option<Fill>>,
    /// By minute: who would miss a point then.
    wheel: BTreeMap<i64, Vec<u32>>,
    now_ms: Option<i64>,
    filled: u64,
}

impl Fills {
    pub fn new(rules: &[MissingRule]) -> Self {
        Self { rules: rules.to_vec(), ..Self::default() }
    }

    /// Points that were filled in.
    pub fn filled(&self) -> u64 {
        self.filled
    }

    /// A series has a slot now; returns what its missing points mean.
    pub fn admit(&mut self, slot: u32, labels: &Labels) -> MissingPolicy {
        let holds = |rule: &&MissingRule| rule.matchers.iter().all(|matcher| matcher.matches(labels));
        let policy = self.rules.iter().find(holds).map_or(MissingPolicy::Alert, |rule| rule.policy);
        let holds = match policy {
            MissingPolicy::Hold => Some(true),
            MissingPolicy::Zero => Some(false),
            MissingPolicy::Alert | MissingPolicy::Skip => None,
        };
        let place = slot as usize;
        if self.fills.len() <= place {
            if holds.is_none() {
                return policy;
            }
            self.fills.resize(place + 1, None);
        }
        let known = self.fills[place].take().filter(|fill| Some(fill.holds) == holds);
        self.fills[place] = known.or_else(|| holds.map(Fill::new));
        policy
    }

    /// A point of a series.
    pub fn observe(&mut self, slot: u32, time_ms: i64, value: f64) {
        let Some(Some(fill)) = self.fills.get_mut(slot as usize) else { return };
        fill.observe(time_ms, value);
        if fill.due_ms.is_none()
            && let Some(missing_ms) = fill.missing_ms()
        {
            Self::schedule(&mut self.wheel, fill, slot, missing_ms);
        }
    }

    fn schedule(wheel: &mut BTreeMap<i64, Vec<u32>>, fill: &mut Fill, slot: u32, missing_ms: i64) {
        let minute_ms =
            missing_ms.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS);
        fill.due_ms = Some(minute_ms);
        wheel.entry(minute_ms).or_default().push(slot);
    }

    /// Event time has come to `watermark_ms`: what is missing by its last full minute is filled in, in the order of times, then of slots.
    pub fn advance(&mut self, watermark_ms: i64) -> Vec<Filled> {
        let before_ms = self.now_ms.unwrap_or(watermark_ms);
        self.now_ms = self.now_ms.max(Some(watermark_ms));
        let has_leapt = watermark_ms.saturating_sub(before_ms) > LEAP_MS;
        let mut filled = Vec::new();
        while let Some(entry) = self.wheel.first_entry().filter(|entry| *entry.key() <= watermark_ms) {
            let (minute_ms, slots) = entry.remove_entry();
            let now_ms = if has_leapt { watermark_ms } else { minute_ms };
            for slot in slots {
                let Some(Some(fill)) = self.fills.get_mut(slot as usize) else { continue };
                // Another in the same place.
                if fill.due_ms != Some(minute_ms) {
                    continue;
                }
                fill.due_ms = None;
                let interval_ms = fill.interval_ms();
                if has_leapt {
                    fill.last_ms = fill.last_ms.max(watermark_ms.saturating_sub(interval_ms));
                }
                while let Some(missing_ms) = fill.missing_ms().filter(|missing_ms| *missing_ms <= now_ms) {
                    fill.last_ms = missing_ms.saturating_sub(interval_ms);
                    filled.push(Filled { time_ms: fill.last_ms, slot, value: fill.value });
                }
                if let Some(missing_ms) = fill.missing_ms() {
                    Self::schedule(&mut self.wheel, fill, slot, missing_ms.max(now_ms + 1));
                }
            }
        }
        self.filled += filled.len() as u64;
        filled.sort_by_key(|filled| (filled.time_ms, filled.slot));
        filled
    }

    /// The series in the slots are forgotten.
    pub fn forget(&mut self, slots: &[u32]) {
        for &slot in slots {
            if let Some(fill) = self.fills.get_mut(slot as usize) {
                *fill = None;
            }
        }
    }

    /// The state, under the slots of today; none where nothing is filled.
    pub fn state(&self) -> Option<StateSection> {
        let bytes = || state::encode(&(&self.fills, self.now_ms, self.filled));
        (!self.rules.is_empty()).then(|| StateSection { name: SECTION.to_owned(), bytes: bytes() })
    }

    /// Takes up a state; what is filled today is told by [`admit`](Self::admit) for each series, and then
    /// [`restored`](Self::restored). Without one, everything is learned anew.
    pub fn restore(&mut self, sections: &[StateSection]) -> Result<(), InvalidState> {
        *self = Self { rules: std::mem::take(&mut self.rules), ..Self::default() };
        if self.rules.is_empty() || !sections.iter().any(|section| section.name == SECTION) {
            return Ok(());
        }
        let (fills, now_ms, filled): (Vec<Option<Fill>>, _, _) = state::section(sections, SECTION)?;
        if !fills.iter().flatten().all(Fill::is_sound) {
            return Err(InvalidState::new(SECTION, "it holds numbers that no series leaves behind"));
        }
        (self.fills, self.now_ms, self.filled) = (fills, now_ms, filled);
        Ok(())
    }

    /// All series are admitted.
    pub fn restored(&mut self) {
        for (slot, fill) in self.fills.iter().enumerate() {
            if let Some(due_ms) = fill.as_ref().and_then(|fill| fill.due_ms) {
                self.wheel.entry(due_ms).or_default().push(slot as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests;
