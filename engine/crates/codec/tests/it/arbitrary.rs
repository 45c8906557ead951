//! No input makes a decoder panic, and what it accepts goes through the stages.

use foreshock_codec::{encode, ipc};
use model::{SampleBatchBuilder, SampleRow};
use proptest::prelude::*;

use crate::decode;

fn valid() -> Vec<u8> {
    let mut batch = SampleBatchBuilder::default();
    for labels in ["__name__=a,service.name=b,x=y", "__name__=c,service.name=d"] {
        let kind = model::MetricKind::Counter;
        batch.push(&SampleRow { labels, kind, time_ms: 5, start_ms: None, value: 0.5 });
    }
    encode::samples(&batch.finish())
}

fn check(signal: &str, headers: &[(&str, &[u8])], payload: &[u8]) {
    if let Ok((telemetry, _)) = decode(signal, headers, payload) {
        for batch in telemetry {
            assert!(!batch.record_batch().columns().is_empty() && batch.record_batch().num_rows() > 0);
            let again = ipc::from_bytes(batch.kind(), &ipc::to_bytes(&batch)).unwrap();
            assert_eq!(again.record_batch().num_rows(), batch.record_batch().num_rows());
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        for signal in ["metrics", "logs", "spans", "events"] {
            check(signal, &[], &payload);
        }
        check("events", &[("ce_specversion", b"1.0")], &payload);
    }

    #[test]
    fn almost_valid_bytes(at in any::<prop::sample::Index>(), byte in any::<u8>(), end in any::<prop::sample::Index>()) {
        let mut payload = valid();
        let position = at.index(payload.len());
        payload[position] = byte;
        check("metrics", &[], &payload);
        payload.truncate(end.index(payload.len()));
        for signal in ["metrics", "logs", "spans"] {
            check(signal, &[], &payload);
        }
    }

    #[test]
    fn damaged_ipc(at in any::<prop::sample::Index>(), byte in any::<u8>(), end in any::<prop::sample::Index>()) {
        let (telemetry, _) = decode("metrics", &[], &valid()).unwrap();
        let mut bytes = ipc::to_bytes(&telemetry[0]);
        let position = at.index(bytes.len());
        bytes[position] ^= byte;
        prop_assert_eq!(ipc::from_bytes("samples", &bytes).is_ok(), byte == 0);
        bytes.truncate(end.index(bytes.len()));
        prop_assert!(ipc::from_bytes("samples", &bytes).is_err());
    }
}
