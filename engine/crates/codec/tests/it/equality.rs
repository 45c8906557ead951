//! The decoders of OTLP give what prost gives ([`crate::oracle`]), whatever the order of the fields and however the
//! messages are split. On damaged bytes both accept the same or both refuse; prost reads then with [`crate::pruned`], the
//! messages without the fields that no batch holds, as the decoders do not look into those. Only groups, which proto3
//! does not have, are refused here and skipped by prost.

use foreshock_codec::{Decoder, Dropped, Limits, Rejected, ipc};
use model::Telemetry;
use proptest::prelude::*;
use prost::Message;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;

use crate::oracle::{LogsDecoder, MetricsDecoder, SpansDecoder};
use crate::rearranged::{self, Arrangement, Nested};
use crate::{messages, pruned, record};

type Decoded = Result<(Vec<Telemetry>, Dropped), Rejected>;

fn run(mut decoder: impl AsMut<dyn Decoder>, payload: &[u8]) -> Decoded {
    let mut out = Vec::new();
    let decoder = decoder.as_mut();
    let before = decoder.dropped();
    let result = decoder.decode(record(payload), &mut out);
    assert!(result.is_ok() || out.is_empty(), "a rejected record leaves nothing behind");
    let after = decoder.dropped();
    let dropped = Dropped {
        non_finite: after.non_finite - before.non_finite,
        no_value: after.no_value - before.no_value,
        no_time: after.no_time - before.no_time,
        malformed: after.malformed - before.malformed,
        other_tenant: after.other_tenant - before.other_tenant,
    };
    result.map(|()| (out, dropped))
}

struct Signal {
    name: &'static str,
    oracle: fn(Limits) -> Box<dyn Decoder>,
    prune: fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>,
    nested: &'static [Nested],
}

const METRICS: Signal = Signal {
    name: "metrics",
    oracle: |limits| Box::new(MetricsDecoder::new(limits)),
    prune: |bytes| pruned::MetricsRequest::decode(bytes).map(|request| request.encode_to_vec()),
    nested: rearranged::METRICS_REQUEST,
};
const LOGS: Signal = Signal {
    name: "logs",
    oracle: |limits| Box::new(LogsDecoder::new(limits)),
    prune: |bytes| pruned::LogsRequest::decode(bytes).map(|request| request.encode_to_vec()),
    nested: rearranged::LOGS_REQUEST,
};
const SPANS: Signal = Signal {
    name: "spans",
    oracle: |limits| Box::new(SpansDecoder::new(limits)),
    prune: |bytes| pruned::TraceRequest::decode(bytes).map(|request| request.encode_to_vec()),
    nested: rearranged::TRACE_REQUEST,
};

impl Signal {
    fn decoder(&self, limits: Limits) -> Box<dyn Decoder> {
        foreshock_codec::decoder(self.name, "otlp_proto", limits).unwrap()
    }

    fn oracle(&self, limits: Limits, payload: &[u8]) -> Decoded {
        run((self.oracle)(limits), payload)
    }

    /// A message that nothing has damaged.
    fn check_valid(&self, limits: Limits, payload: &[u8], seed: u64) {
        let mut decoder = self.decoder(limits);
        for arrangement in [
            Arrangement::Ascending,
            Arrangement::Descending,
            Arrangement::Shuffled(seed),
            Arrangement::Split(seed),
        ] {
            let payload = rearranged::message(payload, self.nested, arrangement);
            let expected = self.oracle(limits, &payload);
            let fresh = run(self.decoder(limits), &payload);
            assert_eq!(fresh, expected, "{arrangement:?}");
            assert_eq!(run(&mut decoder, &payload), expected, "what was read before must not show");
            let again = run(&mut decoder, &payload);
            assert_eq!(again, expected, "nor the same series");
            let bytes = |decoded: &Decoded| {
                decoded.iter().flat_map(|(batches, _)| batches.iter().map(ipc::to_bytes)).collect::<Vec<_>>()
            };
            assert_eq!(bytes(&again), bytes(&expected), "down to the layout of the batches");
        }
    }

