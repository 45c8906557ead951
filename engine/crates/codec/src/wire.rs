//! Protobuf's wire format, read by borrowing.
//!
//! Two facts of protobuf carry the decoders built on this: fields come in any order, and a message that occurs twice
//! where one is expected is merged, which gives what their bytes one after the other would give. [`Message`] holds such
//! parts without copying them. Groups, which proto3 does not have, are refused.

use crate::Rejected;

/// Messages within messages, as the reference implementations and prost bound them.
pub(crate) const LEVELS_MAX: usize = 100;
/// Attributes of a resource: each takes much more in memory than the two bytes of an empty one.
pub(crate) const ATTRIBUTES_MAX: usize = 4_096;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("it ends within a field")]
    Truncated,
    #[error("a varint has more than 64 bits")]
    Varint,
    #[error("a field has a number that is 0 or too large")]
    FieldNumber,
    #[error("it holds a group, which proto3 does not have")]
    Group,
    #[error("the wire type {0} does not exist")]
    WireType(u8),
    #[error("field {field} has another wire type than it should")]
    Mismatch { field: u32 },
    #[error("the text in field {field} is not UTF-8")]
    Utf8 { field: u32 },
    #[error("a resource has more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    #[error("its messages nest deeper than {LEVELS_MAX} levels")]
    TooDeep,
}

impl WireError {
    pub(crate) fn reject(self, message: &'static str) -> Rejected {
        Rejected::Protobuf { message, reason: self.to_string() }
    }
}

/// One field. The readers of its value fail if the wire type does not fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Field<'a> {
    #[inline]
    pub(crate) fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.mismatch()),
        }
    }

    /// Of `sint32`.
    pub(crate) fn zigzag32(&self) -> Result<i32, WireError> {
        let value = self.varint()? as u32;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    #[inline]
    pub(crate) fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(self.mismatch()),
        }
    }

    pub(crate) fn double(&self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }

    /// The content of a message or of `bytes`.
    #[inline]
    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mismatch()),
        }
    }

    #[inline]
    pub(crate) fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8 { field: self.number })
    }

    /// Each value of a repeated `fixed64` or `double`, packed or not.
    pub(crate) fn each_fixed64(&self, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(value) => each(value),
            Value::Bytes(packed) => {
                let (values, []) = packed.as_chunks::<8>() else { return Err(WireError::Truncated) };
                values.iter().for_each(|bytes| each(u64::from_le_bytes(*bytes)));
            }
            _ => return Err(self.mismatch()),
        }
        Ok(())
    }

    /// Each value of a repeated integer that is a varint, packed or not.
    pub(crate) fn each_varint(&self, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Varint(value) => each(value),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    each(varint(&mut packed)?);
                }
            }
            _ => return Err(self.mismatch()),
        }
        Ok(())
    }

    fn mismatch(&self) -> WireError {
        WireError::Mismatch { field: self.number }
    }
}

/// The fields of a message in the order of their bytes. Ends after the first error.
#[derive(Clone)]
pub(crate) struct Fields<'a, 'm> {
    rest: &'a [u8],
    more: &'m [&'a [u8]],
}

impl<'a> Fields<'a, '_> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message, more: &[] }
    }

    /// How many bytes of the part under way are still to be read.
    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Goes past the bytes, fields as a whole, if they are the next ones of the part under way.
    #[inline]
    pub(crate) fn go_past(&mut self, fields: &[u8]) -> bool {
        let Some(rest) = self.rest.strip_prefix(fields) else { return false };
        self.rest = rest;
        true
    }

    /// The next byte of the part under way.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn read(&mut self) -> Result<Field<'a>, WireError> {
        let key = varint(&mut self.rest)?;
        let number = (key >> 3) as u32;
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(WireError::FieldNumber);
        }
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = varint(&mut self.rest)?;
                if length > self.rest.len() as u64 {
                    return Err(WireError::Truncated);
                }
                let (bytes, rest) = self.rest.split_at(length as usize);
                self.rest = rest;
                Value::Bytes(bytes)
            }
            3 | 4 => return Err(WireError::Group),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(WireError::WireType(other as u8)),
        };
        Ok(Field { number, value })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Iterator for Fields<'a, '_> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.is_empty() {
            let (first, more) = self.more.split_first()?;
            (self.rest, self.more) = (first, more);
        }
        let field = self.read();
        if field.is_err() {
            (self.rest, self.more) = (&[], &[]);
        }
        Some(field)
    }
}

#[inline]
fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    match *bytes {
        [byte, rest @ ..] if *byte < 0x80 => {
            *bytes = rest;
            Ok(u64::from(*byte))
        }
        [low, high, rest @ ..] if *high < 0x80 => {
            *bytes = rest;
            Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
        }
        _ => long_varint(bytes),
    }
}

