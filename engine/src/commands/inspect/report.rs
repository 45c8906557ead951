//! What is said of a topic.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use codec::detect::{self, Detector};
use codec::{Decoder, Dropped, Limits};
use serde::Serialize;

use super::findings::{Problem, Problems};
use super::rows::{RowCounts, RowReport};
use super::sample::Sample;
use crate::commands::time_text;
use crate::config::{Config, SourceConfig};

const EXAMPLES_MAX: usize = 3;
/// Of a key that is shown.
const KEY_CHARACTERS_MAX: usize = 64;
/// Names of headers that are told apart.
const HEADERS_MAX: usize = 50;
/// A row is from the future when it is so much newer than its record.
const FUTURE_MS: i64 = 60_000;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    topic: String,
    partitions: usize,
    /// Records on the topic at the most: markers of transactions count too.
    records_on_topic_max: i64,
    sampled_records: usize,
    sampled_bytes: usize,
    /// Whether the sample is the whole topic.
    is_whole: bool,
    detected: Option<Detected>,
    /// Other formats that records look like.
    others: Vec<Detected>,
    compression: Vec<(String, u64)>,
    keys: Keys,
    headers: Vec<(String, u64)>,
    record_bytes: Option<Quantiles>,
    rates: Rates,
    rows: RowReport,
    /// How much older than its record the newest row in it is.
    skew_ms: Option<Quantiles>,
    problems: Vec<Problem>,
    /// The stanza that reads the topic, if its format was found and needs no mapping.
    configuration: Option<String>,
}

#[derive(Debug, Serialize)]
struct Detected {
    signal: &'static str,
    encoding: &'static str,
    /// Of the first record.
    why: String,
    records: u64,
}

#[derive(Debug, Default, Serialize)]
struct Keys {
    records: u64,
    distinct: usize,
    examples: Vec<String>,
}

/// Over the time that the sample spans, if it spans any.
#[derive(Debug, Default, Serialize)]
struct Rates {
    records_per_s: Option<f64>,
    bytes_per_s: Option<f64>,
    rows_per_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    min: i64,
    p50: i64,
    p99: i64,
    max: i64,
}

impl Quantiles {
    fn of(mut values: Vec<i64>) -> Option<Self> {
        values.sort_unstable();
        let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        (!values.is_empty()).then(|| Self { min: at(0.0), p50: at(0.5), p99: at(0.99), max: at(1.0) })
    }
}

