//! Templates that come far more or far less often than they used to, from window to window.

use serde::{Deserialize, Serialize};

use super::baseline::{COUNT_VARIANCE, Watch, count_of, of_count};
use super::{DetectionConfig, Finding};
use crate::Merge;
use crate::hashing::mix;
use crate::recent::{self, RecentMap};
use crate::snapshot::{COUNT_MAX, Unsound};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    template_id: u32,
    /// Lines in the window that is open.
    lines: u64,
    watch: Watch,
}

pub(crate) struct Rates {
    rates: RecentMap<Rate>,
}

pub(crate) type Saved = recent::Saved<Rate>;

impl Rates {
    pub fn new(templates_max: usize) -> Self {
        Rates { rates: RecentMap::new(templates_max) }
    }

    pub fn observe(&mut self, template_id: u32) {
        let new = || Rate { template_id, lines: 0, watch: Watch::default() };
        self.rates.entry(mix(u64::from(template_id)), new).lines += 1;
    }

    pub fn merge(&mut self, merge: Merge) {
        let Some(from) = self.rates.remove(mix(u64::from(merge.from))) else { return };
        let key = mix(u64::from(merge.into));
        let mut is_there = true;
        let into = self.rates.entry(key, || {
            is_there = false;
            Rate { template_id: merge.into, ..from }
        });
        if is_there {
            into.lines += from.lines;
            into.watch.baseline = into.watch.baseline.of_sum(from.watch.baseline);
        }
    }

    /// Ends the window that began at `window_start_ms`. Its findings are in the order of the ids.
    pub fn close_window(
        &mut self,
        window_start_ms: i64,
        config: &DetectionConfig,
        findings: &mut Vec<Finding>,
    ) {
        let begun = findings.len();
        self.rates.retain(|rate| {
            let (template_id, lines) = (rate.template_id, rate.lines);
            let left = rate.watch.judge(of_count(lines as f64), COUNT_VARIANCE, config.score_min);
            findings.extend(left.map(|left| {
                let (score, lines_expected) = (left.score, count_of(left.mean));
                if score > 0.0 {
                    Finding::Burst { template_id, window_start_ms, lines, lines_expected, score }
                } else {
                    Finding::Drop { template_id, window_start_ms, lines, lines_expected, score }
                }
            }));
            rate.lines = 0;
            true
        });
        findings[begun..].sort_unstable_by_key(Finding::subject);
    }

    pub fn templates(&self) -> usize {
        self.rates.len()
    }

    pub fn forgotten(&self) -> u64 {
        self.rates.forgotten()
    }

    pub fn saved(&self) -> Saved {
        self.rates.saved(|&rate| rate)
    }

    pub fn restored(saved: Saved, templates_max: usize) -> Result<Self, Unsound> {
        let rates = RecentMap::restored(saved, templates_max, |rate: Rate| {
            rate.watch.check()?;
            Unsound::unless(rate.lines <= COUNT_MAX, "a template has too many lines").map(|()| rate)
        })?;
        Ok(Rates { rates })
    }
}
