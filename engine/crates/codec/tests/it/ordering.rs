//! Protobuf allows the fields of a message in any order; the OpenTelemetry Collector writes them descending.

use proto::opentelemetry::metrics::v1::{Gauge, Sum, metric::Data, number_data_point::Value};

use crate::golden::{metrics, number};
use crate::{decode, lines, resource};

/// A field that holds a message, and the fields of that message that do.
struct Nested(u32, &'static [Nested]);

const ATTRIBUTE: &[Nested] = &[Nested(2, &[])];
const POINTS: &[Nested] = &[Nested(1, &[Nested(7, ATTRIBUTE)])];
const METRIC: &[Nested] = &[Nested(5, POINTS), Nested(7, POINTS)];
const REQUEST: &[Nested] =
    &[Nested(1, &[Nested(1, &[Nested(1, ATTRIBUTE)]), Nested(2, &[Nested(2, METRIC)])])];

/// The same message with its fields in descending order; repeated ones keep theirs.
fn descending(message: &[u8], nested: &[Nested]) -> Vec<u8> {
    let mut fields: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let before = rest;
        let tag = varint(&mut rest);
        let number = (tag >> 3) as u32;
        let mut bytes;
        match tag & 7 {
            2 => {
                let length = varint(&mut rest) as usize;
                let (content, after) = rest.split_at(length);
                rest = after;
                let inner = nested.iter().find(|field| field.0 == number);
                let content = inner.map_or(content.to_vec(), |field| descending(content, field.1));
                bytes = Vec::new();
                prost::encoding::encode_varint(tag, &mut bytes);
                prost::encoding::encode_varint(content.len() as u64, &mut bytes);
                bytes.extend(content);
            }
            wire_type => {
                match wire_type {
                    0 => drop(varint(&mut rest)),
                    1 => rest = &rest[8..],
                    5 => rest = &rest[4..],
                    other => panic!("wire type {other}"),
                }
                bytes = before[..before.len() - rest.len()].to_vec();
            }
        }
        fields.push((number, bytes));
    }
    fields.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    fields.into_iter().flat_map(|(_, bytes)| bytes).collect()
}

fn varint(bytes: &mut &[u8]) -> u64 {
    prost::encoding::decode_varint(bytes).unwrap()
}

#[test]
fn fields_may_come_in_descending_order() {
    let points = vec![number(Value::AsDouble(0.25)), number(Value::AsInt(7))];
    let sum = Sum { data_points: points.clone(), aggregation_temporality: 2, is_monotonic: true };
    let payload = metrics(
        resource(&[("service.name", "cart"), ("service.namespace", "shop")]),
        vec![("g", Data::Gauge(Gauge { data_points: points })), ("c", Data::Sum(sum))],
    );
    let reordered = descending(&payload, REQUEST);
    assert_ne!(payload, reordered);
    assert_eq!(payload.len(), reordered.len());
    let expected = decode("metrics", &[], &payload).unwrap();
    assert_eq!(lines(&expected.0).len(), 4);
    assert_eq!(decode("metrics", &[], &reordered).unwrap(), expected);
}