impl Report {
    pub(super) fn of(
        topic: &str,
        sample: &Sample,
        detector: &mut Detector,
        limits: Limits,
        config: &Config,
    ) -> Self {
        let mut problems = Problems::default();
        let mut found = formats(topic, sample, detector);
        let mut detected = (!found.is_empty()).then(|| found.remove(0));
        let mut decoded = Decoded::default();
        let configured = config.sources.iter().find(|source| source.topic == topic);
        // What a mapping is needed for looks like nothing that is known.
        let mapped = configured.filter(|source| source.mapping.is_some() && !sample.records.is_empty());
        if let Some((spec, settings)) = mapped.and_then(|source| source.decoder(config).ok()) {
            let (signal, encoding, records) = (spec.signal, spec.encoding, sample.records.len() as u64);
            let why = "the configuration says so, with a mapping".to_owned();
            decoded = decode(topic, sample, (spec.build)(&settings), config, &mut problems);
            (detected, found) = (Some(Detected { signal, encoding, why, records }), Vec::new());
        } else if let Some(detected) = &detected {
            let is_as_detected = |source: &&SourceConfig| {
                (source.signal.as_str(), source.encoding.as_str()) == (detected.signal, detected.encoding)
            };
            let as_configured =
                configured.filter(is_as_detected).and_then(|source| source.decoder(config).ok());
            let decoder = match as_configured {
                Some((spec, settings)) => Some((spec.build)(&settings)),
                // By the rules of the source all the same: they say whose rows are read.
                None => match configured.and_then(|source| source.decoder(config).ok()) {
                    Some((_, settings)) => codec::DECODERS
                        .iter()
                        .find(|spec| (spec.signal, spec.encoding) == (detected.signal, detected.encoding))
                        .map(|spec| (spec.build)(&settings)),
                    None => codec::decoder(detected.signal, detected.encoding, limits),
                },
            };
            if let Some(decoder) = decoder {
                decoded = decode(topic, sample, decoder, config, &mut problems);
            }
            if let Some(source) = configured.filter(|source| !is_as_detected(source)) {
                let (signal, encoding) = (source.signal.as_str(), &source.encoding);
                problems.add(
                    format!("the configuration reads this topic as {signal}, {encoding}; correct it"),
                    sample.records.len() as u64,
                    None,
                );
            }
        } else if sample.records.is_empty() {
            problems.add("the topic holds no records; inspect it once something writes to it", 1, None);
        } else {
            let what = "no format of Foreshock is found in these records; `sources` in `foreshock validate \
                        --print-default` lists those that are read";
            problems.add(
                what,
                sample.records.len() as u64,
                sample.records.first().map(|r| (r.partition, r.offset)),
            );
        }
        for other in &found {
            problems.add(
                format!(
                    "some records look like {}, {} ({}); a topic is read as one format, so give them one of their own",
                    other.signal, other.encoding, other.why
                ),
                other.records,
                None,
            );
        }
        let untimed = sample.records.iter().filter(|record| record.timestamp_ms.is_none()).count();
        problems.add("records have no timestamp, so nobody can tell how late they are", untimed as u64, None);
        // The line would lose them.
        let has_rules = configured.is_some_and(|source| source.tenant.is_some() || source.entity.is_some());
        let configuration = detected.as_ref().filter(|_| mapped.is_none() && !has_rules).map(|detected| {
            format!(
                "sources:\n  - {{ topic: {}, signal: {}, encoding: {} }}\n",
                yaml(topic),
                detected.signal,
                detected.encoding
            )
        });
        Self {
            topic: topic.to_owned(),
            partitions: sample.partitions,
            records_on_topic_max: sample.offsets,
            sampled_records: sample.records.len(),
            sampled_bytes: sample.bytes,
            is_whole: sample.is_whole,
            detected,
            others: found,
            compression: compression(topic, sample),
            keys: keys(sample),
            headers: headers(sample),
            record_bytes: Quantiles::of(
                sample.records.iter().map(|record| record.payload.len() as i64).collect(),
            ),
            rates: rates(sample, decoded.rows.rows),
            rows: decoded.rows.report(),
            skew_ms: Quantiles::of(decoded.skews),
            problems: problems.report(),
            configuration,
        }
    }
}

/// The formats of the records, the most frequent first.
fn formats(topic: &str, sample: &Sample, detector: &mut Detector) -> Vec<Detected> {
    let mut found: Vec<Detected> = Vec::new();
    for record in &sample.records {
        let Some(detect::Detected { signal, encoding, why }) =
            record.with(topic, |record| detector.detect(record))
        else {
            continue;
        };
        match found.iter_mut().find(|known| (known.signal, known.encoding) == (signal, encoding)) {
            Some(known) => known.records += 1,
            None => found.push(Detected { signal, encoding, why, records: 1 }),
        }
    }
    found.sort_by_key(|known| std::cmp::Reverse(known.records));
    found
}

#[derive(Default)]
struct Decoded {
    rows: RowCounts,
    /// Of each record, how much older its newest row is.
    skews: Vec<i64>,
}

