//! JSON by a mapping of the configuration.

use foreshock_codec::{DECODERS, DecoderSettings, Dropped, Mapping};
use model::SourceRecord;
use proptest::prelude::*;

use crate::{lines, record, rows};

const WRITTEN_MS: i64 = 1_760_000_009_000;

fn settings(signal: &str, mapping: &str) -> Result<DecoderSettings, String> {
    let mapping = Mapping::parse(signal, serde_json::from_str(mapping).unwrap())?;
    Ok(DecoderSettings { mapping, ..DecoderSettings::default() })
}

fn read(signal: &str, mapping: &str, payload: &str) -> Result<(Vec<String>, Dropped), String> {
    let spec = DECODERS.iter().find(|spec| spec.signal == signal && spec.encoding == "json").unwrap();
    let mut decoder = (spec.build)(&settings(signal, mapping).unwrap());
    let mut out = Vec::new();
    let record = SourceRecord { timestamp_ms: Some(WRITTEN_MS), ..record(payload.as_bytes()) };
    match decoder.decode(record, &mut out) {
        Ok(()) => Ok((lines(&out), decoder.dropped())),
        Err(rejected) => {
            assert!(out.is_empty(), "a rejected record leaves nothing behind");
            Err(rejected.to_string())
        }
    }
}

#[test]
fn metrics_from_wherever_they_are() {
    let mapping = r#"{
        "time": "at.seconds", "time_format": "s", "name": ["what.name", "what.id"], "value": "what.reading",
        "labels": "where", "named_labels": {"host": "from.0.host", "none": "nothing"}, "service": ["who", "app"], "kind": "how"
    }"#;
    let payload = r#"
        {"at": {"seconds": 1760000000}, "what": {"name": "t", "reading": 2}, "where": {"x": "y"}, "who": "cart",
         "from": [{"host": "h1"}], "value": 9, "labels": {"no": "label"}}
        {"at": {"seconds": "1760000001.25"}, "what": {"id": 7, "reading": "2.5"}, "who": "", "app": "web", "how": "counter"}
        {"at": {"seconds": 1760000002}, "what": {"id": 7, "reading": null}, "who": "cart"}
    "#;
    let expected = [
        "Gauge __name__=t,host=h1,service.name=cart,x=y start None at 1760000000000 = 2",
        "Counter __name__=7,service.name=web start None at 1760000001250 = 2.5",
    ];
    let (lines, dropped) = read("metrics", mapping, payload).unwrap();
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { no_value: 1, ..Dropped::default() });
}

#[test]
fn several_values_and_several_rows() {
    let mapping = r#"{
        "rows": "batch.points", "time": "t", "time_format": "ms", "service": "device",
        "values": {"room_temperature": "celsius", "door_openings_total": ["door.count", "doors"]}, "named_labels": {"room": "room"}
    }"#;
    let payload = r#"{"device": "d1", "t": 1760000000000, "room": "hall", "batch": {"id": 3, "points": [
        {"celsius": 21.5, "doors": 4},
        {"t": 1760000001000, "celsius": null},
        {"t": "1760000002000", "door": {"count": 5}, "device": "d2", "room": null}
    ]}}"#;
    let expected = [
        "Counter __name__=door_openings_total,room=hall,service.name=d1 start None at 1760000000000 = 4",
        "Gauge __name__=room_temperature,room=hall,service.name=d1 start None at 1760000000000 = 21.5",
        "Counter __name__=door_openings_total,service.name=d2 start None at 1760000002000 = 5",
    ];
    assert_eq!(
        read("metrics", mapping, payload),
        Ok((expected.map(str::to_owned).to_vec(), Dropped { no_value: 1, ..Dropped::default() }))
    );
}

#[test]
fn logs_from_wherever_they_are() {
    let mapping = r#"{
        "time": "when", "time_format": "%d.%m.%Y %H:%M:%S", "time_zone": "Europe/Berlin", "body": ["text", "error"],
        "severity": "prio", "severity_numbers": "syslog", "service": "unit.name", "trace_id": "ids.0", "span_id": "ids.1"
    }"#;
    let payload = r#"
        {"when": "09.10.2025 10:53:20", "text": "failed\n", "prio": 3, "unit": {"name": "cart"}, "ids": ["0f", "0a"], "message": "no"}
        {"when": "09.12.2025 10:53:20", "error": {"code": 7}, "prio": "warning", "unit.name": "web"}
    "#;
    let expected = [
        r#"LogRow { time_ms: 1760000000000, service: "cart", severity: 17, body: "failed", trace_id: Some(15), span_id: Some(10) }"#,
        r#"LogRow { time_ms: 1765274000000, service: "web", severity: 13, body: "{\"code\": 7}", trace_id: None, span_id: None }"#,
    ];
    assert_eq!(
        read("logs", mapping, payload),
        Ok((expected.map(str::to_owned).to_vec(), Dropped::default()))
    );
}

