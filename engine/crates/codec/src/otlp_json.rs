//! OTLP in its JSON mapping: names in lower camel case, ids in hexadecimal, integers of 64 bits as text or numbers,
//! enumerations as numbers. Unknown members are skipped, as the specification says.
//!
//! The text is turned into protobuf, of the fields that batches hold, and that is read by the decoders of [`otlp`]; so the two
//! encodings cannot differ.

mod shapes;

use std::fmt;

use model::{SourceRecord, Telemetry};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::shapes::{Kind, Member, Shape};
use crate::decoder::release;
use crate::json::object;
use crate::settings::DecoderSettings;
use crate::wire::push_varint;
use crate::{Decoder, Dropped, Limits, Rejected, hex, otlp};

/// Reads OTLP in JSON with a decoder of OTLP in protobuf.
pub(crate) struct OtlpJsonDecoder<D> {
    limits: Limits,
    shape: &'static Shape,
    decoder: D,
    /// The last message, kept for its memory.
    message: Vec<u8>,
}

impl OtlpJsonDecoder<otlp::MetricsDecoder> {
    pub(crate) fn metrics(settings: &DecoderSettings) -> Self {
        Self::new(settings, &shapes::METRICS_REQUEST, otlp::MetricsDecoder::new)
    }
}

impl OtlpJsonDecoder<otlp::LogsDecoder> {
    pub(crate) fn logs(settings: &DecoderSettings) -> Self {
        Self::new(settings, &shapes::LOGS_REQUEST, otlp::LogsDecoder::new)
    }
}

impl OtlpJsonDecoder<otlp::SpansDecoder> {
    pub(crate) fn spans(settings: &DecoderSettings) -> Self {
        Self::new(settings, &shapes::TRACE_REQUEST, otlp::SpansDecoder::new)
    }
}

impl<D> OtlpJsonDecoder<D> {
    fn new(settings: &DecoderSettings, shape: &'static Shape, decoder: fn(&DecoderSettings) -> D) -> Self {
        let limits = settings.limits;
        // The payload is bound as text; as a message it has at most a few times as many bytes.
        let unbound = Limits { payload_bytes_max: usize::MAX, ..limits };
        let decoder = decoder(&DecoderSettings { limits: unbound, ..settings.clone() });
        Self { limits, shape, decoder, message: Vec::new() }
    }
}

/// Writes the payload over the last message.
fn translate(shape: &'static Shape, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Rejected> {
    out.clear();
    if payload.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    Message { shape, out }.deserialize(&mut deserializer).map_err(object::json)?;
    deserializer.end().map_err(object::json)
}

/// An OTLP export request of `metrics`, `logs` or `spans` in JSON as one in protobuf, with the fields that are read here. It has at
/// most four times as many bytes.
pub fn otlp_json_to_protobuf(signal: &str, payload: &[u8]) -> Result<Vec<u8>, Rejected> {
    let shape = match signal {
        "metrics" => &shapes::METRICS_REQUEST,
        "logs" => &shapes::LOGS_REQUEST,
        _ => &shapes::TRACE_REQUEST,
    };
    let mut message = Vec::new();
    translate(shape, payload, &mut message).map_err(Rejected::shortened)?;
    Ok(message)
}

impl<D: Decoder> Decoder for OtlpJsonDecoder<D> {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        let result = translate(self.shape, record.payload, &mut self.message)
            .and_then(|()| self.decoder.decode(SourceRecord { payload: &self.message, ..record }, out));
        release(&mut self.message);
        result
    }

    fn dropped(&self) -> Dropped {
        self.decoder.dropped()
    }
}

/// Writes the fields of a message.
struct Message<'o> {
    shape: &'static Shape,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name(self.shape))? {
            match name {
                Some(member) => map.next_value_seed(Value { member, is_item: false, out: self.out })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Finds the member that a name names.
struct Name(&'static Shape);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Member>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(name))
    }
}

