//! A mergeable sketch of logarithms: counts in bins of width 0.02, so quantiles are within 1 %.

use serde::{Deserialize, Serialize};

const BIN_WIDTH: f64 = 0.02;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    /// (bin, weight), sorted by bin.
    bins: Vec<(i16, f32)>,
}

impl Sketch {
    pub fn add(&mut self, value: f64, weight: f32) {
        if value.is_finite() {
            self.add_bin((value / BIN_WIDTH).round() as i16, weight);
        }
    }

    fn add_bin(&mut self, bin: i16, weight: f32) {
        match self.bins.binary_search_by_key(&bin, |entry| entry.0) {
            Ok(at) => self.bins[at].1 += weight,
            Err(at) => self.bins.insert(at, (bin, weight)),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        if self.bins.is_empty() {
            self.bins.clone_from(&other.bins);
            return;
        }
        let known = self.bins.len();
        let mut at = 0;
        for &(bin, weight) in &other.bins {
            while at < known && self.bins[at].0 < bin {
                at += 1;
            }
            match self.bins[..known].get_mut(at) {
                Some(own) if own.0 == bin => own.1 += weight,
                _ => self.bins.push((bin, weight)),
            }
        }
        if self.bins.len() > known {
            self.bins.sort_unstable_by_key(|entry| entry.0);
        }
    }

    /// Forgets a share of the past; bins that became negligible disappear.
    pub fn scale(&mut self, factor: f32) {
        for entry in &mut self.bins {
            entry.1 *= factor;
        }
        self.bins.retain(|entry| entry.1 >= 0.2);
    }

    pub fn count(&self) -> f64 {
        self.bins.iter().map(|entry| f64::from(entry.1)).sum()
    }

    /// The weight of what is above `value`.
    pub fn above(&self, value: f64) -> f64 {
        let above = self.bins.partition_point(|entry| f64::from(entry.0) * BIN_WIDTH <= value);
        self.bins[above..].iter().map(|entry| f64::from(entry.1)).sum()
    }

    /// How many bins have weight.
    pub fn bins(&self) -> usize {
        self.bins.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// The value below which `share` (0..1) of the weight lies; `None` when empty.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        quantile_of(
            self.bins.iter().map(|&(bin, weight)| (f64::from(bin) * BIN_WIDTH, f64::from(weight))),
            self.count(),
            share,
        )
    }

    /// Median and 1.4826 times the median absolute deviation from it.
    pub fn median_and_spread(&self) -> Option<(f64, f64)> {
        let median = self.quantile(0.5)?;
        let mut deviations: Vec<(f64, f64)> = self
            .bins
            .iter()
            .map(|&(bin, weight)| ((f64::from(bin) * BIN_WIDTH - median).abs(), f64::from(weight)))
            .collect();
        deviations.sort_by(|a, b| a.0.total_cmp(&b.0));
        let spread = quantile_of(deviations.into_iter(), self.count(), 0.5)?;
        Some((median, 1.4826 * spread))
    }
}

fn quantile_of(sorted: impl Iterator<Item = (f64, f64)>, total: f64, share: f64) -> Option<f64> {
    let target = share * total;
    let (mut below, mut last) = (0.0, None);
    for (value, weight) in sorted {
        // Exactly half way between two values, take their middle.
        if let Some(previous) = last
            && (below - target).abs() < 1e-9
        {
            return Some((value + previous) / 2.0);
        }
        below += weight;
        last = Some(value);
        if below > target + 1e-9 {
            return last;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_merge_and_forget() {
        let (mut low, mut high) = (Sketch::default(), Sketch::default());
        for value in [1.0, 2.0, 3.0] {
            low.add(value, 1.0);
        }
        for value in [4.0, 5.0] {
            high.add(value, 1.0);
        }
        low.merge(&high);
        assert_eq!(low.above(2.5), 3.0);
        let (median, spread) = low.median_and_spread().unwrap();
        assert!((median - 3.0).abs() < 0.011 && (spread - 1.4826).abs() < 0.03, "{median} {spread}");
        low.scale(0.1);
        assert!(low.is_empty());
        assert_eq!(low.quantile(0.5), None);
    }
}
