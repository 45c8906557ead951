//! Log lines as plain text, one record or more in a payload.
//!
//! A log record begins with a line that begins with its time, and takes the lines without one that follow, as those of a
//! stack trace. The time is the first word or the first two (RFC 3339 and the like; in brackets or not), the first word if it
//! is a number since the epoch from 2001 to 2100 in seconds, milliseconds, microseconds or nanoseconds, or that of RFC 5424's
//! syslog. A line without one before it has that of the Kafka record, as has a line of syslog whose time is `-`.
//!
//! The severity is syslog's, else the first word of the line's beginning that names a level. The service is what rules make of
//! the headers, if there are any, else syslog's `APP-NAME`, else the header `service.name`.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memchr;
use model::{LogBatchBuilder, LogRow, SourceRecord, Telemetry};

use crate::decoder::{Batch as _, Budget};
use crate::entity::EntityRules;
use crate::otlp::UNKNOWN_SERVICE;
use crate::settings::DecoderSettings;
use crate::severity::Scale;
use crate::{Decoder, Dropped, Limits, Rejected, severity, time};

/// Words at the beginning of a line among which a level is looked for.
const LEVEL_WORDS_MAX: usize = 8;

/// Reads [plain text](self).
pub struct TextDecoder {
    limits: Limits,
    entity: Arc<EntityRules>,
    dropped: Dropped,
}

impl TextDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        let DecoderSettings { limits, entity, .. } = settings;
        Self { limits: *limits, entity: Arc::clone(entity), dropped: Dropped::default() }
    }
}

impl Decoder for TextDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        // What is not UTF-8 in a log is shown as such, not refused.
        let text = String::from_utf8_lossy(record.payload);
        let header = |name: &str| record.header(name).map(Cow::Borrowed);
        let usual =
            || header("service.name").filter(|name| !name.is_empty()).unwrap_or(UNKNOWN_SERVICE.into());
        let ruled = self.entity.ruled(header);
        let is_ruled = ruled.is_some();
        let of_record = ruled.map_or_else(usual, Cow::Owned);
        let mut budget = Budget::new(self.limits);
        let mut dropped = self.dropped;
        let mut logs = LogBatchBuilder::default();
        let mut rest = text.as_ref();
        while !rest.is_empty() {
            let (head, end) = first_record(rest);
            let body = rest[..end].trim_end();
            if !body.is_empty() {
                budget.take(1, body.len())?;
                let head = head.unwrap_or_else(|| Head::of_message(body));
                match head.time_ms.or(record.timestamp_ms) {
                    None => dropped.no_time += 1,
                    Some(time_ms) => logs.push(&LogRow {
                        time_ms,
                        service: head.service.filter(|_| !is_ruled).unwrap_or(&of_record),
                        severity: head.severity,
                        body: head.message(body),
                        trace_id: None,
                        span_id: None,
                    }),
                }
            }
            rest = &rest[end..];
        }
        self.dropped = dropped;
        out.extend(logs.into_telemetry());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// What the first line of a log record tells.
struct Head<'a> {
    time_ms: Option<i64>,
    severity: u8,
    service: Option<&'a str>,
    /// Where the message begins.
    start: usize,
}

impl Head<'_> {
    /// Of a line that begins with its message.
    fn of_message(line: &str) -> Self {
        Self { time_ms: None, severity: level(line), service: None, start: 0 }
    }

    fn message<'b>(&self, body: &'b str) -> &'b str {
        body.get(self.start..).map_or("", str::trim_start)
    }
}

/// The head of the first log record, None if its line begins with none, and where it ends.
fn first_record(text: &str) -> (Option<Head<'_>>, usize) {
    let line = |from: usize| memchr(b'\n', &text.as_bytes()[from..]).map_or(text.len(), |at| from + at + 1);
    let mut end = line(0);
    let head = head(&text[..end]);
    while head.is_some() && end < text.len() {
        let next = line(end);
        if self::head(&text[end..next]).is_some() {
            break;
        }
        end = next;
    }
    (head, end)
}

fn head(line: &str) -> Option<Head<'_>> {
    if let Some(head) = syslog(line) {
        return Some(head);
    }
    let start = line.len() - line.trim_start_matches(['[', '(']).len();
    let word =
        |from: usize| line[from..].find([' ', '\t', ']', ')', '|', '\n']).map_or(line.len(), |at| from + at);
    let first = word(start);
    let second = line.get(first + 1..).map(|_| word(first + 1));
    let date = |end: usize| Some((time::of_date(time_of(&line[start..end]))?, end));
    let number = || Some((time::of_epoch(time_of(&line[start..first]))?, first));
    // The longer one first: a date may stand alone, and then is no time.
    let (time_ms, end) = second.and_then(date).or_else(|| date(first)).or_else(number)?;
    let start = line.len() - line[end..].trim_start_matches([']', ')', '|', ' ', '\t']).len();
    Some(Head { time_ms: Some(time_ms), severity: level(&line[start..]), service: None, start })
}

/// Without blanks around it and a mark behind it.
fn time_of(text: &str) -> &str {
    text.trim().trim_end_matches([':', ',', ';'])
}

/// RFC 5424: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`, in which `-` stands for what is not known.
fn syslog(line: &str) -> Option<Head<'_>> {
    let (priority, rest) = line.strip_prefix('<')?.split_once('>')?;
    let priority: u8 = priority.parse().ok().filter(|priority| *priority < 192)?;
    let mut words = rest.strip_prefix("1 ")?.splitn(6, ' ');
    let time_ms = match words.next()? {
        "-" => None,
        time => Some(time::of_date(time)?),
    };
    let service = words.nth(1).filter(|name| !name.is_empty() && *name != "-");
    let rest = words.nth(2)?;
    let message = structured_data_end(rest).map_or("", |end| &rest[end..]).trim_start();
    let message = message.strip_prefix('\u{feff}').unwrap_or(message);
    let severity = Scale::Syslog.severity(priority % 8);
    Some(Head { time_ms, severity, service, start: line.len() - message.len() })
}

/// Where syslog's structured data ends: `-`, or elements in brackets in which quoted text may hold brackets.
fn structured_data_end(text: &str) -> Option<usize> {
    if text.starts_with('-') {
        return Some(1);
    }
    let (mut is_quoted, mut is_open) = (false, false);
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if is_quoted => drop(bytes.next()),
            b'"' if is_open => is_quoted = !is_quoted,
            b'[' if !is_quoted => is_open = true,
            b']' if !is_quoted => is_open = false,
            b' ' | b'\n' if !is_open => return Some(at),
            _ => {}
        }
    }
    (!is_open).then_some(text.len())
}

fn level(text: &str) -> u8 {
    let line = &text[..memchr(b'\n', text.as_bytes()).unwrap_or(text.len())];
    let words =
        line.split(|character: char| !character.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    words.take(LEVEL_WORDS_MAX).map(severity::of_text).find(|severity| *severity != 0).unwrap_or(0)
}
