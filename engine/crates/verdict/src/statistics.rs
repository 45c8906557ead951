//! The tests and effect sizes. Inputs are finite.

/// The middle value; NaN of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The Hodges-Lehmann estimate of how much higher `after` lies than `before`: the median of all differences.
pub fn shift(before: &[f64], after: &[f64]) -> f64 {
    let differences: Vec<f64> = after.iter().flat_map(|a| before.iter().map(move |b| a - b)).collect();
    median(&differences)
}

/// Cliff's delta: how much more often a value of `after` lies above one of `before` than below, -1 to 1.
pub fn cliffs_delta(before: &[f64], after: &[f64]) -> f64 {
    let pairs = (before.len() * after.len()) as f64;
    if pairs == 0.0 {
        return 0.0;
    }
    let sign = |a: f64, b: f64| {
        if a > b {
            1.0
        } else if a < b {
            -1.0
        } else {
            0.0
        }
    };
    after.iter().flat_map(|a| before.iter().map(move |b| sign(*a, *b))).sum::<f64>() / pairs
}

/// The p-value of the one-sided Mann-Whitney test that `after` lies above `before + margin`, by the normal approximation with
/// correction for ties and continuity. `independence` (0 to 1] is the share of the values that count as independent.
pub fn p_above(before: &[f64], after: &[f64], margin: f64, independence: f64) -> f64 {
    let (n, m) = (before.len() as f64, after.len() as f64);
    if n == 0.0 || m == 0.0 {
        return 1.0;
    }
    let mut pooled: Vec<(f64, bool)> = before.iter().map(|value| (value + margin, false)).collect();
    pooled.extend(after.iter().map(|value| (*value, true)));
    pooled.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut ties, mut at) = (0.0, 0.0, 0);
    while at < pooled.len() {
        let end = at + pooled[at..].iter().take_while(|pair| pair.0 == pooled[at].0).count();
        let tied = (end - at) as f64;
        let of_after = pooled[at..end].iter().filter(|pair| pair.1).count() as f64;
        rank_sum += of_after * (at as f64 + (tied + 1.0) / 2.0);
        ties += tied * tied * tied - tied;
        at = end;
    }
    let u = rank_sum - m * (m + 1.0) / 2.0;
    let total = n + m;
    let variance = n * m / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    upper_tail((u - n * m / 2.0 - 0.5) / variance.sqrt() * independence.sqrt())
}

/// The least p-value that [`p_above`] can give with so many values.
pub fn p_least(before: usize, after: usize, independence: f64) -> f64 {
    let (n, m) = (before as f64, after as f64);
    if before == 0 || after == 0 {
        return 1.0;
    }
    let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
    upper_tail((n * m / 2.0 - 0.5) / deviation * independence.sqrt())
}

/// The share of values that count as independent, of a series whose neighbours correlate as an autoregressive process of first order
/// (Bartlett 1946): (1 - r) / (1 + r). Negative correlation is taken for chance.
pub fn independence(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let variance: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    if values.len() < 4 || variance <= 0.0 {
        return 1.0;
    }
    let covariance: f64 = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let correlation = (covariance / variance).clamp(0.0, 0.95);
    (1.0 - correlation) / (1.0 + correlation)
}

/// Holm's adjusted p-values, in the order of the given ones.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, at) in order.into_iter().enumerate() {
        largest = largest.max(p_values[at] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[at] = largest;
    }
    adjusted
}

/// The probability that a standard normal variable lies above z, within 1.2e-7 of itself (W. J. Cody's bound for this Chebyshev fit
/// of the complementary error function, Numerical Recipes 6.2).
fn upper_tail(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let fit = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let exponent = fit.iter().rev().fold(0.0, |sum, coefficient| sum * t + coefficient);
    let above = 0.5 * t * (exponent - x * x).exp();
    if z >= 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tails_are_those_of_tables() {
        for (z, p) in
            [(0.0, 0.5), (1.0, 0.158_655), (1.959_964, 0.025), (3.0, 0.001_349_9), (-1.0, 0.841_345)]
        {
            assert!((upper_tail(z) - p).abs() < 1e-6, "{z}: {}", upper_tail(z));
        }
        assert!((upper_tail(5.0) / 2.866_5e-7 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn mann_whitney_agrees_with_scipy() {
        // scipy.stats.mannwhitneyu(after, before, alternative="greater", method="asymptotic"): U = 33.5, three pairs tied.
        let before = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let after = [3.0, 5.0, 6.0, 8.0, 9.0, 10.0];
        let p = p_above(&before, &after, 0.0, 1.0);
        assert!((p - 0.042_59).abs() < 1e-5, "{p}");
        assert!(p_above(&before, &after, 3.0, 1.0) > 0.4);
        assert!(p_above(&before, &after, 0.0, 0.25) > p);
    }

    #[test]
    fn holm_is_as_in_the_paper() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
    }

    #[test]
    fn alike_neighbours_count_less() {
        let slow: Vec<f64> = (0..60).map(|i| (f64::from(i) / 10.0).sin()).collect();
        assert!(independence(&slow) < 0.1);
        let quick: Vec<f64> = (0..60).map(|i| f64::from(i % 2)).collect();
        assert_eq!((independence(&quick), independence(&[1.0; 10])), (1.0, 1.0));
    }

    proptest! {
        #[test]
        fn p_values_are_probabilities_and_no_less_than_the_least(
            before in prop::collection::vec(-1e6..1e6_f64, 1..30),
            after in prop::collection::vec(-1e6..1e6_f64, 1..30),
            margin in 0.0..1e3_f64,
            share in 0.05..=1.0_f64,
        ) {
            let p = p_above(&before, &after, margin, share);
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert!(p >= p_least(before.len(), after.len(), share) * 0.999_999);
            prop_assert!(p_above(&before, &after, margin + 10.0, share) >= p * 0.999_999);
        }

        #[test]
        fn a_shift_is_found_as_it_is(before in prop::collection::vec(-1e3..1e3_f64, 1..20), by in -1e3..1e3_f64) {
            let after: Vec<f64> = before.iter().map(|value| value + by).collect();
            prop_assert!((shift(&before, &after) - by).abs() < 1e-9);
        }
    }
}
