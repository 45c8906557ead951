//! A miner as it is written, and read again.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::TemplateMiner;
use crate::clusters::{self, Clusters, Slot};
use crate::evidence::{self, Evidence, Value};
use crate::learner::MERGES_MAX;
use crate::recent::{self, RecentMap};
use crate::snapshot::{COUNT_MAX, Unsound, Version};
use crate::{Limits, Merge};

/// What is written of a miner, borrowed or owned. Scratch space is left out, and so is what follows from the rest.
#[derive(Serialize, Deserialize)]
struct Saved<L, V> {
    version: Version,
    limits: L,
    clusters: clusters::Saved,
    /// The live clusters by skeleton, as their order decides.
    buckets: Vec<Slot>,
    signatures: recent::Saved<Slot>,
    groups: recent::Saved<Slot>,
    evidence: evidence::Saved<V>,
    merges: Vec<Merge>,
    /// Of lines, lines cut, lines unseen; of merges, merges untold; of evicted clusters.
    counts: [u64; 6],
}

impl Serialize for TemplateMiner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let learner = &self.learner;
        let mut buckets: Vec<(&u64, &Vec<Slot>)> = learner.buckets.iter().collect();
        buckets.sort_unstable();
        let saved = Saved {
            version: Version,
            limits: &self.limits,
            clusters: learner.clusters.saved(),
            buckets: buckets.into_iter().flat_map(|(_, slots)| slots).copied().collect(),
            signatures: self.signatures.saved(|&slot| slot),
            groups: learner.groups.saved(|&slot| slot),
            evidence: learner.evidence.saved(),
            merges: learner.merges.clone(),
            counts: [
                self.lines,
                self.lines_cut,
                self.lines_unseen,
                learner.merged,
                learner.merges_untold,
                learner.evicted,
            ],
        };
        saved.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TemplateMiner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TemplateMiner::restored(Saved::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl TemplateMiner {
    fn restored(saved: Saved<Limits, Vec<Value>>) -> Result<Self, Unsound> {
        let limits = saved.limits;
        Unsound::unless(limits == limits.clone().within_reason(), "limits are out of reason")?;
        Unsound::unless(saved.counts.iter().all(|&count| count <= COUNT_MAX), "a counter is too high")?;
        Unsound::unless(saved.merges.len() <= MERGES_MAX, "there are too many merges")?;
        let clusters = Clusters::restored(saved.clusters)?;
        Unsound::unless(clusters.live() <= limits.clusters_max, "there are too many clusters")?;
        let taken = |slot| Unsound::unless(clusters.is_taken(slot), "a slot is free").map(|()| slot);
        let signatures = RecentMap::restored(saved.signatures, limits.signatures_max, taken)?;
        let groups = RecentMap::restored(saved.groups, limits.signatures_max, taken)?;
        let (places_max, words_max) = (limits.evidence_max, limits.signatures_max);
        let evidence = Evidence::restored(saved.evidence, places_max, words_max, &clusters)?;
        let mut in_buckets = saved.buckets.clone();
        in_buckets.sort_unstable();
        Unsound::unless(in_buckets == clusters.live_slots(), "the buckets are not of the live clusters")?;
        let mut miner = TemplateMiner::new(limits);
        for slot in saved.buckets {
            miner.learner.buckets.entry(clusters.get(slot).bucket).or_default().push(slot);
        }
        [
            miner.lines,
            miner.lines_cut,
            miner.lines_unseen,
            miner.learner.merged,
            miner.learner.merges_untold,
            miner.learner.evicted,
        ] = saved.counts;
        miner.signatures = signatures;
        let learner = &mut miner.learner;
        (learner.clusters, learner.groups, learner.evidence) = (clusters, groups, evidence);
        learner.merges = saved.merges;
        Ok(miner)
    }
}