#[test]
fn logs_by_common_names() {
    let payload = r#"{"ts": 1760000000.5, "level": "warn", "msg": "low", "service.name": "cart", "service.namespace": "shop"}
        [{"time": "2025-10-09T08:53:20Z", "log": {"level": "error"}, "message": "deep", "app": "web"}, {"text": "x"}]"#;
    let expected = [
        r#"LogRow { time_ms: 1760000000500, service: "shop/cart", severity: 13, body: "low", trace_id: None, span_id: None }"#,
        r#"LogRow { time_ms: 1760000000000, service: "web", severity: 17, body: "deep", trace_id: None, span_id: None }"#,
    ];
    let (lines, dropped) = rows(("logs", "json"), payload);
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { no_time: 1, ..Dropped::default() });
}

#[test]
fn times_as_they_are_written() {
    let expected = 1_760_000_000_000_i64;
    for (format, zone, time) in [
        ("auto", "UTC", r#""2025-10-09 08:53:20""#),
        ("auto", "Europe/Berlin", r#""2025-10-09 10:53:20,000""#),
        ("auto", "Europe/Berlin", r#""2025-10-09T08:53:20Z""#),
        ("auto", "Europe/Berlin", "1760000000"),
        ("us", "UTC", "1760000000000123"),
        ("ns", "UTC", r#""1760000000000999999""#),
        ("%Y%m%d%H%M%S", "Asia/Kolkata", r#""20251009142320""#),
        ("%a %d %b %Y %H:%M:%S %z", "Asia/Kolkata", r#""Thu 09 Oct 2025 10:53:20 +0200""#),
        ("%m/%d/%y %I:%M:%S %p", "UTC", r#""10/09/25 08:53:20 AM""#),
    ] {
        let mapping = format!(r#"{{"time": "t", "time_format": "{format}", "time_zone": "{zone}"}}"#);
        let payload = format!(r#"{{"t": {time}, "name": "q", "value": 1}}"#);
        let (lines, _) = read("metrics", &mapping, &payload).unwrap();
        assert!(lines[0].contains(&format!(" at {expected} ")), "{format} {zone} {time}: {lines:?}");
    }
    // An empty list: the time of the record, whatever the object holds.
    let (lines, _) = read("metrics", r#"{"time": []}"#, r#"{"time": 1, "name": "q", "value": 1}"#).unwrap();
    assert!(lines[0].contains(&format!(" at {WRITTEN_MS} ")));
}

#[test]
fn what_is_configured_and_not_there_rejects_the_record() {
    let metric = r#"{"timestamp": 1760000000, "name": "q", "value": 1, "service": "cart", "list": [1, {"a": 2}], "more": {}}"#;
    let log = r#"{"timestamp": 1760000000, "message": "m", "service": "cart"}"#;
    for (signal, mapping, payload, reason) in [
        ("metrics", r#"{"time": ["at", "on"]}"#, metric, "it has none of the members at, on"),
        ("metrics", r#"{"name": "metric"}"#, metric, "it has none of the members metric"),
        ("metrics", r#"{"value": "list.2"}"#, metric, "it has none of the members list.2"),
        ("metrics", r#"{"value": "list.x"}"#, metric, "it has none of the members list.x"),
        ("metrics", r#"{"value": "list.1"}"#, metric, "{\"a\": 2} is no number"),
        ("metrics", r#"{"service": ["who", "more"]}"#, metric, "it has none of the members who, more"),
        (
            "metrics",
            r#"{"values": {"a": "x", "b": ["y", "z"]}}"#,
            metric,
            "it has none of the members x, y, z",
        ),
        ("metrics", r#"{"rows": "points"}"#, metric, "it has none of the members points"),
        ("metrics", r#"{"rows": "more"}"#, metric, "more is no array of objects"),
        ("metrics", r#"{"time_format": "ms"}"#, metric, "1760000000 is no time in ms"),
        (
            "metrics",
            r#"{"time_format": "%Y-%m-%d %H:%M:%S"}"#,
            metric,
            "1760000000 is no time as %Y-%m-%d %H:%M:%S",
        ),
        ("logs", r#"{"body": "text"}"#, log, "it has none of the members text"),
        ("logs", r#"{"service": "who"}"#, log, "it has none of the members who"),
        ("logs", r#"{"time": "when"}"#, log, "it has none of the members when"),
    ] {
        let format = if signal == "metrics" { "JSON sample" } else { "JSON log record" };
        assert_eq!(read(signal, mapping, payload), Err(format!("no {format}: {reason}")), "{mapping}");
    }
    let (lines, _) = read("metrics", r#"{"value": "list.1.a"}"#, metric).unwrap();
    assert!(lines[0].ends_with("= 2"));
    // A time that clocks have left out.
    let gap = r#"{"time_zone": "Europe/Berlin"}"#;
    assert!(read("logs", gap, r#"{"timestamp": "2025-03-30 02:30:00", "message": "m"}"#).is_err());
    assert!(read("metrics", r#"{"rows": "list"}"#, metric).unwrap_err().starts_with("no JSON: "));
    let around: String = (0..300).map(|i| format!(r#""m{i}": 1,"#)).collect();
    let many = format!(r#"{{{around} "rows": [{{}}]}}"#);
    assert!(
        read("metrics", r#"{"rows": "rows"}"#, &many)
            .unwrap_err()
            .contains("more than 256 members around rows")
    );
    // Read with each row: half a megabyte, a thousand times.
    let large = format!(r#"{{"large": "{}", "rows": [{{}}{}]}}"#, "x".repeat(1 << 19), ",{}".repeat(999));
    let nulls = r#"{"rows": "rows", "values": {"g": ["large.a", "v"]}, "time": []}"#;
    let reason = read("metrics", nulls, &large.replace("{}", r#"{"v": null}"#)).unwrap_err();
    assert!(reason.contains("around rows takes more than"), "{reason}");
}

#[test]
fn wrong_mappings_say_what_is_wrong() {
    for (signal, mapping, parts) in [
        ("metrics", r#"{"valeu": "x"}"#, ["valeu", "value"]),
        ("metrics", r#"{"value": 3}"#, ["3", "a path such as"]),
        ("metrics", r#"{"value": [""]}"#, ["path", "empty"]),
        ("metrics", r#"{"value": []}"#, ["value", "at least one path"]),
        ("metrics", r#"{"values": {"a": "x"}, "name": "n"}"#, ["values", "in place of name and value"]),
        ("metrics", r#"{"named_labels": {"": "x"}}"#, ["named_labels", "empty"]),
        ("metrics", r#"{"time_format": "seconds"}"#, ["seconds", "strptime"]),
        ("metrics", r#"{"time_format": "%H:%M"}"#, ["%H:%M", "strptime"]),
        ("metrics", r#"{"time_format": "%Y-%m-%d"}"#, ["%Y-%m-%d", "to the second"]),
        ("metrics", r#"{"time_format": "%!"}"#, ["%!", "cannot be used"]),
        ("metrics", r#"{"time_zone": "Berlin"}"#, ["Berlin", "Europe/Berlin"]),
        ("logs", r#"{"severity_numbers": "log4j"}"#, ["log4j", "syslog"]),
        ("logs", r#"{"name": "x"}"#, ["name", "body"]),
        ("spans", "{}", ["spans", "metrics and logs"]),
    ] {
        let error = settings(signal, mapping).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{mapping}: {error}");
    }
    assert_eq!(
        DecoderSettings { mapping: Mapping::Common, ..settings("metrics", "{}").unwrap() },
        DecoderSettings::default()
    );
}

proptest! {
    /// What was learned of series before is a matter of speed alone, also where every part has a place of its own.
    #[test]
    fn a_decoder_reads_the_same_whatever_it_has_read(
        objects in proptest::collection::vec(
            (0..3_u8, 0..3_u8, proptest::option::of(0..2_u8), 0..2_u8, -5..5_i32).prop_map(|(name, service, label, tag, value)| {
                let label = label.map_or("null".to_owned(), |label| format!("\"{label}\""));
                format!(r#"{{"n": {{"m": "{name}"}}, "s": "{service}", "a": {{"b": {label}}}, "l": {{"t": {tag}}}, "v": {value}, "w": 1}}"#)
            }),
            1..12,
        ),
        mapping in prop_oneof![
            Just(r#"{"name": "n.m", "value": "v", "service": "s", "named_labels": {"x": "a.b"}, "labels": "l"}"#),
            Just(r#"{"values": {"v": "v", "w": "w"}, "service": "n.m", "named_labels": {"x": "s", "y": "a.b"}}"#),
            Just(r#"{"name": ["a.b", "n.m"], "value": "v", "labels": ["n", "l"]}"#),
        ],
    ) {
        let (together, _) = read("metrics", mapping, &objects.concat()).unwrap();
        let alone: Vec<String> =
            objects.iter().flat_map(|object| read("metrics", mapping, object).unwrap().0).collect();
        prop_assert_eq!(together, alone);
    }
}
