//! The decoders from outside.

// In tests a failure may be a panic, also outside of the functions that are marked as tests.
#![allow(clippy::unwrap_used)]

mod arbitrary;
mod changes;
mod cloud_events;
mod corpus;
mod entities;
mod equality;
mod fuzzed;
mod golden;
mod log_formats;
mod mapping;
mod messages;
mod metric_formats;
mod oracle;
mod otlp_json;
mod prometheus;
mod pruned;
mod rearranged;
mod record_time;
mod records;
mod round_trip;
mod span_formats;
mod split;

use foreshock_codec::{Dropped, Limits, Rejected, decoder};
use model::{SourceRecord, Telemetry};
use proto::opentelemetry::common::v1::{AnyValue, KeyValue, any_value::Value};
use proto::opentelemetry::resource::v1::Resource;

/// A record without a time and headers.
fn record(payload: &[u8]) -> SourceRecord<'_> {
    let (topic, partition, offset, key) = ("t", 0, 0, None);
    SourceRecord { timestamp_ms: None, topic, partition, offset, key, headers: &[], payload }
}

/// Decodes one record with fresh state.
fn decode(
    signal: &str,
    headers: &[(&str, &[u8])],
    payload: &[u8],
) -> Result<(Vec<Telemetry>, Dropped), Rejected> {
    decode_within(Limits::default(), signal, headers, payload)
}

fn decode_within(
    limits: Limits,
    signal: &str,
    headers: &[(&str, &[u8])],
    payload: &[u8],
) -> Result<(Vec<Telemetry>, Dropped), Rejected> {
    let encoding = if signal == "events" { "cloud_events" } else { "otlp_proto" };
    decode_as(limits, (signal, encoding), headers, payload)
}

fn decode_as(
    limits: Limits,
    (signal, encoding): (&str, &str),
    headers: &[(&str, &[u8])],
    payload: &[u8],
) -> Result<(Vec<Telemetry>, Dropped), Rejected> {
    let mut decoder = decoder(signal, encoding, limits).unwrap();
    let mut out = Vec::new();
    let result = decoder.decode(SourceRecord { headers, ..record(payload) }, &mut out);
    assert!(result.is_ok() || out.is_empty(), "a rejected record leaves nothing behind");
    result.map(|()| (out, decoder.dropped()))
}

/// The rows and what was left out of a payload without headers.
fn rows(format: (&str, &str), payload: impl AsRef<[u8]>) -> (Vec<String>, Dropped) {
    let (telemetry, dropped) = decode_as(Limits::default(), format, &[], payload.as_ref()).unwrap();
    (lines(&telemetry), dropped)
}

/// Why a payload is rejected.
fn reason(format: (&str, &str), payload: impl AsRef<[u8]>) -> String {
    decode_as(Limits::default(), format, &[], payload.as_ref()).unwrap_err().to_string()
}

/// One line for each row.
fn lines(telemetry: &[Telemetry]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in telemetry {
        match batch {
            Telemetry::Samples(batch) => lines.extend(batch.rows().map(|row| {
                format!(
                    "{:?} {} start {:?} at {} = {}",
                    row.kind, row.labels, row.start_ms, row.time_ms, row.value
                )
            })),
            Telemetry::Histograms(batch) => lines.extend(batch.rows().map(|row| format!("{row:?}"))),
            Telemetry::Spans(batch) => lines.extend(batch.rows().map(|row| format!("{row:?}"))),
            Telemetry::Logs(batch) => lines.extend(batch.rows().map(|row| format!("{row:?}"))),
            Telemetry::Events(batch) => lines.extend(batch.rows().map(|row| format!("{row:?}"))),
        }
    }
    lines
}

fn any(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: any(value), ..Default::default() }
}

fn resource(attributes: &[(&str, &str)]) -> Option<Resource> {
    let attributes = attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    Some(Resource { attributes, ..Default::default() })
}

#[test]
fn every_decoder_is_found_by_its_names() {
    for spec in foreshock_codec::DECODERS {
        assert!(decoder(spec.signal, spec.encoding, Limits::default()).is_some());
    }
    assert!(decoder("events", "otlp_proto", Limits::default()).is_none());
}

#[test]
fn empty_record_has_no_rows() {
    for signal in ["metrics", "logs", "spans"] {
        assert_eq!(decode(signal, &[], b"").unwrap(), (Vec::new(), Dropped::default()));
    }
}
