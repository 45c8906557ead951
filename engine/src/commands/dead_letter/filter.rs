//! Which dead letters are meant.

use std::ops::ControlFlow;

use clap::Args;
use codec::dead_letter::DeadLetter;
use model::SourceRecord;

use crate::commands::time_ms;

#[derive(Args, Default)]
pub(super) struct Filter {
    /// Only records of this topic; may be given several times
    #[arg(long, value_name = "TOPIC")]
    pub(super) topic: Vec<String>,
    /// Only records whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only records found to be unreadable at this time or later: RFC 3339, epoch milliseconds, or before now such as -2h
    #[arg(long, value_name = "T", value_parser = time_ms, allow_hyphen_values = true)]
    from: Option<i64>,
    /// Only records found to be unreadable before this time
    #[arg(long, value_name = "T", value_parser = time_ms, allow_hyphen_values = true)]
    to: Option<i64>,
    /// At most so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl Filter {
    pub(super) fn begin_ms(&self) -> Option<i64> {
        self.from
    }

    pub(super) fn selects(&self, record: &SourceRecord<'_>, letter: &DeadLetter<'_>) -> bool {
        let is_of_topic = self.topic.is_empty() || self.topic.iter().any(|topic| topic == letter.topic);
        let has_reason = self.reason.as_ref().is_none_or(|reason| letter.reason.contains(reason.as_str()));
        let range = self.from.unwrap_or(i64::MIN)..self.to.unwrap_or(i64::MAX);
        let is_in_time = match record.timestamp_ms {
            Some(time_ms) => range.contains(&time_ms),
            None => self.from.is_none() && self.to.is_none(),
        };
        is_of_topic && has_reason && is_in_time
    }

    /// Whether to go on after so many.
    pub(super) fn limit(&self, taken: u64) -> ControlFlow<()> {
        if self.limit.is_some_and(|limit| taken >= limit) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
