//! Prometheus remote write, 1.0 and 2.0: a `WriteRequest` or an `io.prometheus.write.v2.Request` in protobuf, as a block of
//! Snappy or as it is. The two have no field in common, so the fields tell which it is.
//!
//! | remote write | rows |
//! |---|---|
//! | counter (2.0), or a name that ends in `_total`, `_count`, `_sum` or `_bucket` | counter |
//! | any other sample | gauge |
//! | native histogram | histogram with explicit bounds; counts that are no integers are rounded |
//!
//! The labels of a series are its own and `service.name`, which is the first of the labels `service.name`, `service_name`,
//! `service`, `job`, `app.kubernetes.io/name`, `app` and `application`, with the label `service.namespace` or
//! `service_namespace` and `/` before it if there is one, else `unknown_service`.
//!
//! A stale marker has no value; a histogram of a gauge (that is no sum over time) is malformed here, as is a series without
//! `__name__`. Exemplars and metadata apart from series are not read: 1.0 does not say the kind with the samples.

mod histogram;
mod series;

use std::sync::Arc;

use model::{HistogramBatchBuilder, HistogramRow, MetricKind, SourceRecord, Telemetry};

use self::histogram::Histogram;
use self::series::{Symbols, TimeSeries};
use crate::compression::snappy_block;
use crate::decoder::{Batch as _, Budget, release};
use crate::entity::EntityRules;
use crate::series::{Sample, SampleColumns, SeriesCache, TextIndex};
use crate::settings::DecoderSettings;
use crate::wire::{Fields, WireError};
use crate::{Decoder, Dropped, Limits, Rejected};

const MESSAGE: &str = "Prometheus remote write request";
/// The one NaN that says that a series has ended.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Reads [remote write](self).
pub struct RemoteWriteDecoder {
    limits: Limits,
    entity: Arc<EntityRules>,
    dropped: Dropped,
    series: SeriesCache,
    /// The last payload, kept for its memory.
    payload: Vec<u8>,
}

impl RemoteWriteDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        Self {
            limits: settings.limits,
            entity: Arc::clone(&settings.entity),
            dropped: Dropped::default(),
            series: SeriesCache::default(),
            payload: Vec::new(),
        }
    }

    fn read(&mut self, payload: &[u8], out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        let payload = match snappy_block(payload, self.limits.payload_bytes_max, &mut self.payload) {
            Ok(()) => &self.payload,
            Err(rejected @ Rejected::DecompressedTooLarge { .. }) => return Err(rejected),
            Err(_) if is_plain(payload) => payload,
            Err(rejected) => return Err(rejected),
        };
        self.series.start_record();
        let mut reading = Reading {
            limits: self.limits,
            entity: &self.entity,
            budget: Budget::new(self.limits),
            dropped: self.dropped,
            samples: SampleColumns::new(&self.series),
            series: &mut self.series,
            histograms: HistogramBatchBuilder::default(),
            raw: Vec::new(),
        };
        reading.request(payload).map_err(|stop| stop.reject(MESSAGE))?;
        self.dropped = reading.dropped;
        out.extend(reading.samples.into_telemetry(reading.series));
        out.extend(reading.histograms.into_telemetry());
        Ok(())
    }
}

impl Decoder for RemoteWriteDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        let result = self.read(record.payload, out);
        release(&mut self.payload);
        result
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// Whether bytes that are no block of Snappy begin as a request does.
fn is_plain(payload: &[u8]) -> bool {
    // The fields 1, 3, 4 and 5 with a length, or nothing at all.
    matches!(payload.first(), None | Some(0x0a | 0x1a | 0x22 | 0x2a))
}

