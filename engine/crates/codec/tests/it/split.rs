//! The pieces of a request are requests within the bound, and hold what the request held, in its order.

use foreshock_codec::split::{self, Pieces};
use foreshock_codec::{Dropped, Limits, Rejected};
use proptest::prelude::*;
use prost::Message;

use crate::{lines, messages, prometheus};

/// Rows and what was left out.
fn read(format: (&str, &str), payload: &[u8]) -> Result<(Vec<String>, Dropped), Rejected> {
    let (telemetry, dropped) = crate::decode_as(Limits::default(), format, &[], payload)?;
    Ok((lines(&telemetry), dropped))
}

/// Points and histograms lie in batches of their own, so the order is that within each kind of row.
fn read_pieces(format: (&str, &str), pieces: &Pieces<'_>) -> Result<(Vec<String>, u64), Rejected> {
    let (mut rows, mut dropped) = (Vec::new(), 0);
    for piece in &pieces.pieces {
        let (of_piece, dropped_of_piece) = read(format, &piece.payload)?;
        rows.extend(of_piece);
        dropped += dropped_of_piece.total();
    }
    Ok((by_kind(rows), dropped))
}

fn by_kind(mut rows: Vec<String>) -> Vec<String> {
    rows.sort_by_key(|row| row.starts_with("HistogramRow"));
    rows
}

fn check(signal: &str, request: &[u8], bytes_max: usize) -> Result<(), TestCaseError> {
    let pieces = split::otlp(signal, request, bytes_max).expect("a request");
    for piece in &pieces.pieces {
        prop_assert!(!piece.payload.is_empty() && piece.payload.len() <= bytes_max);
    }
    let written: usize = pieces.pieces.iter().map(|piece| piece.payload.len()).sum();
    prop_assert!(written <= 4 * request.len(), "{written} of {}", request.len());
    let whole = split::otlp(signal, request, usize::MAX).expect("a request");
    let items = |pieces: &Pieces<'_>| pieces.pieces.iter().map(|piece| piece.items).sum::<u64>();
    prop_assert_eq!(items(&pieces) + pieces.too_large, items(&whole));
    let (rows, dropped) = read((signal, "otlp_proto"), request).expect("a request");
    let (of_pieces, dropped_of_pieces) = read_pieces((signal, "otlp_proto"), &pieces).expect("a request");
    if pieces.too_large == 0 {
        prop_assert_eq!((of_pieces, dropped_of_pieces), (by_kind(rows), dropped.total()));
    } else {
        prop_assert!(of_pieces.iter().all(|row| rows.contains(row)));
    }
    Ok(())
}

proptest! {
    #[test]
    fn of_metrics(request in messages::metrics(), bytes_max in 30..3000_usize) {
        check("metrics", &request.encode_to_vec(), bytes_max)?;
    }

    #[test]
    fn of_logs(request in messages::logs(), bytes_max in 30..3000_usize) {
        check("logs", &request.encode_to_vec(), bytes_max)?;
    }

    #[test]
    fn of_spans(request in messages::spans(), bytes_max in 30..3000_usize) {
        check("spans", &request.encode_to_vec(), bytes_max)?;
    }

    #[test]
    fn any_bytes_are_cut_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), bytes_max in 0..100_usize) {
        for signal in ["metrics", "logs", "spans"] {
            if let Ok(pieces) = split::otlp(signal, &bytes, bytes_max) {
                prop_assert!(pieces.pieces.iter().all(|piece| piece.payload.len() <= bytes_max));
            }
        }
        let _ = split::remote_write(&bytes, bytes_max, 1 << 16);
    }
}

#[test]
fn of_remote_write() {
    const FORMAT: (&str, &str) = ("metrics", "prometheus_remote_write");
    for request in [prometheus::request().encode_to_vec(), prometheus::second_request().encode_to_vec()] {
        let payload = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        let (rows, dropped) = read(FORMAT, &payload).unwrap();
        let whole = split::remote_write(&payload, 1 << 20, 1 << 20).unwrap();
        assert_eq!((whole.pieces.len(), &*whole.pieces[0].payload), (1, payload.as_slice()));
        for bytes_max in 130..request.len() {
            let pieces = split::remote_write(&payload, bytes_max, 1 << 20).unwrap();
            assert!(pieces.pieces.len() > 1);
            let items: u64 = pieces.pieces.iter().map(|piece| piece.items).sum();
            assert_eq!((items, pieces.too_large), (whole.pieces[0].items, 0), "{bytes_max}");
            assert_eq!(read_pieces(FORMAT, &pieces).unwrap(), (by_kind(rows.clone()), dropped.total()));
        }
        let bomb = split::remote_write(&payload, 1 << 20, request.len() - 1).unwrap_err();
        assert_eq!(bomb.code(), "decompressed_too_large");
    }
}

#[test]
fn what_would_be_repeated_too_often_is_too_large() {
    let mut request = messages::one_log(Default::default());
    let resource = &mut request.resource_logs[0];
    resource.schema_url = "x".repeat(600);
    let record = resource.scope_logs[0].log_records[0].clone();
    resource.scope_logs[0].log_records = vec![record; 200];
    let request = request.encode_to_vec();
    let pieces = split::otlp("logs", &request, 1000).unwrap();
    assert_eq!((pieces.pieces.len(), pieces.too_large), (0, 200));
    let pieces = split::otlp("logs", &request, 1300).unwrap();
    assert_eq!((pieces.pieces.len() > 1, pieces.too_large), (true, 0));
}
