//! What libFuzzer has found of interest in each decoder (`fuzz/run`), read again: one payload a line, in hexadecimal digits.

use foreshock_codec::{DECODERS, Limits, decoder, ipc};
use model::{SourceRecord, Telemetry};

/// As in `fuzz/src/main.rs`, to which the payloads are fitted.
const LIMITS: Limits = Limits { payload_bytes_max: 8192, rows_max: 200, depth_max: 6, text_bytes_max: 65536 };

fn payloads(text: &str) -> Vec<Vec<u8>> {
    let byte = |digits: &str| u8::from_str_radix(digits, 16).unwrap();
    text.lines().map(|line| (0..line.len()).step_by(2).map(|at| byte(&line[at..at + 2])).collect()).collect()
}

fn bytes_of(batches: &[Telemetry]) -> Vec<Vec<u8>> {
    batches.iter().map(ipc::to_bytes).collect()
}

#[test]
fn payloads_are_read_after_others_as_they_are_alone() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let mut read = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (signal, encoding) = name.split_once('-').unwrap();
        assert!(DECODERS.iter().any(|spec| spec.signal == signal && spec.encoding == encoding), "{name}");
        let mut kept = decoder(signal, encoding, LIMITS).unwrap();
        let (mut accepted, mut rejected) = (0, 0);
        for (line, payload) in payloads(&std::fs::read_to_string(&path).unwrap()).iter().enumerate() {
            let record =
                SourceRecord { timestamp_ms: Some(1_760_000_000_000), ..crate::record(payload.as_slice()) };
            let (mut out, mut fresh_out) = (Vec::new(), Vec::new());
            let result = kept.decode(record, &mut out);
            let fresh_result = decoder(signal, encoding, LIMITS).unwrap().decode(record, &mut fresh_out);
            assert_eq!(result, fresh_result, "{name}, line {}", line + 1);
            assert_eq!(bytes_of(&out), bytes_of(&fresh_out), "{name}, line {}", line + 1);
            assert!(result.is_ok() || out.is_empty(), "{name}, line {}", line + 1);
            let rows: usize = out.iter().map(|batch| batch.record_batch().num_rows()).sum();
            assert!(rows <= LIMITS.rows_max, "{name}, line {}", line + 1);
            *(if result.is_ok() { &mut accepted } else { &mut rejected }) += 1;
        }
        assert!(accepted > 0 && rejected > 0, "{name}: {accepted} and {rejected}");
        read += 1;
    }
    assert!(read > 0);
}
