//! The miner. [`TemplateMiner::observe`] is a hash and a look-up for a line whose shape was seen before; the rest learns.

use crate::clusters::Slot;
use crate::hashing::SequenceHash;
use crate::learner::Learner;
use crate::parameters::Parameters;
use crate::recent::RecentMap;
use crate::tokenize::{Token, tokenize};
use crate::{Counters, Limits, Merge, Mined};

mod saved;
mod seen_lines;
#[cfg(test)]
mod tests;

use seen_lines::{SeenLines, Shape};

/// Mines templates from one stream of lines. See the crate's documentation.
pub struct TemplateMiner {
    limits: Limits,
    tokens: Vec<Token>,
    seen_lines: SeenLines,
    /// From the shape of a line to its cluster.
    signatures: RecentMap<Slot>,
    learner: Learner,
    lines: u64,
    lines_cut: u64,
    lines_unseen: u64,
}

impl Default for TemplateMiner {
    fn default() -> Self {
        TemplateMiner::new(Limits::default())
    }
}

impl TemplateMiner {
    pub fn new(limits: Limits) -> Self {
        let limits = limits.within_reason();
        TemplateMiner {
            tokens: Vec::with_capacity(limits.tokens_max + 3),
            seen_lines: SeenLines::new(),
            signatures: RecentMap::new(limits.signatures_max),
            learner: Learner::new(&limits),
            limits,
            lines: 0,
            lines_cut: 0,
            lines_unseen: 0,
        }
    }

    /// The template of `line`, which is the message without its time, level and host. Any text is accepted; line breaks count as blanks.
    pub fn observe(&mut self, line: &str) -> Mined {
        let kept = self.kept(line);
        let (tokens, tokens_max) = (&mut self.tokens, self.limits.tokens_max);
        let (shape, is_seen) = self.seen_lines.shape(kept, || shape_of(kept, tokens_max, tokens));
        let slot = self.slot_of(kept, kept.len() < line.len(), shape, !is_seen);
        self.mined(slot)
    }

    /// The same with the values of the variables of the line, in order. A template that stands for lines of different punctuation has other
    /// variables than some of them.
    pub fn observe_parameters<'a>(&'a mut self, line: &'a str) -> (Mined, Parameters<'a>) {
        let kept = self.kept(line);
        let shape = shape_of(kept, self.limits.tokens_max, &mut self.tokens);
        let slot = self.slot_of(kept, kept.len() < line.len(), shape, true);
        let mined = self.mined(slot);
        (mined, Parameters::new(line, &self.tokens, &self.learner.clusters.get(slot).template))
    }

    /// What is read of a line.
    fn kept<'a>(&self, line: &'a str) -> &'a str {
        &line[..line.floor_char_boundary(self.limits.line_bytes_max)]
    }

    /// The live cluster of a line that has this shape, the tokens of which are in place if it says so.
    fn slot_of(&mut self, kept: &str, is_cut: bool, shape: Shape, has_tokens: bool) -> Slot {
        self.lines += 1;
        self.lines_cut += u64::from(is_cut || !shape.is_complete);
        let known = self.signatures.get(shape.signature).copied();
        if let Some(slot) = known.and_then(|slot| self.learner.clusters.find(slot)) {
            return slot;
        }
        self.lines_unseen += 1;
        self.make_room();
        if !has_tokens {
            shape_of(kept, self.limits.tokens_max, &mut self.tokens);
        }
        let slot = self.learner.learn(kept, &mut self.tokens);
        *self.signatures.entry(shape.signature, || slot) = slot;
        slot
    }

    /// The text of a template with `<*>` for each variable. A merged id has the text of the one that survived. `<*>` alone for an id that was
    /// never given out, or is no longer held.
    pub fn template(&self, id: u32) -> String {
        let clusters = &self.learner.clusters;
        clusters
            .slot_of(id)
            .and_then(|slot| clusters.shown(slot))
            .map_or_else(|| String::from("<*>"), |oldest| clusters.text(oldest))
    }

    /// The merges since the last call, in the order in which they came about. Only ids that [`TemplateMiner::observe`] gave out are in `from`.
    /// Those that nobody takes are kept up to a bound, and then counted only.
    pub fn take_merges(&mut self) -> Vec<Merge> {
        std::mem::take(&mut self.learner.merges)
    }

    /// The same without an allocation.
    pub fn drain_merges(&mut self) -> std::vec::Drain<'_, Merge> {
        self.learner.merges.drain(..)
    }

    /// The bounds, raised where they were too small to work with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn counters(&self) -> Counters {
        Counters {
            lines: self.lines,
            lines_cut: self.lines_cut,
            lines_unseen: self.lines_unseen,
            templates_merged: self.learner.merged,
            merges_untold: self.learner.merges_untold,
            clusters_evicted: self.learner.evicted,
            signatures_forgotten: self.signatures.forgotten(),
            evidence_forgotten: self.learner.evidence.forgotten() + self.learner.groups.forgotten(),
            clusters: self.learner.clusters.live(),
            signatures: self.signatures.len(),
            evidence: self.learner.evidence.places(),
        }
    }

    fn mined(&mut self, slot: Slot) -> Mined {
        let clusters = &mut self.learner.clusters;
        let oldest = clusters.group(slot);
        clusters.touch(oldest, self.lines);
        let template_id = clusters.id(oldest);
        Mined { template_id, is_new: self.learner.created.take() == Some(template_id) }
    }

    /// Leaves room for one cluster more.
    fn make_room(&mut self) {
        let live_max = self.limits.clusters_max;
        if self.learner.clusters.live() >= live_max {
            let candidates = self.learner.clusters.live_slots();
            self.learner.evict_least_recent(candidates, live_max / 8 + 1);
        }
        let clusters = &mut self.learner.clusters;
        if clusters.taken() < 2 * live_max {
            return;
        }
        let mut resolve = |slot: &mut Slot| {
            let found = clusters.find(*slot);
            *slot = found.unwrap_or(*slot);
            found.is_some()
        };
        self.signatures.retain(&mut resolve);
        self.learner.groups.retain(&mut resolve);
        self.learner.evidence.resolve(clusters);
        clusters.free_dead();
    }
}

/// The shape of what is read of a line, and its tokens.
fn shape_of(kept: &str, tokens_max: usize, tokens: &mut Vec<Token>) -> Shape {
    let is_complete = tokenize(kept, tokens_max, tokens);
    let mut hash = SequenceHash::default();
    tokens.iter().for_each(|token| hash.add(token.symbol));
    Shape { signature: hash.finish(), is_complete }
}
