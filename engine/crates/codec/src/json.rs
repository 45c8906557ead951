//! JSON: how its objects are read, and what formats of one object a row have in common.

mod logs;
mod mapping;
mod metrics;
pub(crate) mod object;

pub use logs::LogsDecoder;
pub use mapping::{LogMapping, MetricMapping, Paths, SeverityNumbers, TimeFormat, Zone};
pub use metrics::MetricsDecoder;

use std::marker::PhantomData;
use std::sync::Arc;

use model::{SourceRecord, Telemetry};

use self::object::Object;
use crate::decoder::{Batch, Budget};
use crate::entity::EntityRules;
use crate::settings::DecoderSettings;
use crate::{Decoder, Dropped, Limits, Rejected};

/// A format in which each object is one row, or some.
pub(crate) trait JsonFormat: Send + 'static {
    type Batch: Batch;

    /// Appends the rows of the object. What they take of the limits is for the format to count.
    fn read(object: &Object<'_>, rows: &mut Rows<Self::Batch>) -> Result<(), Rejected>;
}

/// The rows of one record under way.
pub(crate) struct Rows<B> {
    pub(crate) batch: B,
    pub(crate) budget: Budget,
    pub(crate) dropped: Dropped,
    /// When the Kafka record was written: the time of rows that may do without one.
    pub(crate) written_ms: Option<i64>,
    pub(crate) entity: Arc<EntityRules>,
}

/// Reads a [`JsonFormat`]: one object a record, several one after the other, or arrays of them.
pub(crate) struct JsonDecoder<F> {
    limits: Limits,
    entity: Arc<EntityRules>,
    dropped: Dropped,
    format: PhantomData<fn() -> F>,
}

impl<F> JsonDecoder<F> {
    pub(crate) fn new(settings: &DecoderSettings) -> Self {
        let DecoderSettings { limits, entity, .. } = settings;
        Self { limits: *limits, entity: Arc::clone(entity), dropped: Dropped::default(), format: PhantomData }
    }
}

impl<F: JsonFormat> Decoder for JsonDecoder<F> {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        let mut rows = Rows {
            batch: F::Batch::default(),
            budget: Budget::new(self.limits),
            dropped: self.dropped,
            written_ms: record.timestamp_ms,
            entity: Arc::clone(&self.entity),
        };
        object::each_object(record.payload, |object| F::read(object, &mut rows))?;
        self.dropped = rows.dropped;
        out.extend(rows.batch.into_telemetry());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}
