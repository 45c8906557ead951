//! Which format the records of a topic have, found from their headers and content, for those who do not know.
//!
//! What a record looks like ([`hints`]: headers, the members of JSON objects) says which decoder to try first, and a record is
//! only called what a decoder reads rows from. Formats that look like nothing in particular (protobuf, Influx lines, text) are
//! found by trying.

mod hints;

use std::ops::ControlFlow;

use model::{SourceRecord, Telemetry};

use crate::compression;
use crate::decoder::{DECODERS, Decoder, DecoderSpec, Limits};
use crate::json::object;
use hints::Hint;

/// What a record seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    pub signal: &'static str,
    pub encoding: &'static str,
    /// What tells so.
    pub why: String,
}

/// How the payload of a record is compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// As `content-encoding` names it.
    pub encoding: String,
    /// Whether that header says so; else its first bytes do.
    pub is_named: bool,
}

/// Looks at records one by one.
pub struct Detector {
    limits: Limits,
    /// In the order of [`DECODERS`].
    decoders: Vec<Box<dyn Decoder>>,
    payload: Vec<u8>,
}

impl Detector {
    pub fn new(limits: Limits) -> Self {
        let decoders = DECODERS.iter().map(|spec| spec.decoder(limits)).collect();
        Self { limits, decoders, payload: Vec::new() }
    }

    /// None if no decoder reads a row from it.
    pub fn detect(&mut self, record: SourceRecord<'_>) -> Option<Detected> {
        let mut buffer = std::mem::take(&mut self.payload);
        let payload = compression::decompressed(record, self.limits, &mut buffer);
        let detected = payload.ok().and_then(|payload| self.detect_in(SourceRecord { payload, ..record }));
        self.payload = buffer;
        crate::decoder::release(&mut self.payload);
        detected
    }

    /// The payload is no longer compressed.
    fn detect_in(&mut self, record: SourceRecord<'_>) -> Option<Detected> {
        let plain_headers: Vec<(&str, &[u8])> =
            record.headers.iter().copied().filter(|(name, _)| !compression::is_header(name)).collect();
        let record = SourceRecord { headers: &plain_headers, ..record };
        let is_json = matches!(record.payload.trim_ascii_start().first(), Some(b'{' | b'['));
        let mut hinted = hints::of_headers(&record);
        if is_json {
            // Of the first object; the others are most likely alike.
            let _ = object::each_object(record.payload, |object| {
                hinted.extend(hints::of_object(object));
                Err(crate::Rejected::Json { reason: String::new() })
            });
        }
        let found = hinted.into_iter().find(|Hint { signal, encoding, .. }| {
            position(signal, encoding).is_some_and(|at| self.rows(at, record).is_some())
        });
        if let Some(Hint { signal, encoding, why }) = found {
            return Some(Detected { signal, encoding, why });
        }
        self.by_trying(record, is_json)
    }

    /// The decoder that gets the most rows out of it, of those for which content like this is possible.
    fn by_trying(&mut self, record: SourceRecord<'_>, is_json: bool) -> Option<Detected> {
        let is_text = is_text(record.payload);
        let mut best: Option<(usize, &'static DecoderSpec)> = None;
        for (at, spec) in DECODERS.iter().enumerate() {
            let is_possible = match spec.encoding {
                "otlp_proto" | "jaeger_proto" | "prometheus_remote_write" => !is_json,
                "influx" => is_text && !is_json,
                // Objects of another kind can be read so as well, and are better lines of text.
                _ => false,
            };
            let rows = if is_possible { self.rows(at, record) } else { None };
            if let Some(rows) = rows.filter(|rows| best.is_none_or(|(most, _)| *rows > most)) {
                best = Some((rows, spec));
            }
        }
        if let Some((rows, spec)) = best {
            let why = format!("it decodes as such, with {rows} rows");
            return Some(Detected { signal: spec.signal, encoding: spec.encoding, why });
        }
        let at = position("logs", "plain").filter(|_| is_text)?;
        self.rows(at, record)?;
        let why = if is_json {
            "it is JSON without the members of a format that is known, which can be read as lines of text"
        } else {
            "it is text of no other format"
        };
        Some(Detected { signal: "logs", encoding: "plain", why: why.to_owned() })
    }

    /// How many rows a decoder gets; none unless there are some, or if it leaves out more than twice as many.
    fn rows(&mut self, at: usize, record: SourceRecord<'_>) -> Option<usize> {
        let decoder = &mut self.decoders[at];
        let dropped = decoder.dropped().total();
        let mut out = Vec::new();
        decoder.decode(record, &mut out).ok()?;
        let dropped = decoder.dropped().total() - dropped;
        let rows: usize = out.iter().map(|batch: &Telemetry| batch.record_batch().num_rows()).sum();
        (rows > 0 && dropped <= 2 * rows as u64).then_some(rows)
    }
}

/// How the payload of a record is compressed, if it is.
pub fn compression(record: &SourceRecord<'_>) -> Option<Compressed> {
    match compression::named(record) {
        Some(encoding) => Some(Compressed { encoding: encoding.to_owned(), is_named: true }),
        None => {
            let encoding = compression::recognized(record.payload)?.to_owned();
            Some(Compressed { encoding, is_named: false })
        }
    }
}

fn position(signal: &str, encoding: &str) -> Option<usize> {
    DECODERS.iter().position(|spec| spec.signal == signal && spec.encoding == encoding)
}

/// Whether somebody could read it.
fn is_text(payload: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(payload) else { return false };
    let strange = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x1b');
    let strange = text.chars().try_fold(0_usize, |strange_so_far, c| {
        let strange_so_far = strange_so_far + usize::from(strange(c));
        if strange_so_far * 20 > text.len() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(strange_so_far)
        }
    });
    !text.trim().is_empty() && strange.is_continue()
}

#[cfg(test)]
mod tests;