#[cold]
fn long_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if i == 9 && *byte > 1 {
            return Err(WireError::Varint);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    Err(WireError::Truncated)
}

/// Writes a varint.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A message that may have come in parts, which are merged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message<'a> {
    first: &'a [u8],
    more: Vec<&'a [u8]>,
}

impl<'a> Message<'a> {
    pub(crate) fn of(part: &'a [u8]) -> Self {
        Self { first: part, more: Vec::new() }
    }

    pub(crate) fn merge(&mut self, part: &'a [u8]) {
        if self.first.is_empty() {
            self.first = part;
        } else if !part.is_empty() {
            self.more.push(part);
        }
    }

    pub(crate) fn fields(&self) -> Fields<'a, '_> {
        Fields { rest: self.first, more: &self.more }
    }

    /// All of it, if it came in one part.
    pub(crate) fn whole(&self) -> Option<&'a [u8]> {
        self.more.is_empty().then_some(self.first)
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &'a [u8]> {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

/// What the fields of a message hold, for [`validate`]. Fields that it does not name may hold anything.
pub(crate) struct Shape(pub(crate) &'static [(u32, Kind)]);

pub(crate) enum Kind {
    Varint,
    Fixed64,
    Text,
    Bytes,
    Message(&'static Shape),
    RepeatedFixed64,
    RepeatedVarint,
}

/// Checks a message of which nothing is taken over. `levels` is how many messages may yet nest in it.
pub(crate) fn validate(message: &[u8], shape: &Shape, levels: usize) -> Result<(), WireError> {
    for field in Fields::of(message) {
        let field = field?;
        let Some((_, kind)) = shape.0.iter().find(|(number, _)| *number == field.number) else { continue };
        match kind {
            Kind::Varint => drop(field.varint()?),
            Kind::Fixed64 => drop(field.fixed64()?),
            Kind::Text => drop(field.text()?),
            Kind::Bytes => drop(field.bytes()?),
            Kind::Message(shape) => {
                let levels = levels.checked_sub(1).ok_or(WireError::TooDeep)?;
                validate(field.bytes()?, shape, levels)?;
            }
            Kind::RepeatedFixed64 => field.each_fixed64(|_| ())?,
            Kind::RepeatedVarint => field.each_varint(|_| ())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let bytes = b"\x08\x96\x01\x11\x01\0\0\0\0\0\0\0\x1a\x02ab\x25\x02\0\0\0";
        let read = fields(bytes).unwrap();
        assert_eq!(read.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(read[0].varint(), Ok(150));
        assert_eq!(read[1].fixed64(), Ok(1));
        assert_eq!(read[2].text(), Ok("ab"));
        assert_eq!(read[3], Field { number: 4, value: Value::Fixed32(2) });
        assert_eq!(read[0].bytes(), Err(WireError::Mismatch { field: 1 }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bytes, expected) in [
            (&b"\x0a\x05abc"[..], WireError::Truncated),
            (b"\x09\0\0", WireError::Truncated),
            (b"\x08\x80", WireError::Truncated),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", WireError::Varint),
            (b"\x00\x01", WireError::FieldNumber),
            (b"\x80\x80\x80\x80\x10\x01", WireError::FieldNumber),
            (b"\x0b\x0c", WireError::Group),
            (b"\x0e", WireError::WireType(6)),
        ] {
            assert_eq!(fields(bytes), Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn parts_read_as_one() {
        let mut message = Message::default();
        for part in [&b""[..], b"\x08\x01", b"", b"\x08\x02\x08\x03"] {
            message.merge(part);
        }
        let values: Vec<u64> = message.fields().map(|field| field.unwrap().varint().unwrap()).collect();
        assert_eq!(values, [1, 2, 3]);
    }

    #[test]
    fn shapes_are_checked_to_a_depth() {
        static NESTED: Shape = Shape(&[(1, Kind::Message(&NESTED)), (2, Kind::Text)]);
        assert_eq!(validate(b"\x0a\x02\x0a\x00", &NESTED, 2), Ok(()));
        assert_eq!(validate(b"\x0a\x02\x0a\x00", &NESTED, 1), Err(WireError::TooDeep));
        assert_eq!(validate(b"\x0a\x03\x12\x01\xff", &NESTED, 9), Err(WireError::Utf8 { field: 2 }));
        assert_eq!(
            validate(b"\x1a\x03\x12\x01\xff", &NESTED, 9),
            Ok(()),
            "of fields without shape nothing is known"
        );
    }
}
