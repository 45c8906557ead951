//! A series in blocks of a minute.

use std::collections::BTreeMap;
use std::ops::Range;

/// As long as the steps of derived series look back, so that blocks share little.
pub const BLOCK_MS: i64 = 60_000;

/// The means of a series over each block, by the index of the block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blocks(BTreeMap<i64, (f64, u32)>);

impl Blocks {
    pub fn add(&mut self, time_ms: i64, value: f64) {
        if value.is_finite() {
            let (sum, count) = self.0.entry(time_ms.div_euclid(BLOCK_MS)).or_default();
            *sum += value;
            *count += 1;
        }
    }

    /// The means of the blocks that lie wholly in this time, in order.
    pub fn means(&self, time_ms: &Range<i64>) -> Vec<f64> {
        let first = time_ms.start.div_euclid(BLOCK_MS) + i64::from(time_ms.start.rem_euclid(BLOCK_MS) > 0);
        let end = time_ms.end.div_euclid(BLOCK_MS);
        if first >= end {
            return Vec::new();
        }
        let of_block = |(sum, count): &(f64, u32)| sum / f64::from(*count);
        self.0.range(first..end).map(|(_, block)| of_block(block)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_count() {
        let mut blocks = Blocks::default();
        (0..30).for_each(|i| blocks.add(i * 10_000, i as f64));
        blocks.add(60_000, f64::NAN);
        assert_eq!(blocks.means(&(0..300_000)), [2.5, 8.5, 14.5, 20.5, 26.5]);
        assert_eq!(blocks.means(&(1..239_999)), [8.5, 14.5]);
        assert_eq!(blocks.means(&(10..20)), [0.0; 0]);
        assert_eq!(blocks.means(&(-600_000..0)), [0.0; 0]);
    }
}
