//! What every input format does, and the list of all of them.

use model::{
    EventBatchBuilder, HistogramBatchBuilder, LogBatchBuilder, SourceRecord, SpanBatchBuilder, Telemetry,
};

use crate::cloud_events::CloudEventsDecoder;
use crate::compression::Decompressing;
use crate::json::JsonDecoder;
use crate::otlp_json::OtlpJsonDecoder;
use crate::settings::DecoderSettings;
use crate::{changes, influx, jaeger, json, json_logs, otlp, plain, prometheus, zipkin};

/// Turns the records of one topic into batches. Its result depends on the record alone.
pub trait Decoder: Send {
    /// Appends the batches of the record to `out`, without empty ones. A rejected record leaves `out` as it was.
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected>;

    /// What was left out of accepted records since the decoder was made.
    fn dropped(&self) -> Dropped;
}

/// An input format, by the names that the configuration uses.
pub struct DecoderSpec {
    /// `metrics`, `logs`, `spans` or `events`.
    pub signal: &'static str,
    pub encoding: &'static str,
    pub build: fn(&DecoderSettings) -> Box<dyn Decoder>,
}

/// Every input format. Each may come compressed, as the header `content-encoding` then says.
pub const DECODERS: &[DecoderSpec] = &[
    spec("metrics", "otlp_proto", |settings| boxed(settings, otlp::MetricsDecoder::new)),
    spec("metrics", "otlp_json", |settings| boxed(settings, OtlpJsonDecoder::metrics)),
    spec("metrics", "prometheus_remote_write", |settings| {
        boxed(settings, prometheus::RemoteWriteDecoder::new)
    }),
    spec("metrics", "influx", |settings| boxed(settings, influx::LineDecoder::new)),
    spec("metrics", "json", |settings| boxed(settings, json::MetricsDecoder::new)),
    spec("logs", "otlp_proto", |settings| boxed(settings, otlp::LogsDecoder::new)),
    spec("logs", "otlp_json", |settings| boxed(settings, OtlpJsonDecoder::logs)),
    spec("logs", "ecs_json", |settings| boxed(settings, JsonDecoder::<json_logs::Ecs>::new)),
    spec("logs", "fluentbit_json", |settings| boxed(settings, JsonDecoder::<json_logs::FluentBit>::new)),
    spec("logs", "splunk_hec_json", |settings| boxed(settings, JsonDecoder::<json_logs::Splunk>::new)),
    spec("logs", "json", |settings| boxed(settings, json::LogsDecoder::new)),
    spec("logs", "plain", |settings| boxed(settings, plain::TextDecoder::new)),
    spec("spans", "otlp_proto", |settings| boxed(settings, otlp::SpansDecoder::new)),
    spec("spans", "otlp_json", |settings| boxed(settings, OtlpJsonDecoder::spans)),
    spec("spans", "zipkin_json", |settings| boxed(settings, JsonDecoder::<zipkin::Zipkin>::new)),
    spec("spans", "jaeger_proto", |settings| boxed(settings, jaeger::SpansDecoder::new)),
    spec("events", "cloud_events", |settings| boxed(settings, CloudEventsDecoder::new)),
    spec("events", "cdevents", |settings| boxed(settings, JsonDecoder::<changes::CdEvents>::new)),
    spec("events", "alertmanager_json", |settings| {
        boxed(settings, JsonDecoder::<changes::Alertmanager>::new)
    }),
    spec("events", "kubernetes_events_json", |settings| {
        boxed(settings, JsonDecoder::<changes::KubernetesEvents>::new)
    }),
];

const fn spec(
    signal: &'static str,
    encoding: &'static str,
    build: fn(&DecoderSettings) -> Box<dyn Decoder>,
) -> DecoderSpec {
    DecoderSpec { signal, encoding, build }
}

fn boxed<D: Decoder + 'static>(
    settings: &DecoderSettings,
    new: fn(&DecoderSettings) -> D,
) -> Box<dyn Decoder> {
    Box::new(Decompressing::new(settings, new(settings)))
}

impl DecoderSpec {
    /// With settings of its own no more than limits.
    pub fn decoder(&self, limits: Limits) -> Box<dyn Decoder> {
        (self.build)(&limits.into())
    }

    /// Whether [`DecoderSettings::mapping`] counts.
    pub fn has_mapping(&self) -> bool {
        self.encoding == "json"
    }

    /// Whether [`DecoderSettings::entity`] counts.
    pub fn has_entity_rules(&self) -> bool {
        self.signal != "events"
    }

    /// Whether attributes of a resource are read, as in the rules of labels and tenants.
    pub fn has_resources(&self) -> bool {
        matches!(self.encoding, "otlp_proto" | "otlp_json")
    }
}

/// A new decoder for the signal in the encoding, if there is one in [`DECODERS`].
pub fn decoder(signal: &str, encoding: &str, limits: Limits) -> Option<Box<dyn Decoder>> {
    let spec = DECODERS.iter().find(|spec| spec.signal == signal && spec.encoding == encoding)?;
    Some(spec.decoder(limits))
}

/// How large one record may be. Beyond a limit the record is [`Rejected`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub payload_bytes_max: usize,
    /// Points, log records, spans or events.
    pub rows_max: usize,
    /// Levels of arrays and maps within one attribute or log body.
    pub depth_max: usize,
    /// Text that the rows take once it is no longer shared, as the attributes of a resource are. Buckets of histograms
    /// that are not in the payload count as well.
    pub text_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes_max: 8 << 20, rows_max: 200_000, depth_max: 16, text_bytes_max: 256 << 20 }
    }
}