/// Reads all records as the engine would.
fn decode(
    topic: &str,
    sample: &Sample,
    mut decoder: Box<dyn Decoder>,
    config: &Config,
    problems: &mut Problems,
) -> Decoded {
    let mut decoded = Decoded::default();
    let lateness_ms = config.analysis.allowed_lateness.ms() + config.analysis.step.ms();
    let mut reached_ms: BTreeMap<i32, i64> = BTreeMap::new();
    let mut out = Vec::new();
    for record in &sample.records {
        let place = Some((record.partition, record.offset));
        let before = decoder.dropped();
        out.clear();
        if let Err(rejected) = record.with(topic, |record| decoder.decode(record, &mut out)) {
            problems.add(format!("cannot be read: {rejected}"), 1, place);
            continue;
        }
        left_out(before, decoder.dropped(), place, problems);
        let reached_ms = reached_ms.entry(record.partition).or_insert(i64::MIN);
        let (mut newest_ms, mut late) = (None, 0);
        for telemetry in &out {
            decoded.rows.add(telemetry, |time_ms| {
                newest_ms = newest_ms.max(Some(time_ms));
                late += u64::from(time_ms < reached_ms.saturating_sub(lateness_ms));
                *reached_ms = time_ms.max(*reached_ms);
            });
        }
        problems.add("rows come later than step and analysis.allowed_lateness allow", late, place);
        if let (Some(newest_ms), Some(written_ms)) = (newest_ms, record.timestamp_ms) {
            decoded.skews.push(written_ms.saturating_sub(newest_ms));
            let is_future = newest_ms > written_ms.saturating_add(FUTURE_MS);
            let what = "rows are from after their record was written; look at the clocks of their hosts";
            problems.add(what, u64::from(is_future), place);
        }
    }
    problems.add(
        "rows have no service, so they are all one to the engine; have the writer set service.name, or say in entity of the \
         source which attributes name it",
        decoded.rows.unknown_entity,
        None,
    );
    decoded
}

/// Rows that were left out of a record that was read.
fn left_out(before: Dropped, after: Dropped, place: Option<(i32, i64)>, problems: &mut Problems) {
    for (what, count) in [
        ("rows are left out: their value is infinite or not a number", after.non_finite - before.non_finite),
        ("rows are left out: they have no value", after.no_value - before.no_value),
        ("rows are left out: they have no time", after.no_time - before.no_time),
        ("rows are left out: a part is missing or makes no sense", after.malformed - before.malformed),
        ("rows or records are left out: they are of other tenants", after.other_tenant - before.other_tenant),
    ] {
        problems.add(what, count, place);
    }
}

fn compression(topic: &str, sample: &Sample) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in &sample.records {
        if let Some(found) = record.with(topic, |record| detect::compression(&record)) {
            let by = if found.is_named { "by the header content-encoding" } else { "by its first bytes" };
            *counts.entry(format!("{} ({by})", found.encoding)).or_default() += 1;
        }
    }
    counts.into_iter().collect()
}

fn keys(sample: &Sample) -> Keys {
    let mut distinct: HashSet<&[u8]> = HashSet::new();
    let mut keys = Keys::default();
    for key in sample.records.iter().filter_map(|record| record.key.as_deref()) {
        keys.records += 1;
        if distinct.insert(key) && keys.examples.len() < EXAMPLES_MAX {
            keys.examples.push(String::from_utf8_lossy(key).chars().take(KEY_CHARACTERS_MAX).collect());
        }
    }
    keys.distinct = distinct.len();
    keys
}

