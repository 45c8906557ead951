//! The simulation: discrete events, in the order of simulated time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;

use proto::opentelemetry::common::v1::any_value::Value;
use proto::opentelemetry::common::v1::{AnyValue, KeyValue};
use proto::opentelemetry::logs::v1::{LogRecord, SeverityNumber};
use proto::opentelemetry::trace::v1::span::SpanKind;
use proto::opentelemetry::trace::v1::status::StatusCode;
use proto::opentelemetry::trace::v1::{Span, Status};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Stream, exponential, stream};
use crate::export::{Exporter, Message, integer, text};
use crate::fault::{ActiveFault, Fault, FaultKind, InvalidFault};
use crate::graph::{Protocol, SERVICES};
use crate::load::Load;
use crate::meters::Meters;
use crate::request::Request;

const FLUSH_MS: i64 = 1_000;
const METRICS_MS: i64 = 10_000;
/// The share of calls that fail by themselves, drawn per service. With those that fail with a callee it is 0.1 to 0.3 %.
const ERROR_RATE: Range<f64> = 0.0004..0.0008;
/// Calls that wait at a service; more are refused.
const WAITING_MAX: usize = 256;
/// The share of the CPU that is left at saturation, for what the work is slowed down to.
const CPU_LEFT: f64 = 0.07;
/// A query is slow from this multiple of its usual duration on.
const SLOW_QUERY: f64 = 6.0;
/// Harmless deploys keep this far from the faults of the same service.
const HARMLESS_DISTANCE_MS: i64 = 600_000;

#[derive(Clone, Debug, PartialEq)]
pub struct ShopConfig {
    pub seed: u64,
    /// Start of the simulated time, in ms since the Unix epoch.
    pub start_ms: i64,
    /// Requests from outside, which are traces, on average over the wave of the load.
    pub requests_per_second: f64,
    /// Also a client span in the caller for each call.
    pub client_spans: bool,
    /// Mean time between deploys that change nothing, of any service.
    pub harmless_deploy_ms: i64,
}

impl ShopConfig {
    pub fn new(seed: u64, start_ms: i64) -> Self {
        Self { seed, start_ms, ..Self::default() }
    }
}

impl Default for ShopConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            // 2026-01-01.
            start_ms: 1_767_225_600_000,
            requests_per_second: 4.0,
            client_spans: true,
            harmless_deploy_ms: 300_000,
        }
    }
}

/// The names of all services, databases included.
pub fn service_names() -> Vec<&'static str> {
    SERVICES.iter().map(|service| service.name).collect()
}

/// Where a call is: the index of its request, and its index in there.
type CallId = (u64, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request from outside, which draws the time of the next one.
    Request(u64),
    /// A call reaches its service.
    Arrival(CallId),
    /// A part of the work of a call is done.
    PartDone(CallId),
    /// The caller has the answer.
    Answer(CallId),
    HarmlessDeploy,
    FaultyDeploy {
        service: usize,
        rolls_back: bool,
    },
    /// The last of its time, so that it takes along what ends at that time.
    Flush,
}

impl Event {
    fn rank(self) -> u8 {
        u8::from(self == Self::Flush)
    }
}

/// Time in µs since the start, rank, sequence number.
type Key = (u64, u8, u64);

#[derive(Debug, Default)]
struct Workers {
    busy: usize,
    waiting: VecDeque<CallId>,
}

/// A shop in simulated time. The same configuration and faults give the same messages, however the steps are cut.
#[derive(Debug)]
pub struct Shop {
    config: ShopConfig,
    now_us: u64,
    events: BinaryHeap<Reverse<(Key, Event)>>,
    sequence: u64,
    load: Load,
    deploys: ChaCha8Rng,
    faults: Vec<ActiveFault>,
    requests: BTreeMap<u64, Request>,
    error_rates: Vec<f64>,
    workers: Vec<Workers>,
    meters: Vec<Meters>,
    exporter: Exporter,
    messages: Vec<Message>,
}

