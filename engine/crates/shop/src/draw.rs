//! Independent streams of random numbers, and the distributions that the shop needs.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream is for. Streams of one seed are independent: draws from one never shift another.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    Arrivals,
    Load,
    Deploys,
    Setup,
    Scenario,
    /// Of the service at this index.
    Metrics(usize),
    Fault {
        service: usize,
        start_ms: i64,
    },
    /// Of the request with this index.
    Request(u64),
}

pub fn stream(seed: u64, stream: Stream) -> ChaCha8Rng {
    const FAULTS: u64 = 1 << 62;
    const REQUESTS: u64 = 1 << 63;
    let number = match stream {
        Stream::Arrivals => 0,
        Stream::Load => 1,
        Stream::Deploys => 2,
        Stream::Setup => 3,
        Stream::Scenario => 4,
        Stream::Metrics(service) => 1_000 + service as u64,
        Stream::Fault { service, start_ms } => {
            FAULTS | ((start_ms.unsigned_abs() << 8 | service as u64) & (FAULTS - 1))
        }
        Stream::Request(index) => REQUESTS | index,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// Mean 0, standard deviation 1.
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

/// `sigma` is the standard deviation of the logarithm.
pub fn log_normal(rng: &mut ChaCha8Rng, median: f64, sigma: f64) -> f64 {
    median * (sigma * normal(rng)).exp()
}

pub fn exponential(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.random::<f64>()).ln()
}

/// An id of a span, which is never 0.
pub fn span_id(rng: &mut ChaCha8Rng) -> u64 {
    rng.random_range(1..=u64::MAX)
}
