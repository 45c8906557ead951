//! Prometheus remote write, 1.0 and 2.0.

use foreshock_codec::{Dropped, Limits};
use proptest::prelude::*;
use prost::Message;

use crate::{decode_as, reason, rows};

const REMOTE_WRITE: (&str, &str) = ("metrics", "prometheus_remote_write");
const STALE: u64 = 0x7ff0_0000_0000_0002;

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count_int: u64,
    #[prost(double, tag = "2")]
    count_float: f64,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    zero_count_int: u64,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata>,
    #[prost(int64, tag = "6")]
    created_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    metric_type: i32,
}

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(name, value)| Label { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

fn sample(value: f64, timestamp: i64) -> Sample {
    Sample { value, timestamp, ..Default::default() }
}

fn series(pairs: &[(&str, &str)], samples: Vec<Sample>) -> TimeSeries {
    TimeSeries { labels: labels(pairs), samples, ..Default::default() }
}

fn snappy(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap()
}

pub fn request() -> WriteRequest {
    let requests = [("__name__", "requests_total"), ("instance", "h:1"), ("job", "shop/cart"), ("empty", "")];
    WriteRequest {
        timeseries: vec![
            series(&requests, vec![sample(1.0, 5), sample(2.0, 6), sample(f64::from_bits(STALE), 7)]),
            series(
                &[("__name__", "up"), ("service_name", "web")],
                vec![sample(1.0, 5), sample(f64::INFINITY, 6)],
            ),
            series(&[("__name__", "up")], vec![sample(1.0, 0)]),
            series(&[("job", "nameless")], vec![sample(1.0, 5)]),
        ],
        metadata: labels(&[("x", "y")]),
    }
}

#[test]
fn first_version() {
    let expected = [
        "Counter __name__=requests_total,instance=h:1,job=shop/cart,service.name=shop/cart start None at 5 = 1",
        "Counter __name__=requests_total,instance=h:1,job=shop/cart,service.name=shop/cart start None at 6 = 2",
        "Gauge __name__=up,service.name=web,service_name=web start None at 5 = 1",
    ];
    let dropped = Dropped { no_value: 1, non_finite: 1, no_time: 1, malformed: 1, ..Dropped::default() };
    for payload in [snappy(&request()), request().encode_to_vec()] {
        assert_eq!(rows(REMOTE_WRITE, payload), (expected.map(str::to_owned).to_vec(), dropped));
    }
    let headers: [(&str, &[u8]); 1] = [("Content-Encoding", b"snappy")];
    let (telemetry, _) = decode_as(Limits::default(), REMOTE_WRITE, &headers, &snappy(&request())).unwrap();
    assert_eq!(crate::lines(&telemetry), expected);
    assert_eq!(rows(REMOTE_WRITE, b""), (Vec::new(), Dropped::default()));
}

fn second(timeseries: Vec<TimeSeries2>) -> Request {
    let symbols = ["", "__name__", "a_total", "job", "cart", "b", "c_bucket"].map(str::to_owned).to_vec();
    Request { symbols, timeseries }
}

fn of(name: u32, metric_type: i32) -> TimeSeries2 {
    TimeSeries2 {
        labels_refs: vec![1, name, 3, 4],
        samples: vec![sample(1.0, 5)],
        metadata: Some(Metadata { metric_type }),
        ..Default::default()
    }
}

pub fn second_request() -> Request {
    let started = Sample { start_timestamp: 3, ..sample(2.0, 6) };
    let timeseries = vec![
        of(5, 1),
        of(2, 2),
        TimeSeries2 { created_timestamp: 2, samples: vec![sample(1.0, 5), started], ..of(2, 0) },
        of(6, 3),
        of(5, 5),
        TimeSeries2 { labels_refs: vec![3, 4, 1, 5], ..of(5, 1) },
    ];
    second(timeseries)
}

#[test]
fn second_version() {
    let expected = [
        "Counter __name__=b,job=cart,service.name=cart start None at 5 = 1",
        "Gauge __name__=a_total,job=cart,service.name=cart start None at 5 = 1",
        "Counter __name__=a_total,job=cart,service.name=cart start Some(2) at 5 = 1",
        "Counter __name__=a_total,job=cart,service.name=cart start Some(3) at 6 = 2",
        "Counter __name__=c_bucket,job=cart,service.name=cart start None at 5 = 1",
        "Gauge __name__=b,job=cart,service.name=cart start None at 5 = 1",
        "Counter __name__=b,job=cart,service.name=cart start None at 5 = 1",
    ];
    let request = second_request();
    assert_eq!(
        rows(REMOTE_WRITE, snappy(&request)),
        (expected.map(str::to_owned).to_vec(), Dropped::default())
    );
    let wrong = |labels_refs| second(vec![TimeSeries2 { labels_refs, ..of(5, 1) }]).encode_to_vec();
    let expected =
        "no Prometheus remote write request: a label refers to the symbol 99, of which there are 7";
    assert_eq!(reason(REMOTE_WRITE, wrong(vec![1, 99])), expected);
    let expected = "no Prometheus remote write request: a series has a label without a value";
    assert_eq!(reason(REMOTE_WRITE, wrong(vec![1])), expected);
    let both = [request.encode_to_vec(), self::request().encode_to_vec()].concat();
    let expected = "no Prometheus remote write request: it mixes the fields of 1.0 and 2.0";
    assert_eq!(reason(REMOTE_WRITE, both), expected);
}

#[test]
fn symbols_are_bound() {
    let symbols = vec!["__name__".to_owned(), "x".repeat(1000)];
    let timeseries = vec![TimeSeries2 {
        labels_refs: [0, 1].repeat(1000),
        samples: vec![sample(1.0, 5)],
        ..Default::default()
    }];
    let payload = Request { symbols, timeseries }.encode_to_vec();
    let limits = Limits { text_bytes_max: 100_000, ..Limits::default() };
    let rejected = decode_as(limits, REMOTE_WRITE, &[], &payload).unwrap_err();
    assert_eq!(rejected.code(), "too_much_text");
}

#[test]
fn empty_buckets_are_bound() {
    let histogram = Histogram {
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 9000, length: 1 }],
        positive_deltas: vec![1, 0],
        schema: 8,
        timestamp: 9,
        ..Default::default()
    };
    let series = TimeSeries {
        labels: labels(&[("__name__", "h")]),
        histograms: vec![histogram; 10],
        ..Default::default()
    };
    let payload = WriteRequest { timeseries: vec![series], metadata: Vec::new() }.encode_to_vec();
    let limits = Limits { text_bytes_max: 1_000_000, ..Limits::default() };
    assert_eq!(decode_as(limits, REMOTE_WRITE, &[], &payload).unwrap_err().code(), "too_much_text");
    assert!(decode_as(Limits::default(), REMOTE_WRITE, &[], &payload).is_ok());
}

