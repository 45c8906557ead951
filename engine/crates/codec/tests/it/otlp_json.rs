//! OTLP's JSON mapping.

use foreshock_codec::Dropped;

use crate::{reason, rows};

const RESOURCE: &str = r#""resource": {"attributes": [
    {"key": "service.name", "value": {"stringValue": "cart"}},
    {"key": "service.namespace", "value": {"stringValue": "shop"}}]}"#;

#[test]
fn metrics() {
    let payload = format!(
        r#"{{"resourceMetrics": [{{{RESOURCE}, "schemaUrl": "x", "scopeMetrics": [{{"scope": {{"name": "s"}}, "metrics": [
            {{"name": "g", "unit": "1", "gauge": {{"dataPoints": [
                {{"timeUnixNano": "9000000", "asDouble": 0.25, "attributes": [
                    {{"key": "n", "value": {{"intValue": "-7"}}}}, {{"key": "b", "value": {{"bytesValue": "YW55"}}}},
                    {{"key": "a", "value": {{"arrayValue": {{"values": [{{"boolValue": true}}, {{"doubleValue": "NaN"}}]}}}}}}]}},
                {{"timeUnixNano": 9000000, "asInt": "-3"}},
                {{"timeUnixNano": "9000000", "asDouble": "NaN"}},
                {{"timeUnixNano": "9000000", "asDouble": 1, "flags": 1}}]}}}},
            {{"name": "c", "sum": {{"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
                {{"startTimeUnixNano": "5000000", "timeUnixNano": "9000000", "asInt": "9007199254740993", "exemplars": [{{"x": 1}}]}}]}}}},
            {{"name": "h", "histogram": {{"aggregationTemporality": 1, "dataPoints": [
                {{"timeUnixNano": "9000000", "count": "3", "sum": 2.5, "bucketCounts": ["1", 1, "1"], "explicitBounds": [1, 2.0]}}]}}}},
            {{"name": "e", "exponentialHistogram": {{"aggregationTemporality": 2, "dataPoints": [
                {{"timeUnixNano": "9000000", "count": "4", "scale": 0, "zeroCount": "1",
                  "positive": {{"offset": -1, "bucketCounts": ["1", "2"]}}}}]}}}},
            {{"name": "s", "summary": {{"dataPoints": [
                {{"timeUnixNano": "9000000", "count": "4", "sum": 10, "quantileValues": [{{"quantile": 0.5, "value": 2}}]}}]}}}}
        ]}}]}}]}}"#
    );
    let expected = [
        r#"Gauge __name__=g,a=[true\,"NaN"],b=YW55,n=-7,service.name=shop/cart start None at 9 = 0.25"#,
        "Gauge __name__=g,service.name=shop/cart start None at 9 = -3",
        "Counter __name__=c,service.name=shop/cart start Some(5) at 9 = 9007199254740992",
        "Gauge __name__=s,quantile=0.5,service.name=shop/cart start None at 9 = 2",
        "Counter __name__=s_count,service.name=shop/cart start None at 9 = 4",
        "Counter __name__=s_sum,service.name=shop/cart start None at 9 = 10",
        r#"HistogramRow { labels: "__name__=h,service.name=shop/cart", time_ms: 9, start_ms: None, delta: true, count: 3, sum: 2.5, bounds: [1.0, 2.0], counts: [1, 1, 1] }"#,
        r#"HistogramRow { labels: "__name__=e,service.name=shop/cart", time_ms: 9, start_ms: None, delta: false, count: 4, sum: NaN, bounds: [0.5, 1.0, 2.0], counts: [1, 1, 2, 0] }"#,
    ];
    let (lines, dropped) = rows(("metrics", "otlp_json"), &payload);
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { non_finite: 1, no_value: 1, ..Dropped::default() });
}

