//! Compressed payloads, as the header `content-encoding` names them: `gzip`, `deflate`, `zstd` or `snappy` (a block, or
//! frames). Without the header, `gzip`, `zstd` and frames of Snappy are known by their first bytes. What comes out is bound by [`Limits::payload_bytes_max`] as well, and checked before it is made.
//!
//! This is apart from the compression of Kafka itself, which its client undoes.

use std::io::Read;
use std::sync::Arc;

use model::{SourceRecord, Telemetry};

use crate::decoder::release;
use crate::entity::TenantRule;
use crate::settings::DecoderSettings;
use crate::{Decoder, Dropped, Limits, Rejected};

const HEADER: &str = "content-encoding";
/// How the frames of Snappy begin; a block begins otherwise.
const SNAPPY_FRAMES: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// zstd's largest window up to level 19, 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const PIECE_BYTES: usize = 16 << 10;

/// Decompresses what another decoder then reads, and shortens its reasons. Records of other tenants are left out.
pub(crate) struct Decompressing<D> {
    limits: Limits,
    tenant: Option<Arc<TenantRule>>,
    /// Records of other tenants.
    others: u64,
    decoder: D,
    /// The last payload, kept for its memory.
    payload: Vec<u8>,
}

impl<D> Decompressing<D> {
    pub(crate) fn new(settings: &DecoderSettings, decoder: D) -> Self {
        let DecoderSettings { limits, tenant, .. } = settings;
        Self { limits: *limits, tenant: tenant.clone(), others: 0, decoder, payload: Vec::new() }
    }
}

impl<D: Decoder> Decoder for Decompressing<D> {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        if self.tenant.as_ref().is_some_and(|tenant| !tenant.takes_record(&record)) {
            self.others += 1;
            return Ok(());
        }
        self.read(record, out).map_err(Rejected::shortened)
    }

    fn dropped(&self) -> Dropped {
        let dropped = self.decoder.dropped();
        Dropped { other_tenant: dropped.other_tenant + self.others, ..dropped }
    }
}

impl<D: Decoder> Decompressing<D> {
    fn read(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        let result = decompressed(record, self.limits, &mut self.payload)
            .and_then(|payload| self.decoder.decode(SourceRecord { payload, ..record }, out));
        release(&mut self.payload);
        result
    }
}

/// The payload of a record as it was before it was compressed, in `buffer` if it was.
pub(crate) fn decompressed<'a>(
    record: SourceRecord<'a>,
    limits: Limits,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], Rejected> {
    let Some(encoding) = named(&record).or_else(|| recognized(record.payload)) else {
        return Ok(record.payload);
    };
    limits.check_payload(record.payload)?;
    decompress(encoding, record.payload, limits.payload_bytes_max, buffer)?;
    Ok(buffer)
}

/// What the header says, unless it says that the payload is as it is.
pub(crate) fn named<'a>(record: &SourceRecord<'a>) -> Option<&'a str> {
    let encoding = record.header(HEADER)?.trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

pub(crate) fn is_header(name: &str) -> bool {
    name.eq_ignore_ascii_case(HEADER)
}

/// A compression that is known by its first bytes. No format that is read begins with them: neither text nor protobuf can
/// begin with the first two, and no message that is read has its field 5 as a number, which is how the third begins.
pub(crate) fn recognized(payload: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: &[(&[u8], &str)] =
        &[(b"\x1f\x8b\x08", "gzip"), (SNAPPY_FRAMES, "snappy"), (b"\x28\xb5\x2f\xfd", "zstd")];
    let found = BEGINNINGS.iter().find(|(beginning, _)| payload.starts_with(beginning));
    found.map(|(_, encoding)| *encoding)
}

/// Undoes a compression that a `content-encoding` names. Writes over `out`, at most `limit` bytes and one more.
pub fn decompress(encoding: &str, payload: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Rejected> {
    out.clear();
    match encoding.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => read("gzip", flate2::bufread::MultiGzDecoder::new(payload), limit, out),
        "deflate" => read("deflate", flate2::bufread::ZlibDecoder::new(payload), limit, out),
        "zstd" => {
            let reject = |error: std::io::Error| compression("zstd", &error);
            let mut reader = zstd::stream::read::Decoder::with_buffer(payload).map_err(reject)?;
            reader.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(reject)?;
            read("zstd", reader, limit, out)
        }
        "snappy" | "x-snappy-framed" if payload.starts_with(SNAPPY_FRAMES) => {
            read("snappy", snap::read::FrameDecoder::new(payload), limit, out)
        }
        "snappy" => snappy_block(payload, limit, out),
        _ => Err(Rejected::Compression {
            encoding: "compressed payload",
            reason: format!("content-encoding is {encoding:?}; gzip, deflate, zstd and snappy are read"),
        }),
    }
}