impl Shop {
    pub fn new(config: ShopConfig) -> Self {
        let seed = config.seed;
        let start_ns = config.start_ms.max(0) as u64 * 1_000_000;
        let mut setup = stream(seed, Stream::Setup);
        let mut shop = Self {
            now_us: 0,
            events: BinaryHeap::new(),
            sequence: 0,
            load: Load::new(seed, config.requests_per_second.clamp(0.001, 10_000.0)),
            deploys: stream(seed, Stream::Deploys),
            faults: Vec::new(),
            requests: BTreeMap::new(),
            error_rates: SERVICES.iter().map(|_| setup.random_range(ERROR_RATE)).collect(),
            workers: SERVICES.iter().map(|_| Workers::default()).collect(),
            meters: (0..SERVICES.len()).map(|service| Meters::new(seed, service, start_ns)).collect(),
            exporter: Exporter::new(),
            messages: Vec::new(),
            config,
        };
        let first = shop.load.next_us(0);
        shop.schedule(first, Event::Request(0));
        shop.schedule_harmless_deploy();
        let flush_ms = FLUSH_MS - shop.config.start_ms.rem_euclid(FLUSH_MS);
        shop.schedule(flush_ms as u64 * 1_000, Event::Flush);
        shop
    }

    /// Breaks something, from now on if the start is past already. Inject before the steps that it is about: what a
    /// step returned stays as it is.
    pub fn inject(&mut self, fault: &Fault) -> Result<(), InvalidFault> {
        let fault = ActiveFault::new(self.config.seed, fault, self.now_ms())?;
        if fault.kind == FaultKind::ErrorsAfterDeploy {
            for (time_ms, rolls_back) in [(fault.start_ms, false), (fault.end_ms, true)] {
                let event = Event::FaultyDeploy { service: fault.service, rolls_back };
                self.schedule(self.us(time_ms), event);
            }
        }
        self.faults.push(fault);
        Ok(())
    }