#[test]
fn native_histograms() {
    let histogram = Histogram {
        count_int: 12,
        sum: 20.5,
        zero_threshold: 0.001,
        zero_count_int: 2,
        negative_spans: vec![BucketSpan { offset: 0, length: 1 }],
        negative_deltas: vec![1],
        positive_spans: vec![BucketSpan { offset: 1, length: 2 }, BucketSpan { offset: 1, length: 1 }],
        positive_deltas: vec![2, 1, 1],
        timestamp: 9,
        ..Default::default()
    };
    let custom = Histogram {
        count_float: 5.2,
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 1, length: 1 }],
        positive_counts: vec![2.0, 3.2],
        custom_values: vec![-1.0, 5.0],
        timestamp: 9,
        ..Default::default()
    };
    let stale = Histogram { sum: f64::from_bits(STALE), ..histogram.clone() };
    let gauge = Histogram { reset_hint: 3, ..histogram.clone() };
    let short = Histogram { positive_deltas: vec![2], ..histogram.clone() };
    let wide =
        Histogram { positive_spans: vec![BucketSpan { offset: 0, length: u32::MAX }], ..histogram.clone() };
    let schema = Histogram { schema: 9, ..histogram.clone() };
    let series = TimeSeries {
        labels: labels(&[("__name__", "h"), ("job", "cart")]),
        histograms: vec![histogram, custom, stale, gauge, short, wide, schema],
        ..Default::default()
    };
    let payload = WriteRequest { timeseries: vec![series], metadata: Vec::new() };
    let row = |count, sum: &str, bounds: &str, counts: &str| {
        format!(
            r#"HistogramRow {{ labels: "__name__=h,job=cart,service.name=cart", time_ms: 9, start_ms: None, delta: false, count: {count}, sum: {sum}, bounds: {bounds}, counts: {counts} }}"#
        )
    };
    let expected = [
        // Around zero: from the negative bucket (-1, -0.5] on to the positive one (1, 2].
        row(12, "20.5", "[-1.0, -0.5, 1.0, 2.0, 4.0, 8.0, 16.0]", "[0, 1, 2, 2, 3, 0, 4, 0]"),
        row(5, "0.0", "[-1.0, 5.0]", "[2, 0, 3]"),
    ];
    let (lines, dropped) = rows(REMOTE_WRITE, snappy(&payload));
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { no_value: 1, malformed: 4, ..Dropped::default() });
}

