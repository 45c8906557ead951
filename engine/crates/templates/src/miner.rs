//! The miner. [`TemplateMiner::observe`] is a hash and a look-up for a line whose shape was seen before; the rest learns.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::classify::Kind;
use crate::clusters::{self, Clusters, Slot};
use crate::evidence::{self, Evidence, Place, Value};
use crate::hashing::{SequenceHash, WILD, mix, place};
use crate::lexicon;
use crate::recent::{self, HashedMap, RecentMap};
use crate::snapshot::{COUNT_MAX, Unsound};
use crate::tokenize::{Token, tokenize};
use crate::{Counters, Limits, Merge, Mined};

/// Most differences that a merge in several places at once may have.
const DIFFERENCES_MAX: usize = 3;
/// Equal words that make up for a difference in the first word.
const EQUAL_FOR_FIRST_WORD: usize = 6;
/// Fewest words that make lines with other punctuation one group.
const GROUP_WORDS_MIN: usize = 3;
/// Merges kept for [`TemplateMiner::take_merges`].
const MERGES_MAX: usize = 65_536;

/// Mines templates from one stream of lines. See the crate's documentation.
pub struct TemplateMiner {
    limits: Limits,
    tokens: Vec<Token>,
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
        self.lines += 1;
        let kept = &line[..line.floor_char_boundary(self.limits.line_bytes_max)];
        let complete = tokenize(kept, self.limits.tokens_max, &mut self.tokens);
        self.lines_cut += u64::from(!complete || kept.len() < line.len());
        let signature = sign(&self.tokens);
        let known = self.signatures.get(signature).copied();
        if let Some(slot) = known.and_then(|slot| self.learner.clusters.find(slot)) {
            return self.mined(slot);
        }
        self.lines_unseen += 1;
        self.make_room();
        let slot = self.learner.learn(kept, &mut self.tokens);
        *self.signatures.entry(signature, || slot) = slot;
        self.mined(slot)
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

/// The hash of the shape of a line.
fn sign(tokens: &[Token]) -> u64 {
    let mut hash = SequenceHash::default();
    tokens.iter().for_each(|token| hash.add(token.symbol));
    hash.finish()
}

/// The delimiters with their places, and the number of tokens. Only lines of one skeleton are compared by position.
fn skeleton(tokens: &[Token]) -> u64 {
    let mut hash = SequenceHash::default();
    for token in tokens {
        hash.add(if token.kind == Kind::Delimiter { token.symbol } else { WILD });
    }
    hash.finish()
}

fn is_covered(template: &[u64], by: &[u64]) -> bool {
    template.len() == by.len()
        && template.iter().zip(by).all(|(&symbol, &wider)| wider == symbol || wider == WILD)
}

/// What is written of a miner, borrowed or owned. Scratch space is left out, and so is what follows from the rest.
#[derive(Serialize, Deserialize)]
struct Saved<L, V> {
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

struct Learner {
    clusters: Clusters,
    /// The live clusters of each skeleton. Their order decides which template takes a line that fits several.
    buckets: HashedMap<Vec<Slot>>,
    bucket_clusters_max: usize,
    evidence: Evidence,
    /// From the words of a template to a cluster of its group.
    groups: RecentMap<Slot>,
    /// The id of the cluster made for the current line.
    created: Option<u32>,
    merges: Vec<Merge>,
    merged: u64,
    merges_untold: u64,
    evicted: u64,
}

impl Learner {
    fn new(limits: &Limits) -> Self {
        Learner {
            clusters: Clusters::default(),
            buckets: HashedMap::default(),
            bucket_clusters_max: limits.bucket_clusters_max,
            evidence: Evidence::new(limits.evidence_max, limits.signatures_max),
            groups: RecentMap::new(limits.signatures_max),
            created: None,
            merges: Vec::new(),
            merged: 0,
            merges_untold: 0,
            evicted: 0,
        }
    }

    /// The cluster of a line whose signature is not known.
    fn learn(&mut self, line: &str, tokens: &mut [Token]) -> Slot {
        for token in tokens.iter_mut().filter(|token| token.kind == Kind::Word) {
            let text = token.text(line);
            let is_plain = text.bytes().all(|byte| byte.is_ascii_alphabetic());
            if is_plain && !lexicon::is_common(text) {
                token.kind = Kind::Name;
            }
        }
        let bucket = skeleton(tokens);
        match self.closest(bucket, tokens) {
            Closest::Fits(slot) => slot,
            Closest::Near(slot, template) => {
                let root = self.generalize(bucket, template, vec![slot], line, tokens);
                self.open_variables(root, bucket, line, tokens)
            }
            Closest::Far => {
                self.limit_bucket(bucket);
                let slot = self.clusters.create(line, tokens, bucket);
                self.created = Some(self.clusters.id(slot));
                self.buckets.entry(bucket).or_default().push(slot);
                self.join_group_of_words(slot, line, tokens);
                self.open_variables(slot, bucket, line, tokens)
            }
        }
    }

