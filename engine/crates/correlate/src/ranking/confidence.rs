//! How likely each candidate is the cause.
//!
//! The candidates, and that it is none of them, have odds: those of a candidate rise with its score and with its share of all scores.
//! The coefficients are those of a multinomial regression over simulated faults of a hundredth of their usual strength to all of it,
//! and over times without a fault; how often a candidate of which confidence is the cause is what the example `confidence` of the engine
//! prints.

use super::{Ranked, sum};

/// Of the logarithm of a candidate's odds against its being none of them.
const AT_ZERO: f64 = -2.8;
const PER_SCORE: f64 = 5.2;
const PER_SHARE: f64 = 3.4;

/// To be called with all candidates: together they have what their being none leaves.
pub(crate) fn assign(ranked: &mut [Ranked]) {
    let total = sum(ranked.iter().map(|ranked| ranked.cause.score));
    let odds = |score: f64| {
        if score > 0.0 { (AT_ZERO + PER_SCORE * score + PER_SHARE * score / total).exp() } else { 0.0 }
    };
    let none_or_any = 1.0 + sum(ranked.iter().map(|ranked| odds(ranked.cause.score)));
    for Ranked { cause, .. } in ranked {
        cause.confidence = odds(cause.score) / none_or_any;
    }
}

#[cfg(test)]
mod tests {
    use model::RootCause;

    use super::*;

    fn confidences(scores: &[f64]) -> Vec<f64> {
        let cause = |score: &f64| RootCause { score: *score, ..RootCause::default() };
        let mut ranked: Vec<Ranked> =
            scores.iter().map(|score| Ranked { cause: cause(score), conviction: *score }).collect();
        assign(&mut ranked);
        ranked.into_iter().map(|ranked| ranked.cause.confidence).collect()
    }

    #[test]
    fn one_that_stands_out_is_likely_and_two_of_a_kind_share() {
        let clear = confidences(&[1.2, 0.05, 0.0]);
        assert!(clear[0] > 0.95 && clear[1] < 0.02 && clear[2] == 0.0, "{clear:?}");
        let two = confidences(&[1.2, 1.2]);
        assert!(two[0] == two[1] && (0.4..0.5).contains(&two[0]), "{two:?}");
        let weak = confidences(&[0.05, 0.04, 0.04, 0.03, 0.03]);
        assert!(weak.iter().all(|confidence| *confidence < 0.25), "{weak:?}");
        assert_eq!(confidences(&[]), [0.0; 0]);
        assert!(confidences(&[4.6, 0.0]).iter().sum::<f64>() <= 1.0);
    }
}