/// A block of Snappy, which says how long its content is. Writes over `out`.
pub(crate) fn snappy_block(payload: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Rejected> {
    let reject = |error: snap::Error| compression("snappy", &error);
    let length = snap::raw::decompress_len(payload).map_err(reject)?;
    if length > limit {
        return Err(Rejected::DecompressedTooLarge { limit });
    }
    out.clear();
    out.resize(length, 0);
    let length = snap::raw::Decoder::new().decompress(payload, out).map_err(reject)?;
    out.truncate(length);
    Ok(())
}

fn read(encoding: &'static str, reader: impl Read, limit: usize, out: &mut Vec<u8>) -> Result<(), Rejected> {
    // One byte more than allowed is enough to know.
    let mut reader = reader.take(limit as u64 + 1);
    // In pieces of one size, whatever room `out` has: zstd accepts frames by the room for them.
    let mut piece = [0; PIECE_BYTES];
    loop {
        let length = reader.read(&mut piece).map_err(|error| compression(encoding, &error))?;
        if length == 0 {
            return Ok(());
        }
        out.extend_from_slice(&piece[..length]);
        if out.len() > limit {
            return Err(Rejected::DecompressedTooLarge { limit });
        }
    }
}

fn compression(encoding: &'static str, error: &dyn std::error::Error) -> Rejected {
    Rejected::Compression { encoding, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::decoder::{BUFFER_BYTES_MAX, record};

    const TEXT: &[u8] = b"a payload, a payload, a payload and some more of it";

    fn compressed(encoding: &str) -> Vec<u8> {
        match encoding {
            "gzip" => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(TEXT).unwrap();
                writer.finish().unwrap()
            }
            "deflate" => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(TEXT).unwrap();
                writer.finish().unwrap()
            }
            "zstd" => zstd::encode_all(TEXT, 3).unwrap(),
            "snappy" => snap::raw::Encoder::new().compress_vec(TEXT).unwrap(),
            _ => {
                let mut writer = snap::write::FrameEncoder::new(Vec::new());
                writer.write_all(TEXT).unwrap();
                writer.into_inner().unwrap()
            }
        }
    }

    #[test]
    fn every_encoding_is_read_within_the_limit() {
        for (name, header) in [
            ("gzip", "gzip"),
            ("gzip", "X-GZIP"),
            ("deflate", "deflate"),
            ("zstd", "zstd"),
            ("snappy", "snappy"),
            ("frames", "snappy"),
        ] {
            let (payload, mut out) = (compressed(name), vec![1, 2, 3]);
            assert_eq!(decompress(header, &payload, TEXT.len(), &mut out), Ok(()), "{name}");
            assert_eq!(out, TEXT);
            for limit in [TEXT.len() - 1, 5, 0] {
                let too_large = Err(Rejected::DecompressedTooLarge { limit });
                assert_eq!(decompress(header, &payload, limit, &mut out), too_large, "{name}");
                assert!(out.len() <= limit + 1, "{name} unpacks {} bytes, more than tell", out.len());
            }
            for end in 0..payload.len() {
                let cut = decompress(header, &payload[..end], TEXT.len(), &mut out);
                // Only frames may end between two of their parts, of which the first holds nothing.
                let is_whole = name == "frames" && end == SNAPPY_FRAMES.len();
                assert_eq!(cut.is_ok(), is_whole, "{name} at {end}");
                assert!(cut.is_err() || out.is_empty(), "{name} at {end}");
            }
        }
    }

    #[test]
    fn the_room_that_an_earlier_payload_left_changes_nothing() {
        // A frame that says that it needs 16 MiB, of which 256 bytes come out; and a damaged one.
        let wide = b"\x28\xb5\x2f\xfd\x40\x70\x00\x00\x03\x08\x00\x61";
        let damaged = b"\x28\xb5\x2f\xfd\x50\x70\x3f\x0a\x73\x65\x18\x39\x0a\x17";
        for (payload, is_read) in [(&wide[..], true), (damaged, false)] {
            let read = |room: usize| decompress("zstd", payload, 1 << 20, &mut Vec::with_capacity(room));
            let alone = read(0);
            assert_eq!(alone.is_ok(), is_read);
            for room in [1, 255, 256, 4096, 1 << 20] {
                assert_eq!(read(room), alone, "{room} bytes of room");
            }
        }
    }

    /// Accepts any payload.
    struct Accepting;

    impl Decoder for Accepting {
        fn decode(&mut self, _: SourceRecord<'_>, _: &mut Vec<Telemetry>) -> Result<(), Rejected> {
            Ok(())
        }

        fn dropped(&self) -> Dropped {
            Dropped::default()
        }
    }

    #[test]
    fn a_large_payload_leaves_no_large_buffer_behind() {
        let mut decoder = Decompressing::new(&DecoderSettings::default(), Accepting);
        let mut kept = |bytes: usize, cut: usize| {
            let mut payload = zstd::encode_all(vec![7; bytes].as_slice(), 1).unwrap();
            payload.truncate(payload.len() - cut);
            let headers: &[(&str, &[u8])] = &[(HEADER, b"zstd")];
            let record = SourceRecord { headers, ..record(&payload) };
            assert_eq!(decoder.decode(record, &mut Vec::new()).is_ok(), cut == 0);
            decoder.payload.capacity()
        };
        assert!((1000..=BUFFER_BYTES_MAX).contains(&kept(1000, 0)));
        assert_eq!(kept(4 << 20, 0), 0);
        assert_eq!(kept(4 << 20, 1), 0, "also if it is rejected");
    }

    #[test]
    fn other_encodings_are_named() {
        let rejected = decompress("br", TEXT, 100, &mut Vec::new()).unwrap_err();
        let expected =
            r#"no compressed payload: content-encoding is "br"; gzip, deflate, zstd and snappy are read"#;
        assert_eq!(rejected.to_string(), expected);
        let rejected = decompress("gzip", TEXT, 100, &mut Vec::new()).unwrap_err();
        assert_eq!(rejected.to_string(), "no gzip: invalid gzip header");
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = zstd::encode_all(std::io::repeat(0).take(1 << 28), 3).unwrap();
        let mut out = Vec::new();
        let limit = 1 << 16;
        assert_eq!(
            decompress("zstd", &zeros, limit, &mut out),
            Err(Rejected::DecompressedTooLarge { limit })
        );
        // A block of Snappy that says it has 4 GiB.
        let claims = b"\xff\xff\xff\xff\x0f\x00";
        assert_eq!(
            decompress("snappy", claims, limit, &mut out),
            Err(Rejected::DecompressedTooLarge { limit })
        );
        assert!(out.capacity() < 1 << 20);
    }
}
