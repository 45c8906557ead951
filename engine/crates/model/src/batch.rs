//! Decoded telemetry as Arrow columns.
//!
//! | batch | columns |
//! |---|---|
//! | [`SampleBatch`] | `labels` dictionary(i32, utf8): canonical text of [`Labels`](crate::Labels); `kind` u8: [`MetricKind`]; `time_ms` i64; `start_ms` i64, null if unknown; `value` f64, finite |
//! | [`HistogramBatch`] | `labels`, `time_ms`, `start_ms` as above; `delta` bool; `count` u64; `sum` f64, NaN if unknown; `bounds` list(f64), ascending; `counts` list(u64), one more than `bounds` or none |
//! | [`SpanBatch`] | `start_us` i64; `duration_us` i64, >= 0; `trace_id` binary(16); `span_id` u64; `parent` u64, null for a root; `service`, `operation` dictionary(i32, utf8); `kind` u8 (OTLP's number); `error` bool |
//! | [`LogBatch`] | `time_ms` i64; `service` dictionary(i32, utf8); `severity` u8 (OTLP's number, 0 unknown); `body` utf8; `trace_id` binary(16), `span_id` u64, null if none |
//! | [`EventBatch`] | `time_ms` i64; `service`, `kind` dictionary(i32, utf8); `id`, `summary`, `source` utf8 |
//!
//! Times are since the Unix epoch. A column is never null unless said so.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    StringDictionaryBuilder, UInt8Builder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt8Type, UInt64Type};
use arrow_array::{Array, DictionaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::SeriesId;

/// What a value of a metric means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MetricKind {
    Gauge = 0,
    /// Cumulative and monotonic: only its rate says something.
    Counter = 1,
    /// The increase over `start_ms..time_ms`.
    Delta = 2,
}

impl MetricKind {
    fn of(number: u8) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Delta,
            _ => Self::Gauge,
        }
    }
}

/// A record batch that has other columns than it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {batch} batch has the columns {found}, expected {expected}")]
pub struct SchemaMismatch {
    batch: &'static str,
    found: String,
    expected: String,
}

/// One batch of any signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Telemetry {
    Samples(SampleBatch),
    Histograms(HistogramBatch),
    Spans(SpanBatch),
    Logs(LogBatch),
    Events(EventBatch),
}

impl Telemetry {
    /// The name of its kind, as it stands in the header of an internal record.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Samples(_) => SampleBatch::KIND,
            Self::Histograms(_) => HistogramBatch::KIND,
            Self::Spans(_) => SpanBatch::KIND,
            Self::Logs(_) => LogBatch::KIND,
            Self::Events(_) => EventBatch::KIND,
        }
    }

    pub fn record_batch(&self) -> &RecordBatch {
        match self {
            Self::Samples(batch) => batch.record_batch(),
            Self::Histograms(batch) => batch.record_batch(),
            Self::Spans(batch) => batch.record_batch(),
            Self::Logs(batch) => batch.record_batch(),
            Self::Events(batch) => batch.record_batch(),
        }
    }

    /// The reverse of [`Telemetry::kind`] and [`Telemetry::record_batch`].
    pub fn try_from_parts(kind: &str, batch: RecordBatch) -> Result<Self, SchemaMismatch> {
        match kind {
            SampleBatch::KIND => SampleBatch::try_from_record_batch(batch).map(Self::Samples),
            HistogramBatch::KIND => HistogramBatch::try_from_record_batch(batch).map(Self::Histograms),
            SpanBatch::KIND => SpanBatch::try_from_record_batch(batch).map(Self::Spans),
            LogBatch::KIND => LogBatch::try_from_record_batch(batch).map(Self::Logs),
            EventBatch::KIND => EventBatch::try_from_record_batch(batch).map(Self::Events),
            _ => Err(SchemaMismatch {
                batch: "telemetry",
                found: format!("kind {kind:?}"),
                expected: "samples, histograms, spans, logs or events".to_owned(),
            }),
        }
    }
}

