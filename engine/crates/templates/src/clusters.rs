//! Clusters of lines, what they were merged into, and the groups whose ids are shown.
//!
//! A cluster holds one template of one skeleton. Clusters of the same words under other punctuation form a *group*, and the id of the oldest
//! cluster of a group is the template id of all. Merged and evicted clusters keep their slot, so that what refers to them can be resolved, until
//! [`Clusters::free_dead`].

use hashbrown::HashMap;

use crate::Merge;
use crate::hashing::WILD;
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

#[derive(Clone, Copy)]
struct Piece {
    text_end: u32,
    spaced: bool,
    wild: bool,
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