/// Writes the value of a member, or one item of a repeated one, with its key.
struct Value<'o> {
    member: &'static Member,
    is_item: bool,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn varint<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.key(0);
        push_varint(self.out, value);
        Ok(())
    }

    fn fixed64<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.key(1);
        self.out.extend(value.to_le_bytes());
        Ok(())
    }

    fn bytes<E: Error>(mut self, bytes: &[u8]) -> Result<(), E> {
        self.key(2);
        push_varint(self.out, bytes.len() as u64);
        self.out.extend(bytes);
        Ok(())
    }

    fn key(&mut self, wire_type: u64) {
        push_varint(self.out, u64::from(self.member.number) << 3 | wire_type);
    }

    fn wrong<E: Error>(self, found: impl fmt::Display) -> Result<(), E> {
        Err(E::custom(format_args!("{} is {found}, expected {}", self.member.name, self.member.kind)))
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.member.kind, self.member.name)
    }

    /// Null is the same as nothing.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.member.kind {
            Kind::Bool => self.varint(u64::from(value)),
            _ => self.wrong(value),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.member.kind {
            Kind::Varint => self.varint(value),
            Kind::ZigZag => match i64::try_from(value) {
                Ok(value) => self.visit_i64(value),
                Err(_) => self.wrong(value),
            },
            Kind::Fixed64 => self.fixed64(value),
            Kind::Double => self.fixed64((value as f64).to_bits()),
            _ => self.wrong(value),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.member.kind {
            Kind::Varint => self.varint(value as u64),
            Kind::ZigZag => match i32::try_from(value) {
                Ok(value) => self.varint(u64::from((value << 1 ^ value >> 31) as u32)),
                Err(_) => self.wrong(value),
            },
            Kind::Fixed64 => self.fixed64(value as u64),
            Kind::Double => self.fixed64((value as f64).to_bits()),
            _ => self.wrong(value),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.member.kind {
            Kind::Double => self.fixed64(value.to_bits()),
            // 1e3 is an integer too.
            Kind::Varint | Kind::ZigZag | Kind::Fixed64 if value.fract() == 0.0 && value.abs() < 9e18 => {
                self.visit_i64(value as i64)
            }
            _ => self.wrong(value),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match self.member.kind {
            Kind::Text => self.bytes(value.as_bytes()),
            Kind::Hex => match hex::bytes(value) {
                Some(bytes) => self.bytes(&bytes),
                None => self.wrong(format_args!("{value:?}")),
            },
            Kind::Base64 => match base64(value) {
                Some(bytes) => self.bytes(&bytes),
                None => self.wrong(format_args!("{value:?}")),
            },
            Kind::Double => match value.parse::<f64>() {
                Ok(number) => self.fixed64(number.to_bits()),
                Err(_) => self.wrong(format_args!("{value:?}")),
            },
            Kind::Varint | Kind::ZigZag | Kind::Fixed64 => match (value.parse::<u64>(), value.parse::<i64>())
            {
                (Ok(number), _) => self.visit_u64(number),
                (_, Ok(number)) => self.visit_i64(number),
                _ => self.wrong(format_args!("{value:?}")),
            },
            Kind::Bool | Kind::Message(_) => self.wrong(format_args!("{value:?}")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let Kind::Message(shape) = self.member.kind else { return self.wrong("an object") };
        self.key(2);
        // The length is known afterwards; a varint may have more bytes than it needs.
        let at = self.out.len();
        self.out.extend([0; LENGTH_BYTES]);
        Message { shape, out: self.out }.visit_map(map)?;
        let length = self.out.len() - at - LENGTH_BYTES;
        for (i, byte) in self.out[at..at + LENGTH_BYTES].iter_mut().enumerate() {
            let continues = if i + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            *byte = (length >> (7 * i) & 0x7f) as u8 | continues;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        if !self.member.is_repeated || self.is_item {
            return self.wrong("an array");
        }
        let Value { member, out, .. } = self;
        while let Some(()) = array.next_element_seed(Value { member, is_item: true, out: &mut *out })? {}
        Ok(())
    }
}

/// Enough for the length of any message of less than 32 GiB.
const LENGTH_BYTES: usize = 5;

/// Of either alphabet, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.chunks(4) {
        let mut group = 0u32;
        for (i, byte) in chunk.iter().enumerate() {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            group |= u32::from(digit) << (18 - 6 * i);
        }
        if chunk.len() == 1 {
            return None;
        }
        bytes.extend(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{BUFFER_BYTES_MAX, record};

    #[test]
    fn a_large_message_leaves_no_large_buffer_behind() {
        let mut decoder = OtlpJsonDecoder::logs(&DecoderSettings::default());
        let body = "x".repeat(4 << 20);
        let log = format!(r#"{{"timeUnixNano": "3000000", "body": {{"stringValue": "{body}"}}}}"#);
        let request = format!(r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{log}]}}]}}]}}"#);
        for (payload, is_valid) in [(request.as_str(), true), (&request[..request.len() - 1], false)] {
            assert_eq!(decoder.decode(record(payload.as_bytes()), &mut Vec::new()).is_ok(), is_valid);
            assert!(decoder.message.capacity() <= BUFFER_BYTES_MAX);
        }
    }

    #[test]
    fn base64_of_both_alphabets() {
        for (text, expected) in [
            ("YW55", Some("any")),
            ("YW4=", Some("an")),
            ("YW4", Some("an")),
            ("YQ==", Some("a")),
            ("", Some("")),
            ("Y", None),
            ("Y!==", None),
        ] {
            assert_eq!(base64(text).as_deref(), expected.map(str::as_bytes), "{text}");
        }
        assert_eq!(base64("_-8="), base64("/+8="));
    }
}
