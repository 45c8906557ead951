//! Clusters of lines, what they were merged into, and the groups whose ids are shown.
//!
//! A cluster holds one template of one skeleton. Clusters of the same words under other punctuation form a *group*, and the id of the oldest
//! cluster of a group is the template id of all. Merged and evicted clusters keep their slot, so that what refers to them can be resolved, until
//! [`Clusters::free_dead`].

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::Merge;
use crate::hashing::{WILD, Written, symbol};
use crate::snapshot::{COUNT_MAX, Unsound};
use crate::tokenize::Token;

pub(crate) type Slot = u32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    Merged,
    Evicted,
}

pub(crate) struct Cluster {
    state: State,
    id: u32,
    /// Order of creation; unlike `id` it never wraps.
    born: u64,
    /// What it was merged into; itself while live.
    parent: Slot,
    /// Towards the oldest cluster of its group, which is live while any of the group is.
    group: Slot,
    /// Line number of the last use of the group; valid in its oldest cluster.
    used: u64,
    pub bucket: u64,
    /// [`WILD`] or the hash of the text, per token.
    pub template: Vec<u64>,
    pieces: Vec<Piece>,
    /// The constant texts, one behind the other.
    text: String,
}

impl Cluster {
    fn without_text(state: State, born: u64, parent: Slot, group: Slot) -> Self {
        Cluster {
            state,
            id: born as u32,
            born,
            parent,
            group,
            used: 0,
            bucket: 0,
            template: Vec::new(),
            pieces: Vec::new(),
            text: String::new(),
        }
    }

    fn saved_text(&self) -> SavedText {
        let mut start = 0;
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let length = u64::from(piece.text_end - start);
            pieces.push(length << 2 | u64::from(piece.spaced) << 1 | u64::from(piece.wild));
            start = piece.text_end;
        }
        let follows = self.template_of_text() == self.template;
        let template = (!follows).then(|| self.template.iter().copied().map(Written).collect());
        SavedText { text: self.text.clone(), pieces, template }
    }

    fn with_text(mut self, saved: SavedText) -> Result<Self, Unsound> {
        self.text = saved.text;
        let mut end = 0_u64;
        for piece in saved.pieces {
            end = end.saturating_add(piece >> 2);
            let is_sound = u32::try_from(end).is_ok() && self.text.is_char_boundary(end as usize);
            Unsound::unless(is_sound, "a template ends inside a character")?;
            self.pieces.push(Piece { text_end: end as u32, spaced: piece & 2 != 0, wild: piece & 1 != 0 });
        }
        self.pieces.shrink_to_fit();
        let template = saved.template.map(|symbols| symbols.into_iter().map(|Written(hash)| hash).collect());
        self.template = template.unwrap_or_else(|| self.template_of_text());
        let is_whole = end == self.text.len() as u64 && self.template.len() == self.pieces.len();
        Unsound::unless(is_whole, "a template is not that of its text")?;
        Ok(self)
    }

    /// The template, unless hashes collided.
    fn template_of_text(&self) -> Vec<u64> {
        let mut start = 0;
        let mut template = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let end = piece.text_end as usize;
            template.push(if piece.wild { WILD } else { symbol(&self.text[start..end]) });
            start = end;
        }
        template
    }
}

#[derive(Clone, Copy)]
struct Piece {
    text_end: u32,
    spaced: bool,
    wild: bool,
}

/// What is written of all clusters. The free slots are given out from the first on, so that their order follows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    slots: Vec<SavedCluster>,
    created: u64,
}

/// What is written of a slot. Of clusters that ended only the way to what they became matters.
#[derive(Serialize, Deserialize)]
enum SavedCluster {
    Free,
    Live { link: SavedLink, used: u64, bucket: Written, text: SavedText },
    Merged { link: SavedLink, parent: Slot },
    Evicted { link: SavedLink },
}

#[derive(Serialize, Deserialize)]
struct SavedLink {
    born: u64,
    group: Slot,
    /// The id leads to the slot: not to that of a younger cluster, after 2^32 of them.
    has_id: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedText {
    text: String,
    /// The length of the text, and in the lowest bits whether it is spaced and wild.
    pieces: Vec<u64>,
    /// The template, if it is not that of the text.
    template: Option<Vec<Written>>,
}

#[derive(Default)]
pub(crate) struct Clusters {
    slots: Vec<Cluster>,
    free: Vec<Slot>,
    live: usize,
    created: u64,
    by_id: HashMap<u32, Slot>,
}

impl Clusters {
    pub fn saved(&self) -> Saved {
        let mut is_free = vec![false; self.slots.len()];
        self.free.iter().for_each(|&slot| is_free[slot as usize] = true);
        let saved = |(slot, cluster): (usize, &Cluster)| {
            let has_id = self.slot_of(cluster.id) == Some(slot as Slot);
            let link = SavedLink { born: cluster.born, group: cluster.group, has_id };
            match cluster.state {
                _ if is_free[slot] => SavedCluster::Free,
                State::Live => SavedCluster::Live {
                    link,
                    used: cluster.used,
                    bucket: Written(cluster.bucket),
                    text: cluster.saved_text(),
                },
                State::Merged => SavedCluster::Merged { link, parent: cluster.parent },
                State::Evicted => SavedCluster::Evicted { link },
            }
        };
        Saved { slots: self.slots.iter().enumerate().map(saved).collect(), created: self.created }
    }

