//! Where rejected records go, with all that is needed to look into them and to send them again.

use model::{Output, OutputTopic, SourceRecord};

use crate::Rejected;

/// Headers that are added to the record's own.
pub const TOPIC_HEADER: &str = "foreshock-topic";
pub const PARTITION_HEADER: &str = "foreshock-partition";
pub const OFFSET_HEADER: &str = "foreshock-offset";
pub const REASON_HEADER: &str = "foreshock-reason";

/// The record as it was, for the dead-letter topic. A missing key becomes an empty one.
pub fn dead_letter(record: SourceRecord<'_>, rejected: &Rejected) -> Output {
    unreadable(record, &rejected.to_string())
}

/// The same for a reason that no decoder gave.
pub fn unreadable(record: SourceRecord<'_>, reason: &str) -> Output {
    let mut headers: Vec<(String, Vec<u8>)> =
        record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    let added = [
        (TOPIC_HEADER, record.topic.to_owned()),
        (PARTITION_HEADER, record.partition.to_string()),
        (OFFSET_HEADER, record.offset.to_string()),
        (REASON_HEADER, reason.to_owned()),
    ];
    headers.extend(added.map(|(name, value)| (name.to_owned(), value.into_bytes())));
    Output {
        topic: OutputTopic::DeadLetter,
        partition: None,
        key: record.key.unwrap_or_default().to_vec(),
        headers,
        payload: record.payload.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_kept_and_explained() {
        let record = SourceRecord {
            timestamp_ms: None,
            topic: "otlp_logs",
            partition: 3,
            offset: 42,
            key: Some(b"k"),
            headers: &[("a", b"1"), ("a", b"2")],
            payload: b"\xffpayload",
        };
        let output = dead_letter(record, &Rejected::TooDeep { limit: 16 });
        assert_eq!((output.topic, output.key.as_slice()), (OutputTopic::DeadLetter, b"k".as_slice()));
        assert_eq!(output.payload, b"\xffpayload");
        let headers: Vec<String> = output
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
            .collect();
        let expected = [
            "a: 1",
            "a: 2",
            "foreshock-topic: otlp_logs",
            "foreshock-partition: 3",
            "foreshock-offset: 42",
            "foreshock-reason: an attribute or body nests deeper than 16 levels",
        ];
        assert_eq!(headers, expected);
    }
}
