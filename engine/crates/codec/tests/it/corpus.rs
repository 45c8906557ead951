//! Every decoder survives random, truncated and mutated records, keeps its limits with them, and reads each as one that has
//! read no other.
//!
//! The records are made of one valid record for each format, from fixed seeds, so that a failure comes again.

use foreshock_codec::detect::Detector;
use foreshock_codec::{DECODERS, DecoderSpec, Dropped, Limits, Rejected, decoder, ipc};
use model::{SourceRecord, Telemetry};
use prost::Message;

use crate::records::{self, Random};
use crate::{messages, prometheus, rearranged, span_formats};

const RECORDS_OF_A_FORMAT: usize = 3_000;
const LIMITS: Limits = Limits { payload_bytes_max: 8192, rows_max: 40, depth_max: 6, text_bytes_max: 4096 };
/// Of a batch within the limits: the builders of columns begin with room for 1024 values.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Some records of the format that are as they should be.
fn valid(signal: &str, encoding: &str) -> Vec<Vec<u8>> {
    match (signal, encoding) {
        ("metrics", "otlp_proto") => {
            let attributes = vec![messages::attribute("k", Default::default()); 3];
            let request = messages::one_point(attributes).encode_to_vec();
            let split = rearranged::Arrangement::Split(1);
            return vec![rearranged::message(&request, rearranged::METRICS_REQUEST, split), request];
        }
        ("logs", "otlp_proto") => return vec![messages::one_log(Default::default()).encode_to_vec()],
        ("spans", "otlp_proto") => return vec![messages::one_span().encode_to_vec()],
        ("metrics", "prometheus_remote_write") => {
            let request = prometheus::request().encode_to_vec();
            return vec![snap::raw::Encoder::new().compress_vec(&request).unwrap(), request];
        }
        ("spans", "jaeger_proto") => return vec![span_formats::span().encode_to_vec()],
        _ => {}
    }
    let texts = records::texts(signal, encoding);
    assert!(!texts.is_empty(), "{signal} {encoding} has no valid record here");
    texts
}

fn decode_afresh(
    spec: &DecoderSpec,
    record: SourceRecord<'_>,
) -> (Result<(), Rejected>, Vec<Telemetry>, Dropped) {
    let mut decoder = spec.decoder(LIMITS);
    let mut out = Vec::new();
    let result = decoder.decode(record, &mut out);
    (result, out, decoder.dropped())
}

/// All there is to batches, the order of their dictionaries and values that are no numbers too.
fn bytes_of(batches: &[Telemetry]) -> Vec<(&'static str, Vec<u8>)> {
    batches.iter().map(|batch| (batch.kind(), ipc::to_bytes(batch))).collect()
}

fn sum(a: Dropped, b: Dropped) -> Dropped {
    Dropped {
        non_finite: a.non_finite + b.non_finite,
        no_value: a.no_value + b.no_value,
        no_time: a.no_time + b.no_time,
        malformed: a.malformed + b.malformed,
        other_tenant: a.other_tenant + b.other_tenant,
    }
}