    pub fn restored(saved: Saved) -> Result<Self, Unsound> {
        let count = saved.slots.len();
        Unsound::unless(count < Slot::MAX as usize && saved.created <= COUNT_MAX, "too many clusters")?;
        let mut clusters = Clusters { created: saved.created, ..Clusters::default() };
        clusters.slots.reserve(count);
        let mut taken = Vec::with_capacity(count);
        for (slot, saved) in (0..).zip(saved.slots) {
            let cluster = match saved {
                SavedCluster::Free => {
                    clusters.free.push(slot);
                    Cluster::without_text(State::Evicted, 0, slot, slot)
                }
                SavedCluster::Live { link, used, bucket: Written(bucket), text } => {
                    clusters.live += 1;
                    taken.push((link.born, slot, link.has_id));
                    let ended = Cluster::without_text(State::Live, link.born, slot, link.group);
                    Cluster { used, bucket, ..ended }.with_text(text)?
                }
                SavedCluster::Merged { link, parent } => {
                    Unsound::unless(parent != slot, "a cluster was merged into itself")?;
                    taken.push((link.born, slot, link.has_id));
                    Cluster::without_text(State::Merged, link.born, parent, link.group)
                }
                SavedCluster::Evicted { link } => {
                    taken.push((link.born, slot, link.has_id));
                    Cluster::without_text(State::Evicted, link.born, slot, link.group)
                }
            };
            clusters.slots.push(cluster);
        }
        clusters.free.reverse();
        taken.sort_unstable();
        clusters.check_links(&taken)?;
        Ok(clusters)
    }

    /// Whether all ways lead to older clusters, and so have an end, and those of live ones to live ones. `taken` is sorted.
    fn check_links(&mut self, taken: &[(u64, Slot, bool)]) -> Result<(), Unsound> {
        let is_young = taken.last().is_none_or(|(born, ..)| *born < self.created);
        let differ = taken.windows(2).all(|pair| pair[0].0 < pair[1].0);
        Unsound::unless(is_young && differ, "clusters have wrong numbers")?;
        // By slot: the state of the oldest cluster of the group, once it is known, for those that are not free.
        let mut oldest: Vec<Option<State>> = vec![None; self.slots.len()];
        for &(_, slot, has_id) in taken {
            let Cluster { state, id, parent, group, .. } = *self.get(slot);
            let known = |slot: Slot| oldest.get(slot as usize).copied().flatten();
            let of_group = if group == slot { Some(state) } else { known(group) };
            let is_sound = (parent == slot || known(parent).is_some())
                && of_group.is_some()
                && (state != State::Live || of_group == Some(State::Live));
            Unsound::unless(is_sound, "a cluster leads nowhere")?;
            oldest[slot as usize] = of_group;
            if has_id {
                let other = self.by_id.insert(id, slot);
                Unsound::unless(other.is_none(), "two clusters have one id")?;
            }
        }
        Ok(())
    }

    /// Whether the slot is that of a cluster that is live, merged or evicted.
    pub fn is_taken(&self, slot: Slot) -> bool {
        (slot as usize) < self.slots.len() && self.free.binary_search_by(|free| slot.cmp(free)).is_err()
    }

    pub fn live(&self) -> usize {
        self.live
    }

    /// Slots taken by live, merged and evicted clusters.
    pub fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn get(&self, slot: Slot) -> &Cluster {
        &self.slots[slot as usize]
    }

    pub fn id(&self, slot: Slot) -> u32 {
        self.get(slot).id
    }

    pub fn slot_of(&self, id: u32) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// A cluster of one line, in a group of its own.
    pub fn create(&mut self, line: &str, tokens: &[Token], bucket: u64) -> Slot {
        let slot = self.free.pop().unwrap_or(self.slots.len() as Slot);
        let mut text = String::new();
        let mut pieces = Vec::with_capacity(tokens.len());
        for token in tokens {
            let wild = token.symbol == WILD;
            if !wild {
                text.push_str(token.text(line));
            }
            pieces.push(Piece { text_end: text.len() as u32, spaced: token.spaced, wild });
        }
        let template = tokens.iter().map(|token| token.symbol).collect();
        let id = self.created as u32;
        let born = self.created;
        let cluster = Cluster {
            state: State::Live,
            id,
            born,
            parent: slot,
            group: slot,
            used: 0,
            bucket,
            template,
            pieces,
            text,
        };
        match self.slots.get_mut(slot as usize) {
            Some(place) => *place = cluster,
            None => self.slots.push(cluster),
        }
        self.by_id.insert(id, slot);
        self.created += 1;
        self.live += 1;
        slot
    }

