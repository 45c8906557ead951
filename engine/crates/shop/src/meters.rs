//! The metrics of a service.

use proto::opentelemetry::metrics::v1::metric::Data;
use proto::opentelemetry::metrics::v1::number_data_point::Value;
use proto::opentelemetry::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use rand_chacha::ChaCha8Rng;

use crate::draw::{Stream, normal, stream};
use crate::export::text;
use crate::graph::SERVICES;

const BOUNDS_S: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const CONNECTIONS_KEPT: u64 = 3;
const CPU_NOISE: f64 = 0.012;
const MEMORY_NOISE: f64 = 0.012;
const MEMORY_NOISE_KEPT: f64 = 0.9;
/// A process that leaks is killed or spends its time on cleaning up before the last byte is taken.
const MEMORY_FULL: f64 = 0.97;

#[derive(Debug)]
pub struct Meters {
    service: usize,
    noise: ChaCha8Rng,
    memory_noise: f64,
    start_ns: u64,
    count: u64,
    sum_s: f64,
    counts: [u64; BOUNDS_S.len() + 1],
    open_calls: u64,
    most_open_calls: u64,
}

impl Meters {
    pub fn new(seed: u64, service: usize, start_ns: u64) -> Self {
        Self {
            service,
            noise: stream(seed, Stream::Metrics(service)),
            memory_noise: 0.0,
            start_ns,
            count: 0,
            sum_s: 0.0,
            counts: [0; BOUNDS_S.len() + 1],
            open_calls: 0,
            most_open_calls: 0,
        }
    }

    pub fn call_started(&mut self) {
        self.open_calls += 1;
        self.most_open_calls = self.most_open_calls.max(self.open_calls);
    }

    pub fn call_ended(&mut self, duration_us: u64) {
        let duration_s = duration_us as f64 / 1e6;
        self.open_calls = self.open_calls.saturating_sub(1);
        self.count += 1;
        self.sum_s += duration_s;
        self.counts[BOUNDS_S.partition_point(|bound| *bound < duration_s)] += 1;
    }

    /// All metrics of the service, given its CPU utilization without noise and the pressure of a leak, both 0 to 1.
    pub fn collect(&mut self, time_ns: u64, cpu: f64, pressure: f64) -> Vec<Metric> {
        const MIB: f64 = 1_048_576.0;
        let service = &SERVICES[self.service];
        let cpu = (cpu + CPU_NOISE * normal(&mut self.noise)).clamp(0.005, 1.0);
        self.memory_noise =
            self.memory_noise * MEMORY_NOISE_KEPT + MEMORY_NOISE * normal(&mut self.noise) * (1.0 - pressure);
        let usual = service.memory_mib * (1.0 + self.memory_noise);
        let memory = usual + (service.memory_limit_mib * MEMORY_FULL - usual) * pressure;

        let cumulative = AggregationTemporality::Cumulative as i32;
        let point = |start_ns, value| NumberDataPoint {
            start_time_unix_nano: start_ns,
            time_unix_nano: time_ns,
            value: Some(value),
            ..Default::default()
        };
        let gauge = |value| Data::Gauge(Gauge { data_points: vec![point(0, value)] });
        let requests = Sum {
            data_points: vec![point(self.start_ns, Value::AsInt(self.count as i64))],
            aggregation_temporality: cumulative,
            is_monotonic: true,
        };
        let durations = Histogram {
            data_points: vec![HistogramDataPoint {
                start_time_unix_nano: self.start_ns,
                time_unix_nano: time_ns,
                count: self.count,
                sum: Some(self.sum_s),
                bucket_counts: self.counts.to_vec(),
                explicit_bounds: BOUNDS_S.to_vec(),
                ..Default::default()
            }],
            aggregation_temporality: cumulative,
        };
        let mut metrics = vec![
            metric("cpu.utilization", "1", gauge(Value::AsDouble(cpu))),
            metric("memory.usage", "By", gauge(Value::AsInt((memory * MIB) as i64))),
            metric("http.server.request.count", "{request}", Data::Sum(requests)),
            metric("http.server.request.duration", "s", Data::Histogram(durations)),
        ];
        if service.database {
            let used = CONNECTIONS_KEPT + self.most_open_calls;
            let idle = (service.workers as u64).saturating_sub(used);
            let connections = [("used", used), ("idle", idle)].map(|(state, number)| NumberDataPoint {
                attributes: vec![text("state", state)],
                ..point(self.start_ns, Value::AsInt(number as i64))
            });
            let connections = Sum {
                data_points: connections.to_vec(),
                aggregation_temporality: cumulative,
                is_monotonic: false,
            };
            metrics.push(metric("db.client.connections", "{connection}", Data::Sum(connections)));
        }
        self.most_open_calls = self.open_calls;
        metrics
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Default::default() }
}
