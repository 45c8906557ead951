//! Zipkin and Jaeger.

use foreshock_codec::Dropped;
use prost::Message;

use crate::{reason, rows};

const ZIPKIN: (&str, &str) = ("spans", "zipkin_json");
const JAEGER: (&str, &str) = ("spans", "jaeger_proto");

#[test]
fn zipkin() {
    let payload = r#"[
        {"traceId": "5af7183fb1d4cf5f", "id": "352bff9a74ca9ad2", "parentId": "6b221d5bc9e6496c", "name": "get /api", "kind": "SERVER",
         "timestamp": 1556604172355737, "duration": 1431, "localEndpoint": {"serviceName": "backend", "ipv4": "192.168.99.1"},
         "remoteEndpoint": {"ipv4": "172.19.0.2"}, "tags": {"http.method": "GET", "error": ""}, "shared": true},
        {"traceId": "0000000000000001000000000000000f", "id": "0000000000000002", "timestamp": 5, "tags": {"error": "false"}},
        {"traceId": "1", "id": "2", "timestamp": "7", "kind": "CLIENT", "tags": {"otel.status_code": "ERROR"}},
        {"traceId": "1", "id": "", "timestamp": 7},
        {"traceId": "1", "id": "2"}]"#;
    let expected = [
        format!(
            r#"SpanRow {{ start_us: 1556604172355737, duration_us: 1431, trace_id: {}, span_id: {}, parent: Some({}), service: "backend", operation: "get /api", kind: 2, error: true }}"#,
            0x5af7_183f_b1d4_cf5f_u128, 0x352b_ff9a_74ca_9ad2_u64, 0x6b22_1d5b_c9e6_496c_u64
        ),
        format!(
            r#"SpanRow {{ start_us: 5, duration_us: 0, trace_id: {}, span_id: 2, parent: None, service: "unknown_service", operation: "", kind: 1, error: false }}"#,
            (1u128 << 64) + 15
        ),
        r#"SpanRow { start_us: 7, duration_us: 0, trace_id: 1, span_id: 2, parent: None, service: "unknown_service", operation: "", kind: 3, error: true }"#.to_owned(),
    ];
    let (lines, dropped) = rows(ZIPKIN, payload);
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { malformed: 1, no_time: 1, ..Dropped::default() });
    assert_eq!(
        reason(ZIPKIN, "[1]"),
        "no JSON: invalid type: integer `1`, expected a JSON object at line 1 column 2"
    );
    assert!(reason(ZIPKIN, "[{").starts_with("no JSON: EOF while parsing"));
}