    /// The live cluster that `slot` was merged into, or itself; `None` if that was evicted.
    pub fn find(&mut self, mut slot: Slot) -> Option<Slot> {
        loop {
            let parent = self.get(slot).parent;
            if parent == slot {
                return (self.get(slot).state == State::Live).then_some(slot);
            }
            let grandparent = self.get(parent).parent;
            self.slots[slot as usize].parent = grandparent;
            slot = grandparent;
        }
    }

    /// The oldest cluster of the group of the live cluster `slot`.
    pub fn group(&mut self, mut slot: Slot) -> Slot {
        loop {
            let group = self.get(slot).group;
            if group == slot {
                return slot;
            }
            let next = self.get(group).group;
            self.slots[slot as usize].group = next;
            slot = next;
        }
    }

    /// The oldest cluster of the group that `slot` came to; `None` if that was evicted.
    pub fn shown(&self, mut slot: Slot) -> Option<Slot> {
        while self.get(slot).parent != slot {
            slot = self.get(slot).parent;
        }
        while self.get(slot).group != slot {
            slot = self.get(slot).group;
        }
        (self.get(slot).state == State::Live).then_some(slot)
    }

    pub fn touch(&mut self, group: Slot, line: u64) {
        self.slots[group as usize].used = line;
    }

    pub fn used(&mut self, slot: Slot) -> u64 {
        let group = self.group(slot);
        self.get(group).used
    }

    pub fn oldest(&self, slots: &[Slot]) -> Option<Slot> {
        slots.iter().copied().min_by_key(|&slot| self.get(slot).born)
    }

    /// Makes one group of two. `None` if they were one.
    pub fn join(&mut self, left: Slot, right: Slot) -> Option<Merge> {
        let groups = [self.group(left), self.group(right)];
        if groups[0] == groups[1] {
            return None;
        }
        let older_first = self.get(groups[0]).born < self.get(groups[1]).born;
        let [into, from] = if older_first { groups } else { [groups[1], groups[0]] };
        let used = self.get(from).used.max(self.get(into).used);
        self.slots[from as usize].group = into;
        self.slots[into as usize].used = used;
        Some(Merge { from: self.id(from), into: self.id(into) })
    }

    /// Ends `from`; from now on it resolves to `into`. Their groups must be one.
    pub fn absorb(&mut self, from: Slot, into: Slot) {
        self.end(from, State::Merged);
        self.slots[from as usize].parent = into;
    }

    pub fn evict(&mut self, slot: Slot) {
        self.end(slot, State::Evicted);
    }

    fn end(&mut self, slot: Slot, state: State) {
        let cluster = &mut self.slots[slot as usize];
        cluster.state = state;
        cluster.template = Vec::new();
        cluster.pieces = Vec::new();
        cluster.text = String::new();
        self.live -= 1;
    }

    /// Replaces the template. The text keeps every wildcard that it had.
    pub fn set_template(&mut self, slot: Slot, template: Vec<u64>) {
        let cluster = &mut self.slots[slot as usize];
        for (piece, &symbol) in cluster.pieces.iter_mut().zip(&template) {
            piece.wild |= symbol == WILD;
        }
        cluster.template = template;
    }

    pub fn live_slots(&self) -> Vec<Slot> {
        (0..self.slots.len() as Slot).filter(|&slot| self.get(slot).state == State::Live).collect()
    }

    /// Gives the slots of merged and evicted clusters back. Nothing may refer to them any more.
    pub fn free_dead(&mut self) {
        for slot in self.live_slots() {
            let group = self.group(slot);
            debug_assert!(
                self.get(group).state == State::Live,
                "the oldest cluster of a group outlives the others"
            );
            self.slots[slot as usize].group = group;
        }
        self.free.clear();
        for slot in (0..self.slots.len() as Slot).rev() {
            let cluster = self.get(slot);
            if cluster.state == State::Live {
                continue;
            }
            if self.slot_of(cluster.id) == Some(slot) {
                self.by_id.remove(&self.id(slot));
            }
            self.free.push(slot);
        }
    }

    /// The template as text, with `<*>` for each variable.
    pub fn text(&self, slot: Slot) -> String {
        let cluster = self.get(slot);
        let mut shown = String::with_capacity(cluster.text.len() + 2 * cluster.pieces.len());
        let mut start = 0;
        let mut after_wild = false;
        for piece in &cluster.pieces {
            let end = piece.text_end as usize;
            let spaced = piece.spaced && !shown.is_empty();
            if spaced {
                shown.push(' ');
            }
            if !piece.wild {
                shown.push_str(&cluster.text[start..end]);
            } else if spaced || !after_wild {
                shown.push_str("<*>");
            }
            after_wild = piece.wild;
            start = end;
        }
        shown
    }
}
