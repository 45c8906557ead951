//! Logs as JSON and as plain text.

use foreshock_codec::{Dropped, Limits, decoder};
use model::SourceRecord;

use crate::{decode_as, lines, reason, record, rows};

const ECS: (&str, &str) = ("logs", "ecs_json");
const FLUENT_BIT: (&str, &str) = ("logs", "fluentbit_json");
const SPLUNK: (&str, &str) = ("logs", "splunk_hec_json");
const PLAIN: (&str, &str) = ("logs", "plain");

fn row(time_ms: i64, service: &str, severity: u8, body: &str) -> String {
    format!(
        "LogRow {{ time_ms: {time_ms}, service: {service:?}, severity: {severity}, body: {body:?}, trace_id: None, span_id: None }}"
    )
}

#[test]
fn ecs() {
    let payload = r#"
        {"@timestamp": "2025-10-09T08:53:20.123Z", "message": "failed\n", "log": {"level": "ERROR", "file": {"path": "/a"}},
         "service": {"name": "cart"}, "trace": {"id": "0000000000000000000000000000000f"}, "span.id": "000000000000000a",
         "agent": {"type": "filebeat"}, "ecs": {"version": "8.0.0"}}
        {"@timestamp": "2025-10-09T08:53:20Z", "message": "one", "level": "warn", "kubernetes": {"deployment": {"name": "web"}}}
        {"@timestamp": "2025-10-09T08:53:20Z", "event": {"original": "two"}, "fields": {"service": "db"}, "severity_number": 9}
        {"message": "when?"}
    "#;
    let expected = [
        r#"LogRow { time_ms: 1760000000123, service: "cart", severity: 17, body: "failed", trace_id: Some(15), span_id: Some(10) }"#.to_owned(),
        row(1_760_000_000_000, "web", 13, "one"),
        row(1_760_000_000_000, "db", 9, "two"),
    ];
    let (lines, dropped) = rows(ECS, payload);
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { no_time: 1, ..Dropped::default() });
    assert_eq!(
        reason(ECS, r#"{"@timestamp": "soon", "message": "m"}"#),
        "no ECS log record: \"soon\" is no time"
    );
    assert_eq!(reason(ECS, "text"), "no JSON: expected ident at line 1 column 2");
}