#[test]
fn zipkin_times_that_make_no_sense() {
    for times in [
        r#""timestamp": 1e300"#,
        r#""timestamp": "inf""#,
        r#""timestamp": 9223372036854775807"#,
        r#""timestamp": 1556604172355737, "duration": 1e19"#,
        r#""timestamp": 1556604172355737, "duration": 9223372036854775807"#,
        r#""timestamp": 9223372036854775, "duration": 1"#,
    ] {
        let payload = format!(r#"{{"traceId": "1", "id": "2", {times}}}"#);
        assert_eq!(
            rows(ZIPKIN, payload),
            (Vec::new(), Dropped { malformed: 1, ..Dropped::default() }),
            "{times}"
        );
    }
    for time in ["-5", "0.5", "\"NaN\""] {
        let payload = format!(r#"{{"traceId": "1", "id": "2", "timestamp": {time}}}"#);
        assert_eq!(
            rows(ZIPKIN, payload),
            (Vec::new(), Dropped { no_time: 1, ..Dropped::default() }),
            "{time}"
        );
    }
    let (lines, _) = rows(ZIPKIN, r#"{"traceId": "1", "id": "2", "timestamp": 7, "duration": -1e300}"#);
    assert!(lines[0].contains("start_us: 7, duration_us: 0,"), "{lines:?}");
}

#[derive(Clone, PartialEq, Message)]
pub struct Span {
    #[prost(bytes, tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes, tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    operation_name: String,
    #[prost(message, repeated, tag = "4")]
    references: Vec<Reference>,
    #[prost(uint32, tag = "5")]
    flags: u32,
    #[prost(message, optional, tag = "6")]
    start_time: Option<Time>,
    #[prost(message, optional, tag = "7")]
    duration: Option<Time>,
    #[prost(message, repeated, tag = "8")]
    tags: Vec<Tag>,
    #[prost(message, optional, tag = "10")]
    process: Option<Process>,
}

#[derive(Clone, PartialEq, Message)]
struct Reference {
    #[prost(bytes, tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes, tag = "2")]
    span_id: Vec<u8>,
    #[prost(int32, tag = "3")]
    ref_type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tag {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(int32, tag = "2")]
    v_type: i32,
    #[prost(string, tag = "3")]
    v_str: String,
    #[prost(bool, tag = "4")]
    v_bool: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Process {
    #[prost(string, tag = "1")]
    service_name: String,
    #[prost(message, repeated, tag = "2")]
    tags: Vec<Tag>,
}

fn tag(key: &str, text: &str) -> Tag {
    Tag { key: key.to_owned(), v_str: text.to_owned(), ..Default::default() }
}

fn reference(trace: u128, span: u64, ref_type: i32) -> Reference {
    Reference { trace_id: trace.to_be_bytes().to_vec(), span_id: span.to_be_bytes().to_vec(), ref_type }
}

pub fn span() -> Span {
    Span {
        trace_id: 5u128.to_be_bytes().to_vec(),
        span_id: 6u64.to_be_bytes().to_vec(),
        operation_name: "GET /".to_owned(),
        references: vec![reference(4, 1, 0), reference(5, 2, 1), reference(5, 3, 0)],
        flags: 1,
        start_time: Some(Time { seconds: 1_760_000_000, nanos: 123_456_789 }),
        duration: Some(Time { seconds: 0, nanos: 7_000 }),
        tags: vec![tag("span.kind", "client"), Tag { v_type: 1, v_bool: true, ..tag("error", "") }],
        process: Some(Process {
            service_name: "cart".to_owned(),
            tags: vec![tag("service.namespace", "shop"), tag("hostname", "h")],
        }),
    }
}

#[test]
fn jaeger() {
    let expected = r#"SpanRow { start_us: 1760000000123456, duration_us: 7, trace_id: 5, span_id: 6, parent: Some(3), service: "shop/cart", operation: "GET /", kind: 3, error: true }"#;
    assert_eq!(rows(JAEGER, span().encode_to_vec()), (vec![expected.to_owned()], Dropped::default()));
    let bare = Span { references: vec![reference(5, 2, 1)], tags: Vec::new(), process: None, ..span() };
    let (lines, _) = rows(JAEGER, bare.encode_to_vec());
    assert!(lines[0].contains(r#"parent: Some(2), service: "unknown_service""#), "{lines:?}");
    assert!(lines[0].contains("kind: 0, error: false"), "{lines:?}");
    let without_id = Span { span_id: Vec::new(), ..span() };
    assert_eq!(rows(JAEGER, without_id.encode_to_vec()).1, Dropped { malformed: 1, ..Dropped::default() });
    let without_start = Span { start_time: None, ..span() };
    assert_eq!(rows(JAEGER, without_start.encode_to_vec()).1, Dropped { no_time: 1, ..Dropped::default() });
    assert_eq!(reason(JAEGER, b"\x0a\x05abc"), "no Jaeger span: it ends within a field");
    assert_eq!(reason(JAEGER, b"\x08\x01"), "no Jaeger span: field 1 has another wire type than it should");
}

#[test]
fn jaeger_times_that_make_no_sense() {
    let of_times = |start: (i64, i32), duration: (i64, i32)| {
        let time = |(seconds, nanos)| Some(Time { seconds, nanos });
        rows(JAEGER, Span { start_time: time(start), duration: time(duration), ..span() }.encode_to_vec())
    };
    let start = (1_760_000_000, 0);
    for (start, duration) in [
        ((i64::MAX, 0), (0, 0)),
        ((9_223_372_036_854, i32::MAX), (0, 0)),
        (start, (i64::MAX, i32::MAX)),
        (start, (9_223_372_036_854, 0)),
    ] {
        let malformed = Dropped { malformed: 1, ..Dropped::default() };
        assert_eq!(of_times(start, duration), (Vec::new(), malformed), "{start:?} {duration:?}");
    }
    for start in [(i64::MIN, i32::MIN), (-1, 0), (0, i32::MIN)] {
        let no_time = Dropped { no_time: 1, ..Dropped::default() };
        assert_eq!(of_times(start, (0, 0)), (Vec::new(), no_time), "{start:?}");
    }
    let (lines, _) = of_times(start, (i64::MIN, i32::MIN));
    assert!(lines[0].contains("start_us: 1760000000000000, duration_us: 0,"), "{lines:?}");
}