impl Limits {
    pub(crate) fn check_payload(&self, payload: &[u8]) -> Result<(), Rejected> {
        let (bytes, limit) = (payload.len(), self.payload_bytes_max);
        if bytes > limit { Err(Rejected::PayloadTooLarge { bytes, limit }) } else { Ok(()) }
    }
}

/// What a decoder remembers of series from one record to the next, at most: about 120,000 series of eight labels.
pub(crate) const SERIES_BYTES_MAX: usize = 128 << 20;

/// What a buffer that is kept for its memory takes from one record to the next, at most.
pub(crate) const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Gives back the memory of a buffer that an unusually large record has needed.
pub(crate) fn release(buffer: &mut Vec<u8>) {
    if buffer.capacity() > BUFFER_BYTES_MAX {
        *buffer = Vec::new();
    }
}

/// What one record has taken of its limits so far.
pub(crate) struct Budget {
    limits: Limits,
    rows: usize,
    text_bytes: usize,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, rows: 0, text_bytes: 0 }
    }

    pub(crate) fn take(&mut self, rows: usize, text_bytes: usize) -> Result<(), Rejected> {
        self.rows = self.rows.saturating_add(rows);
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        if self.rows > self.limits.rows_max {
            return Err(Rejected::TooManyRows { limit: self.limits.rows_max });
        }
        if self.text_bytes > self.limits.text_bytes_max {
            return Err(Rejected::TooMuchText { limit: self.limits.text_bytes_max });
        }
        Ok(())
    }
}

/// The rows of one record under way.
pub(crate) trait Batch: Default {
    /// None if there are none.
    fn into_telemetry(self) -> Option<Telemetry>;
}

impl Batch for HistogramBatchBuilder {
    fn into_telemetry(mut self) -> Option<Telemetry> {
        let batch = self.finish();
        (!batch.is_empty()).then_some(Telemetry::Histograms(batch))
    }
}

impl Batch for LogBatchBuilder {
    fn into_telemetry(mut self) -> Option<Telemetry> {
        let batch = self.finish();
        (!batch.is_empty()).then_some(Telemetry::Logs(batch))
    }
}

impl Batch for SpanBatchBuilder {
    fn into_telemetry(mut self) -> Option<Telemetry> {
        let batch = self.finish();
        (!batch.is_empty()).then_some(Telemetry::Spans(batch))
    }
}

impl Batch for EventBatchBuilder {
    fn into_telemetry(mut self) -> Option<Telemetry> {
        let batch = self.finish();
        (!batch.is_empty()).then_some(Telemetry::Events(batch))
    }
}

/// A record without a time and headers.
#[cfg(test)]
pub(crate) fn record(payload: &[u8]) -> SourceRecord<'_> {
    let (topic, partition, offset, key) = ("t", 0, 0, None);
    SourceRecord { timestamp_ms: None, topic, partition, offset, key, headers: &[], payload }
}

/// Why a record as a whole was not accepted. The stream goes on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the payload has {bytes} bytes, at most {limit} are allowed")]
    PayloadTooLarge { bytes: usize, limit: usize },
    #[error("the record has more than {limit} points, log records, spans or events")]
    TooManyRows { limit: usize },
    #[error("the labels and texts of the record take more than {limit} bytes")]
    TooMuchText { limit: usize },
    #[error("an attribute or body nests deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("no {message}: {reason}")]
    Protobuf { message: &'static str, reason: String },
    #[error("no {encoding}: {reason}")]
    Compression { encoding: &'static str, reason: String },
    #[error("the payload has more than {limit} bytes once it is decompressed")]
    DecompressedTooLarge { limit: usize },
    #[error("no {format}: {reason}")]
    Format { format: &'static str, reason: String },
    #[error("no JSON: {reason}")]
    Json { reason: String },
    #[error("no CloudEvent of version 1: {reason}")]
    CloudEvent { reason: String },
}

impl Rejected {
    /// With a reason that is short enough for a header, also if the record is quoted in it.
    pub(crate) fn shortened(mut self) -> Self {
        const BYTES_MAX: usize = 300;
        if let Self::Protobuf { reason, .. }
        | Self::Compression { reason, .. }
        | Self::Format { reason, .. }
        | Self::Json { reason }
        | Self::CloudEvent { reason } = &mut self
            && reason.len() > BYTES_MAX
        {
            reason.truncate(reason.floor_char_boundary(BYTES_MAX));
            reason.push('…');
        }
        self
    }

    /// A short name of the reason, for counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::TooMuchText { .. } => "too_much_text",
            Self::TooDeep { .. } => "too_deep",
            Self::Protobuf { .. } => "protobuf",
            Self::Compression { .. } => "compression",
            Self::DecompressedTooLarge { .. } => "decompressed_too_large",
            Self::Format { .. } => "format",
            Self::Json { .. } => "json",
            Self::CloudEvent { .. } => "cloud_event",
        }
    }
}

/// Rows that were left out of accepted records, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The value is infinite or not a number.
    pub non_finite: u64,
    /// The writer says that there is no value (a gap, a stale series), or gives text where a number would be one.
    pub no_value: u64,
    /// There is no time.
    pub no_time: u64,
    /// A required part is missing, contradicts another or makes no sense: buckets without bounds, a span without ids or
    /// with an end in a later century, a sum or histogram without temporality.
    pub malformed: u64,
    /// Rows, or whole records, of a tenant that is not read.
    pub other_tenant: u64,
}

impl Dropped {
    pub fn total(&self) -> u64 {
        self.non_finite + self.no_value + self.no_time + self.malformed + self.other_tenant
    }
}