#[test]
fn logs() {
    let payload = format!(
        r#"{{"resourceLogs": [{{{RESOURCE}, "scopeLogs": [{{"logRecords": [
            {{"timeUnixNano": "3000000", "severityNumber": 17, "body": {{"stringValue": "failed \u00e9"}},
              "traceId": "00000000000000000000000000000005", "spanId": "0000000000000006"}},
            {{"observedTimeUnixNano": "9000000", "severityText": "WARN", "body": {{"kvlistValue": {{"values": [
                {{"key": "n", "value": {{"intValue": 1}}}}]}}}}, "attributes": [], "traceId": "", "unknown": [{{}}]}},
            {{"time_unix_nano": 4000000, "event_name": "started", "body": null}}]}}]}}]}}"#
    );
    let expected = [
        r#"LogRow { time_ms: 3, service: "shop/cart", severity: 17, body: "failed é", trace_id: Some(5), span_id: Some(6) }"#,
        r#"LogRow { time_ms: 9, service: "shop/cart", severity: 13, body: "{\"n\":1}", trace_id: None, span_id: None }"#,
        r#"LogRow { time_ms: 4, service: "shop/cart", severity: 0, body: "started", trace_id: None, span_id: None }"#,
    ];
    assert_eq!(
        rows(("logs", "otlp_json"), &payload),
        (expected.map(str::to_owned).to_vec(), Dropped::default())
    );
}

#[test]
fn spans() {
    let payload = format!(
        r#"{{"resourceSpans": [{{{RESOURCE}, "scopeSpans": [{{"spans": [
            {{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "EEE19B7EC3C1B174", "parentSpanId": "eee19b7ec3c1b173",
              "name": "GET /", "kind": 2, "startTimeUnixNano": "3999", "endTimeUnixNano": "9000", "status": {{"code": 2}}}},
            {{"traceId": "", "spanId": "eee19b7ec3c1b174", "startTimeUnixNano": "3999"}}]}}]}}]}}"#
    );
    let expected = format!(
        r#"SpanRow {{ start_us: 3, duration_us: 5, trace_id: {}, span_id: {}, parent: Some({}), service: "shop/cart", operation: "GET /", kind: 2, error: true }}"#,
        0x5b8e_fff7_9803_8103_d269_b633_813f_c60c_u128, 0xeee1_9b7e_c3c1_b174_u64, 0xeee1_9b7e_c3c1_b173_u64,
    );
    let (lines, dropped) = rows(("spans", "otlp_json"), &payload);
    assert_eq!(lines, [expected]);
    assert_eq!(dropped, Dropped { malformed: 1, ..Dropped::default() });
}

#[test]
fn what_is_wrong_is_named() {
    for (payload, expected) in [
        (r#"{"resourceSpans": {}}"#, None),
        (r#"{"resourceSpans": [[]]}"#, Some("resourceSpans is an array, expected an object")),
        (r#"{"resourceSpans": 1}"#, Some("resourceSpans is 1, expected an object")),
        (
            r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}"#,
            Some("traceId is \"xyz\", expected an id in hexadecimal"),
        ),
        (
            r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": "SPAN_KIND_SERVER"}]}]}]}"#,
            Some("kind is \"SPAN_KIND_SERVER\", expected an integer"),
        ),
        (
            r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": 1.5}]}]}]}"#,
            Some("startTimeUnixNano is 1.5, expected an integer"),
        ),
        (
            r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": ["a"]}]}]}]}"#,
            Some("name is an array, expected a string"),
        ),
        ("[]", Some("invalid type: sequence, expected an object")),
        (r#"{"resourceSpans": ["#, Some("EOF while parsing")),
        ("{} {}", Some("trailing characters")),
    ] {
        match expected {
            Some(expected) => {
                let reason = reason(("spans", "otlp_json"), payload);
                assert!(reason.starts_with(&format!("no JSON: {expected}")), "{payload}: {reason}");
            }
            None => assert_eq!(rows(("spans", "otlp_json"), payload).0, Vec::<String>::new()),
        }
    }
    let nested = |levels: usize| {
        format!("{}{}", r#"{"arrayValue": {"values": ["#.repeat(levels), "]}}".repeat(levels))
    };
    let log = |body: String| {
        format!(
            r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{{"timeUnixNano": 5, "body": {body}}}]}}]}}]}}"#
        )
    };
    assert!(reason(("logs", "otlp_json"), log(nested(20))).contains("deeper than 16 levels"));
    assert!(reason(("logs", "otlp_json"), log(nested(1000))).contains("recursion limit"));
}