fn text_dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The new type around a record batch of a known schema.
macro_rules! batch {
    ($(#[$doc:meta])* $batch:ident $(+ $beside:ty)?, $kind:literal, [$(($column:literal, $type:expr, $nullable:literal)),* $(,)?]) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $batch(RecordBatch $(, $beside)?);

        impl $batch {
            pub const KIND: &'static str = $kind;

            pub fn schema() -> SchemaRef {
                static SCHEMA: LazyLock<SchemaRef> =
                    LazyLock::new(|| Arc::new(Schema::new(vec![$(Field::new($column, $type, $nullable)),*])));
                Arc::clone(&SCHEMA)
            }

            /// Accepts exactly the columns of [`Self::schema`], in their order.
            pub fn try_from_record_batch(batch: RecordBatch) -> Result<Self, SchemaMismatch> {
                let (schema, expected) = (batch.schema_ref(), Self::schema());
                let alike = |(a, b): (&Arc<Field>, &Arc<Field>)| {
                    a.name() == b.name() && a.data_type() == b.data_type()
                };
                let is_alike = || {
                    schema.fields().len() == expected.fields().len()
                        && schema.fields().iter().zip(expected.fields()).all(alike)
                };
                let fits = (Arc::ptr_eq(schema, &expected) || is_alike())
                    && expected.fields().iter().zip(batch.columns()).all(|(f, c)| f.is_nullable() || c.null_count() == 0);
                if fits {
                    return Ok(Self(batch $(, <$beside>::default())?));
                }
                let names = |schema: &Schema| {
                    let field = |field: &Arc<Field>| format!("{} {}", field.name(), field.data_type());
                    schema.fields().iter().map(field).collect::<Vec<_>>().join(", ")
                };
                Err(SchemaMismatch { batch: $kind, found: names(schema), expected: names(&expected) })
            }

            pub fn record_batch(&self) -> &RecordBatch {
                &self.0
            }

            pub fn len(&self) -> usize {
                self.0.num_rows()
            }

            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}

fn built(schema: SchemaRef, columns: Vec<Arc<dyn Array>>) -> RecordBatch {
    RecordBatch::try_new(schema, columns).expect("a builder makes the columns of its own schema")
}

/// A dictionary column of text, read by row.
#[derive(Clone, Copy)]
struct Text<'a> {
    keys: &'a [i32],
    values: &'a StringArray,
}

impl<'a> Text<'a> {
    fn of(column: &'a Arc<dyn Array>) -> Self {
        let dictionary: &DictionaryArray<Int32Type> = column.as_dictionary();
        Self { keys: dictionary.keys().values(), values: dictionary.values().as_string() }
    }

    fn at(&self, row: usize) -> &'a str {
        self.values.value(self.keys[row] as usize)
    }
}

fn id_bytes(id: u128) -> [u8; 16] {
    id.to_be_bytes()
}

fn id_at(column: &Arc<dyn Array>, row: usize) -> u128 {
    let bytes = column.as_fixed_size_binary().value(row);
    bytes.try_into().map(u128::from_be_bytes).unwrap_or_default()
}

/// The id of each distinct labels of a batch, for whoever knows them already. They follow from the labels, so no batch differs by them.
#[derive(Clone, Debug, Default)]
struct KnownIds(Option<Arc<[SeriesId]>>);

impl PartialEq for KnownIds {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

batch!(
    /// Points of gauges, counters and deltas.
    SampleBatch + KnownIds,
    "samples",
    [
        ("labels", text_dictionary(), false),
        ("kind", DataType::UInt8, false),
        ("time_ms", DataType::Int64, false),
        ("start_ms", DataType::Int64, true),
        ("value", DataType::Float64, false),
    ]
);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRow<'a> {
    pub labels: &'a str,
    pub kind: MetricKind,
    pub time_ms: i64,
    pub start_ms: Option<i64>,
    pub value: f64,
}

impl SampleBatch {
    /// The distinct labels of this batch; [`SampleBatch::label_keys`] indexes them. Some may have no row.
    pub fn label_values(&self) -> &StringArray {
        Text::of(self.0.column(0)).values
    }

    /// For each row, the index of its labels.
    pub fn label_keys(&self) -> &[i32] {
        Text::of(self.0.column(0)).keys
    }

    /// The id of each of [`SampleBatch::label_values`]. They are hashed here unless whoever made the batch knew them.
    pub fn series_ids(&self) -> Arc<[SeriesId]> {
        let hashed =
            || self.label_values().iter().map(|labels| SeriesId::of_canonical(labels.unwrap_or_default()));
        self.1.0.clone().unwrap_or_else(|| hashed().collect())
    }

    /// The same batch with the id of each of [`SampleBatch::label_values`], which must be that of [`SeriesId::of_canonical`].
    #[must_use]
    pub fn with_series_ids(self, ids: Arc<[SeriesId]>) -> Self {
        debug_assert!(
            self.label_values()
                .iter()
                .map(|labels| labels.map(SeriesId::of_canonical))
                .eq(ids.iter().copied().map(Some))
        );
        Self(self.0, KnownIds(Some(ids)))
    }

    pub fn rows(&self) -> impl Iterator<Item = SampleRow<'_>> {
        let labels = Text::of(self.0.column(0));
        let kinds = self.0.column(1).as_primitive::<UInt8Type>();
        let times = self.0.column(2).as_primitive::<Int64Type>();
        let starts = self.0.column(3).as_primitive::<Int64Type>();
        let values = self.0.column(4).as_primitive::<Float64Type>();
        (0..self.len()).map(move |row| SampleRow {
            labels: labels.at(row),
            kind: MetricKind::of(kinds.value(row)),
            time_ms: times.value(row),
            start_ms: starts.is_valid(row).then(|| starts.value(row)),
            value: values.value(row),
        })
    }
}