fn headers(sample: &Sample) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, _) in sample.records.iter().flat_map(|record| &record.headers) {
        if counts.len() < HEADERS_MAX || counts.contains_key(name.as_str()) {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts.into_iter().map(|(name, records)| (name.to_owned(), records)).collect()
}

/// The sum of those of the partitions, since each partition may have been read over a time of its own.
fn rates(sample: &Sample, rows: u64) -> Rates {
    let mut partitions: BTreeMap<i32, (i64, i64, u64, u64)> = BTreeMap::new();
    for record in &sample.records {
        let Some(at_ms) = record.timestamp_ms else { continue };
        let of = partitions.entry(record.partition).or_insert((at_ms, at_ms, 0, 0));
        let bytes = of.3 + record.payload.len() as u64;
        *of = (of.0.min(at_ms), of.1.max(at_ms), of.2 + 1, bytes);
    }
    let spans = partitions.values().filter(|(first, last, ..)| last > first);
    let (records, bytes) = spans.fold((0.0, 0.0), |(records, bytes), (first, last, count, size)| {
        let seconds = (last - first) as f64 / 1e3;
        // The first record opens the time that is looked at.
        let share = (*count as f64 - 1.0) / *count as f64;
        (records + (*count as f64 - 1.0) / seconds, bytes + *size as f64 * share / seconds)
    });
    if records == 0.0 {
        return Rates::default();
    }
    let rows_per_record = rows as f64 / sample.records.len().max(1) as f64;
    Rates {
        records_per_s: Some(records),
        bytes_per_s: Some(bytes),
        rows_per_s: Some(records * rows_per_record),
    }
}

/// A name as it may stand in YAML.
fn yaml(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if is_plain { name.to_owned() } else { format!("{name:?}") }
}

impl Report {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).map_or_else(|_| String::new(), |()| text)
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let mut line = |what: &str, said: String| writeln!(out, "{what:<12} {said}");
        let whole = if self.is_whole { ", which is all there is" } else { "" };
        line("topic", format!("{}, {} partitions", self.topic, self.partitions))?;
        line(
            "sample",
            format!(
                "{} records of at most {}, {} bytes{whole}",
                self.sampled_records, self.records_on_topic_max, self.sampled_bytes
            ),
        )?;
        match &self.detected {
            Some(found) => line(
                "format",
                format!("{} in {} records of {}: {}", found.encoding, found.records, found.signal, found.why),
            )?,
            None => line("format", "none that is known".to_owned())?,
        }
        for (encoding, records) in &self.compression {
            line("compression", format!("{encoding} in {records} records"))?;
        }
        let Keys { records, distinct, examples } = &self.keys;
        let examples =
            examples.iter().map(|key| key.escape_debug().to_string()).collect::<Vec<_>>().join(", ");
        line(
            "keys",
            match records {
                0 => "none".to_owned(),
                _ => format!("in {records} records, {distinct} distinct, such as {examples}"),
            },
        )?;
        if !self.headers.is_empty() {
            let names =
                self.headers.iter().map(|(name, records)| format!("{} ({records})", name.escape_debug()));
            line("headers", names.collect::<Vec<_>>().join(", "))?;
        }
        if let Some(Quantiles { min, p50, p99, max }) = &self.record_bytes {
            line("record size", format!("{min} to {max} bytes, half up to {p50}, 99 % up to {p99}"))?;
        }
        if let Rates { records_per_s: Some(records), bytes_per_s: Some(bytes), rows_per_s: Some(rows) } =
            &self.rates
        {
            line("rate", format!("{records:.1} records, {rows:.1} rows, {bytes:.0} bytes a second"))?;
        }
        let rows = &self.rows;
        let kinds = rows.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>();
        if rows.rows > 0 {
            line("rows", kinds.join(", "))?;
            if rows.series > 0 {
                line("series", rows.series.to_string())?;
            }
            if rows.operations > 0 {
                line("operations", rows.operations.to_string())?;
            }
            let most =
                rows.entities_most.iter().map(|(name, count)| format!("{} ({count})", name.escape_debug()));
            line("services", format!("{}: {}", rows.entities, most.collect::<Vec<_>>().join(", ")))?;
        }
        if let (Some(first), Some(last)) = (rows.first_ms, rows.last_ms) {
            line("time", format!("{} to {}", time_text(first), time_text(last)))?;
        }
        if let Some(Quantiles { min, p50, max, .. }) = &self.skew_ms {
            line(
                "skew",
                format!("rows are {min} to {max} ms older than their records, half up to {p50} ms"),
            )?;
        }
        for Problem { problem, count, examples } in &self.problems {
            let at =
                if examples.is_empty() { String::new() } else { format!(" (at {})", examples.join(", ")) };
            line("problem", format!("{count}: {}{at}", problem.escape_debug()))?;
        }
        match &self.configuration {
            Some(stanza) => write!(out, "\n{stanza}"),
            None => Ok(()),
        }
    }
}