    /// What the exporters write up to and including `until_ms` that was not returned yet, in the order of time.
    pub fn step(&mut self, until_ms: i64) -> Vec<Message> {
        let until_us = (until_ms - self.config.start_ms).max(0) as u64 * 1_000;
        while let Some(Reverse((key, _))) = self.events.peek()
            && key.0 <= until_us
            && let Some(Reverse((key, event))) = self.events.pop()
        {
            self.now_us = key.0;
            self.handle(event);
        }
        self.now_us = self.now_us.max(until_us);
        std::mem::take(&mut self.messages)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request(index) => {
                let next = self.load.next_us(self.now_us);
                self.schedule(next, Event::Request(index + 1));
                self.requests.insert(index, Request::draw(self.config.seed, index));
                self.arrive((index, 0));
            }
            Event::Arrival(id) => self.arrive(id),
            Event::PartDone(id) => self.part_done(id),
            Event::Answer(id) => self.answer(id),
            Event::HarmlessDeploy => {
                let service = self.deploys.random_range(0..SERVICES.len() as u32) as usize;
                let now_ms = self.now_ms();
                let near = |fault: &ActiveFault| {
                    fault.service == service
                        && now_ms >= fault.start_ms - HARMLESS_DISTANCE_MS
                        && now_ms <= fault.end_ms + HARMLESS_DISTANCE_MS
                };
                if !self.faults.iter().any(near) {
                    self.messages.push(self.exporter.deploy(service, false, now_ms));
                }
                self.schedule_harmless_deploy();
            }
            Event::FaultyDeploy { service, rolls_back } => {
                let message = self.exporter.deploy(service, rolls_back, self.now_ms());
                self.messages.push(message);
            }
            Event::Flush => {
                let time_ms = self.now_ms();
                if time_ms.rem_euclid(METRICS_MS) == 0 {
                    let metrics = self.collect();
                    self.messages.push(metrics);
                }
                self.exporter.flush(time_ms, &mut self.messages);
                self.schedule(self.now_us + FLUSH_MS as u64 * 1_000, Event::Flush);
            }
        }
    }

    // Calls.

    fn arrive(&mut self, id: CallId) {
        let now_us = self.now_us;
        let Some(request) = self.requests.get_mut(&id.0) else { return };
        let call = &mut request.calls[id.1];
        call.started_us = now_us;
        let operation = call.operation;
        if let Some(template) = operation.started {
            let message = request.text(id.1, template);
            self.log(id, SeverityNumber::Info, message);
        }
        self.meters[operation.service].call_started();
        self.work(id);
    }

    /// Starts the next part of the work of a call, or lets it wait for a worker.
    fn work(&mut self, id: CallId) {
        let Some(call) = self.requests.get(&id.0).map(|request| &request.calls[id.1]) else { return };
        let service = call.operation.service;
        let workers = &mut self.workers[service];
        if workers.busy < SERVICES[service].workers {
            workers.busy += 1;
            self.start_part(id);
        } else if workers.waiting.len() < WAITING_MAX {
            workers.waiting.push_back(id);
        } else {
            self.log(id, SeverityNumber::Error, format!("call refused: {WAITING_MAX} calls wait already"));
            self.finish(id, true);
        }
    }

    fn start_part(&mut self, id: CallId) {
        let Some(call) = self.requests.get(&id.0).map(|request| &request.calls[id.1]) else { return };
        let work_us = call.work_us[call.parts_done] * self.slowdown(call.operation.service);
        self.schedule(self.now_us + (work_us as u64).max(1), Event::PartDone(id));
    }

    fn part_done(&mut self, id: CallId) {
        let now_ms = self.now_ms_exactly();
        let Some(request) = self.requests.get_mut(&id.0) else { return };
        let call = &mut request.calls[id.1];
        let part = call.parts_done;
        call.parts_done += 1;
        let operation = call.operation;
        let service = operation.service;

        match self.workers[service].waiting.pop_front() {
            Some(next) => self.start_part(next),
            None => self.workers[service].busy -= 1,
        }

        let Some(request) = self.requests.get(&id.0) else { return };
        let call = &request.calls[id.1];
        let faults = self.faults.iter().filter(|fault| fault.service == service);
        let error_rate =
            faults.map(|fault| fault.error_rate(now_ms)).fold(self.error_rates[service], f64::max);
        if part == call.failing_part && call.failing_draw < error_rate {
            let message = request.text(id.1, operation.failed);
            self.log(id, SeverityNumber::Error, message);
            self.finish(id, true);
        } else if part < call.steps.len() {
            self.call_all(id, part);
        } else {
            if let Some(template) = operation.succeeded {
                let message = request.text(id.1, template);
                self.log(id, SeverityNumber::Info, message);
            }
            self.finish(id, false);
        }
    }

    /// Makes the calls of one step.
    fn call_all(&mut self, id: CallId, step: usize) {
        let now_us = self.now_us;
        let Some(request) = self.requests.get_mut(&id.0) else { return };
        let callees = request.calls[id.1].steps[step].clone();
        request.calls[id.1].open_calls = callees.len();
        let mut arrivals = Vec::with_capacity(callees.len());
        for callee in callees {
            let call = &mut request.calls[callee];
            call.sent_us = now_us;
            arrivals.push((now_us + call.gap_there_us, Event::Arrival((id.0, callee))));
        }
        for (at_us, event) in arrivals {
            self.schedule(at_us, event);
        }
    }

    /// Ends a call at its service and sends the answer.
    fn finish(&mut self, id: CallId, failed: bool) {
        let now_us = self.now_us;
        let Some(request) = self.requests.get_mut(&id.0) else { return };
        let call = &mut request.calls[id.1];
        call.failed = failed;
        let (operation, caller, answer_us) = (call.operation, call.caller, now_us + call.gap_back_us);
        let duration_us = now_us - call.started_us;
        if SERVICES[operation.service].database
            && duration_us as f64 > SLOW_QUERY * operation.work_ms * 1e3
            && !failed
        {
            let milliseconds = duration_us / 1_000;
            self.log(
                id,
                SeverityNumber::Warn,
                format!("slow query: {milliseconds} ms for {}", operation.name),
            );
        }
        self.meters[operation.service].call_ended(duration_us);
        self.server_span(id);
        match caller {
            Some(_) => self.schedule(answer_us, Event::Answer(id)),
            None => drop(self.requests.remove(&id.0)),
        }
    }

    /// Takes the answer of a call in at its caller.
    fn answer(&mut self, id: CallId) {
        if self.config.client_spans {
            self.client_span(id);
        }
        let Some(request) = self.requests.get_mut(&id.0) else { return };
        let call = &request.calls[id.1];
        let Some(caller) = call.caller else { return };
        let (operation, failed, required) = (call.operation, call.failed, call.required);
        let caller_id = (id.0, caller);
        let calling = &mut request.calls[caller];
        calling.open_calls -= 1;
        calling.failed |= failed && required;
        let (open_calls, caller_failed) = (calling.open_calls, calling.failed);
        if failed {
            let callee = SERVICES[operation.service].name;
            let (severity, message) = if required {
                (SeverityNumber::Error, format!("call of {} at {callee} failed", operation.name))
            } else {
                (SeverityNumber::Warn, format!("{callee} gave no answer, going on without it"))
            };
            self.log(caller_id, severity, message);
        }
        if open_calls == 0 {
            if caller_failed {
                self.finish(caller_id, true);
            } else {
                self.work(caller_id);
            }
        }
    }

    // State of the services.

    /// What own work takes now, relative to the usual.
    fn slowdown(&self, service: usize) -> f64 {
        let now_ms = self.now_ms_exactly();
        let faults = self.faults.iter().filter(|fault| fault.service == service);
        let work: f64 = faults.map(|fault| fault.work_factor(now_ms)).product();
        let usual = 1.0 - SERVICES[service].idle_cpu - SERVICES[service].load_cpu;
        work * usual / (1.0 - self.cpu(service)).max(CPU_LEFT)
    }

    /// CPU utilization without noise, 0 to 1.
    fn cpu(&self, service: usize) -> f64 {
        let used = SERVICES[service].idle_cpu + SERVICES[service].load_cpu * self.load.now();
        used + (1.0 - used) * self.pressure(service)
    }

    fn pressure(&self, service: usize) -> f64 {
        let now_ms = self.now_ms_exactly();
        let faults = self.faults.iter().filter(|fault| fault.service == service);
        faults.map(|fault| fault.pressure(now_ms)).fold(0.0, f64::max)
    }

    fn collect(&mut self) -> Message {
        let time_ns = self.ns(self.now_us);
        let state = |service| (self.cpu(service), self.pressure(service));
        let states: Vec<_> = (0..SERVICES.len()).map(state).collect();
        let each = self.meters.iter_mut().zip(states);
        let metrics = each.map(|(meters, (cpu, pressure))| meters.collect(time_ns, cpu, pressure)).collect();
        self.exporter.metrics(self.now_ms(), metrics)
    }

    // Telemetry.

    fn log(&mut self, id: CallId, severity: SeverityNumber, message: String) {
        let Some(request) = self.requests.get(&id.0) else { return };
        let call = &request.calls[id.1];
        let severity_text = match severity {
            SeverityNumber::Error => "ERROR",
            SeverityNumber::Warn => "WARN",
            _ => "INFO",
        };
        let time_ns = self.ns(self.now_us);
        let record = LogRecord {
            time_unix_nano: time_ns,
            observed_time_unix_nano: time_ns,
            severity_number: severity.into(),
            severity_text: severity_text.to_owned(),
            body: Some(AnyValue { value: Some(Value::StringValue(message)) }),
            trace_id: request.trace_id.to_be_bytes().to_vec(),
            span_id: call.span_id.to_be_bytes().to_vec(),
            ..Default::default()
        };
        self.exporter.log(call.operation.service, record);
    }

    fn server_span(&mut self, id: CallId) {
        let Some(request) = self.requests.get(&id.0) else { return };
        let call = &request.calls[id.1];
        let parent = match call.caller {
            Some(_) if self.config.client_spans => Some(call.client_span_id),
            Some(caller) => Some(request.calls[caller].span_id),
            None => None,
        };
        let span = self.span(request, id.1, SpanKind::Server, call.span_id, parent, call.started_us);
        self.exporter.span(call.operation.service, span);
    }

    fn client_span(&mut self, id: CallId) {
        let Some(request) = self.requests.get(&id.0) else { return };
        let call = &request.calls[id.1];
        let Some(caller) = call.caller.map(|caller| &request.calls[caller]) else { return };
        let parent = Some(caller.span_id);
        let mut span = self.span(request, id.1, SpanKind::Client, call.client_span_id, parent, call.sent_us);
        span.attributes.push(text("server.address", SERVICES[call.operation.service].name));
        self.exporter.span(caller.operation.service, span);
    }

    /// A span of a call that ends now.
    fn span(
        &self,
        request: &Request,
        call: usize,
        kind: SpanKind,
        span_id: u64,
        parent: Option<u64>,
        start_us: u64,
    ) -> Span {
        let call = &request.calls[call];
        let status = call.failed.then(|| Status { code: StatusCode::Error.into(), ..Default::default() });
        Span {
            trace_id: request.trace_id.to_be_bytes().to_vec(),
            span_id: span_id.to_be_bytes().to_vec(),
            parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            name: call.operation.name.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: self.ns(start_us),
            end_time_unix_nano: self.ns(self.now_us),
            attributes: attributes(call.operation.protocol, call.failed),
            status,
            ..Default::default()
        }
    }

    // Time.

    fn schedule(&mut self, at_us: u64, event: Event) {
        let key = (at_us.max(self.now_us), event.rank(), self.sequence);
        self.sequence += 1;
        self.events.push(Reverse((key, event)));
    }

    fn schedule_harmless_deploy(&mut self) {
        let mean_ms = self.config.harmless_deploy_ms.max(1_000) as f64;
        let wait_ms = exponential(&mut self.deploys, mean_ms) as u64 + 1;
        self.schedule(self.now_us + wait_ms * 1_000, Event::HarmlessDeploy);
    }

    /// µs since the start, 0 before it.
    fn us(&self, time_ms: i64) -> u64 {
        (time_ms - self.config.start_ms).max(0) as u64 * 1_000
    }

    fn ns(&self, at_us: u64) -> u64 {
        self.config.start_ms.max(0) as u64 * 1_000_000 + at_us * 1_000
    }

    fn now_ms(&self) -> i64 {
        self.config.start_ms + (self.now_us / 1_000) as i64
    }

    fn now_ms_exactly(&self) -> f64 {
        self.config.start_ms as f64 + self.now_us as f64 / 1e3
    }
}

fn attributes(protocol: Protocol, failed: bool) -> Vec<KeyValue> {
    match protocol {
        Protocol::Http { method, route } => vec![
            text("http.request.method", method),
            text("http.route", route),
            integer("http.response.status_code", if failed { 500 } else { 200 }),
        ],
        Protocol::Grpc => {
            vec![text("rpc.system", "grpc"), integer("rpc.grpc.status_code", if failed { 13 } else { 0 })]
        }
        Protocol::Database { system, operation } => {
            vec![text("db.system.name", system), text("db.operation.name", operation)]
        }
    }
}