#[derive(Default)]
pub struct SampleBatchBuilder {
    labels: StringDictionaryBuilder<Int32Type>,
    kind: UInt8Builder,
    time_ms: Int64Builder,
    start_ms: Int64Builder,
    value: Float64Builder,
}

impl SampleBatchBuilder {
    pub fn push(&mut self, row: &SampleRow<'_>) {
        self.labels.append_value(row.labels);
        self.kind.append_value(row.kind as u8);
        self.time_ms.append_value(row.time_ms);
        self.start_ms.append_option(row.start_ms);
        self.value.append_value(row.value);
    }

    /// The batch of the rows so far; the builder is empty again.
    pub fn finish(&mut self) -> SampleBatch {
        let batch = built(
            SampleBatch::schema(),
            vec![
                Arc::new(self.labels.finish()),
                Arc::new(self.kind.finish()),
                Arc::new(self.time_ms.finish()),
                Arc::new(self.start_ms.finish()),
                Arc::new(self.value.finish()),
            ],
        );
        SampleBatch(batch, KnownIds::default())
    }
}

batch!(
    /// Points of histograms with explicit buckets.
    HistogramBatch,
    "histograms",
    [
        ("labels", text_dictionary(), false),
        ("time_ms", DataType::Int64, false),
        ("start_ms", DataType::Int64, true),
        ("delta", DataType::Boolean, false),
        ("count", DataType::UInt64, false),
        ("sum", DataType::Float64, false),
        ("bounds", list_of(DataType::Float64), false),
        ("counts", list_of(DataType::UInt64), false),
    ]
);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramRow<'a> {
    pub labels: &'a str,
    pub time_ms: i64,
    pub start_ms: Option<i64>,
    pub delta: bool,
    pub count: u64,
    pub sum: f64,
    pub bounds: &'a [f64],
    pub counts: &'a [u64],
}

