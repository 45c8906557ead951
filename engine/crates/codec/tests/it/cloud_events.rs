//! CloudEvents in both modes.

use foreshock_codec::Rejected;

use crate::{decode, lines};

fn rows(headers: &[(&str, &[u8])], payload: &str) -> Vec<String> {
    lines(&decode("events", headers, payload.as_bytes()).unwrap().0)
}

fn event(rest: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"7","source":"/ci","time":"2026-01-02T03:04:05.678+01:00"{rest}}}"#)
}

const TIME: &str = "time_ms: 1767319445678";

#[test]
fn structured_mode() {
    let payload =
        event(r#","type":"com.example.Deployment.finished","data":{"service":"cart","summary":"v2"}"#);
    let expected = format!(
        r#"EventRow {{ {TIME}, service: "cart", kind: "deploy", id: "7", summary: "v2", source: "/ci" }}"#
    );
    let content_type: &[u8] = b"application/cloudevents+json; charset=UTF-8";
    assert_eq!(rows(&[("Content-Type", content_type)], &payload), [expected.as_str()]);
    assert_eq!(rows(&[], &payload), [expected.as_str()], "also without a header");
    let batch =
        rows(&[("content-type", b"application/cloudevents-batch+json")], &format!("[{payload},{payload}]"));
    assert_eq!(batch, [expected.as_str(), expected.as_str()]);
}

#[test]
fn binary_mode() {
    let headers: [(&str, &[u8]); 7] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"7"),
        ("ce_source", b"/ci"),
        ("ce_type", b"config.changed"),
        ("ce_time", b"2026-01-02T02:04:05.678Z"),
        ("ce_subject", b"cart"),
        ("content-type", b"application/json"),
    ];
    let row = |service: &str, summary: &str| {
        format!(
            r#"EventRow {{ {TIME}, service: "{service}", kind: "config", id: "7", summary: "{summary}", source: "/ci" }}"#
        )
    };
    assert_eq!(rows(&headers, r#"{"message":"limit 5"}"#), [row("cart", "limit 5")]);
    assert_eq!(rows(&headers, ""), [row("cart", "config.changed")]);
    let named = r#"{"service.name":"db","service.namespace":"shop"}"#;
    assert_eq!(rows(&headers, named), [row("shop/db", "config.changed")]);
    assert_eq!(rows(&headers[..6], "plain text"), [row("cart", "config.changed")]);
    assert!(matches!(decode("events", &headers, b"plain text"), Err(Rejected::Json { .. })));
}

#[test]
fn types_have_kinds() {
    for (event_type, kind) in [
        ("io.k8s.deployment.updated", "kubernetes"),
        ("dev.cdevents.service.deployed.0.2.0", "deploy"),
        ("com.example.Rollback", "deploy"),
        ("feature_flag.toggled", "config"),
        ("com.example.created", "other"),
    ] {
        let row = &rows(&[], &event(&format!(r#","type":"{event_type}""#)))[0];
        assert!(row.contains(&format!("kind: {kind:?}")), "{row}");
        assert!(row.contains(r#"service: "unknown_service""#), "{row}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let reason = |payload: &str| decode("events", &[], payload.as_bytes()).unwrap_err().to_string();
    assert!(reason(&event("")).contains("attribute type"));
    assert!(reason(r#"{"specversion":"1.0","id":"7","source":"s","type":"t"}"#).contains("attribute time"));
    assert!(reason(r#"{"specversion":"0.3"}"#).contains("1.0 is supported"));
    let bad_time = r#"{"specversion":"1.0","id":"7","source":"s","type":"t","time":"yesterday"}"#;
    assert!(reason(bad_time).contains("RFC 3339"));
    assert!(reason("[1]").contains("no JSON object"));
    assert!(reason("{").contains("no JSON"));
    assert_eq!(decode("events", &[], b"[]").unwrap().0, []);
}
