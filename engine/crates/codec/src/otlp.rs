//! OTLP in protobuf: export requests as the OpenTelemetry Collector writes them onto topics.
//!
//! The messages are read by borrowing from their bytes, without building them. Fields that no batch holds (descriptions,
//! units, exemplars, scopes, attributes of log records and spans, events, links) are skipped and not looked into, so a
//! record that is damaged only there is accepted. Groups are refused also there.

mod attributes;
mod logs;
mod metrics;
mod spans;

pub use attributes::UNKNOWN_SERVICE;
pub use logs::LogsDecoder;
pub use metrics::MetricsDecoder;
pub use spans::SpansDecoder;

use crate::Dropped;
use crate::decoder::Budget;
use crate::wire::{Fields, Message, WireError};

/// The parts that the telemetry of one resource has in all three signals.
struct OfResource<'a> {
    resource: Message<'a>,
    bytes: &'a [u8],
}

impl<'a> OfResource<'a> {
    /// Of a `ResourceMetrics`, `ResourceLogs` or `ResourceSpans`. Their resource may come last, so it is looked for first.
    fn of(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut resource = Message::default();
        for field in Fields::of(bytes) {
            let field = field?;
            if field.number == 1 {
                resource.merge(field.bytes()?);
            }
        }
        Ok(Self { resource, bytes })
    }

    /// The metrics, log records or spans of all scopes.
    fn each(&self, mut item: impl FnMut(&'a [u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        for field in Fields::of(self.bytes) {
            let field = field?;
            if field.number != 2 {
                continue;
            }
            for field in Fields::of(field.bytes()?) {
                let field = field?;
                if field.number == 2 {
                    item(field.bytes()?)?;
                }
            }
        }
        Ok(())
    }

    /// Counts them as another tenant's. They must be readable all the same, as `read` tells.
    fn leave_out<T>(
        &self,
        budget: &mut Budget,
        dropped: &mut Dropped,
        read: impl Fn(&'a [u8]) -> Result<T, WireError>,
    ) -> Result<(), Stop> {
        self.each(|item| {
            read(item)?;
            dropped.other_tenant += 1;
            Ok(budget.take(1, 0)?)
        })
    }
}

/// Why reading ends early: bytes that are no message, or a record that is not accepted for another reason.
enum Stop {
    Wire(WireError),
    Rejected(crate::Rejected),
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<crate::Rejected> for Stop {
    fn from(rejected: crate::Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl Stop {
    fn reject(self, message: &'static str) -> crate::Rejected {
        match self {
            Self::Wire(error) => error.reject(message),
            Self::Rejected(rejected) => rejected,
        }
    }
}

/// Milliseconds of an OTLP time, which is 0 if it is unknown.
fn time_ms(nanoseconds: u64) -> Option<i64> {
    (nanoseconds != 0).then_some((nanoseconds / 1_000_000) as i64)
}

/// An id of 16 bytes. One of another length is hashed; an absent or all-zero one is none.
pub(crate) fn trace_id(bytes: &[u8]) -> Option<u128> {
    let id = match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => u128::from_be_bytes(bytes),
        Err(_) if bytes.is_empty() => 0,
        Err(_) => hash(bytes),
    };
    (id != 0).then_some(id)
}

/// As [`trace_id`], of 8 bytes.
pub(crate) fn span_id(bytes: &[u8]) -> Option<u64> {
    let id = match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) => u64::from_be_bytes(bytes),
        Err(_) if bytes.is_empty() => 0,
        Err(_) => hash(bytes) as u64,
    };
    (id != 0).then_some(id)
}

/// FNV-1a of 128 bits.
fn hash(bytes: &[u8]) -> u128 {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_other_lengths_are_hashed_and_absent_ones_are_none() {
        assert_eq!(trace_id(&7u128.to_be_bytes()), Some(7));
        assert_eq!(span_id(&7u64.to_be_bytes()), Some(7));
        assert_eq!((trace_id(&[]), trace_id(&[0; 16])), (None, None));
        assert_eq!((span_id(&[]), span_id(&[0; 8])), (None, None));
        assert_eq!(hash(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert!(trace_id(b"short").is_some() && trace_id(b"short") != trace_id(b"other"));
    }
}
