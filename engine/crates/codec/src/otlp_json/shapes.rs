//! The members of OTLP's messages that batches hold.

use std::fmt;

/// The members of an object.
pub(super) struct Shape(&'static [Member]);

pub(super) struct Member {
    /// In lower camel case.
    pub(super) name: &'static str,
    /// Of the field in protobuf.
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) is_repeated: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes in hexadecimal, as ids are.
    Hex,
    Base64,
    Bool,
    Varint,
    ZigZag,
    Fixed64,
    Double,
    Message(&'static Shape),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a string",
            Self::Hex => "an id in hexadecimal",
            Self::Base64 => "bytes in base64",
            Self::Bool => "true or false",
            Self::Varint | Self::ZigZag | Self::Fixed64 => "an integer",
            Self::Double => "a number",
            Self::Message(_) => "an object",
        })
    }
}

impl Shape {
    /// Also by the name that the field has in protobuf, with underscores, as parsers of the mapping must.
    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        let is_same = |member: &&Member| {
            let mut camel = member.name.bytes();
            let mut bytes = name.bytes();
            while let Some(byte) = bytes.next() {
                let expected = camel.next();
                let byte = if byte == b'_' {
                    bytes.next().map(|byte| byte.to_ascii_uppercase())
                } else {
                    Some(byte)
                };
                if byte.is_none() || byte != expected {
                    return false;
                }
            }
            camel.next().is_none()
        };
        self.0.iter().find(|member| member.name == name).or_else(|| self.0.iter().find(is_same))
    }
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Member {
    Member { name, number, kind, is_repeated: false }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Member {
    Member { name, number, kind, is_repeated: true }
}

use Kind::{Base64, Bool, Double, Fixed64, Hex, Message, Text, Varint, ZigZag};

static ANY_VALUE: Shape = Shape(&[
    one("stringValue", 1, Text),
    one("boolValue", 2, Bool),
    one("intValue", 3, Varint),
    one("doubleValue", 4, Double),
    one("arrayValue", 5, Message(&ARRAY_VALUE)),
    one("kvlistValue", 6, Message(&KEY_VALUE_LIST)),
    one("bytesValue", 7, Base64),
]);
static ARRAY_VALUE: Shape = Shape(&[many("values", 1, Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Shape = Shape(&[many("values", 1, Message(&KEY_VALUE))]);
static KEY_VALUE: Shape = Shape(&[one("key", 1, Text), one("value", 2, Message(&ANY_VALUE))]);
static RESOURCE: Shape = Shape(&[many("attributes", 1, Message(&KEY_VALUE))]);

pub(super) static METRICS_REQUEST: Shape = Shape(&[many("resourceMetrics", 1, Message(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Shape =
    Shape(&[one("resource", 1, Message(&RESOURCE)), many("scopeMetrics", 2, Message(&SCOPE_METRICS))]);
static SCOPE_METRICS: Shape = Shape(&[many("metrics", 2, Message(&METRIC))]);
static METRIC: Shape = Shape(&[
    one("name", 1, Text),
    one("gauge", 5, Message(&NUMBERS)),
    one("sum", 7, Message(&NUMBERS)),
    one("histogram", 9, Message(&HISTOGRAM)),
    one("exponentialHistogram", 10, Message(&EXPONENTIAL_HISTOGRAM)),
    one("summary", 11, Message(&SUMMARY)),
]);
static NUMBERS: Shape = Shape(&[
    many("dataPoints", 1, Message(&NUMBER_POINT)),
    one("aggregationTemporality", 2, Varint),
    one("isMonotonic", 3, Bool),
]);
static NUMBER_POINT: Shape = Shape(&[
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("asDouble", 4, Double),
    one("asInt", 6, Fixed64),
    many("attributes", 7, Message(&KEY_VALUE)),
    one("flags", 8, Varint),
]);
static HISTOGRAM: Shape =
    Shape(&[many("dataPoints", 1, Message(&HISTOGRAM_POINT)), one("aggregationTemporality", 2, Varint)]);
static HISTOGRAM_POINT: Shape = Shape(&[
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    many("bucketCounts", 6, Fixed64),
    many("explicitBounds", 7, Double),
    many("attributes", 9, Message(&KEY_VALUE)),
    one("flags", 10, Varint),
]);
static EXPONENTIAL_HISTOGRAM: Shape =
    Shape(&[many("dataPoints", 1, Message(&EXPONENTIAL_POINT)), one("aggregationTemporality", 2, Varint)]);
static EXPONENTIAL_POINT: Shape = Shape(&[
    many("attributes", 1, Message(&KEY_VALUE)),
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    one("scale", 6, ZigZag),
    one("zeroCount", 7, Fixed64),
    one("positive", 8, Message(&BUCKETS)),
    one("negative", 9, Message(&BUCKETS)),
    one("flags", 10, Varint),
    one("zeroThreshold", 14, Double),
]);
static BUCKETS: Shape = Shape(&[one("offset", 1, ZigZag), many("bucketCounts", 2, Varint)]);
static SUMMARY: Shape = Shape(&[many("dataPoints", 1, Message(&SUMMARY_POINT))]);
static SUMMARY_POINT: Shape = Shape(&[
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    many("quantileValues", 6, Message(&VALUE_AT_QUANTILE)),
    many("attributes", 7, Message(&KEY_VALUE)),
    one("flags", 8, Varint),
]);
static VALUE_AT_QUANTILE: Shape = Shape(&[one("quantile", 1, Double), one("value", 2, Double)]);

pub(super) static LOGS_REQUEST: Shape = Shape(&[many("resourceLogs", 1, Message(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Shape =
    Shape(&[one("resource", 1, Message(&RESOURCE)), many("scopeLogs", 2, Message(&SCOPE_LOGS))]);
static SCOPE_LOGS: Shape = Shape(&[many("logRecords", 2, Message(&LOG_RECORD))]);
static LOG_RECORD: Shape = Shape(&[
    one("timeUnixNano", 1, Fixed64),
    one("severityNumber", 2, Varint),
    one("severityText", 3, Text),
    one("body", 5, Message(&ANY_VALUE)),
    one("traceId", 9, Hex),
    one("spanId", 10, Hex),
    one("observedTimeUnixNano", 11, Fixed64),
    one("eventName", 12, Text),
]);

pub(super) static TRACE_REQUEST: Shape = Shape(&[many("resourceSpans", 1, Message(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Shape =
    Shape(&[one("resource", 1, Message(&RESOURCE)), many("scopeSpans", 2, Message(&SCOPE_SPANS))]);
static SCOPE_SPANS: Shape = Shape(&[many("spans", 2, Message(&SPAN))]);
static SPAN: Shape = Shape(&[
    one("traceId", 1, Hex),
    one("spanId", 2, Hex),
    one("parentSpanId", 4, Hex),
    one("name", 5, Text),
    one("kind", 6, Varint),
    one("startTimeUnixNano", 7, Fixed64),
    one("endTimeUnixNano", 8, Fixed64),
    one("status", 15, Message(&STATUS)),
]);
static STATUS: Shape = Shape(&[one("code", 3, Varint)]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_two_names() {
        for name in ["startTimeUnixNano", "start_time_unix_nano"] {
            assert_eq!(NUMBER_POINT.member(name).map(|member| member.number), Some(2), "{name}");
        }
        for name in ["starttimeunixnano", "start_time_unix", "start_time_unix_nano_", "_", ""] {
            assert!(NUMBER_POINT.member(name).is_none(), "{name}");
        }
    }
}
