//! What a line of unknown shape teaches: the cluster it belongs to, and the places of templates that turn out to be variables.

use crate::Limits;
use crate::Merge;
use crate::classify::Kind;
use crate::clusters::{Clusters, Slot};
use crate::evidence::{Evidence, Place};
use crate::hashing::{SequenceHash, WILD, mix, place};
use crate::lexicon;
use crate::recent::{HashedMap, RecentMap};
use crate::tokenize::Token;

/// Most differences that a merge in several places at once may have.
const DIFFERENCES_MAX: usize = 3;
/// Equal words that make up for a difference in the first word.
const EQUAL_FOR_FIRST_WORD: usize = 6;
/// Fewest words that make lines with other punctuation one group.
const GROUP_WORDS_MIN: usize = 3;
/// Merges kept for [`crate::TemplateMiner::take_merges`].
pub(crate) const MERGES_MAX: usize = 65_536;
/// Names of a line of which two may become variables at once; a line with more is no sentence with two names in it.
const NAMES_MAX: usize = 6;
/// Constant words that must remain beside two variables found at once.
const WORDS_BESIDE_PAIR_MIN: usize = 2;

pub(crate) struct Learner {
    pub clusters: Clusters,
    /// The live clusters of each skeleton. Their order decides which template takes a line that fits several.
    pub buckets: HashedMap<Vec<Slot>>,
    bucket_clusters_max: usize,
    pub evidence: Evidence,
    /// From the words of a template to a cluster of its group.
    pub groups: RecentMap<Slot>,
    /// The id of the cluster made for the current line.
    pub created: Option<u32>,
    pub merges: Vec<Merge>,
    pub merged: u64,
    pub merges_untold: u64,
    pub evicted: u64,
}

impl Learner {
    pub fn new(limits: &Limits) -> Self {
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
    pub fn learn(&mut self, line: &str, tokens: &mut [Token]) -> Slot {
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
        while let Some((template, members)) = self
            .variable_place(slot, bucket, line, tokens)
            .or_else(|| self.variable_pair(slot, bucket, line, tokens))
        {
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
        let whole = whole(bucket, template);
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
                return Some(self.widened(slot, &[at], members));
            }
        }
        None
    }

    /// Two names that change from line to line together: neither would ever be alone in being different.
    fn variable_pair(
        &mut self,
        slot: Slot,
        bucket: u64,
        line: &str,
        tokens: &[Token],
    ) -> Option<(Vec<u64>, Vec<Slot>)> {
        let template = &self.clusters.get(slot).template;
        let is_constant_word = |&at: &usize| tokens[at].kind != Kind::Delimiter && template[at] != WILD;
        let words: Vec<usize> = (0..tokens.len()).filter(is_constant_word).collect();
        let is_name = |at: &usize| {
            let token = &tokens[*at];
            token.kind != Kind::Word || token.value
        };
        let names: Vec<usize> = words.iter().skip(1).copied().filter(is_name).collect();
        if !(2..=NAMES_MAX).contains(&names.len()) || words.len() < 2 + WORDS_BESIDE_PAIR_MIN {
            return None;
        }
        let whole = whole(bucket, template);
        let open =
            |sum: u64, at: usize| sum.wrapping_sub(place(template[at], at)).wrapping_add(place(WILD, at));
        for (count, &second) in names.iter().enumerate() {
            for &first in &names[..count] {
                let places = [first, second].map(|at| Place {
                    key: mix(open(open(whole, first), second)),
                    token: &tokens[at],
                    text: tokens[at].text(line),
                    word_before: None,
                    is_first: false,
                    constants: words.len() - 2,
                });
                if let Some(members) = self.evidence.add_pair(&places, slot) {
                    return Some(self.widened(slot, &[first, second], members));
                }
            }
        }
        None
    }

    /// The template of `slot` with variables `at` those places, and the clusters out of `members` that it is to replace.
    fn widened(&mut self, slot: Slot, at: &[usize], members: Vec<Slot>) -> (Vec<u64>, Vec<Slot>) {
        let mut wider = self.clusters.get(slot).template.clone();
        at.iter().for_each(|&at| wider[at] = WILD);
        let bucket = self.clusters.get(slot).bucket;
        let mut found: Vec<Slot> =
            members.into_iter().filter_map(|member| self.clusters.find(member)).collect();
        found.retain(|&member| {
            let member = self.clusters.get(member);
            member.bucket == bucket && member.template.len() == wider.len()
        });
        found.push(slot);
        (wider, found)
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
    pub fn evict_least_recent(&mut self, mut candidates: Vec<Slot>, count: usize) {
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

/// The sum over a template of a bucket, for [`place`].
fn whole(bucket: u64, template: &[u64]) -> u64 {
    template.iter().enumerate().fold(bucket, |sum, (at, &symbol)| sum.wrapping_add(place(symbol, at)))
}
