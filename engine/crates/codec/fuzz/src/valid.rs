//! A valid record of each format.

use codec::DecoderSpec;
use model::{
    Labels, LogBatchBuilder, LogRow, MetricKind, SampleBatchBuilder, SampleRow, SpanBatchBuilder, SpanRow,
};

use super::records;

const TIME_MS: i64 = 1_760_000_000_000;

/// A field of a message in protobuf that is a message, text or bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).expect("short")], content].concat()
}

fn remote_write() -> Vec<u8> {
    let label =
        |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let value = [&[1 << 3 | 1][..], &1.5_f64.to_le_bytes()].concat();
    let sample = field(2, &[value, b"\x10\x80\xd8\x95\x99\x9c\x33".to_vec()].concat());
    field(1, &[label("__name__", "up"), label("job", "cart"), sample].concat())
}

fn jaeger() -> Vec<u8> {
    let ids = [field(1, &[7; 16]), field(2, &[9; 8]), field(3, b"checkout")].concat();
    let (start, duration) = (field(6, b"\x08\x80\xc0\x9d\xc7\x06"), field(7, b"\x10\xc0\x84\x3d"));
    [ids, start, duration, field(10, &field(1, b"cart"))].concat()
}

pub fn valid(spec: &DecoderSpec) -> Vec<Vec<u8>> {
    let labels = Labels::of("cart", "cpu").canonical();
    match (spec.signal, spec.encoding) {
        ("metrics", "otlp_proto") => {
            let mut samples = SampleBatchBuilder::default();
            let (kind, start_ms) = (MetricKind::Gauge, None);
            samples.push(&SampleRow { labels: &labels, kind, time_ms: TIME_MS, start_ms, value: 0.5 });
            vec![codec::encode::samples(&samples.finish())]
        }
        ("logs", "otlp_proto") => {
            let mut logs = LogBatchBuilder::default();
            let (service, body) = ("cart", "disk full");
            let (trace_id, span_id) = (Some(7), Some(9));
            logs.push(&LogRow { time_ms: TIME_MS, service, severity: 17, body, trace_id, span_id });
            vec![codec::encode::logs(&logs.finish())]
        }
        ("spans", "otlp_proto") => {
            let mut spans = SpanBatchBuilder::default();
            spans.push(&SpanRow {
                start_us: TIME_MS * 1000,
                duration_us: 1500,
                trace_id: 7,
                span_id: 9,
                parent: None,
                service: "cart",
                operation: "checkout",
                kind: 2,
                error: false,
            });
            vec![codec::encode::spans(&spans.finish())]
        }
        ("metrics", "prometheus_remote_write") => vec![remote_write()],
        ("spans", "jaeger_proto") => vec![jaeger()],
        (signal, encoding) => records::texts(signal, encoding),
    }
}