    /// The first template that fits, or else the one to widen in several places at once.
    fn closest(&self, bucket: u64, tokens: &[Token]) -> Closest {
        let first_word = tokens.iter().position(|token| token.kind != Kind::Delimiter);
        let mut best: Option<(usize, usize, Slot)> = None;
        for &slot in self.buckets.get(&bucket).map_or(&[][..], Vec::as_slice) {
            let template = &self.clusters.get(slot).template;
            if template.len() != tokens.len() {
                continue; // The hashes of two skeletons collide.
            }
            let mut differences = [0; DIFFERENCES_MAX];
            let mut count = 0;
            for (at, (&symbol, token)) in template.iter().zip(tokens).enumerate() {
                if symbol == token.symbol || symbol == WILD {
                    continue;
                }
                if count < DIFFERENCES_MAX {
                    differences[count] = at;
                }
                count += 1;
                if count > DIFFERENCES_MAX {
                    break;
                }
            }
            if count == 0 {
                return Closest::Fits(slot);
            }
            if !(2..=DIFFERENCES_MAX).contains(&count) {
                continue;
            }
            let in_plain_word =
                |&at: &usize| matches!(tokens[at].kind, Kind::Word | Kind::Name) && !tokens[at].value;
            if differences[..count].iter().any(in_plain_word) {
                continue;
            }
            let is_equal_word = |(symbol, token): &(&u64, &Token)| {
                **symbol == token.symbol && **symbol != WILD && token.kind != Kind::Delimiter
            };
            let equal = template.iter().zip(tokens).filter(is_equal_word).count();
            if Some(differences[0]) == first_word && equal < EQUAL_FOR_FIRST_WORD {
                continue;
            }
            // At least three quarters of the words must be equal; of those, the first with the greatest share is taken.
            let is_near = equal >= 3 * count;
            if is_near
                && best.is_none_or(|(best_equal, best_count, _)| equal * best_count > best_equal * count)
            {
                best = Some((equal, count, slot));
            }
        }
        let Some((_, _, slot)) = best else { return Closest::Far };
        let template = self.clusters.get(slot).template.iter().zip(tokens);
        Closest::Near(
            slot,
            template.map(|(&symbol, token)| if symbol == token.symbol { symbol } else { WILD }).collect(),
        )
    }

    /// Makes variables of the places of `slot` that have shown enough different words, as long as there are any.
    fn open_variables(&mut self, mut slot: Slot, bucket: u64, line: &str, tokens: &[Token]) -> Slot {
        while let Some((template, members)) = self.variable_place(slot, bucket, line, tokens) {
            slot = self.generalize(bucket, template, members, line, tokens);
        }
        slot
    }

    fn variable_place(
        &mut self,
        slot: Slot,
        bucket: u64,
        line: &str,
        tokens: &[Token],
    ) -> Option<(Vec<u64>, Vec<Slot>)> {
        let template = &self.clusters.get(slot).template;
        let is_constant_word = |at: usize| tokens[at].kind != Kind::Delimiter && template[at] != WILD;
        let constants = (0..tokens.len()).filter(|&at| is_constant_word(at)).count();
        if constants < 2 {
            return None;
        }
        let whole = template
            .iter()
            .enumerate()
            .fold(bucket, |sum, (at, &symbol)| sum.wrapping_add(place(symbol, at)));
        let first_word = tokens.iter().position(|token| token.kind != Kind::Delimiter);
        for at in (0..tokens.len()).filter(|&at| is_constant_word(at)) {
            let before = at
                .checked_sub(1)
                .filter(|&before| template[before] != WILD)
                .map(|before| tokens[before].text(line));
            let open = Place {
                key: mix(whole.wrapping_sub(place(template[at], at)).wrapping_add(place(WILD, at))),
                token: &tokens[at],
                text: tokens[at].text(line),
                word_before: before
                    .filter(|text| text.chars().nth(1).is_some() && text.chars().all(char::is_alphabetic)),
                is_first: first_word == Some(at),
                constants: constants - 1,
            };
            if let Some(members) = self.evidence.add(&open, slot) {
                let mut wider = template.clone();
                wider[at] = WILD;
                let mut found: Vec<Slot> =
                    members.into_iter().filter_map(|member| self.clusters.find(member)).collect();
                found.retain(|&member| {
                    self.clusters.get(member).bucket == bucket
                        && self.clusters.get(member).template.len() == wider.len()
                });
                found.push(slot);
                return Some((wider, found));
            }
        }
        None
    }

