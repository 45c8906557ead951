//! What has no time of its own has that of the Kafka record.

use foreshock_codec::{Limits, decoder};
use model::{SourceRecord, Telemetry};

use crate::record;

fn times_ms(signal: &str, encoding: &str, payload: &str, timestamp_ms: Option<i64>) -> Vec<i64> {
    let mut decoder = decoder(signal, encoding, Limits::default()).expect("in the list");
    let record = SourceRecord { timestamp_ms, ..record(payload.as_bytes()) };
    let mut out = Vec::new();
    decoder.decode(record, &mut out).expect("a valid record");
    let times = out.iter().flat_map(|telemetry| match telemetry {
        Telemetry::Samples(batch) => batch.rows().map(|row| row.time_ms).collect::<Vec<_>>(),
        Telemetry::Logs(batch) => batch.rows().map(|row| row.time_ms).collect(),
        other => panic!("{other:?}"),
    });
    times.collect()
}

#[test]
fn rows_without_a_time_have_that_of_their_record() {
    for (signal, encoding, payload) in [
        ("metrics", "influx", "cpu usage=1"),
        ("metrics", "json", r#"{"name": "cpu", "value": 1}"#),
        ("logs", "plain", "ERROR cannot read"),
        ("logs", "plain", "<34>1 - host cart - - - cannot read"),
        ("logs", "json", r#"{"message": "cannot read"}"#),
        ("logs", "ecs_json", r#"{"message": "cannot read"}"#),
        ("logs", "fluentbit_json", r#"{"log": "cannot read"}"#),
    ] {
        assert_eq!(times_ms(signal, encoding, payload, Some(7_000)), [7_000], "{encoding}");
        assert!(times_ms(signal, encoding, payload, None).is_empty(), "{encoding}");
    }
}
