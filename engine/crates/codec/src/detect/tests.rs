use super::*;
use crate::decoder::record;

fn detect(headers: &[(&str, &[u8])], payload: &[u8]) -> Option<(&'static str, &'static str)> {
    let record = SourceRecord { headers, timestamp_ms: Some(1_760_000_000_000), ..record(payload) };
    let detected = Detector::new(Limits::default()).detect(record)?;
    assert!(!detected.why.is_empty());
    Some((detected.signal, detected.encoding))
}

#[test]
fn json_is_known_by_its_members() {
    for (payload, expected) in [
        (r#"{"@timestamp":"2025-10-09T08:53:20Z","message":"m","log":{"level":"warn"}}"#, "ecs_json"),
        (r#"{"@timestamp":1760000000,"log":"m","kubernetes":{"labels":{"app":"a"}}}"#, "fluentbit_json"),
        (r#"{"time":"2025-10-09T08:53:20Z","level":"warn","msg":"m"}"#, "fluentbit_json"),
        (r#"{"time":1760000000,"event":"m","sourcetype":"s"}"#, "splunk_hec_json"),
        (r#"[{"timestamp":1760000000,"name":"q","value":3}]"#, "json"),
        (r#"{"a":{"b":1}}"#, "plain"),
        (r#"["a"]"#, "plain"),
    ] {
        assert_eq!(detect(&[], payload.as_bytes()).unwrap().1, expected, "{payload}");
    }
}

#[test]
fn a_record_is_only_called_what_can_be_read_of_it() {
    // Looks like OTLP, and holds no row.
    assert_eq!(detect(&[], br#"{"resourceMetrics":[]}"#), Some(("logs", "plain")));
    assert_eq!(detect(&[], b"\xff\xfe\x00\x01\x02"), None);
    assert_eq!(detect(&[], b""), None);
    assert_eq!(detect(&[], b"  \n "), None);
    // What the header promises is not there.
    assert_eq!(detect(&[("ce_specversion", b"1.0")], b"\x00\x01"), None);
}

#[test]
fn text_is_lines_of_influx_or_plain() {
    assert_eq!(detect(&[], b"cpu,host=h idle=98.5 1760000000000000000"), Some(("metrics", "influx")));
    assert_eq!(detect(&[], b"2025-10-09T08:53:20Z ERROR a=1 failed"), Some(("logs", "plain")));
    assert_eq!(detect(&[], "größer\tals \x1b[31mrot\x1b[0m".as_bytes()), Some(("logs", "plain")));
}

#[test]
fn compression_is_seen_by_its_header_or_its_first_bytes() {
    let zstd = zstd::encode_all(&b"cpu,host=h idle=98.5 1760000000000000000"[..], 1).unwrap();
    for headers in [&[("content-encoding", b"zstd".as_slice())][..], &[]] {
        assert_eq!(detect(headers, &zstd), Some(("metrics", "influx")));
        let found = compression(&SourceRecord { headers, ..record(&zstd) }).unwrap();
        assert_eq!((found.encoding.as_str(), found.is_named), ("zstd", !headers.is_empty()));
    }
    assert_eq!(compression(&record(b"{}")), None);
}
