//! Zipkin's spans as JSON, version 2: an array of spans, or one.
//!
//! A trace id of 64 bits becomes the lower half of one of 128. A span has failed if it has the tag `error` (unless that
//! says `false`), or `otel.status_code` is `ERROR`. A span without ids, or one that ends after 2262, is malformed; one
//! without `timestamp` has no time. The half of a shared span is a span of its own, as it lies in another service.

use std::borrow::Cow;

use model::{SpanBatchBuilder, SpanRow};

use crate::entity::EntityRules;
use crate::json::object::{self, Object};
use crate::json::{JsonFormat, Rows};
use crate::otlp::UNKNOWN_SERVICE;
use crate::{Rejected, hex, time};

pub(crate) struct Zipkin;

impl JsonFormat for Zipkin {
    type Batch = SpanBatchBuilder;

    fn read(span: &Object<'_>, rows: &mut Rows<SpanBatchBuilder>) -> Result<(), Rejected> {
        let text = |name: &str| span.text(&[name]).unwrap_or_default();
        let (service, operation) = (service(span, &rows.entity), text("name"));
        rows.budget.take(1, 0)?;
        let ids = (hex::id(&text("traceId")), hex::id(&text("id")).and_then(|id| u64::try_from(id).ok()));
        let (Some(trace_id), Some(span_id)) = ids else {
            rows.dropped.malformed += 1;
            return Ok(());
        };
        // What is too large for a number of that size becomes the largest, which no span has.
        let microseconds =
            |name: &str| span.get(name).and_then(object::number).map_or(0, |us| us.max(0.0) as i64);
        let (start_us, duration_us) = (microseconds("timestamp"), microseconds("duration"));
        if start_us == 0 {
            rows.dropped.no_time += 1;
            return Ok(());
        }
        if !time::is_span(start_us, duration_us) {
            rows.dropped.malformed += 1;
            return Ok(());
        }
        rows.batch.push(&SpanRow {
            start_us,
            duration_us,
            trace_id,
            span_id,
            parent: hex::id(&text("parentId")).and_then(|id| u64::try_from(id).ok()),
            service: &service,
            operation: &operation,
            kind: kind(&text("kind")),
            error: has_failed(span),
        });
        Ok(())
    }
}

fn service<'a>(span: &Object<'a>, entity: &EntityRules) -> Cow<'a, str> {
    let named = || span.text(&["localEndpoint.serviceName"]);
    let attribute = |name: &str| match name {
        "service.name" => named(),
        name => span.object("tags").and_then(|tags| tags.text(&[name])),
    };
    entity.service(attribute, || named().unwrap_or(Cow::Borrowed(UNKNOWN_SERVICE)))
}

/// OTLP's number of a kind. Spans without one are local.
fn kind(kind: &str) -> u8 {
    match kind {
        "SERVER" => 2,
        "CLIENT" => 3,
        "PRODUCER" => 4,
        "CONSUMER" => 5,
        _ => 1,
    }
}

fn has_failed(span: &Object<'_>) -> bool {
    let Some(tags) = span.object("tags") else { return false };
    let says = |tag: &str| tags.get(tag).and_then(object::text);
    says("error").is_some_and(|error| error != "false")
        || says("otel.status_code").is_some_and(|code| code == "ERROR")
}
