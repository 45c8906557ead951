//! The places that a series has visited.

use crate::prefetch;

/// A place is forgotten when it was not visited for this many blocks.
const LIFE_BLOCKS: u16 = 4000;
/// Groups that are asked for ahead: what is visited often is among the first, and the others follow one another in memory.
const GROUPS_AHEAD: usize = 2;
/// Places of a group; so many are gained at a time, and a series that visits few takes little memory.
const GROWTH: usize = 16;

/// In steps, and the block of the last visit, counted modulo 2^16.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place<const AXES: usize> {
    at: [i16; AXES],
    visited: u16,
}

/// Some places side by side, so that one is looked for among all of them at once.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Group<const AXES: usize> {
    at: [[i16; GROWTH]; AXES],
    visited: [u16; GROWTH],
}

/// Places as bytes, of fixed length: there are hundreds a series, and reading waits for a snapshot of all series.
mod written {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Place, Places};

    /// More are written from the heap.
    const STACK: usize = 2048;

    impl<const AXES: usize> Place<AXES> {
        /// Two for each coordinate, and two for the block.
        const BYTES: usize = 2 * AXES + 2;

        fn write(self, bytes: &mut [u8]) {
            let (places, visited) = bytes.split_at_mut(2 * AXES);
            for (bytes, coordinate) in places.as_chunks_mut().0.iter_mut().zip(self.at) {
                *bytes = coordinate.to_le_bytes();
            }
            visited.copy_from_slice(&self.visited.to_le_bytes());
        }

        fn read(bytes: &[u8]) -> Self {
            let (numbers, _) = bytes.as_chunks();
            Self {
                at: std::array::from_fn(|axis| i16::from_le_bytes(numbers[axis])),
                visited: u16::from_le_bytes(numbers[AXES]),
            }
        }
    }

    impl<const AXES: usize> Serialize for Places<AXES> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let size = self.len() * Place::<AXES>::BYTES;
            let (mut stack, mut heap) = ([0; STACK], Vec::new());
            let bytes = stack.get_mut(..size).unwrap_or_else(|| {
                heap.resize(size, 0);
                &mut heap
            });
            for (bytes, place) in bytes.chunks_exact_mut(Place::<AXES>::BYTES).zip(self.iter()) {
                place.write(bytes);
            }
            serializer.serialize_bytes(bytes)
        }
    }

    impl<'de, const AXES: usize> Deserialize<'de> for Places<AXES> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_bytes(WholePlaces)
        }
    }

    struct WholePlaces<const AXES: usize>;

    impl<const AXES: usize> Visitor<'_> for WholePlaces<AXES> {
        type Value = Places<AXES>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("whole places")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Places<AXES>, E> {
            let places = bytes.chunks_exact(Place::<AXES>::BYTES);
            if !places.remainder().is_empty() {
                return Err(E::invalid_length(bytes.len(), &self));
            }
            Ok(places.map(Place::read).collect())
        }
    }
}

impl<const AXES: usize> Place<AXES> {
    fn is_live(&self, now: u32) -> bool {
        (now as u16).wrapping_sub(self.visited) <= LIFE_BLOCKS
    }
}

impl<const AXES: usize> Group<AXES> {
    const EMPTY: Self = Self { at: [[0; GROWTH]; AXES], visited: [0; GROWTH] };

    fn get(&self, i: usize) -> Place<AXES> {
        Place { at: self.at.map(|coordinates| coordinates[i]), visited: self.visited[i] }
    }

    fn set(&mut self, i: usize, place: Place<AXES>) {
        for (coordinates, coordinate) in self.at.iter_mut().zip(place.at) {
            coordinates[i] = coordinate;
        }
        self.visited[i] = place.visited;
    }

    /// Along the axis on which they are farthest apart. Each operation is one that vectors of 16 bits have everywhere.
    fn distance(&self, i: usize, at: [i16; AXES]) -> u16 {
        let axes = self.at.iter().zip(at);
        axes.fold(0, |farthest, (coordinates, coordinate)| {
            let (low, high) = (coordinates[i].min(coordinate), coordinates[i].max(coordinate));
            larger(farthest, high.wrapping_sub(low) as u16)
        })
    }

    /// A bit for each place that is live and within reach. What lies behind the last place is looked at, too.
    fn found(&self, at: [i16; AXES], reach: u16, now: u16) -> u16 {
        let mut found = 0;
        for i in 0..GROWTH {
            let age = now.wrapping_sub(self.visited[i]);
            let misses = self.distance(i, at).saturating_sub(reach) | age.saturating_sub(LIFE_BLOCKS);
            found |= if misses == 0 { 1 << i } else { 0 };
        }
        found
    }
}

/// What is to be known of all places when none is near.
struct Survey {
    /// The distance of the nearest live one.
    nearest: [u16; GROWTH],
    /// The smallest and the largest age.
    youngest: [u16; GROWTH],
    oldest: [u16; GROWTH],
}

