//! The places that a series has visited.

use serde::{Deserialize, Serialize};

/// A place is forgotten when it was not visited for this many blocks.
const LIFE_BLOCKS: u16 = 4000;
/// How many are gained at a time: a series that visits few takes little memory.
const GROWTH: usize = 16;

/// In steps, and the block of the last visit, counted modulo 2^16.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    at: [i16; 2],
    visited: u16,
}

/// Places as bytes, of fixed length: there are hundreds a series, and reading waits for a snapshot of all series.
mod written {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    use super::Place;

    const BYTES: usize = 6;
    /// More are written from the heap.
    const STACK: usize = 384;

    impl Place {
        fn to_bytes(self) -> [u8; BYTES] {
            let ([a, b], [c, d]) = (self.at[0].to_le_bytes(), self.at[1].to_le_bytes());
            let [e, f] = self.visited.to_le_bytes();
            [a, b, c, d, e, f]
        }

        fn from_bytes([a, b, c, d, e, f]: [u8; BYTES]) -> Self {
            let at = [i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d])];
            Self { at, visited: u16::from_le_bytes([e, f]) }
        }
    }

    pub fn serialize<S: Serializer>(places: &[Place], serializer: S) -> Result<S::Ok, S::Error> {
        if places.len() > STACK {
            let bytes: Vec<u8> = places.iter().flat_map(|place| place.to_bytes()).collect();
            return serializer.serialize_bytes(&bytes);
        }
        let mut bytes = [[0; BYTES]; STACK];
        for (bytes, place) in bytes.iter_mut().zip(places) {
            *bytes = place.to_bytes();
        }
        serializer.serialize_bytes(bytes[..places.len()].as_flattened())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Place>, D::Error> {
        deserializer.deserialize_bytes(Places)
    }

    struct Places;

    impl Visitor<'_> for Places {
        type Value = Vec<Place>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("whole places")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<Place>, E> {
            match bytes.as_chunks() {
                (places, []) => Ok(places.iter().copied().map(Place::from_bytes).collect()),
                _ => Err(E::invalid_length(bytes.len(), &self)),
            }
        }
    }
}

impl Place {
    fn age(&self, now: u32) -> u16 {
        (now as u16).wrapping_sub(self.visited)
    }

    /// Along the axis on which they are farther apart.
    fn distance(&self, at: [i16; 2]) -> u16 {
        self.at[0].abs_diff(at[0]).max(self.at[1].abs_diff(at[1]))
    }
}

/// Places in one or two dimensions, each with everything around it up to a radius. They stand where they were found and not
/// on a grid, whose origin and unit would decide what is new. Where there is no room for another the oldest goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Places {
    #[serde(with = "written")]
    known: Vec<Place>,
}

impl Places {
    /// The most bytes that so many places take, room to grow included.
    pub fn bytes_max(capacity: usize) -> usize {
        capacity.next_multiple_of(GROWTH) * size_of::<Place>()
    }

    /// Visits a place, in steps; returns how far it lies outside of the nearest known one, 0 if it is the first.
    pub fn visit(&mut self, at: [f64; 2], radius: f64, now: u32, capacity: usize) -> f64 {
        // Saturates at the ends of the type, four ranges away.
        let at = at.map(|coordinate| coordinate.round() as i16);
        // Almost always the place is known; the loop that finds it does nothing else.
        let reach = radius as u16;
        let is_live = |place: &Place| place.age(now) <= LIFE_BLOCKS;
        if let Some(i) = self.known.iter().position(|place| place.distance(at) <= reach && is_live(place)) {
            self.known[i].visited = now as u16;
            // What is visited often comes to the front, where it is found soon.
            self.known.swap(i, i / 2);
            return 0.0;
        }
        let live = self.known.iter().filter(|place| is_live(place));
        let nearest = live.map(|place| place.distance(at)).min();
        let oldest = (0..self.known.len()).rev().max_by_key(|i| self.known[*i].age(now));
        let place = Place { at, visited: now as u16 };
        match oldest {
            Some(i) if self.known.len() >= capacity || !is_live(&self.known[i]) => self.known[i] = place,
            _ => self.push(place),
        }
        nearest.map_or(0.0, |nearest| f64::from(nearest) - radius)
    }

    fn push(&mut self, place: Place) {
        if self.known.len() == self.known.capacity() {
            self.known.reserve_exact(GROWTH);
        }
        self.known.push(place);
    }

    /// Makes steps twice as long.
    pub fn double_steps(&mut self) {
        for place in &mut self.known {
            place.at = place.at.map(|coordinate| coordinate >> 1);
        }
    }

    /// Drops what does not count any more. To be called before the count of blocks comes round.
    pub fn forget(&mut self, now: u32) {
        self.known.retain(|place| place.age(now) <= LIFE_BLOCKS);
    }

    pub fn is_sound(&self, capacity: usize) -> bool {
        self.known.len() <= capacity
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.known.capacity() * size_of::<Place>()
    }
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
    fn the_oldest_goes_when_there_are_too_many() {
        let mut places = Places::default();
        for (now, x) in [0.0, 100.0, 200.0, 0.0, 300.0].into_iter().enumerate() {
            places.visit([x, 0.0], 10.0, now as u32, 3);
        }
        assert_eq!(places.known.len(), 3);
        assert_eq!(places.visit([0.0, 0.0], 10.0, 5, 3), 0.0, "it was visited again");
        assert_eq!(places.visit([100.0, 0.0], 10.0, 6, 3), 90.0, "the oldest");
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