#[test]
fn fluent_bit() {
    let payload = r#"
        [{"date": 1760000000.123456, "log": "2025 out of memory\n", "stream": "stderr",
          "kubernetes": {"pod_name": "cart-5d9f7c6b8-x2x7z", "namespace_name": "shop", "container_name": "main", "labels": {"app": "cart"}}},
         {"@timestamp": 1760000000, "message": "plain", "level": "debug", "kubernetes": {"container_name": "main"}},
         {"@timestamp": "2025-10-09T08:53:20Z", "msg": {"a": 1}, "service_name": "web", "SeverityNumber": "17"}]"#;
    let expected = [
        row(1_760_000_000_123, "cart", 0, "2025 out of memory"),
        row(1_760_000_000_000, "main", 5, "plain"),
        row(1_760_000_000_000, "web", 17, r#"{"a": 1}"#),
    ];
    assert_eq!(rows(FLUENT_BIT, payload), (expected.to_vec(), Dropped::default()));
    assert_eq!(reason(FLUENT_BIT, r#"{"date": {}}"#), "no Fluent Bit log record: {} is no time");
}

#[test]
fn splunk() {
    let payload = r#"{"time": 1760000000.5, "host": "h", "source": "s", "event": "hello", "fields": {"service.name": "cart", "severity": "info"}}
        {"time": "1760000000.500", "event": {"message": "deep", "level": "error", "service": "web"}}{"event": "when?"}
        {"time": 1760000000, "event": {"a": [1]}, "fields": {"k8s.deployment.name": "db"}}"#;
    let expected = [
        row(1_760_000_000_500, "cart", 9, "hello"),
        row(1_760_000_000_500, "web", 17, "deep"),
        row(1_760_000_000_000, "db", 0, r#"{"a": [1]}"#),
    ];
    let (lines, dropped) = rows(SPLUNK, payload);
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { no_time: 1, ..Dropped::default() });
    assert_eq!(reason(SPLUNK, r#"{"time": 1}"#), "no Splunk HEC event: it has no member event");
}

#[test]
fn severities_in_numbers() {
    for (format, object, expected) in [
        (ECS, r#"{"level": 30}"#, 9),
        (ECS, r#"{"level": "50"}"#, 17),
        (ECS, r#"{"level": 60}"#, 21),
        (ECS, r#"{"level": 17}"#, 0),
        (ECS, r#"{"level": 3}"#, 0),
        (ECS, r#"{"level": 3, "severity": "error"}"#, 17),
        (ECS, r#"{"level": 70}"#, 0),
        (ECS, r#"{"severity_number": 13, "level": "info"}"#, 13),
        (ECS, r#"{"severity_number": 0, "level": "info"}"#, 9),
        (ECS, r#"{"SeverityNumber": 13}"#, 13),
        (ECS, r#"{"log": {"syslog": {"severity": {"code": 3}}}}"#, 17),
        (FLUENT_BIT, r#"{"PRIORITY": "6"}"#, 9),
        (FLUENT_BIT, r#"{"PRIORITY": "0"}"#, 21),
        (FLUENT_BIT, r#"{"PRIORITY": "17"}"#, 0),
        (FLUENT_BIT, r#"{"level": 40, "PRIORITY": "6"}"#, 13),
        (SPLUNK, r#"{"event": {"level": 20}}"#, 5),
        (SPLUNK, r#"{"event": "x", "fields": {"severity_number": 21}}"#, 21),
        (SPLUNK, r#"{"event": "x", "fields": {"syslog_severity": 4}}"#, 13),
    ] {
        let payload = object.replacen('{', r#"{"@timestamp": 1760000000, "time": 1760000000, "#, 1);
        let (lines, _) = rows(format, payload);
        assert!(lines[0].contains(&format!("severity: {expected},")), "{object}: {lines:?}");
    }
}

#[test]
fn plain_text() {
    let time = 1_760_000_000_000;
    for (line, expected) in [
        ("2025-10-09T08:53:20Z INFO started", row(time, "unknown_service", 9, "INFO started")),
        (
            "2025-10-09 08:53:20,000 [main] ERROR c.Cart: no",
            row(time, "unknown_service", 17, "[main] ERROR c.Cart: no"),
        ),
        ("[2025-10-09 08:53:20.000] warning: low", row(time, "unknown_service", 13, "warning: low")),
        ("1760000000.000: x", row(time, "unknown_service", 0, "x")),
        ("1760000000000\tx", row(time, "unknown_service", 0, "x")),
        ("[1760000000000000]  x", row(time, "unknown_service", 0, "x")),
        ("1760000000000000000: x", row(time, "unknown_service", 0, "x")),
        ("2025-10-09T08:53:20Z", row(time, "unknown_service", 0, "")),
        (
            r#"<165>1 2025-10-09T08:53:20.000Z host cart 8710 ID47 [a@1 b="x\"] y"][c@2] low on disk"#,
            row(time, "cart", 9, "low on disk"),
        ),
        ("<34>1 2025-10-09T08:53:20Z h - - - - \u{feff}broken", row(time, "unknown_service", 21, "broken")),
    ] {
        assert_eq!(rows(PLAIN, line), (vec![expected], Dropped::default()), "{line}");
    }
    for line in [
        "no time",
        "42 is no time",
        "42  is no time, with two blanks",
        "4315e12 is no time",
        "1.76e9 is no time",
        "0000000042 is no time",
        "9876543210 is an id",
        "<13>Oct 11 22:14:15 host app: no year",
        "<999>1 x",
        "<34>1 - host cart - - - not written down when",
        "2025-10-09 dates have no time",
    ] {
        assert_eq!(rows(PLAIN, line), (Vec::new(), Dropped { no_time: 1, ..Dropped::default() }), "{line}");
    }
}

#[test]
fn syslog_without_a_time() {
    let payload = b"<34>1 - h cart - - - broken\n  at a()\n<165>1 2025-10-09T08:53:20Z h web - - - fine\n<35>1 - h - - - - no\n";
    let mut decoder = decoder(PLAIN.0, PLAIN.1, Limits::default()).unwrap();
    let mut out = Vec::new();
    decoder.decode(SourceRecord { timestamp_ms: Some(7_000), ..record(payload) }, &mut out).unwrap();
    let expected = [
        row(7_000, "cart", 21, "broken\n  at a()"),
        row(1_760_000_000_000, "web", 9, "fine"),
        row(7_000, "unknown_service", 17, "no"),
    ];
    assert_eq!((lines(&out), decoder.dropped()), (expected.to_vec(), Dropped::default()));
}

#[test]
fn plain_text_of_several_lines() {
    let payload = b"2025-10-09T08:53:20Z ERROR failed\n  at a()\n  at b(\xff)\n\n2025-10-09T08:53:21Z ok\n";
    let headers: [(&str, &[u8]); 1] = [("service.name", b"cart")];
    let (telemetry, dropped) = decode_as(Limits::default(), PLAIN, &headers, payload).unwrap();
    let expected = [
        row(1_760_000_000_000, "cart", 17, "ERROR failed\n  at a()\n  at b(\u{fffd})"),
        row(1_760_000_001_000, "cart", 0, "ok"),
    ];
    assert_eq!((lines(&telemetry), dropped), (expected.to_vec(), Dropped::default()));
}
