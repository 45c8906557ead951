//! OTLP read with prost: the plain way, against which the decoders of the crate are checked.

mod attributes;
mod logs;
mod metrics;
mod spans;

pub use logs::LogsDecoder;
pub use metrics::MetricsDecoder;
pub use spans::SpansDecoder;

use foreshock_codec::{Limits, Rejected};

fn read<M: prost::Message + Default>(
    message: &'static str,
    payload: &[u8],
    limits: &Limits,
) -> Result<M, Rejected> {
    if payload.len() > limits.payload_bytes_max {
        return Err(Rejected::PayloadTooLarge { bytes: payload.len(), limit: limits.payload_bytes_max });
    }
    M::decode(payload).map_err(|error| Rejected::Protobuf { message, reason: error.to_string() })
}

/// Milliseconds of an OTLP time, which is 0 if it is unknown.
fn time_ms(nanoseconds: u64) -> Option<i64> {
    (nanoseconds != 0).then_some((nanoseconds / 1_000_000) as i64)
}

/// An id of 16 bytes. One of another length is hashed; an absent or all-zero one is none.
fn trace_id(bytes: &[u8]) -> Option<u128> {
    let id = match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => u128::from_be_bytes(bytes),
        Err(_) if bytes.is_empty() => 0,
        Err(_) => hash(bytes),
    };
    (id != 0).then_some(id)
}

/// As [`trace_id`], of 8 bytes.
fn span_id(bytes: &[u8]) -> Option<u64> {
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

/// What one record has taken of its limits so far.
struct Budget {
    limits: Limits,
    rows: usize,
    text_bytes: usize,
}

impl Budget {
    fn new(limits: Limits) -> Self {
        Self { limits, rows: 0, text_bytes: 0 }
    }

    fn take(&mut self, rows: usize, text_bytes: usize) -> Result<(), Rejected> {
        self.rows = self.rows.saturating_add(rows);
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        if self.rows > self.limits.rows_max {
            return Err(Rejected::TooManyRows { limit: self.limits.rows_max });
        }
        if self.text_bytes > self.limits.text_bytes_max {
            return Err(Rejected::TooMuchText { limit: self.limits.text_bytes_max });
        }
        Ok(())
    }
}
