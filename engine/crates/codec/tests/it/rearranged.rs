//! The same message with its bytes arranged in another way. Protobuf allows the fields of a message in any order; the
//! OpenTelemetry Collector writes them descending.

use proto::opentelemetry::metrics::v1::{Gauge, Sum, metric::Data, number_data_point::Value};

use crate::golden::{metrics, number};
use crate::{decode, lines, resource};

/// A field that holds a message, the fields of that message that do, and whether it may stand there once only.
pub struct Nested(u32, &'static [Nested], bool);

const ONE: bool = true;
const MANY: bool = false;

static ATTRIBUTE: [Nested; 1] = [Nested(2, &ANY_VALUE, ONE)];
static ANY_VALUE: [Nested; 2] =
    [Nested(5, &[Nested(1, &ANY_VALUE, MANY)], ONE), Nested(6, &[Nested(1, &ATTRIBUTE, MANY)], ONE)];
const RESOURCE: Nested = Nested(1, &[Nested(1, &ATTRIBUTE, MANY)], ONE);
const NUMBER_POINTS: &[Nested] = &[Nested(1, &[Nested(7, &ATTRIBUTE, MANY)], MANY)];
const HISTOGRAM_POINTS: &[Nested] = &[Nested(1, &[Nested(9, &ATTRIBUTE, MANY)], MANY)];
const EXPONENTIAL_POINTS: &[Nested] =
    &[Nested(1, &[Nested(1, &ATTRIBUTE, MANY), Nested(8, &[], ONE), Nested(9, &[], ONE)], MANY)];
const SUMMARY_POINTS: &[Nested] = &[Nested(1, &[Nested(6, &[], MANY), Nested(7, &ATTRIBUTE, MANY)], MANY)];
const METRIC: &[Nested] = &[
    Nested(5, NUMBER_POINTS, ONE),
    Nested(7, NUMBER_POINTS, ONE),
    Nested(9, HISTOGRAM_POINTS, ONE),
    Nested(10, EXPONENTIAL_POINTS, ONE),
    Nested(11, SUMMARY_POINTS, ONE),
];
pub const METRICS_REQUEST: &[Nested] =
    &[Nested(1, &[RESOURCE, Nested(2, &[Nested(2, METRIC, MANY)], MANY)], MANY)];
const LOG: &[Nested] = &[Nested(5, &ANY_VALUE, ONE), Nested(6, &ATTRIBUTE, MANY)];
pub const LOGS_REQUEST: &[Nested] = &[Nested(1, &[RESOURCE, Nested(2, &[Nested(2, LOG, MANY)], MANY)], MANY)];
const SPAN: &[Nested] = &[Nested(9, &ATTRIBUTE, MANY), Nested(15, &[], ONE)];
pub const TRACE_REQUEST: &[Nested] =
    &[Nested(1, &[RESOURCE, Nested(2, &[Nested(2, SPAN, MANY)], MANY)], MANY)];

pub const WRITE_REQUEST: &[Nested] = &[Nested(1, &[Nested(1, &[], MANY), Nested(2, &[], MANY)], MANY)];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrangement {
    Ascending,
    /// Repeated fields keep their order.
    Descending,
    Shuffled(u64),
    /// Shuffled, and messages that stand there once stand there twice, with a part of their fields each.
    Split(u64),
}

pub fn message(bytes: &[u8], nested: &[Nested], arrangement: Arrangement) -> Vec<u8> {
    let seed = match arrangement {
        Arrangement::Shuffled(seed) | Arrangement::Split(seed) => seed,
        _ => 0,
    };
    arranged(bytes, nested, arrangement, &mut Random(seed))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % end as u64) as usize
    }
}

fn arranged(bytes: &[u8], nested: &[Nested], arrangement: Arrangement, random: &mut Random) -> Vec<u8> {
    let mut fields: Vec<(u32, Vec<u8>)> = Vec::new();
    for (number, field) in split(bytes) {
        let Some(inner) = nested.iter().find(|inner| inner.0 == number) else {
            fields.push((number, field.to_vec()));
            continue;
        };
        let content = arranged(content(field), inner.1, arrangement, random);
        let mut parts = vec![content.as_slice()];
        if matches!(arrangement, Arrangement::Split(_)) && inner.2 == ONE {
            let ends: Vec<usize> = split(&content)
                .scan(0, |end, (_, field)| {
                    *end += field.len();
                    Some(*end)
                })
                .collect();
            if !ends.is_empty() {
                let (first, second) = content.split_at(ends[random.below(ends.len())]);
                parts = vec![first, second];
            }
        }
        fields.extend(parts.into_iter().map(|part| (number, message_field(number, part))));
    }
    match arrangement {
        Arrangement::Ascending => {}
        Arrangement::Descending => fields.sort_by_key(|(number, _)| std::cmp::Reverse(*number)),
        Arrangement::Shuffled(_) | Arrangement::Split(_) => {
            for i in (1..fields.len()).rev() {
                fields.swap(i, random.below(i + 1));
            }
        }
    }
    fields.into_iter().flat_map(|(_, bytes)| bytes).collect()
}

fn message_field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3 | 2, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

fn content(field: &[u8]) -> &[u8] {
    let mut rest = field;
    varint(&mut rest);
    varint(&mut rest);
    rest
}

/// The fields of a message with their numbers.
fn split(message: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let before = rest;
        let tag = varint(&mut rest);
        match tag & 7 {
            0 => drop(varint(&mut rest)),
            1 => rest = &rest[8..],
            2 => {
                let length = varint(&mut rest) as usize;
                rest = &rest[length..];
            }
            5 => rest = &rest[4..],
            other => panic!("wire type {other}"),
        }
        Some(((tag >> 3) as u32, &before[..before.len() - rest.len()]))
    })
}

fn varint(bytes: &mut &[u8]) -> u64 {
    prost::encoding::decode_varint(bytes).unwrap()
}

#[test]
fn fields_may_come_in_any_order() {
    let points = vec![number(Value::AsDouble(0.25)), number(Value::AsInt(7))];
    let sum = Sum { data_points: points.clone(), aggregation_temporality: 2, is_monotonic: true };
    let payload = metrics(
        resource(&[("service.name", "cart"), ("service.namespace", "shop")]),
        vec![("g", Data::Gauge(Gauge { data_points: points })), ("c", Data::Sum(sum))],
    );
    let expected = decode("metrics", &[], &payload).unwrap();
    assert_eq!(lines(&expected.0).len(), 4);
    assert_eq!(message(&payload, METRICS_REQUEST, Arrangement::Ascending), payload);
    for arrangement in [Arrangement::Descending, Arrangement::Split(1)] {
        let rearranged = message(&payload, METRICS_REQUEST, arrangement);
        assert_ne!(payload, rearranged);
        let mut decoded = lines(&decode("metrics", &[], &rearranged).unwrap().0);
        decoded.sort();
        let mut expected = lines(&expected.0);
        expected.sort();
        assert_eq!(decoded, expected);
    }
}
