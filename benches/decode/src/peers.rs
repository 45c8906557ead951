//! Other readers of the same bytes. Each tells how many rows it has found.

use std::hint::black_box;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;

pub fn otlp_metrics(payload: &[u8]) -> usize {
    let request = black_box(ExportMetricsServiceRequest::decode(payload).expect("a valid record"));
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let points = scopes.flat_map(|scope| &scope.metrics).map(|metric| match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        _ => 0,
    });
    points.sum()
}

pub fn otlp_logs(payload: &[u8]) -> usize {
    let request = black_box(ExportLogsServiceRequest::decode(payload).expect("a valid record"));
    let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    scopes.map(|scope| scope.log_records.len()).sum()
}

pub fn otlp_spans(payload: &[u8]) -> usize {
    let request = black_box(ExportTraceServiceRequest::decode(payload).expect("a valid record"));
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

fn unpacked(payload: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(payload).expect("a block of Snappy")
}

pub fn remote_write(payload: &[u8]) -> usize {
    let request = black_box(WriteRequest::decode(unpacked(payload).as_slice()).expect("a valid record"));
    request.timeseries.iter().map(|series| series.samples.len()).sum()
}

pub fn remote_write_2(payload: &[u8]) -> usize {
    let request = black_box(Request2::decode(unpacked(payload).as_slice()).expect("a valid record"));
    request.timeseries.iter().map(|series| series.samples.len()).sum()
}

pub fn json(payload: &[u8]) -> usize {
    let values = serde_json::Deserializer::from_slice(payload).into_iter::<serde_json::Value>();
    values.map(|value| black_box(value.expect("a valid record"))).count()
}

/// It reads one document at a time and writes over it, so each line is copied before.
pub fn simd_json(payload: &[u8]) -> usize {
    let mut line = Vec::new();
    let lines = payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = |text: &[u8]| {
        line.clear();
        line.extend_from_slice(text);
        black_box(simd_json::to_borrowed_value(&mut line).expect("a valid record"));
    };
    lines.map(read).count()
}

pub fn influx(payload: &[u8]) -> usize {
    let text = std::str::from_utf8(payload).expect("UTF-8");
    let lines = influxdb_line_protocol::parse_lines(text);
    lines.map(|line| black_box(line.expect("a valid line")).field_set.len()).sum()
}

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Request2 {
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
}