    /// Merges `members`, and every cluster of the bucket that `template` covers, into the oldest of them.
    fn generalize(
        &mut self,
        bucket: u64,
        mut template: Vec<u64>,
        members: Vec<Slot>,
        line: &str,
        tokens: &[Token],
    ) -> Slot {
        let clusters = &self.clusters;
        // A member may have been widened elsewhere since; a template never loses a variable.
        for &member in &members {
            for (symbol, &of_member) in template.iter_mut().zip(&clusters.get(member).template) {
                if of_member == WILD {
                    *symbol = WILD;
                }
            }
        }
        let bucket_slots = self.buckets.remove(&bucket).unwrap_or_default();
        let (mut ended, mut kept): (Vec<Slot>, Vec<Slot>) = bucket_slots
            .into_iter()
            .partition(|slot| members.contains(slot) || is_covered(&clusters.get(*slot).template, &template));
        let root = clusters.oldest(&ended).expect("the bucket holds the cluster that is generalized");
        ended.retain(|&slot| slot != root);
        for slot in ended {
            self.join(slot, root);
            self.clusters.absorb(slot, root);
        }
        kept.push(root);
        self.buckets.insert(bucket, kept);
        self.clusters.set_template(root, template);
        self.join_group_of_words(root, line, tokens);
        root
    }

    /// Joins `slot` with the clusters whose constant words are the same, whatever their punctuation.
    fn join_group_of_words(&mut self, slot: Slot, line: &str, tokens: &[Token]) {
        let mut hash = SequenceHash::default();
        let mut count = 0;
        for (token, &symbol) in tokens.iter().zip(&self.clusters.get(slot).template) {
            let is_word = matches!(token.kind, Kind::Word | Kind::Name | Kind::Identifier);
            if is_word && symbol != WILD && token.text(line).contains(char::is_alphabetic) {
                hash.add(symbol);
                count += 1;
            }
        }
        if count < GROUP_WORDS_MIN {
            return;
        }
        let known = self.groups.entry(hash.finish(), || slot);
        match self.clusters.find(*known) {
            Some(other) => self.join(other, slot),
            None => *known = slot,
        }
    }

    fn join(&mut self, left: Slot, right: Slot) {
        let Some(merge) = self.clusters.join(left, right) else { return };
        if self.created == Some(merge.from) {
            return;
        }
        self.merged += 1;
        if self.merges.len() < MERGES_MAX {
            self.merges.push(merge);
        } else {
            self.merges_untold += 1;
        }
    }

    fn limit_bucket(&mut self, bucket: u64) {
        let most = self.bucket_clusters_max;
        if let Some(slots) = self.buckets.get(&bucket).filter(|slots| slots.len() >= most) {
            self.evict_least_recent(slots.clone(), most / 8 + 1);
        }
    }

    /// Evicts the groups of the `count` clusters of `candidates` whose groups were not used for longest.
    fn evict_least_recent(&mut self, mut candidates: Vec<Slot>, count: usize) {
        let clusters = &mut self.clusters;
        candidates.sort_by_cached_key(|&slot| clusters.used(slot));
        let mut ended: Vec<Slot> = candidates.iter().take(count).map(|&slot| clusters.group(slot)).collect();
        ended.sort_unstable();
        for slot in clusters.live_slots() {
            if ended.binary_search(&clusters.group(slot)).is_err() {
                continue;
            }
            let bucket = clusters.get(slot).bucket;
            if let Some(slots) = self.buckets.get_mut(&bucket) {
                slots.retain(|&other| other != slot);
                if slots.is_empty() {
                    self.buckets.remove(&bucket);
                }
            }
            self.evicted += 1;
        }
        for slot in clusters.live_slots() {
            if ended.binary_search(&clusters.group(slot)).is_ok() {
                clusters.evict(slot);
            }
        }
    }
}

enum Closest {
    Fits(Slot),
    Near(Slot, Vec<u64>),
    Far,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe_all(miner: &mut TemplateMiner, lines: &[&str]) -> Vec<u32> {
        lines.iter().map(|line| miner.observe(line).template_id).collect()
    }

    /// All lines end up with one template, which is `expected`.
    fn check(expected: &str, lines: &[&str]) {
        let mut miner = TemplateMiner::default();
        let ids = observe_all(&mut miner, lines);
        let templates: Vec<String> = ids.iter().map(|&id| miner.template(id)).collect();
        assert!(templates.iter().all(|template| template == expected), "{templates:?}");
    }

    /// No two lines get one template.
    fn check_apart(lines: &[&str]) {
        let mut ids = observe_all(&mut TemplateMiner::default(), lines);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), lines.len());
    }

    #[test]
    fn values_are_open_from_the_first_line() {
        check(
            "cache <*> holds <*> of <*>",
            &["cache 5 holds 12 KB of /data/a", "cache 0x7 holds 3 MB of /data/b/c"],
        );
    }

