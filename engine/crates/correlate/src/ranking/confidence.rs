//! How likely each candidate is the cause.
//!
//! The candidates, and that it is none of them, have odds: those of a candidate follow from its score and from how convincing its
//! evidence is by itself. The numbers are those of a multinomial regression over simulated faults of many strengths and triggers without
//! a fault (`cargo run --release -p foreshock --example confidence` shows how often a cause of which confidence is right).

use super::Ranked;

/// Of the logarithm of a candidate's odds against its being none of them.
const AT_ONE: f64 = 1.0;
const PER_LOG_SCORE: f64 = 2.0;
const PER_LOG_CONVICTION: f64 = 1.0;

pub(crate) fn assign(ranked: &mut [Ranked]) {
    let odds: Vec<f64> = ranked.iter().map(|ranked| odds(ranked.cause.score, ranked.conviction)).collect();
    let total = 1.0 + super::sum(odds.iter().copied());
    for (ranked, odds) in ranked.iter_mut().zip(odds) {
        ranked.cause.confidence = odds / total;
    }
}

fn odds(score: f64, conviction: f64) -> f64 {
    if score <= 0.0 || conviction <= 0.0 {
        return 0.0;
    }
    (AT_ONE + PER_LOG_SCORE * score.ln() + PER_LOG_CONVICTION * conviction.ln()).exp()
}