    fn check_damaged(&self, payload: &[u8]) {
        let limits = Limits::default();
        let actual = run(self.decoder(limits), payload);
        let expected = (self.prune)(payload).map(|payload| self.oracle(limits, &payload));
        match (&actual, &expected) {
            (Err(rejected), _) if rejected.to_string().contains("group") => {}
            (Err(_), Err(_)) => {}
            (_, Ok(expected)) => assert_eq!(&actual, expected, "{payload:?}"),
            (Ok(_), Err(error)) => panic!("prost does not read {payload:?}: {error}"),
        }
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let defaults = Limits::default();
    prop_oneof![
        4 => Just(defaults),
        1 => Just(Limits { rows_max: 5, ..defaults }),
        1 => Just(Limits { depth_max: 2, ..defaults }),
        1 => Just(Limits { text_bytes_max: 200, ..defaults }),
    ]
}

/// Bytes set, removed, doubled or cut off.
#[derive(Clone, Debug)]
struct Damage {
    at: prop::sample::Index,
    byte: u8,
    how: u8,
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = (any::<prop::sample::Index>(), any::<u8>(), 0..5u8);
    proptest::collection::vec(damage.prop_map(|(at, byte, how)| Damage { at, byte, how }), 1..4)
}

fn damaged(mut payload: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for Damage { at, byte, how } in damages {
        if payload.is_empty() {
            return payload;
        }
        let at = at.index(payload.len());
        match how {
            0 => payload[at] = *byte,
            1 => payload[at] ^= 1 << (byte % 8),
            2 => drop(payload.remove(at)),
            3 => payload.insert(at, *byte),
            _ => payload.truncate(at),
        }
    }
    payload
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn metrics(request in messages::metrics(), seed in any::<u64>(), limits in limits()) {
        METRICS.check_valid(limits, &ExportMetricsServiceRequest::encode_to_vec(&request), seed);
    }

    #[test]
    fn logs(request in messages::logs(), seed in any::<u64>(), limits in limits()) {
        LOGS.check_valid(limits, &ExportLogsServiceRequest::encode_to_vec(&request), seed);
    }

    #[test]
    fn spans(request in messages::spans(), seed in any::<u64>(), limits in limits()) {
        SPANS.check_valid(limits, &ExportTraceServiceRequest::encode_to_vec(&request), seed);
    }

    #[test]
    fn damaged_metrics(request in messages::metrics(), seed in any::<u64>(), damages in damages()) {
        for payload in [
            request.encode_to_vec(),
            rearranged::message(&request.encode_to_vec(), METRICS.nested, Arrangement::Split(seed)),
        ] {
            METRICS.check_damaged(&damaged(payload, &damages));
        }
    }

    #[test]
    fn damaged_logs(request in messages::logs(), damages in damages()) {
        LOGS.check_damaged(&damaged(request.encode_to_vec(), &damages));
    }

    #[test]
    fn damaged_spans(request in messages::spans(), damages in damages()) {
        SPANS.check_damaged(&damaged(request.encode_to_vec(), &damages));
    }

    #[test]
    fn any_bytes(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        for signal in [METRICS, LOGS, SPANS] {
            signal.check_damaged(&payload);
        }
    }
}

#[test]
fn nesting_ends_where_prost_ends() {
    use proto::opentelemetry::common::v1::{AnyValue, ArrayValue, any_value::Value};
    for levels in 40..50 {
        let body = (0..levels).fold(AnyValue { value: Some(Value::IntValue(1)) }, |inner, _| AnyValue {
            value: Some(Value::ArrayValue(ArrayValue { values: vec![inner] })),
        });
        let attributes = vec![messages::attribute("deep", body.clone())];
        let limits = Limits { depth_max: 1000, ..Limits::default() };
        let expected_metrics = messages::one_point(attributes).encode_to_vec();
        let expected_logs = messages::one_log(body).encode_to_vec();
        for (signal, payload) in [(METRICS, expected_metrics), (LOGS, expected_logs)] {
            let (actual, expected) = (run(signal.decoder(limits), &payload), signal.oracle(limits, &payload));
            assert_eq!(actual.is_ok(), expected.is_ok(), "{levels} levels in {}", signal.name);
            assert!(actual.is_err() || actual == expected);
        }
    }
}

#[test]
fn groups_and_wire_types_are_named() {
    for (payload, reason) in [
        (&b"\x0b\x0c"[..], "it holds a group, which proto3 does not have"),
        (b"\x0f", "the wire type 7 does not exist"),
        (b"\x08\x01", "field 1 has another wire type than it should"),
        (b"\x0a\x7f", "it ends within a field"),
    ] {
        for (signal, message) in
            [(METRICS, "OTLP metrics request"), (LOGS, "OTLP logs request"), (SPANS, "OTLP trace request")]
        {
            let rejected = run(signal.decoder(Limits::default()), payload).unwrap_err();
            assert_eq!(rejected.to_string(), format!("no {message}: {reason}"));
        }
    }
}