impl HistogramBatch {
    pub fn rows(&self) -> impl Iterator<Item = HistogramRow<'_>> {
        let labels = Text::of(self.0.column(0));
        let times = self.0.column(1).as_primitive::<Int64Type>();
        let starts = self.0.column(2).as_primitive::<Int64Type>();
        let deltas = self.0.column(3).as_boolean();
        let totals = self.0.column(4).as_primitive::<UInt64Type>();
        let sums = self.0.column(5).as_primitive::<Float64Type>();
        let bounds = self.0.column(6).as_list::<i32>();
        let counts = self.0.column(7).as_list::<i32>();
        let bound_values: &[f64] = bounds.values().as_primitive::<Float64Type>().values();
        let count_values: &[u64] = counts.values().as_primitive::<UInt64Type>().values();
        let (bound_offsets, count_offsets) = (bounds.value_offsets(), counts.value_offsets());
        (0..self.len()).map(move |row| HistogramRow {
            labels: labels.at(row),
            time_ms: times.value(row),
            start_ms: starts.is_valid(row).then(|| starts.value(row)),
            delta: deltas.value(row),
            count: totals.value(row),
            sum: sums.value(row),
            bounds: &bound_values[bound_offsets[row] as usize..bound_offsets[row + 1] as usize],
            counts: &count_values[count_offsets[row] as usize..count_offsets[row + 1] as usize],
        })
    }
}

#[derive(Default)]
pub struct HistogramBatchBuilder {
    labels: StringDictionaryBuilder<Int32Type>,
    time_ms: Int64Builder,
    start_ms: Int64Builder,
    delta: BooleanBuilder,
    count: UInt64Builder,
    sum: Float64Builder,
    bounds: ListBuilder<Float64Builder>,
    counts: ListBuilder<UInt64Builder>,
}

impl HistogramBatchBuilder {
    pub fn push(&mut self, row: &HistogramRow<'_>) {
        self.labels.append_value(row.labels);
        self.time_ms.append_value(row.time_ms);
        self.start_ms.append_option(row.start_ms);
        self.delta.append_value(row.delta);
        self.count.append_value(row.count);
        self.sum.append_value(row.sum);
        self.bounds.values().append_slice(row.bounds);
        self.bounds.append(true);
        self.counts.values().append_slice(row.counts);
        self.counts.append(true);
    }

    pub fn finish(&mut self) -> HistogramBatch {
        HistogramBatch(built(
            HistogramBatch::schema(),
            vec![
                Arc::new(self.labels.finish()),
                Arc::new(self.time_ms.finish()),
                Arc::new(self.start_ms.finish()),
                Arc::new(self.delta.finish()),
                Arc::new(self.count.finish()),
                Arc::new(self.sum.finish()),
                Arc::new(self.bounds.finish()),
                Arc::new(self.counts.finish()),
            ],
        ))
    }
}

batch!(
    /// Spans of traces.
    SpanBatch,
    "spans",
    [
        ("start_us", DataType::Int64, false),
        ("duration_us", DataType::Int64, false),
        ("trace_id", DataType::FixedSizeBinary(16), false),
        ("span_id", DataType::UInt64, false),
        ("parent", DataType::UInt64, true),
        ("service", text_dictionary(), false),
        ("operation", text_dictionary(), false),
        ("kind", DataType::UInt8, false),
        ("error", DataType::Boolean, false),
    ]
);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanRow<'a> {
    pub start_us: i64,
    pub duration_us: i64,
    pub trace_id: u128,
    pub span_id: u64,
    pub parent: Option<u64>,
    pub service: &'a str,
    pub operation: &'a str,
    pub kind: u8,
    pub error: bool,
}

