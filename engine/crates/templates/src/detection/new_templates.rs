//! Templates that nobody has seen before.
//!
//! A new id is often the first line of a template that is merged into a known one a moment later, so it is held off: only an id that is still
//! there after a while is told. During the warm-up everything is new, and nothing is told.

use serde::{Deserialize, Serialize};

use super::{DetectionConfig, Finding};
use crate::Merge;
use crate::hashing::mix;
use crate::recent::HashedMap;
use crate::snapshot::{COUNT_MAX, Unsound};

/// New ids held off at a time; more are counted and not told.
const PENDING_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pending {
    template_id: u32,
    first_ms: i64,
    due_ms: i64,
    lines: u64,
}

#[derive(Default)]
pub(crate) struct NewTemplates {
    pending: HashedMap<Pending>,
    /// No pending id is due before.
    due_ms: i64,
    untold: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    pending: Vec<Pending>,
    untold: u64,
}

impl NewTemplates {
    /// `now_ms` is the latest time of any line, from which the hold-off counts even for a late one.
    pub fn observe(
        &mut self,
        template_id: u32,
        is_new: bool,
        time_ms: i64,
        now_ms: i64,
        config: &DetectionConfig,
    ) {
        if self.pending.is_empty() && !is_new {
            return;
        }
        let key = mix(u64::from(template_id));
        if let Some(pending) = self.pending.get_mut(&key) {
            pending.lines += 1;
        } else if is_new && self.pending.len() < PENDING_MAX {
            let due_ms = now_ms.saturating_add(config.hold_off_ms);
            self.due_ms = if self.pending.is_empty() { due_ms } else { self.due_ms.min(due_ms) };
            self.pending.insert(key, Pending { template_id, first_ms: time_ms, due_ms, lines: 1 });
        } else if is_new {
            self.untold += 1;
        }
    }

    pub fn merge(&mut self, merge: Merge) {
        let Some(from) = self.pending.remove(&mix(u64::from(merge.from))) else { return };
        // If the older one is not pending, it is known, and so is this one now.
        if let Some(into) = self.pending.get_mut(&mix(u64::from(merge.into))) {
            into.lines += from.lines;
            into.first_ms = into.first_ms.min(from.first_ms);
        }
    }

    pub fn advance(&mut self, time_ms: i64, findings: &mut Vec<Finding>) {
        if self.pending.is_empty() || time_ms < self.due_ms {
            return;
        }
        let mut due: Vec<Pending> =
            self.pending.values().copied().filter(|pending| pending.due_ms <= time_ms).collect();
        due.sort_unstable_by_key(|pending| (pending.first_ms, pending.template_id));
        self.pending.retain(|_, pending| pending.due_ms > time_ms);
        self.due_ms = self.pending.values().map(|pending| pending.due_ms).min().unwrap_or(i64::MAX);
        findings.extend(due.into_iter().map(|Pending { template_id, first_ms, lines, .. }| {
            Finding::NewTemplate { template_id, first_ms, lines }
        }));
    }

    pub fn held_off(&self) -> usize {
        self.pending.len()
    }

    pub fn untold(&self) -> u64 {
        self.untold
    }

    pub fn saved(&self) -> Saved {
        let mut pending: Vec<Pending> = self.pending.values().copied().collect();
        pending.sort_unstable_by_key(|pending| pending.template_id);
        Saved { pending, untold: self.untold }
    }

    pub fn restored(saved: Saved) -> Result<Self, Unsound> {
        let count = saved.pending.len();
        let is_sound = count <= PENDING_MAX
            && saved.untold <= COUNT_MAX
            && saved.pending.iter().all(|pending| pending.lines <= COUNT_MAX);
        Unsound::unless(is_sound, "new templates are beyond their bounds")?;
        let due_ms = saved.pending.iter().map(|pending| pending.due_ms).min().unwrap_or(i64::MAX);
        let pending: HashedMap<Pending> =
            saved.pending.into_iter().map(|one| (mix(u64::from(one.template_id)), one)).collect();
        Unsound::unless(pending.len() == count, "a new template is there twice")?;
        Ok(NewTemplates { pending, due_ms, untold: saved.untold })
    }
}
