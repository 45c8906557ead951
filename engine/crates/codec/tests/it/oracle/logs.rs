//! Log records.

use model::{LogBatchBuilder, LogRow, SourceRecord, Telemetry};
use proto::opentelemetry::{collector::logs::v1::ExportLogsServiceRequest, logs::v1::LogRecord};

use super::{Budget, attributes, read, span_id, time_ms, trace_id};
use foreshock_codec::{Decoder, Dropped, Limits, Rejected};

/// The time of a log record is its own, else the one at which it was observed. A body that is no string becomes JSON;
/// one that is missing, the name of the event.
pub struct LogsDecoder {
    limits: Limits,
    dropped: Dropped,
}

impl LogsDecoder {
    pub fn new(limits: Limits) -> Self {
        Self { limits, dropped: Dropped::default() }
    }
}

impl Decoder for LogsDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        let request: ExportLogsServiceRequest = read("logs", record.payload, &self.limits)?;
        let mut budget = Budget::new(self.limits);
        let mut dropped = self.dropped;
        let mut logs = LogBatchBuilder::default();
        for resource_logs in &request.resource_logs {
            let service = attributes::service(resource_logs.resource.as_ref(), self.limits.depth_max)?;
            for log in resource_logs.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                let body = attributes::text(log.body.as_ref(), self.limits.depth_max)?;
                let body = if body.is_empty() { log.event_name.as_str() } else { &body };
                budget.take(1, body.len())?;
                let Some(time_ms) = time_ms(log.time_unix_nano).or(time_ms(log.observed_time_unix_nano))
                else {
                    dropped.no_time += 1;
                    continue;
                };
                logs.push(&LogRow {
                    time_ms,
                    service: &service,
                    severity: severity(log),
                    body,
                    trace_id: trace_id(&log.trace_id),
                    span_id: span_id(&log.span_id),
                });
            }
        }
        self.dropped = dropped;
        let batch = logs.finish();
        if !batch.is_empty() {
            out.push(Telemetry::Logs(batch));
        }
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// OTLP's number, read from the text if only that is there.
fn severity(log: &LogRecord) -> u8 {
    if let 1..=24 = log.severity_number {
        return log.severity_number as u8;
    }
    match log.severity_text.to_ascii_lowercase().as_str() {
        "trace" => 1,
        "debug" => 5,
        "info" | "information" | "notice" => 9,
        "warn" | "warning" => 13,
        "error" | "err" => 17,
        "fatal" | "critical" | "crit" | "alert" | "emerg" => 21,
        _ => 0,
    }
}
