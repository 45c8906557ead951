//! How many requests come: a slow wave, slow noise on it, and arrivals that do not know of each other.

use std::f64::consts::TAU;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Stream, exponential, normal, stream};

const WAVE_S: f64 = 2_400.0;
const WAVE_AMPLITUDE: f64 = 0.25;
const NOISE_STEP_US: u64 = 10_000_000;
const NOISE_KEPT: f64 = 0.97;
const NOISE_ADDED: f64 = 0.02;

#[derive(Debug)]
pub struct Load {
    arrivals: ChaCha8Rng,
    noise: ChaCha8Rng,
    phase: f64,
    level: f64,
    steps: u64,
    now: f64,
    requests_per_second: f64,
}

impl Load {
    pub fn new(seed: u64, requests_per_second: f64) -> Self {
        let mut noise = stream(seed, Stream::Load);
        let phase = noise.random::<f64>();
        let arrivals = stream(seed, Stream::Arrivals);
        let mut load = Self { arrivals, noise, phase, level: 0.0, steps: 0, now: 1.0, requests_per_second };
        load.advance(0);
        load
    }

    /// The load of the last arrival, relative to the usual one.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// The time of the arrival after one at `now_us`, in µs since the start.
    pub fn next_us(&mut self, now_us: u64) -> u64 {
        self.advance(now_us);
        let mean_us = 1e6 / (self.requests_per_second * self.now);
        now_us + exponential(&mut self.arrivals, mean_us).max(1.0) as u64
    }

    fn advance(&mut self, now_us: u64) {
        while self.steps < now_us / NOISE_STEP_US {
            self.steps += 1;
            self.level = self.level * NOISE_KEPT + NOISE_ADDED * normal(&mut self.noise);
        }
        let wave = (TAU * (now_us as f64 / 1e6 / WAVE_S + self.phase)).sin();
        self.now = (1.0 + WAVE_AMPLITUDE * wave + self.level).clamp(0.4, 1.7);
    }
}