#[test]
fn every_decoder_survives() {
    for (number, spec) in DECODERS.iter().enumerate() {
        let valid = valid(spec.signal, spec.encoding);
        let mut decoder = decoder(spec.signal, spec.encoding, LIMITS).unwrap();
        let mut random = Random(number as u64);
        let (mut accepted, mut rejected) = (0, 0);
        let mut dropped = Dropped::default();
        for i in 0..RECORDS_OF_A_FORMAT {
            let bytes = if i < valid.len() {
                valid[i].clone()
            } else {
                records::record(&valid, &mut random, LIMITS.payload_bytes_max)
            };
            let headers: &[(&str, &[u8])] = match i % 50 {
                1 => &[("content-encoding", b"gzip")],
                2 => &[("content-encoding", b"zstd")],
                3 => &[("content-encoding", b"snappy")],
                4 => &[("ce_specversion", b"1.0")],
                _ => &[],
            };
            let headers = if i < valid.len() { &[] } else { headers };
            let payload = match i % 100 {
                1 => gzip(&bytes),
                2 => zstd::encode_all(bytes.as_slice(), 1).unwrap(),
                3 => snap::raw::Encoder::new().compress_vec(&bytes).unwrap(),
                _ => bytes,
            };
            let payload = if headers.is_empty() && i < valid.len() { valid[i].clone() } else { payload };
            let timestamp_ms = (i % 2 == 1).then_some(1_760_000_000_000 + i as i64);
            let record = SourceRecord { timestamp_ms, headers, ..crate::record(&payload) };
            let mut out = Vec::new();
            let result = decoder.decode(record, &mut out);
            let (fresh_result, fresh_out, fresh_dropped) = decode_afresh(spec, record);
            let what = format!("record {i} of {} {}: {payload:?}", spec.signal, spec.encoding);
            assert_eq!(result, fresh_result, "{what}");
            assert_eq!(bytes_of(&out), bytes_of(&fresh_out), "{what}");
            dropped = sum(dropped, fresh_dropped);
            assert_eq!(decoder.dropped(), dropped, "{what}");
            match result {
                Ok(()) => accepted += 1,
                Err(reason) => {
                    assert!(i >= valid.len(), "{} {}: {reason}", spec.signal, spec.encoding);
                    assert!(out.is_empty() && (1..500).contains(&reason.to_string().len()), "{reason}");
                    assert!(!reason.code().is_empty());
                    rejected += 1;
                }
            }
            for batch in &out {
                let (rows, bytes) =
                    (batch.record_batch().num_rows(), batch.record_batch().get_array_memory_size());
                assert!((1..=LIMITS.rows_max).contains(&rows), "{rows} rows");
                assert!(bytes <= BATCH_BYTES_MAX, "{bytes} bytes from {}", payload.len());
            }
        }
        assert!(accepted > 0 && rejected > 0, "{} {}: {accepted} and {rejected}", spec.signal, spec.encoding);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn every_format_may_be_compressed() {
    for spec in DECODERS {
        let valid = valid(spec.signal, spec.encoding).swap_remove(0);
        let decode = |headers: &[(&str, &[u8])], payload: &[u8], limits| {
            crate::decode_as(limits, (spec.signal, spec.encoding), headers, payload)
        };
        let expected = decode(&[], &valid, LIMITS).unwrap();
        assert_eq!(
            decode(&[], &gzip(&valid), LIMITS).unwrap(),
            expected,
            "{} by its first bytes",
            spec.encoding
        );
        for (encoding, payload) in [
            ("gzip", gzip(&valid)),
            ("zstd", zstd::encode_all(valid.as_slice(), 1).unwrap()),
            ("snappy", snap::raw::Encoder::new().compress_vec(&valid).unwrap()),
        ] {
            let headers: [(&str, &[u8]); 1] = [("content-encoding", encoding.as_bytes())];
            assert_eq!(decode(&headers, &payload, LIMITS).unwrap(), expected, "{} {encoding}", spec.encoding);
            let bomb = match encoding {
                "gzip" => gzip(&vec![b' '; 100_000]),
                "zstd" => zstd::encode_all([b' '; 100_000].as_slice(), 1).unwrap(),
                _ => snap::raw::Encoder::new().compress_vec(&[b' '; 100_000]).unwrap(),
            };
            let rejected = decode(&headers, &bomb, LIMITS).unwrap_err();
            assert_eq!(rejected.code(), "decompressed_too_large", "{} {encoding}", spec.encoding);
        }
    }
}

#[test]
fn every_format_is_found_by_looking_at_a_record() {
    let mut detector = Detector::new(LIMITS);
    for spec in DECODERS {
        for valid in valid(spec.signal, spec.encoding) {
            for (headers, payload) in [(&[][..], valid.clone()), (&[][..], gzip(&valid))] {
                let record = SourceRecord { headers, timestamp_ms: Some(1), ..crate::record(&payload) };
                let found = detector.detect(record).map(|found| (found.signal, found.encoding));
                assert_eq!(found, Some((spec.signal, spec.encoding)), "{}", String::from_utf8_lossy(&valid));
            }
        }
    }
}

#[test]
fn looking_at_any_record_ends_well_and_what_is_found_can_be_read() {
    let mut detector = Detector::new(LIMITS);
    let mut random = Random(7);
    for spec in DECODERS {
        let valid = valid(spec.signal, spec.encoding);
        for _ in 0..200 {
            let payload = records::record(&valid, &mut random, LIMITS.payload_bytes_max);
            let record = SourceRecord { timestamp_ms: Some(1), ..crate::record(&payload) };
            if let Some(found) = detector.detect(record) {
                let mut decoder = decoder(found.signal, found.encoding, LIMITS).unwrap();
                assert_eq!(decoder.decode(record, &mut Vec::new()), Ok(()), "{found:?} {payload:?}");
            }
        }
    }
}

#[test]
fn every_decoder_bounds_its_rows_and_payload() {
    for spec in DECODERS {
        // Jaeger writes one span a record.
        if spec.encoding == "jaeger_proto" {
            continue;
        }
        let payload = valid(spec.signal, spec.encoding).pop().unwrap();
        let limits = Limits { rows_max: 0, ..LIMITS };
        let rejected = crate::decode_as(limits, (spec.signal, spec.encoding), &[], &payload).unwrap_err();
        assert_eq!(rejected.code(), "too_many_rows", "{} {}", spec.signal, spec.encoding);
        let limits = Limits { payload_bytes_max: payload.len() - 1, ..LIMITS };
        let rejected = crate::decode_as(limits, (spec.signal, spec.encoding), &[], &payload).unwrap_err();
        assert_eq!(rejected.code(), "payload_too_large", "{} {}", spec.signal, spec.encoding);
    }
}