impl Survey {
    /// Looks at the first `count` places of a group, or at all if it is more than that.
    fn add<const AXES: usize>(&mut self, group: &Group<AXES>, count: u16, at: [i16; AXES], now: u16) {
        for i in 0..GROWTH {
            let none = if count.saturating_sub(i as u16) > 0 { 0 } else { u16::MAX };
            let age = now.wrapping_sub(group.visited[i]);
            let dead = if age.saturating_sub(LIFE_BLOCKS) == 0 { 0 } else { u16::MAX };
            self.nearest[i] = smaller(self.nearest[i], group.distance(i, at) | none | dead);
            self.youngest[i] = smaller(self.youngest[i], age | none);
            self.oldest[i] = larger(self.oldest[i], age & !none);
        }
    }
}

/// As `max` and `min`, in a form that all vectors have.
fn larger(a: u16, b: u16) -> u16 {
    a.saturating_sub(b).wrapping_add(b)
}

fn smaller(a: u16, b: u16) -> u16 {
    a.wrapping_sub(a.saturating_sub(b))
}

/// Places on a line or a plane, each with everything around it up to a radius. They stand where they were found and not
/// on a grid, whose origin and unit would decide what is new. Where there is no room for another the oldest goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Places<const AXES: usize> {
    /// The last one may have room.
    groups: Vec<Group<AXES>>,
    len: u32,
}

impl<const AXES: usize> FromIterator<Place<AXES>> for Places<AXES> {
    fn from_iter<I: IntoIterator<Item = Place<AXES>>>(places: I) -> Self {
        let mut all = Self::default();
        places.into_iter().for_each(|place| all.push(place));
        all
    }
}

impl<const AXES: usize> Places<AXES> {
    /// The most bytes that so many places take, room to grow included.
    pub fn bytes_max(capacity: usize) -> usize {
        capacity.div_ceil(GROWTH) * size_of::<Group<AXES>>()
    }

    /// Asks for what the next visit will look at first.
    pub fn prefetch(&self) {
        if let Some(groups) = self.groups.first_chunk::<GROUPS_AHEAD>() {
            prefetch::value(groups);
        } else if let Some(group) = self.groups.first() {
            prefetch::value(group);
        }
    }

    /// Visits a place, in steps; returns how far it lies outside of the nearest known one, 0 if it is the first.
    pub fn visit(&mut self, at: [f64; AXES], radius: f64, now: u32, capacity: usize) -> f64 {
        // Saturates at the ends of the type, four ranges away.
        let at = at.map(rounded);
        // Almost always the place is known; the loop that finds it does nothing else.
        if let Some(i) = self.find(at, radius as u16, now) {
            let place = Place { visited: now as u16, ..self.get(i) };
            // What was visited of late is in the first group, where it is found soon.
            let front = if i < GROWTH { i } else { now as usize % GROWTH };
            self.set(i, self.get(front));
            self.set(front, place);
            return 0.0;
        }
        let (nearest, oldest) = self.survey(at, now as u16);
        let place = Place { at, visited: now as u16 };
        match oldest {
            Some(i) if self.len() >= capacity || !self.get(i).is_live(now) => self.set(i, place),
            _ => self.push(place),
        }
        nearest.map_or(0.0, |nearest| f64::from(nearest) - radius)
    }

    /// The first that is live and within reach.
    fn find(&self, at: [i16; AXES], reach: u16, now: u32) -> Option<usize> {
        for (number, group) in self.groups.iter().enumerate() {
            let found = group.found(at, reach, now as u16);
            if found != 0 {
                // Behind the last one, what is found is none.
                let i = number * GROWTH + found.trailing_zeros() as usize;
                return Some(i).filter(|i| *i < self.len());
            }
        }
        None
    }

    /// How far the nearest live one is, and the first of the oldest.
    fn survey(&self, at: [i16; AXES], now: u16) -> (Option<u16>, Option<usize>) {
        let (most, none) = ([u16::MAX; GROWTH], [0; GROWTH]);
        let mut survey = Survey { nearest: most, youngest: most, oldest: none };
        for (number, group) in self.groups.iter().enumerate() {
            let count = (self.len() - number * GROWTH).min(GROWTH) as u16;
            survey.add(group, count, at, now);
        }
        let least = |all: [u16; GROWTH]| all.into_iter().fold(u16::MAX, u16::min);
        let nearest = (least(survey.youngest) <= LIFE_BLOCKS).then(|| least(survey.nearest));
        let visited = now.wrapping_sub(survey.oldest.into_iter().fold(0, u16::max));
        let oldest = self.groups.iter().enumerate().find_map(|(number, group)| {
            let i = group.visited.iter().position(|other| *other == visited)?;
            Some(number * GROWTH + i)
        });
        (nearest, oldest)
    }

    fn len(&self) -> usize {
        self.len as usize
    }

    fn iter(&self) -> impl Iterator<Item = Place<AXES>> {
        (0..self.len()).map(|i| self.get(i))
    }

    fn get(&self, i: usize) -> Place<AXES> {
        self.groups[i / GROWTH].get(i % GROWTH)
    }

    fn set(&mut self, i: usize, place: Place<AXES>) {
        self.groups[i / GROWTH].set(i % GROWTH, place);
    }

