//! Where rejected records go, with all that is needed to look into them and to send them again.

mod replayed;

use model::{Output, OutputTopic, SourceRecord};

use crate::Rejected;
pub use replayed::Replayed;

/// Headers that are added behind the record's own.
pub const TOPIC_HEADER: &str = "foreshock-topic";
pub const PARTITION_HEADER: &str = "foreshock-partition";
pub const OFFSET_HEADER: &str = "foreshock-offset";
/// When the record was written to its topic, in milliseconds since 1970; absent if nobody knew.
pub const TIMESTAMP_HEADER: &str = "foreshock-timestamp-ms";
pub const REASON_HEADER: &str = "foreshock-reason";
/// How often the record was sent again. It stands among the record's own, so it is there still if the record comes back.
pub const REPLAYS_HEADER: &str = "foreshock-replays";

/// The record as it was, for the dead-letter topic. A missing key becomes an empty one.
pub fn dead_letter(record: SourceRecord<'_>, rejected: &Rejected) -> Output {
    unreadable(record, &rejected.to_string())
}

/// The same for a reason that no decoder gave.
pub fn unreadable(record: SourceRecord<'_>, reason: &str) -> Output {
    let mut headers: Vec<(String, Vec<u8>)> =
        record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    let added = [
        (TOPIC_HEADER, Some(record.topic.to_owned())),
        (PARTITION_HEADER, Some(record.partition.to_string())),
        (OFFSET_HEADER, Some(record.offset.to_string())),
        (TIMESTAMP_HEADER, record.timestamp_ms.map(|ms| ms.to_string())),
        (REASON_HEADER, Some(reason.to_owned())),
    ];
    let added = added.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into_bytes())));
    headers.extend(added);
    Output {
        topic: OutputTopic::DeadLetter,
        partition: None,
        key: record.key.unwrap_or_default().to_vec(),
        headers,
        payload: record.payload.to_vec(),
    }
}

/// A record of the dead-letter topic, taken apart again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// Where the record lay.
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// When it was written there, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    pub reason: &'a str,
    /// How often it was sent again before.
    pub replays: u32,
    /// Its own, without the count of replays.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> DeadLetter<'a> {
    /// None if the record is no dead letter of Foreshock.
    pub fn of(record: &SourceRecord<'a>) -> Option<Self> {
        let at = record.headers.iter().rposition(|(name, _)| *name == TOPIC_HEADER)?;
        let (own, added) = record.headers.split_at(at);
        let text = |name: &str| {
            let (_, value) = added.iter().find(|(key, _)| *key == name)?;
            std::str::from_utf8(value).ok()
        };
        let replays = own.iter().filter(|(name, _)| *name == REPLAYS_HEADER);
        let count = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        Some(Self {
            topic: text(TOPIC_HEADER)?,
            partition: text(PARTITION_HEADER)?.parse().ok()?,
            offset: text(OFFSET_HEADER)?.parse().ok()?,
            timestamp_ms: text(TIMESTAMP_HEADER).and_then(|text| text.parse().ok()),
            reason: text(REASON_HEADER)?,
            replays: replays.filter_map(|(_, value)| count(value)).max().unwrap_or(0),
            headers: own.iter().copied().filter(|(name, _)| *name != REPLAYS_HEADER).collect(),
        })
    }

    /// The headers with which it is sent again.
    pub fn headers_of_replay(&self) -> Vec<(String, Vec<u8>)> {
        let own = self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        let replays = self.replays.saturating_add(1).to_string().into_bytes();
        own.chain([(REPLAYS_HEADER.to_owned(), replays)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it lies on the topic, given to `check`.
    fn with_dead_letter(record: SourceRecord<'_>, check: impl FnOnce(SourceRecord<'_>)) {
        let output = unreadable(record, "because");
        let headers: Vec<(&str, &[u8])> =
            output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        check(SourceRecord { topic: "dead", partition: 0, offset: 9, headers: &headers, ..record });
    }

    #[test]
    fn a_dead_letter_can_be_sent_again_and_counts_how_often() {
        let headers: &[(&str, &[u8])] = &[("a", b"\xff"), (REPLAYS_HEADER, b"2"), (REPLAYS_HEADER, b"x")];
        let (timestamp_ms, payload) = (Some(1_760_000_000_000), b"p".as_slice());
        let record =
            SourceRecord { timestamp_ms, topic: "t", partition: 3, offset: 42, key: None, headers, payload };
        with_dead_letter(record, |dead| {
            let letter = DeadLetter::of(&dead).unwrap();
            assert_eq!((letter.topic, letter.partition, letter.offset), ("t", 3, 42));
            assert_eq!((letter.timestamp_ms, letter.reason, letter.replays), (timestamp_ms, "because", 2));
            let expected = [("a".to_owned(), b"\xff".to_vec()), (REPLAYS_HEADER.to_owned(), b"3".to_vec())];
            assert_eq!(letter.headers_of_replay(), expected);
        });
    }

    #[test]
    fn headers_that_a_record_had_of_an_earlier_dead_letter_stay_its_own() {
        let record = crate::decoder::record(b"p");
        with_dead_letter(record, |once| {
            with_dead_letter(once, |twice| {
                let letter = DeadLetter::of(&twice).unwrap();
                assert_eq!(
                    (letter.topic, letter.offset, letter.headers.as_slice()),
                    ("dead", 9, once.headers)
                );
            });
        });
        assert_eq!(DeadLetter::of(&record), None);
        let headers: &[(&str, &[u8])] =
            &[(TOPIC_HEADER, b"t"), (PARTITION_HEADER, b"0"), (OFFSET_HEADER, b"?")];
        assert_eq!(DeadLetter::of(&SourceRecord { headers, ..record }), None);
    }

    #[test]
    fn record_is_kept_and_explained() {
        let record = SourceRecord {
            timestamp_ms: Some(7),
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
            "foreshock-timestamp-ms: 7",
            "foreshock-reason: an attribute or body nests deeper than 16 levels",
        ];
        assert_eq!(headers, expected);
    }
}