    #[test]
    fn two_words_prove_nothing() {
        check_apart(&["session opened for reading", "session closed for reading"]);
    }

    #[test]
    fn enough_names_open_a_place() {
        let names = ["kestrel", "osprey", "merlin", "harrier", "goshawk"];
        let lines = names.map(|name| format!("worker {name} joined the pool"));
        check("worker <*> joined the pool", &lines.each_ref().map(String::as_str));
    }

    #[test]
    fn two_numbered_names_open_a_place() {
        check("link of <*> is down", &["link of eth0 is down", "link of eth1 is down"]);
    }

    #[test]
    fn several_values_open_at_once() {
        let lines = [
            "copied file with mode=fast owner=kestrel size limit of disk",
            "copied file with mode=safe owner=osprey size limit of disk",
        ];
        check("copied file with mode=<*> owner=<*> size limit of disk", &lines);
    }

    #[test]
    fn the_same_words_under_other_punctuation_are_one_template() {
        let mut miner = TemplateMiner::default();
        let ids =
            observe_all(&mut miner, &["disk scan done", "disk scan done.", "disk scan (done)", "disk scan"]);
        assert_eq!(ids, [0, 0, 0, 3]);
        assert_eq!(miner.template(2), "disk scan done");
        assert!(miner.take_merges().is_empty(), "nobody was told of the ids 1 and 2");
    }

    #[test]
    fn merges_are_told_once_and_the_smallest_id_survives() {
        let mut miner = TemplateMiner::default();
        let ids = observe_all(
            &mut miner,
            &[
                "other line",
                "node kestrel left the ring",
                "node osprey left the ring",
                "node merlin left the ring",
            ],
        );
        assert_eq!(ids, [0, 1, 2, 3]);
        let last = miner.observe("node harrier left the ring");
        assert_eq!(last, Mined { template_id: 1, is_new: false });
        assert_eq!(miner.take_merges(), [Merge { from: 2, into: 1 }, Merge { from: 3, into: 1 }]);
        assert!(miner.take_merges().is_empty());
        assert_eq!((miner.template(3), miner.template(0)), (miner.template(1), String::from("other line")));
    }

    #[test]
    fn names_that_were_values_open_the_next_place_sooner() {
        let mut miner = TemplateMiner::default();
        observe_all(
            &mut miner,
            &["kestrel", "osprey", "merlin", "harrier"]
                .map(|name| format!("node {name} left the ring"))
                .each_ref()
                .map(String::as_str),
        );
        let ids =
            observe_all(&mut miner, &["the ring has lost kestrel today", "the ring has lost merlin today"]);
        assert_eq!(ids[0], ids[1]);
        assert_eq!(miner.template(ids[0]), "the ring has lost <*> today");
    }

    #[test]
    fn unknown_ids_have_the_widest_template() {
        assert_eq!(TemplateMiner::default().template(7), "<*>");
    }

    #[test]
    fn a_line_is_read_up_to_its_bounds() {
        let mut miner = TemplateMiner::new(Limits { line_bytes_max: 8, tokens_max: 3, ..Limits::default() });
        let cut = miner.observe("größeres").template_id;
        assert_eq!(miner.template(cut), "größer");
        let few = miner.observe("a b c d").template_id;
        assert_eq!(miner.template(few), "a b c");
        assert_eq!(miner.counters().lines_cut, 2);
    }

    #[test]
    fn beyond_the_bound_the_least_recently_used_is_evicted() {
        let mut miner = TemplateMiner::new(Limits { clusters_max: 4, ..Limits::default() });
        let shapes = ["a", "b b", "c c c", "d d d d", "e e e e e"];
        let ids = observe_all(&mut miner, &shapes[..4]);
        observe_all(&mut miner, &["a", "e e e e e"]);
        assert_eq!((miner.counters().clusters, miner.counters().clusters_evicted), (4, 1));
        assert_eq!(observe_all(&mut miner, &["a", "c c c", "d d d d"]), [ids[0], ids[2], ids[3]]);
        let again = miner.observe("b b");
        assert!(again.is_new && again.template_id == 5);
    }

    #[test]
    fn slots_are_used_again_and_ids_are_not() {
        let mut miner = TemplateMiner::new(Limits { clusters_max: 4, ..Limits::default() });
        let line = |length: usize| vec!["word"; length].join(" ");
        for length in 1..200 {
            let mined = miner.observe(&line(length));
            assert_eq!(mined, Mined { template_id: length as u32 - 1, is_new: true });
            assert_eq!(miner.template(mined.template_id), line(length));
        }
        assert!(miner.learner.clusters.taken() <= 8);
    }
}
