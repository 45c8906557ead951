//! Lines that come in an order in which they never came.
//!
//! For each source the template of its last line is kept, and for each template, over all sources, what came next and how often. A step that
//! was never seen is told under two conditions. Nearly all steps from there were seen more than once: the chance of a new one is estimated by
//! the share of steps seen once (Good, The population frequencies of species and the estimation of population parameters, 1953). And the next
//! template is so frequent that it would have come there often if lines came at random. So sources whose lines interleave at random, and rare
//! lines, tell nothing. What was told is learned.

use serde::{Deserialize, Serialize};

use super::{DetectionConfig, Finding};
use crate::Merge;
use crate::hashing::mix;
use crate::recent::{self, RecentMap};
use crate::snapshot::{COUNT_MAX, Unsound};

/// Next templates kept of a template; one with more has no order, and is not judged any more.
const NEXT_MAX: usize = 64;
/// How often a step must have been expected at random before it is told as unseen: by chance, one in 20,000 would be unseen still.
const EXPECTED_MIN: f64 = 10.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Steps {
    /// Steps from the template in all.
    total: u64,
    next: Vec<Next>,
    /// There were more next templates than are kept.
    has_no_order: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Next {
    template_id: u32,
    steps: u64,
}

impl Steps {
    fn add(&mut self, template_id: u32, steps: u64) {
        self.total = self.total.saturating_add(steps);
        if let Some(next) = self.next.iter_mut().find(|next| next.template_id == template_id) {
            next.steps = next.steps.saturating_add(steps);
        } else if self.next.len() < NEXT_MAX {
            self.next.push(Next { template_id, steps });
        } else {
            self.has_no_order = true;
        }
    }

    fn share_seen_once(&self) -> f64 {
        self.next.iter().filter(|next| next.steps == 1).count() as f64 / self.total as f64
    }

    /// Refers to the survivor of a merge.
    fn rename_next(&mut self, merge: Merge) {
        if let Some(at) = self.next.iter().position(|next| next.template_id == merge.from) {
            let steps = self.next.remove(at).steps;
            self.total = self.total.saturating_sub(steps);
            self.add(merge.into, steps);
        }
    }
}

pub(crate) struct Order {
    steps: RecentMap<Steps>,
    /// The template of the last line of each source.
    last: RecentMap<u32>,
    /// Steps of all templates.
    total: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    steps: recent::Saved<Steps>,
    last: recent::Saved<u32>,
    total: u64,
}

impl Order {
    pub fn new(config: &DetectionConfig) -> Self {
        Order {
            steps: RecentMap::new(config.templates_max),
            last: RecentMap::new(config.sources_max),
            total: 0,
        }
    }

    pub fn observe(
        &mut self,
        source: u64,
        template_id: u32,
        time_ms: i64,
        config: &DetectionConfig,
        findings: &mut Vec<Finding>,
    ) {
        let is_first = std::cell::Cell::new(false);
        let last = self.last.entry(mix(source), || {
            is_first.set(true);
            template_id
        });
        let from = std::mem::replace(last, template_id);
        if is_first.get() {
            return;
        }
        let lines = self.steps.get(mix(u64::from(template_id))).map_or(0, |steps| steps.total);
        let steps = self.steps.entry(mix(u64::from(from)), Steps::default);
        let expected = steps.total as f64 * lines as f64 / self.total as f64;
        self.total += 1;
        let is_unusual = steps.total >= config.steps_min
            && expected >= EXPECTED_MIN
            && !steps.has_no_order
            && !steps.next.iter().any(|next| next.template_id == template_id)
            && steps.share_seen_once() <= config.unseen_share_max;
        if is_unusual {
            findings.push(Finding::UnusualOrder {
                source,
                time_ms,
                from_template_id: from,
                template_id,
                steps: steps.total,
            });
        }
        steps.add(template_id, 1);
    }

    /// Goes through all templates, as the one that ended may come next to any.
    pub fn merge(&mut self, merge: Merge) {
        if let Some(from) = self.steps.remove(mix(u64::from(merge.from))) {
            let into = self.steps.entry(mix(u64::from(merge.into)), Steps::default);
            into.has_no_order |= from.has_no_order;
            let unkept = from.total - from.next.iter().map(|next| next.steps).sum::<u64>().min(from.total);
            from.next.into_iter().for_each(|next| into.add(next.template_id, next.steps));
            into.total = into.total.saturating_add(unkept);
        }
        self.steps.retain(|steps| {
            steps.rename_next(merge);
            true
        });
        self.last.retain(|last| {
            *last = if *last == merge.from { merge.into } else { *last };
            true
        });
    }

    pub fn templates(&self) -> usize {
        self.steps.len()
    }

    pub fn sources(&self) -> usize {
        self.last.len()
    }

    pub fn forgotten(&self) -> u64 {
        self.steps.forgotten() + self.last.forgotten()
    }

    pub fn saved(&self) -> Saved {
        Saved {
            steps: self.steps.saved(Steps::clone),
            last: self.last.saved(|&last| last),
            total: self.total,
        }
    }

    pub fn restored(saved: Saved, config: &DetectionConfig) -> Result<Self, Unsound> {
        let steps = RecentMap::restored(saved.steps, config.templates_max, |steps: Steps| {
            let is_sound = steps.next.len() <= NEXT_MAX
                && steps.total <= COUNT_MAX
                && steps.next.iter().all(|next| next.steps <= COUNT_MAX >> 8);
            Unsound::unless(is_sound, "the steps of a template are beyond their bounds").map(|()| steps)
        })?;
        Unsound::unless(saved.total <= COUNT_MAX, "there are too many steps")?;
        Ok(Order {
            steps,
            last: RecentMap::restored(saved.last, config.sources_max, Ok)?,
            total: saved.total,
        })
    }
}
