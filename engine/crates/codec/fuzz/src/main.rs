//! Looks for payloads that a decoder does not survive, reads otherwise after others than alone, or lets beyond its limits.
//!
//! `FORMAT` names the decoder as `signal/encoding`. `SEEDS` is a folder to which its valid records are written at first. See `run`.
#![no_main]

#[path = "../../tests/it/records.rs"]
mod records;
mod valid;

use std::cell::RefCell;
use std::sync::LazyLock;

use codec::detect::Detector;
use codec::{DECODERS, Decoder, DecoderSpec, Limits, ipc, split};
use libfuzzer_sys::fuzz_target;
use model::{SourceRecord, Telemetry};

const LIMITS: Limits = Limits { payload_bytes_max: 8192, rows_max: 200, depth_max: 6, text_bytes_max: 65536 };

static SPEC: LazyLock<&DecoderSpec> = LazyLock::new(|| {
    let format = std::env::var("FORMAT").expect("FORMAT is signal/encoding");
    let is_named = |spec: &&DecoderSpec| format!("{}/{}", spec.signal, spec.encoding) == format;
    DECODERS.iter().find(is_named).expect("FORMAT names a decoder")
});

thread_local! {
    static KEPT: RefCell<(Box<dyn Decoder>, Detector)> =
        RefCell::new(((SPEC.build)(LIMITS), Detector::new(LIMITS)));
}

fn write_seeds() {
    let Ok(folder) = std::env::var("SEEDS") else { return };
    std::fs::create_dir_all(&folder).expect("SEEDS can be made");
    for (number, record) in valid::valid(&SPEC).iter().enumerate() {
        std::fs::write(format!("{folder}/valid-{number}"), record).expect("SEEDS can be written");
    }
}

fn bytes_of(batches: &[Telemetry]) -> Vec<Vec<u8>> {
    batches.iter().map(ipc::to_bytes).collect()
}

fuzz_target!(init: write_seeds(), |payload: &[u8]| {
    let record = SourceRecord {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp_ms: Some(1_760_000_000_000),
        key: None,
        headers: &[],
        payload,
    };
    KEPT.with_borrow_mut(|(decoder, detector)| {
        let (mut out, mut fresh_out) = (Vec::new(), Vec::new());
        let result = decoder.decode(record, &mut out);
        let fresh_result = (SPEC.build)(LIMITS).decode(record, &mut fresh_out);
        assert_eq!(result, fresh_result);
        assert_eq!(bytes_of(&out), bytes_of(&fresh_out));
        assert!(result.is_ok() || out.is_empty());
        let rows: usize = out.iter().map(|batch| batch.record_batch().num_rows()).sum();
        assert!(rows <= LIMITS.rows_max);
        if let Some(found) = detector.detect(record) {
            let mut found = codec::decoder(found.signal, found.encoding, LIMITS).expect("a decoder");
            assert_eq!(found.decode(record, &mut Vec::new()), Ok(()));
        }
    });
    let cut = match SPEC.encoding {
        "otlp_proto" => split::otlp(SPEC.signal, payload, 100),
        "prometheus_remote_write" => split::remote_write(payload, 100, LIMITS.payload_bytes_max),
        _ => return,
    };
    if let (Ok(pieces), "otlp_proto") = (cut, SPEC.encoding) {
        assert!(pieces.pieces.iter().all(|piece| piece.payload.len() <= 100));
    }
});