impl SpanBatch {
    pub fn rows(&self) -> impl Iterator<Item = SpanRow<'_>> {
        let starts = self.0.column(0).as_primitive::<Int64Type>();
        let durations = self.0.column(1).as_primitive::<Int64Type>();
        let traces = self.0.column(2);
        let spans = self.0.column(3).as_primitive::<UInt64Type>();
        let parents = self.0.column(4).as_primitive::<UInt64Type>();
        let services = Text::of(self.0.column(5));
        let operations = Text::of(self.0.column(6));
        let kinds = self.0.column(7).as_primitive::<UInt8Type>();
        let errors = self.0.column(8).as_boolean();
        (0..self.len()).map(move |row| SpanRow {
            start_us: starts.value(row),
            duration_us: durations.value(row),
            trace_id: id_at(traces, row),
            span_id: spans.value(row),
            parent: parents.is_valid(row).then(|| parents.value(row)),
            service: services.at(row),
            operation: operations.at(row),
            kind: kinds.value(row),
            error: errors.value(row),
        })
    }
}

pub struct SpanBatchBuilder {
    start_us: Int64Builder,
    duration_us: Int64Builder,
    trace_id: FixedSizeBinaryBuilder,
    span_id: UInt64Builder,
    parent: UInt64Builder,
    service: StringDictionaryBuilder<Int32Type>,
    operation: StringDictionaryBuilder<Int32Type>,
    kind: UInt8Builder,
    error: BooleanBuilder,
}

impl Default for SpanBatchBuilder {
    fn default() -> Self {
        Self {
            start_us: Int64Builder::new(),
            duration_us: Int64Builder::new(),
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: UInt64Builder::new(),
            parent: UInt64Builder::new(),
            service: StringDictionaryBuilder::new(),
            operation: StringDictionaryBuilder::new(),
            kind: UInt8Builder::new(),
            error: BooleanBuilder::new(),
        }
    }
}

impl SpanBatchBuilder {
    pub fn push(&mut self, row: &SpanRow<'_>) {
        self.start_us.append_value(row.start_us);
        self.duration_us.append_value(row.duration_us);
        self.trace_id.append_value(id_bytes(row.trace_id)).expect("a trace id has 16 bytes");
        self.span_id.append_value(row.span_id);
        self.parent.append_option(row.parent);
        self.service.append_value(row.service);
        self.operation.append_value(row.operation);
        self.kind.append_value(row.kind);
        self.error.append_value(row.error);
    }

    pub fn finish(&mut self) -> SpanBatch {
        SpanBatch(built(
            SpanBatch::schema(),
            vec![
                Arc::new(self.start_us.finish()),
                Arc::new(self.duration_us.finish()),
                Arc::new(self.trace_id.finish()),
                Arc::new(self.span_id.finish()),
                Arc::new(self.parent.finish()),
                Arc::new(self.service.finish()),
                Arc::new(self.operation.finish()),
                Arc::new(self.kind.finish()),
                Arc::new(self.error.finish()),
            ],
        ))
    }
}

batch!(
    /// Log records.
    LogBatch,
    "logs",
    [
        ("time_ms", DataType::Int64, false),
        ("service", text_dictionary(), false),
        ("severity", DataType::UInt8, false),
        ("body", DataType::Utf8, false),
        ("trace_id", DataType::FixedSizeBinary(16), true),
        ("span_id", DataType::UInt64, true),
    ]
);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogRow<'a> {
    pub time_ms: i64,
    pub service: &'a str,
    pub severity: u8,
    pub body: &'a str,
    pub trace_id: Option<u128>,
    pub span_id: Option<u64>,
}

impl LogBatch {
    pub fn rows(&self) -> impl Iterator<Item = LogRow<'_>> {
        let times = self.0.column(0).as_primitive::<Int64Type>();
        let services = Text::of(self.0.column(1));
        let severities = self.0.column(2).as_primitive::<UInt8Type>();
        let bodies = self.0.column(3).as_string::<i32>();
        let traces = self.0.column(4);
        let spans = self.0.column(5).as_primitive::<UInt64Type>();
        (0..self.len()).map(move |row| LogRow {
            time_ms: times.value(row),
            service: services.at(row),
            severity: severities.value(row),
            body: bodies.value(row),
            trace_id: traces.is_valid(row).then(|| id_at(traces, row)),
            span_id: spans.is_valid(row).then(|| spans.value(row)),
        })
    }
}

