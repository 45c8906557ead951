//! Looks for payloads that a decoder does not survive, reads otherwise after others than alone, or lets beyond its limits.
//!
//! `FORMAT` names the decoder as `signal/encoding`. `SEEDS` is a folder to which its valid records are written at first. See `run`.
#![no_main]

#[path = "../../tests/it/records.rs"]
mod records;
mod valid;

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use codec::detect::Detector;
use codec::{DECODERS, Decoder, DecoderSettings, DecoderSpec, Limits, Mapping, TenantRule, ipc, split};
use libfuzzer_sys::fuzz_target;
use model::{SourceRecord, Telemetry};

const LIMITS: Limits = Limits { payload_bytes_max: 8192, rows_max: 200, depth_max: 6, text_bytes_max: 65536 };

static SPEC: LazyLock<&DecoderSpec> = LazyLock::new(|| {
    let format = std::env::var("FORMAT").expect("FORMAT is signal/encoding");
    let is_named = |spec: &&DecoderSpec| format!("{}/{}", spec.signal, spec.encoding) == format;
    DECODERS.iter().find(is_named).expect("FORMAT names a decoder")
});

/// As by default, and with what the configuration may say of a source.
static SETTINGS: LazyLock<Vec<DecoderSettings>> = LazyLock::new(|| {
    let mut all = vec![DecoderSettings::from(LIMITS)];
    if SPEC.has_mapping() {
        let texts = match SPEC.signal {
            "metrics" => [
                r#"{"rows": "a.b", "time": ["t", "timestamp"], "time_format": "ms", "name": "name", "value": "value.0",
                    "labels": ["labels", "l"], "named_labels": {"x": "x.1.y"}, "service": ["s", "service"]}"#,
                r#"{"time": [], "values": {"v": "value", "w_total": ["w", "value.0"]}, "kind": "k"}"#,
            ],
            _ => [
                r#"{"rows": "a.b", "time": "t", "time_format": "%Y-%m-%d %H:%M:%S", "time_zone": "Europe/Berlin", "body": "message"}"#,
                r#"{"body": ["b", "message"], "severity": "level.0", "severity_numbers": "syslog", "service": "service",
                    "trace_id": "ids.0", "span_id": "ids.1"}"#,
            ],
        };
        all.extend(texts.map(|text| {
            let mapping =
                Mapping::parse(SPEC.signal, serde_json::from_str(text).expect("JSON")).expect("a mapping");
            DecoderSettings { mapping, ..LIMITS.into() }
        }));
    }
    if SPEC.has_entity_rules() {
        let rules = r#"{"service": ["{a}/{service.name|workload}", "{service}"], "labels": {"z": "{a}"}}"#;
        let entity = Arc::new(serde_json::from_str(rules).expect("rules"));
        let attribute = SPEC.has_resources().then(|| "a".to_owned());
        let tenant = attribute.map(|attribute| TenantRule {
            tenant: String::new(),
            header: None,
            attribute: Some(attribute),
        });
        all.push(DecoderSettings { entity, tenant: tenant.map(Arc::new), ..LIMITS.into() });
    }
    all
});

thread_local! {
    static KEPT: RefCell<(Vec<Box<dyn Decoder>>, Detector)> =
        RefCell::new((SETTINGS.iter().map(SPEC.build).collect(), Detector::new(LIMITS)));
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
    KEPT.with_borrow_mut(|(decoders, detector)| {
        for (decoder, settings) in decoders.iter_mut().zip(&*SETTINGS) {
            let (mut out, mut fresh_out) = (Vec::new(), Vec::new());
            let result = decoder.decode(record, &mut out);
            let fresh_result = (SPEC.build)(settings).decode(record, &mut fresh_out);
            assert_eq!(result, fresh_result);
            assert_eq!(bytes_of(&out), bytes_of(&fresh_out));
            assert!(result.is_ok() || out.is_empty());
            let rows: usize = out.iter().map(|batch| batch.record_batch().num_rows()).sum();
            assert!(rows <= LIMITS.rows_max);
        }
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