    fn push(&mut self, place: Place<AXES>) {
        let i = self.len();
        if i == self.groups.len() * GROWTH {
            self.groups.reserve_exact(1);
            self.groups.push(Group::EMPTY);
        }
        self.set(i, place);
        self.len += 1;
    }

    /// Makes steps twice as long.
    pub fn double_steps(&mut self) {
        for group in &mut self.groups {
            group.at = group.at.map(|coordinates| coordinates.map(|coordinate| coordinate >> 1));
        }
    }

    /// Drops what does not count any more. To be called before the count of blocks comes round.
    pub fn forget(&mut self, now: u32) {
        if self.iter().any(|place| !place.is_live(now)) {
            *self = self.iter().filter(|place| place.is_live(now)).collect();
        }
    }

    pub fn is_sound(&self, capacity: usize) -> bool {
        self.len() <= capacity
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group<AXES>>()
    }
}

/// To the nearest, as `round` does it, which costs a call where there is no instruction for it.
fn rounded(coordinate: f64) -> i16 {
    // The largest number below a half: what lies just below a half must not come to 1.
    const HALF: f64 = 0.5_f64.next_down();
    (coordinate + HALF.copysign(coordinate)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_visited_is_known_up_to_the_radius_and_for_its_life() {
        let mut places = Places::default();
        let mut visit = |x: f64, y: f64, now: u32| places.visit([x, y], 10.0, now, 3);
        assert_eq!(visit(0.0, 0.0, 0), 0.0, "the first");
        assert_eq!(visit(10.0, -10.0, 1), 0.0, "at the radius");
        assert_eq!(visit(4.0, 25.0, 2), 15.0, "outside, along the farther axis");
        assert_eq!(visit(4.0, 30.0, 4002), 0.0, "still known");
        assert_eq!(
            visit(0.0, 0.0, 4003),
            15.0,
            "what was at 0 is forgotten, a place stands where it was found"
        );
    }

    #[test]
    fn places_are_whole_numbers_of_steps() {
        for coordinate in [0.0, 0.49999999999999994, 0.5, 1.5, 2.5, 7.3, 32766.5, 32767.5, 4e9, f64::MAX] {
            for coordinate in [coordinate, -coordinate] {
                assert_eq!(rounded(coordinate), coordinate.round() as i16, "{coordinate}");
            }
        }
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut places = Places::default();
        for (now, x) in [0.0, 100.0, 200.0, 0.0, 300.0].into_iter().enumerate() {
            places.visit([x, 0.0], 10.0, now as u32, 3);
        }
        assert_eq!(places.len(), 3);
        assert_eq!(places.visit([0.0, 0.0], 10.0, 5, 3), 0.0, "it was visited again");
        assert_eq!(places.visit([100.0, 0.0], 10.0, 6, 3), 90.0, "the oldest");
    }

    #[test]
    fn groups_are_looked_at_as_places_would_be_one_after_the_other() {
        let (mut places, mut plain, capacity, reach) = (Places::default(), Vec::<Place<2>>::new(), 40, 9);
        let apart = |place: &Place<2>, at: [i16; 2]| {
            place.at.iter().zip(at).map(|(a, b)| a.abs_diff(b)).max().unwrap_or_default()
        };
        for now in 0..30_000_u32 {
            let mixed = now.wrapping_mul(2_654_435_761);
            // Rests for so long that all is forgotten, and wanders farther with time.
            let (now, wide) = (now + now / 9_000 * 5_000, 20 + now / 10 % 400);
            let at = [mixed >> 8, mixed >> 16].map(|bits| (bits % wide) as i16 - 50);
            let live = |place: &Place<2>| place.is_live(now);
            let found = plain.iter().position(|place| live(place) && apart(place, at) <= reach);
            let expected = if let Some(i) = found {
                plain[i].visited = now as u16;
                plain.swap(i, if i < GROWTH { i } else { now as usize % GROWTH });
                0.0
            } else {
                let nearest = plain.iter().filter(|place| live(place)).map(|place| apart(place, at)).min();
                let age = |i: &usize| (now as u16).wrapping_sub(plain[*i].visited);
                let place = Place { at, visited: now as u16 };
                match (0..plain.len()).rev().max_by_key(age) {
                    Some(i) if plain.len() >= capacity || !live(&plain[i]) => plain[i] = place,
                    _ => plain.push(place),
                }
                nearest.map_or(0.0, |nearest| f64::from(nearest - reach))
            };
            assert_eq!(places.visit(at.map(f64::from), f64::from(reach), now, capacity), expected, "{now}");
            assert!(places.iter().eq(plain.iter().copied()), "{now}");
        }
    }

    #[test]
    fn nothing_comes_back_when_the_count_of_blocks_comes_round() {
        let mut places = Places::default();
        places.visit([500.0, 0.0], 10.0, 0, 3);
        for now in 1..(1 << 16) + 2 {
            places.visit([0.0, 0.0], 10.0, now, 3);
            if now % 4096 == 0 {
                places.forget(now);
            }
        }
        assert_eq!(places.visit([500.0, 0.0], 10.0, (1 << 16) + 2, 3), 490.0);
    }
}