pub struct LogBatchBuilder {
    time_ms: Int64Builder,
    service: StringDictionaryBuilder<Int32Type>,
    severity: UInt8Builder,
    body: StringBuilder,
    trace_id: FixedSizeBinaryBuilder,
    span_id: UInt64Builder,
}

impl Default for LogBatchBuilder {
    fn default() -> Self {
        Self {
            time_ms: Int64Builder::new(),
            service: StringDictionaryBuilder::new(),
            severity: UInt8Builder::new(),
            body: StringBuilder::new(),
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: UInt64Builder::new(),
        }
    }
}

impl LogBatchBuilder {
    pub fn push(&mut self, row: &LogRow<'_>) {
        self.time_ms.append_value(row.time_ms);
        self.service.append_value(row.service);
        self.severity.append_value(row.severity);
        self.body.append_value(row.body);
        match row.trace_id {
            Some(id) => self.trace_id.append_value(id_bytes(id)).expect("a trace id has 16 bytes"),
            None => self.trace_id.append_null(),
        }
        self.span_id.append_option(row.span_id);
    }

    pub fn finish(&mut self) -> LogBatch {
        LogBatch(built(
            LogBatch::schema(),
            vec![
                Arc::new(self.time_ms.finish()),
                Arc::new(self.service.finish()),
                Arc::new(self.severity.finish()),
                Arc::new(self.body.finish()),
                Arc::new(self.trace_id.finish()),
                Arc::new(self.span_id.finish()),
            ],
        ))
    }
}

batch!(
    /// Changes: deploys, configuration changes, Kubernetes events.
    EventBatch,
    "events",
    [
        ("time_ms", DataType::Int64, false),
        ("service", text_dictionary(), false),
        ("kind", text_dictionary(), false),
        ("id", DataType::Utf8, false),
        ("summary", DataType::Utf8, false),
        ("source", DataType::Utf8, false),
    ]
);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventRow<'a> {
    pub time_ms: i64,
    pub service: &'a str,
    /// `deploy`, `config`, `kubernetes` or `other`.
    pub kind: &'a str,
    pub id: &'a str,
    pub summary: &'a str,
    pub source: &'a str,
}

impl EventBatch {
    pub fn rows(&self) -> impl Iterator<Item = EventRow<'_>> {
        let times = self.0.column(0).as_primitive::<Int64Type>();
        let (services, kinds) = (Text::of(self.0.column(1)), Text::of(self.0.column(2)));
        let ids = self.0.column(3).as_string::<i32>();
        let summaries = self.0.column(4).as_string::<i32>();
        let sources = self.0.column(5).as_string::<i32>();
        (0..self.len()).map(move |row| EventRow {
            time_ms: times.value(row),
            service: services.at(row),
            kind: kinds.at(row),
            id: ids.value(row),
            summary: summaries.value(row),
            source: sources.value(row),
        })
    }
}

#[derive(Default)]
pub struct EventBatchBuilder {
    time_ms: Int64Builder,
    service: StringDictionaryBuilder<Int32Type>,
    kind: StringDictionaryBuilder<Int32Type>,
    id: StringBuilder,
    summary: StringBuilder,
    source: StringBuilder,
}

impl EventBatchBuilder {
    pub fn push(&mut self, row: &EventRow<'_>) {
        self.time_ms.append_value(row.time_ms);
        self.service.append_value(row.service);
        self.kind.append_value(row.kind);
        self.id.append_value(row.id);
        self.summary.append_value(row.summary);
        self.source.append_value(row.source);
    }

    pub fn finish(&mut self) -> EventBatch {
        EventBatch(built(
            EventBatch::schema(),
            vec![
                Arc::new(self.time_ms.finish()),
                Arc::new(self.service.finish()),
                Arc::new(self.kind.finish()),
                Arc::new(self.id.finish()),
                Arc::new(self.summary.finish()),
                Arc::new(self.source.finish()),
            ],
        ))
    }
}

#[cfg(test)]
mod tests;
