//! Log templates, mined online: each line gets the id of its template at once, and templates that turn out to be one are merged.
//!
//! `connection from 10.0.0.7 closed` and `connection from 10.0.0.9 closed` have the template `connection from <*> closed`. A line is cut into
//! tokens; what looks like a value is a variable from the first line on. Lines with the same delimiters in the same places are compared word by
//! word, and a place becomes a variable when enough different words were seen in it, with all else equal. One configuration serves all systems.
//!
//! Give it the message alone: a time stamp, level or host name before it would only cost time. For text without any structure, such as prose,
//! templates mean little.
//!
//! - **Deterministic**: ids, templates and merges depend on the lines and their order only.
//! - **Ids are stable**: a merge keeps the smaller id and is announced by [`TemplateMiner::take_merges`]. Ids are not consecutive.
//! - **Bounded** by [`Limits`]; at a bound the least recently used is forgotten, and counted in [`Counters`]. A template that was evicted comes
//!   back under a new id.
//! - **Resumable**: a miner that was written with serde and read again goes on as if it had not been; what no miner wrote is refused, and
//!   so is what another version of the format wrote. Equal miners give equal bytes.
//! - A line of known shape costs no allocation. [`TemplateMiner::observe`] never fails.
//!
//! [`TemplateMiner::observe_parameters`] also gives the values of the variables of a line, with what they are by their looks. [`LineReader`] and
//! [`mine_to_end`] read lines from bytes. A [`LogDetector`] judges what was mined: new templates, bursts and drops, an unusual order, a shift of
//! severity.
//!
//! ```
//! let mut miner = foreshock_templates::TemplateMiner::default();
//! let first = miner.observe("connection from 10.0.0.7 closed");
//! let second = miner.observe("connection from 10.0.0.9 closed");
//! assert!(first.is_new && !second.is_new && first.template_id == second.template_id);
//! assert_eq!(miner.template(first.template_id), "connection from <*> closed");
//! ```

#![forbid(unsafe_code)]

mod classify;
mod clusters;
mod detection;
mod evidence;
mod hashing;
mod learner;
mod lexicon;
mod miner;
mod parameters;
mod reader;
mod recent;
mod snapshot;
mod tokenize;

use serde::{Deserialize, Serialize};

pub use detection::{DetectionConfig, DetectionCounters, Finding, LogDetector, LogLine, SeverityClass};
pub use miner::TemplateMiner;
pub use parameters::{Parameter, ParameterKind, Parameters};
pub use reader::{LineReader, MinedLines, Survivors, mine_to_end};

/// What [`TemplateMiner::observe`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mined {
    /// The template, until a [`Merge`] from it is announced.
    pub template_id: u32,
    /// The line is the first with this id.
    pub is_new: bool,
}

/// Two templates were found to be one. `from` will not be given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    pub from: u32,
    /// The smaller id.
    pub into: u32,
}

/// Bounds of one miner. Values too small to work with are raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a line that are read; the cut moves to the start of a character.
    pub line_bytes_max: usize,
    /// Tokens of a line that are read.
    pub tokens_max: usize,
    /// Shapes of lines that are recognized at once. A forgotten one is learned again, at some cost and without a new id.
    pub signatures_max: usize,
    /// Live clusters. At the bound, an eighth of them is evicted, by groups, least recently used first.
    pub clusters_max: usize,
    /// Live clusters with the same delimiters in the same places, which a line of unknown shape is compared with. Evicted likewise.
    pub bucket_clusters_max: usize,
    /// Places of templates in which the different words are kept.
    pub evidence_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line_bytes_max: 8192,
            tokens_max: 256,
            signatures_max: 65_536,
            clusters_max: 8192,
            bucket_clusters_max: 512,
            evidence_max: 131_072,
        }
    }
}

impl Limits {
    fn within_reason(self) -> Limits {
        Limits {
            line_bytes_max: self.line_bytes_max.clamp(1, 1 << 30),
            tokens_max: self.tokens_max.clamp(1, 1 << 16),
            signatures_max: self.signatures_max.max(2),
            clusters_max: self.clusters_max.clamp(2, 1 << 30),
            bucket_clusters_max: self.bucket_clusters_max.max(2),
            evidence_max: self.evidence_max.max(2),
        }
    }
}

/// What one miner did since it began, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub lines: u64,
    /// Lines of which only the beginning was read.
    pub lines_cut: u64,
    /// Lines whose shape was not known, the slow ones.
    pub lines_unseen: u64,
    /// Template ids that were merged into others.
    pub templates_merged: u64,
    /// Merges that were not kept for [`TemplateMiner::take_merges`].
    pub merges_untold: u64,
    pub clusters_evicted: u64,
    pub signatures_forgotten: u64,
    pub evidence_forgotten: u64,
    /// Live clusters now.
    pub clusters: usize,
    /// Shapes of lines known now.
    pub signatures: usize,
    /// Places of templates watched now.
    pub evidence: usize,
}
