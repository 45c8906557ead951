//! A request from outside with everything about it drawn before it starts, so that a fault shifts no draw.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Stream, log_normal, span_id, stream};
use crate::graph::Operation;
use crate::operations::REQUESTS;

const WORK_SIGMA: f64 = 0.35;
const GAP_MEDIAN_US: f64 = 400.0;
const GAP_SIGMA: f64 = 0.3;

#[derive(Debug)]
pub struct Request {
    pub trace_id: u128,
    /// The calls of the request; the first one is that from outside.
    pub calls: Vec<Call>,
    details: Details,
}

/// One call of an operation: what was drawn for it, and how far it is.
#[derive(Debug)]
pub struct Call {
    pub operation: &'static Operation,
    pub caller: Option<usize>,
    pub required: bool,
    pub span_id: u64,
    pub client_span_id: u64,
    /// The calls of each step, as indices in [`Request::calls`]. No step is empty.
    pub steps: Vec<Vec<usize>>,
    /// Its own work in µs, in one part more than there are steps.
    pub work_us: Vec<f64>,
    pub gap_there_us: u64,
    pub gap_back_us: u64,
    /// It fails by itself after this part if the draw is below the error rate of its service.
    pub failing_part: usize,
    pub failing_draw: f64,
    details: CallDetails,

    pub sent_us: u64,
    pub started_us: u64,
    /// Parts of the work that are done.
    pub parts_done: usize,
    pub open_calls: usize,
    pub failed: bool,
}

#[derive(Debug)]
struct Details {
    user: u32,
    order: u32,
    product: u32,
    category: &'static str,
    currency: &'static str,
    address: u32,
    token: u64,
}

#[derive(Debug)]
struct CallDetails {
    number: u32,
    millis: u32,
    amount_cents: u32,
    minute: u32,
}

impl Request {
    pub fn draw(seed: u64, index: u64) -> Self {
        let mut rng = stream(seed, Stream::Request(index));
        let trace_id = rng.random_range(1..=u128::MAX);
        let categories = ["books", "garden", "kitchen", "music", "toys", "travel"];
        let currencies = ["CHF", "EUR", "GBP", "JPY", "USD"];
        let details = Details {
            user: rng.random_range(1_000..90_000),
            order: rng.random_range(100_000..1_000_000),
            product: rng.random_range(100..2_000),
            category: categories[rng.random_range(0..categories.len() as u32) as usize],
            currency: currencies[rng.random_range(0..currencies.len() as u32) as usize],
            address: rng.random(),
            token: rng.random(),
        };
        let mut choice = rng.random::<f64>();
        let mut operation = REQUESTS[0].0;
        for (candidate, share) in REQUESTS {
            operation = candidate;
            choice -= share;
            if choice < 0.0 {
                break;
            }
        }
        let mut calls = Vec::new();
        plan(operation, None, true, &mut calls, &mut rng);
        Self { trace_id, calls, details }
    }

    /// The text of a log of one of its calls, with the placeholders filled in.
    pub fn text(&self, call: usize, template: &str) -> String {
        let mut text = String::with_capacity(template.len() + 24);
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            text.push_str(&self.value(call, name));
            rest = after;
        }
        text.push_str(rest);
        text
    }

    fn value(&self, call: usize, name: &str) -> String {
        let (request, call) = (&self.details, &self.calls[call].details);
        match name {
            "user" => request.user.to_string(),
            "order" => request.order.to_string(),
            "product" => format!("P-{:05}", request.product),
            "category" => request.category.to_owned(),
            "currency" => request.currency.to_owned(),
            "address" => {
                let [_, b, c, d] = request.address.to_be_bytes();
                format!("10.{b}.{c}.{d}")
            }
            "token" => format!("{:016x}", request.token),
            "number" => call.number.to_string(),
            "millis" => call.millis.to_string(),
            "amount" => format!("{}.{:02}", call.amount_cents / 100, call.amount_cents % 100),
            "time" => format!("{:02}:{:02}", call.minute / 60, call.minute % 60),
            _ => format!("{{{name}}}"),
        }
    }
}

/// Appends a call and those that it makes; returns its index.
fn plan(
    operation: &'static Operation,
    caller: Option<usize>,
    required: bool,
    calls: &mut Vec<Call>,
    rng: &mut ChaCha8Rng,
) -> usize {
    let index = calls.len();
    let parts = operation.steps.len() + 1;
    let part_us = operation.work_ms * 1e3 / parts as f64;
    let mut work_us: Vec<f64> = (0..parts).map(|_| log_normal(rng, part_us, WORK_SIGMA)).collect();
    let details = CallDetails {
        number: rng.random_range(1..60),
        millis: rng.random_range(3..400),
        amount_cents: rng.random_range(199..45_000),
        minute: rng.random_range(0..1_440),
    };
    calls.push(Call {
        operation,
        caller,
        required,
        span_id: span_id(rng),
        client_span_id: span_id(rng),
        steps: Vec::new(),
        work_us: Vec::new(),
        gap_there_us: log_normal(rng, GAP_MEDIAN_US, GAP_SIGMA) as u64 + 1,
        gap_back_us: log_normal(rng, GAP_MEDIAN_US, GAP_SIGMA) as u64 + 1,
        failing_part: 0,
        failing_draw: rng.random(),
        details,
        sent_us: 0,
        started_us: 0,
        parts_done: 0,
        open_calls: 0,
        failed: false,
    });
    let mut steps: Vec<Vec<usize>> = Vec::new();
    for step in operation.steps {
        let mut step_calls = Vec::new();
        for call in *step {
            if rng.random::<f64>() < call.probability {
                step_calls.push(plan(call.to, Some(index), call.required, calls, rng));
            }
        }
        if step_calls.is_empty() {
            // Nothing to wait for: the work after it joins the work before it.
            let joined = work_us.remove(steps.len() + 1);
            work_us[steps.len()] += joined;
        } else {
            steps.push(step_calls);
        }
    }
    let call = &mut calls[index];
    call.failing_part = rng.random_range(0..work_us.len() as u32) as usize;
    call.steps = steps;
    call.work_us = work_us;
    index
}