#[test]
fn what_is_wrong_is_named() {
    assert!(reason(REMOTE_WRITE, b"\xff\xff").starts_with("no snappy: "));
    assert_eq!(
        reason(REMOTE_WRITE, b"\x0a\x7f"),
        "no Prometheus remote write request: it ends within a field"
    );
    let limit = Limits::default().payload_bytes_max;
    let zeros = snap::raw::Encoder::new().compress_vec(&vec![0; limit + 1]).unwrap();
    let expected = format!("the payload has more than {limit} bytes once it is decompressed");
    assert_eq!(reason(REMOTE_WRITE, zeros), expected);
}

/// The canonical labels, as prost reads them.
fn expected(request: &WriteRequest) -> Vec<(String, u64)> {
    let mut rows = Vec::new();
    for series in &request.timeseries {
        let pairs = series.labels.iter().filter(|label| !label.value.is_empty());
        let labels = model::Labels::new(pairs.map(|label| (label.name.clone(), label.value.clone())));
        let service =
            ["service.name", "job"].iter().find_map(|name| labels.get(name)).unwrap_or("unknown_service");
        let labels = labels.with("service.name", service);
        for sample in &series.samples {
            if labels.get("__name__").is_some() && sample.value.is_finite() && sample.timestamp != 0 {
                rows.push((labels.canonical(), sample.value.to_bits()));
            }
        }
    }
    rows
}

fn requests() -> impl Strategy<Value = WriteRequest> {
    let name = prop_oneof![Just("__name__"), Just("job"), Just("service.name"), Just("a"), Just("b=,\\")];
    let label = (name, "[a-c=,\\\\é]{0,3}").prop_map(|(name, value)| Label { name: name.to_owned(), value });
    let sample = (any::<f64>(), -2..3i64).prop_map(|(value, timestamp)| sample(value, timestamp));
    let series = (proptest::collection::vec(label, 0..5), proptest::collection::vec(sample, 0..4))
        .prop_map(|(labels, samples)| TimeSeries { labels, samples, ..Default::default() });
    proptest::collection::vec(series, 0..5)
        .prop_map(|timeseries| WriteRequest { timeseries, metadata: Vec::new() })
}

proptest! {
    #[test]
    fn equal_to_prost_in_any_order(request in requests(), seed in any::<u64>()) {
        use crate::rearranged::{self, Arrangement};
        for arrangement in [Arrangement::Ascending, Arrangement::Descending, Arrangement::Shuffled(seed)] {
            let payload = rearranged::message(&request.encode_to_vec(), rearranged::WRITE_REQUEST, arrangement);
            let expected = expected(&WriteRequest::decode(payload.as_slice()).unwrap());
            let (telemetry, _) = decode_as(Limits::default(), REMOTE_WRITE, &[], &payload).unwrap();
            let mut actual = Vec::new();
            for batch in &telemetry {
                let model::Telemetry::Samples(batch) = batch else { panic!("only samples are written") };
                actual.extend(batch.rows().map(|row| (row.labels.to_owned(), row.value.to_bits())));
            }
            prop_assert_eq!(actual, expected);
        }
    }
}
