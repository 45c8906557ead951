//! The task of a source partition: records of any format in, telemetry in one format out.
//!
//! What cannot be decoded goes to the dead-letter topic unchanged, with the place where it lay and the reason.

use codec::{Decoder, dead_letter, ipc};
use model::{Output, OutputTopic, SourceRecord};

use crate::task::PartitionTask;

pub struct IngestTask {
    decoder: Box<dyn Decoder>,
    tenant: String,
    decoded: Vec<model::Telemetry>,
}

impl IngestTask {
    pub fn new(decoder: Box<dyn Decoder>, tenant: &str) -> Self {
        Self { decoder, tenant: tenant.to_owned(), decoded: Vec::new() }
    }
}

impl PartitionTask for IngestTask {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        if let Err(rejected) = self.decoder.decode(record, &mut self.decoded) {
            out.push(dead_letter(record, &rejected));
            return;
        }
        out.extend(self.decoded.drain(..).map(|telemetry| Output {
            topic: OutputTopic::Telemetry,
            key: self.tenant.as_bytes().to_vec(),
            headers: vec![(ipc::KIND_HEADER.to_owned(), telemetry.kind().as_bytes().to_vec())],
            payload: ipc::to_bytes(&telemetry),
        }));
    }
}

#[cfg(test)]
mod tests {
    use model::{SampleBatchBuilder, SampleRow, Telemetry};

    use super::*;

    fn run(payload: &[u8]) -> Vec<Output> {
        let decoder = codec::decoder("metrics", "otlp_proto", codec::Limits::default()).unwrap();
        let mut task = IngestTask::new(decoder, "acme");
        let headers: &[(&str, &[u8])] = &[("trace", b"1")];
        let record = SourceRecord {
            topic: "otlp_metrics",
            partition: 3,
            offset: 42,
            key: Some(b"k"),
            headers,
            payload,
        };
        let mut out = Vec::new();
        task.on_record(record, &mut out);
        out
    }

    #[test]
    fn what_is_decoded_goes_on_under_the_tenant() {
        let mut builder = SampleBatchBuilder::default();
        let labels = model::Labels::of("cart", "cpu").canonical();
        let kind = model::MetricKind::Gauge;
        builder.push(&SampleRow { labels: &labels, kind, time_ms: 1_000, start_ms: None, value: 0.5 });
        let batch = builder.finish();
        let out = run(&codec::encode::samples(&batch));
        assert_eq!(
            (out.len(), out[0].topic, out[0].key.as_slice()),
            (1, OutputTopic::Telemetry, &b"acme"[..])
        );
        assert_eq!(ipc::from_bytes("samples", &out[0].payload).unwrap(), Telemetry::Samples(batch));
    }

    #[test]
    fn what_is_not_goes_to_the_dead_letters_with_its_place_and_reason() {
        let out = run(b"\xff not protobuf");
        assert_eq!((out.len(), out[0].topic), (1, OutputTopic::DeadLetter));
        assert_eq!(out[0].payload, b"\xff not protobuf");
        let header = |name: &str| {
            out[0].headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
        };
        assert_eq!(header("foreshock-topic"), Some(&b"otlp_metrics"[..]));
        assert_eq!(header("foreshock-partition"), Some(&b"3"[..]));
        assert_eq!(header("foreshock-offset"), Some(&b"42"[..]));
        assert_eq!(header("trace"), Some(&b"1"[..]));
        assert!(header("foreshock-reason").is_some_and(|reason| !reason.is_empty()));
    }
}