/// Why reading ends early.
enum Stop {
    Wire(WireError),
    Rejected(Rejected),
    /// What the request says contradicts itself.
    Request(String),
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<Rejected> for Stop {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl Stop {
    fn reject(self, message: &'static str) -> Rejected {
        match self {
            Self::Wire(error) => error.reject(message),
            Self::Rejected(rejected) => rejected,
            Self::Request(reason) => Rejected::Protobuf { message, reason },
        }
    }
}

/// One record under way.
struct Reading<'c> {
    limits: Limits,
    entity: &'c EntityRules,
    budget: Budget,
    dropped: Dropped,
    series: &'c mut SeriesCache,
    samples: SampleColumns,
    histograms: HistogramBatchBuilder,
    /// Bytes that name a series of 2.0, kept for their memory.
    raw: Vec<u8>,
}

impl Reading<'_> {
    fn request(&mut self, payload: &[u8]) -> Result<(), Stop> {
        let (mut is_first, mut is_second) = (false, false);
        let mut symbols = Symbols::default();
        for field in Fields::of(payload) {
            let field = field?;
            match field.number {
                1 | 3 => is_first = true,
                4 => {
                    is_second = true;
                    symbols.push(field.text()?);
                }
                5 => is_second = true,
                _ => {}
            }
        }
        if is_first && is_second {
            return Err(Stop::Request("it mixes the fields of 1.0 and 2.0".to_owned()));
        }
        for field in Fields::of(payload) {
            let field = field?;
            match field.number {
                1 => self.time_series(TimeSeries::first(field.bytes()?)?, &symbols)?,
                5 => self.time_series(TimeSeries::second(field.bytes()?)?, &symbols)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn time_series(&mut self, series: TimeSeries<'_>, symbols: &Symbols<'_>) -> Result<(), Stop> {
        // Found with the first sample that needs them.
        let mut labels = None;
        for point in series.points() {
            let point = point?;
            if point.number == series.fields.samples {
                let sample = series::Sample::of(point.bytes()?)?;
                if !self.accepts(sample.value, sample.time_ms)? {
                    continue;
                }
                let Some(labels) = self.labels(&mut labels, &series, symbols)? else { continue };
                let kind = series.kind(self.series.kind(labels));
                let start_ms = Some(sample.start_ms).filter(|start| *start != 0).or(series.created_ms);
                let sample = Sample { kind, time_ms: sample.time_ms, start_ms, value: sample.value };
                self.samples.push(self.series, labels, sample);
            } else if point.number == series.fields.histograms {
                let histogram = Histogram::of(point.bytes()?)?;
                // The sum of a stale histogram is the marker; any other sum may be no number.
                let value = if histogram.sum.to_bits() == STALE { histogram.sum } else { 0.0 };
                if !self.accepts(value, histogram.time_ms)? {
                    continue;
                }
                let Some((bounds, counts)) = histogram.explicit_buckets() else {
                    self.dropped.malformed += 1;
                    self.budget.take(1, 0)?;
                    continue;
                };
                let Some(labels) = self.labels(&mut labels, &series, symbols)? else { continue };
                // The empty buckets between spans are not in the message.
                self.budget.take(0, size_of_val(bounds.as_slice()) + size_of_val(counts.as_slice()))?;
                self.histograms.push(&HistogramRow {
                    labels: self.series.text(labels),
                    time_ms: histogram.time_ms,
                    start_ms: Some(histogram.start_ms).filter(|start| *start != 0).or(series.created_ms),
                    delta: false,
                    count: histogram.count,
                    sum: if histogram.sum.is_finite() { histogram.sum } else { f64::NAN },
                    bounds: &bounds,
                    counts: &counts,
                });
            }
        }
        Ok(())
    }

    /// Counts a point that is left out.
    fn accepts(&mut self, value: f64, time_ms: i64) -> Result<bool, Rejected> {
        if value.to_bits() == STALE {
            self.dropped.no_value += 1;
        } else if !value.is_finite() {
            self.dropped.non_finite += 1;
        } else if time_ms == 0 {
            self.dropped.no_time += 1;
        } else {
            return Ok(true);
        }
        self.budget.take(1, 0)?;
        Ok(false)
    }

    /// The labels of the series for one more row. None, and counted, if they name no metric.
    fn labels(
        &mut self,
        known: &mut Option<Option<TextIndex>>,
        series: &TimeSeries<'_>,
        symbols: &Symbols<'_>,
    ) -> Result<Option<TextIndex>, Stop> {
        let labels = match *known {
            Some(labels) => labels,
            None => *known.insert(self.find(series, symbols)?),
        };
        match labels {
            Some(labels) => self.budget.take(1, self.series.text_length(labels))?,
            None => {
                self.dropped.malformed += 1;
                self.budget.take(1, 0)?;
            }
        }
        Ok(labels)
    }

    fn find(&mut self, series: &TimeSeries<'_>, symbols: &Symbols<'_>) -> Result<Option<TextIndex>, Stop> {
        let raw = match &series.labels {
            series::RawLabels::Pairs(raw) => {
                self.raw.clear();
                raw.as_ref()
            }
            series::RawLabels::References(references) => {
                symbols.resolve(references, self.limits.text_bytes_max, &mut self.raw)?;
                // A few references may stand for much text, of which not all need be in the labels.
                self.budget.take(0, self.raw.len())?;
                &self.raw
            }
        };
        match self.series.find(series.fields.group, raw) {
            Ok(labels) => Ok(Some(labels)),
            Err(unknown) => {
                let named = series::canonical(series.fields, raw, self.entity)?;
                Ok(named.map(|(text, kind)| self.series.insert(unknown, &text, kind)))
            }
        }
    }
}

impl TimeSeries<'_> {
    /// By what 2.0 says, else by the name.
    fn kind(&self, of_name: MetricKind) -> MetricKind {
        match self.metric_type {
            series::COUNTER => MetricKind::Counter,
            series::UNSPECIFIED | series::HISTOGRAM | series::SUMMARY => of_name,
            _ => MetricKind::Gauge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{BUFFER_BYTES_MAX, record};

    #[test]
    fn a_large_payload_leaves_no_large_buffer_behind() {
        let mut decoder = RemoteWriteDecoder::new(&DecoderSettings::default());
        // A field that is not read; then nothing that is, as a series without its end.
        for (key, is_valid) in [(0x7au8, true), (0x0a, false)] {
            let mut request = vec![key, 0x80, 0x80, 0x80, 0x01];
            request.resize(request.len() + (2 << 20), 0);
            let payload = snap::raw::Encoder::new().compress_vec(&request).unwrap();
            assert_eq!(decoder.decode(record(&payload), &mut Vec::new()).is_ok(), is_valid);
            assert!(decoder.payload.capacity() <= BUFFER_BYTES_MAX);
        }
    }
}
