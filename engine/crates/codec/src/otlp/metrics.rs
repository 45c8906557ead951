//! Metrics: gauges, sums, histograms of both kinds and summaries.

mod points;

use std::borrow::Cow;

use model::labels::{self, NAME, SERVICE};
use model::{HistogramBatchBuilder, HistogramRow, Labels, MetricKind, SourceRecord, Telemetry};

use self::points::{Buckets, Count, ExponentialPoint, HistogramPoint, NumberPoint, Point, SummaryPoint};
use super::attributes::Resource;
use super::{OfResource, Stop, attributes, time_ms};
use crate::decoder::{Batch as _, Budget};
use crate::exponential::explicit_buckets;
use crate::naming;
use crate::series::{SHARED_TEXTS, Sample, SampleColumns, SeriesCache, TextIndex};
use crate::settings::DecoderSettings;
use crate::wire::{Fields, LEVELS_MAX, Message, WireError, validate};
use crate::{Decoder, Dropped, Limits, Rejected};

const MESSAGE: &str = "OTLP metrics request";
/// Messages around a metric: the request, the metrics of a resource and of a scope.
const LEVELS_ABOVE_METRIC: usize = 3;
/// Flag of a point that says that there is none.
const NO_RECORDED_VALUE: u64 = 1;
/// In the place of the labels of a resource, which have a service.
const OTHER_TENANT: &str = "";

/// The labels of a series are the attributes of its points, the service and the instance of the resource, and the metric's name.
///
/// | OTLP | rows |
/// |---|---|
/// | gauge, sum that may fall | gauge |
/// | monotonic sum | counter |
/// | sum of deltas | delta |
/// | histogram, exponential histogram | histogram with explicit bounds |
/// | summary | gauge for each `quantile`, counters `_count` and `_sum` |
pub struct MetricsDecoder {
    settings: DecoderSettings,
    dropped: Dropped,
    series: SeriesCache,
}

impl MetricsDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        Self { settings: settings.clone(), dropped: Dropped::default(), series: SeriesCache::default() }
    }
}

impl Decoder for MetricsDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        let limits = self.settings.limits;
        limits.check_payload(record.payload)?;
        self.series.start_record();
        let mut reading = Reading {
            limits,
            settings: &self.settings,
            budget: Budget::new(limits),
            dropped: self.dropped,
            samples: SampleColumns::new(&self.series),
            series: &mut self.series,
            histograms: HistogramBatchBuilder::default(),
            buckets: Buckets::default(),
            raw: Vec::new(),
        };
        reading.request(record.payload).map_err(|stop| stop.reject(MESSAGE))?;
        self.dropped = reading.dropped;
        out.extend(reading.samples.into_telemetry(reading.series));
        out.extend(reading.histograms.into_telemetry());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// One record under way.
struct Reading<'c> {
    limits: Limits,
    settings: &'c DecoderSettings,
    budget: Budget,
    dropped: Dropped,
    series: &'c mut SeriesCache,
    samples: SampleColumns,
    histograms: HistogramBatchBuilder,
    /// Of the histogram point under way, kept for its memory.
    buckets: Buckets,
    /// Bytes that name a group, likewise.
    raw: Vec<u8>,
}

/// The series that differ only in the attributes of their points.
#[derive(Clone, Copy)]
struct Group<'a> {
    /// The labels of the resource.
    resource: TextIndex,
    name: Name<'a>,
    quantile: Option<f64>,
    /// In the cache of series.
    number: u32,
}

/// The name of a metric, which is read only where a series is not known.
#[derive(Clone, Copy)]
enum Name<'a> {
    /// In the message of the metric, whose fields were read before.
    Of(&'a [u8]),
    Text(&'a str),
}

impl<'a> Name<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Of(metric) => {
                let names = Fields::of(metric).filter_map(Result::ok).filter(|field| field.number == 1);
                names.last().and_then(|name| name.text().ok()).unwrap_or_default()
            }
            Self::Text(text) => text,
        }
    }
}

/// A metric of a resource, and how its group is found.
#[derive(Clone, Copy)]
struct MetricOf<'a> {
    resource: TextIndex,
    metric: &'a [u8],
    by: By<'a>,
}

#[derive(Clone, Copy)]
enum By<'a> {
    /// It is the one that was looked for after the one before, the last time.
    Expected,
    /// By what is before the points, its name among it.
    Head(&'a [u8]),
    Name,
}

/// How the bytes of groups begin that are named in these ways.
const HEAD: &[u8] = b"head ";
const NAMED: &[u8] = b"name ";

impl Reading<'_> {
    fn request(&mut self, payload: &[u8]) -> Result<(), Stop> {
        for field in Fields::of(payload) {
            let field = field?;
            if field.number == 1 {
                let resource_metrics = OfResource::of(field.bytes()?)?;
                let resource = self.resource(&resource_metrics.resource)?;
                resource_metrics.each(|metric| self.metric(resource, metric))?;
            }
        }
        Ok(())
    }

    /// The labels of a resource, remembered by its bytes. None if it is another tenant's.
    fn resource(&mut self, resource: &Message<'_>) -> Result<Option<TextIndex>, Stop> {
        let settings = self.settings;
        let read = || -> Result<String, Rejected> {
            let resource = Resource::of(MESSAGE, resource, settings.limits.depth_max)?;
            if !resource.is_of(settings.tenant.as_deref()) {
                return Ok(OTHER_TENANT.to_owned());
            }
            resource.labels(&settings.entity)
        };
        // Of one in parts, which are not read as one, the labels themselves are what is remembered.
        let named = match resource.whole() {
            Some(raw) => Cow::Borrowed(raw),
            None => Cow::Owned([&[0], read()?.as_bytes()].concat()),
        };
        let labels = match self.series.find(SHARED_TEXTS, &named) {
            Ok(labels) => labels,
            Err(unknown) => self.series.insert(unknown, &read()?, MetricKind::Gauge),
        };
        Ok(Some(labels).filter(|labels| self.series.text(*labels) != OTHER_TENANT))
    }

    fn metric(&mut self, resource: Option<TextIndex>, metric: &[u8]) -> Result<(), Stop> {
        if let Some(resource) = resource
            && let Some((kind, data)) = self.expected_data(resource, metric)
        {
            return self.data(
                Some(MetricOf { resource, metric, by: By::Expected }),
                kind,
                &Message::of(data),
            );
        }
        let mut fields = Fields::of(metric);
        // What is before the points, if they are the last field.
        let mut head = None;
        let mut data: Option<(points::Kind, Message<'_>)> = None;
        let mut before = 0;
        while let Some(field) = fields.next() {
            let field = field?;
            let (start, end) = (before, metric.len() - fields.remaining());
            before = end;
            if field.number == 1 {
                field.text()?;
                continue;
            }
            let Some(kind) = points::Kind::of_field(field.number) else { continue };
            let part = field.bytes()?;
            head = Some(&metric[..start]).filter(|_| data.is_none() && end == metric.len());
            match &mut data {
                Some((known, message)) if *known == kind => message.merge(part),
                Some(other) => {
                    // Another member of the `oneof`. What it displaces must be a message nevertheless.
                    let (kind, message) = std::mem::replace(other, (kind, Message::of(part)));
                    for part in message.parts() {
                        validate(part, kind.shape(), LEVELS_MAX - LEVELS_ABOVE_METRIC - 1)?;
                    }
                }
                None => data = Some((kind, Message::of(part))),
            }
        }
        let Some((kind, data)) = data else { return Ok(()) };
        let by = head.map_or(By::Name, By::Head);
        self.data(resource.map(|resource| MetricOf { resource, metric, by }), kind, &data)
    }

    /// The points of a metric that is the one after those before, the last time, and has just its points behind what they were behind.
    #[inline]
    fn expected_data<'a>(&self, resource: TextIndex, metric: &'a [u8]) -> Option<(points::Kind, &'a [u8])> {
        let expected = self.series.expected_group().strip_prefix(HEAD)?;
        let head = expected.strip_prefix(&resource.number().to_le_bytes())?;
        let mut fields = Fields::of(metric.strip_prefix(head)?);
        let field = fields.next()?.ok()?;
        let kind = points::Kind::of_field(field.number)?;
        (fields.remaining() == 0).then_some((kind, field.bytes().ok()?))
    }

    /// `metric` is none if it is another tenant's.
    fn data(
        &mut self,
        metric: Option<MetricOf<'_>>,
        kind: points::Kind,
        data: &Message<'_>,
    ) -> Result<(), Stop> {
        let totals = kind.totals(data)?;
        if !totals.has_points {
            return Ok(());
        }
        let group = metric.map(|metric| self.group(metric));
        let is_delta = match (kind, totals.temporality) {
            (points::Kind::Gauge | points::Kind::Summary, _) | (_, points::CUMULATIVE) => Some(false),
            (_, points::DELTA) => Some(true),
            _ => None,
        };
        if let Some(point) = totals.only_point {
            return self.point(group, kind, is_delta, totals.is_monotonic, point);
        }
        for field in data.fields() {
            let field = field?;
            if field.number == 1 {
                self.point(group, kind, is_delta, totals.is_monotonic, field.bytes()?)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn point(
        &mut self,
        group: Option<Group<'_>>,
        kind: points::Kind,
        is_delta: Option<bool>,
        is_monotonic: bool,
        point: &[u8],
    ) -> Result<(), Stop> {
        let (Some(group), Some(is_delta)) = (group, is_delta) else {
            validate(point, kind.point_shape(), LEVELS_MAX - LEVELS_ABOVE_METRIC - 2)?;
            let is_ours = group.is_some();
            let why = if is_ours { &mut self.dropped.malformed } else { &mut self.dropped.other_tenant };
            *why += 1;
            return Ok(self.budget.take(1, 0)?);
        };
        match kind {
            points::Kind::Gauge => self.number(group, MetricKind::Gauge, point),
            points::Kind::Sum if is_delta => self.number(group, MetricKind::Delta, point),
            points::Kind::Sum if is_monotonic => self.number(group, MetricKind::Counter, point),
            points::Kind::Sum => self.number(group, MetricKind::Gauge, point),
            points::Kind::Histogram => self.histogram(group, is_delta, point),
            points::Kind::ExponentialHistogram => self.exponential(group, is_delta, point),
            points::Kind::Summary => self.summary(group, point),
        }
    }

    fn group<'a>(&mut self, metric: MetricOf<'a>) -> Group<'a> {
        let MetricOf { resource, metric, by } = metric;
        let name = Name::Of(metric);
        match by {
            By::Expected => {
                Group { resource, name, quantile: None, number: self.series.find_expected_group() }
            }
            By::Head(head) => {
                self.raw.clear();
                self.raw.extend(HEAD);
                self.raw.extend(resource.number().to_le_bytes());
                self.raw.extend(head);
                Group { resource, name, quantile: None, number: self.series.group(&self.raw) }
            }
            By::Name => self.named_group(resource, name, None),
        }
    }

    fn named_group<'a>(&mut self, resource: TextIndex, name: Name<'a>, quantile: Option<f64>) -> Group<'a> {
        self.raw.clear();
        self.raw.extend(NAMED);
        self.raw.extend(resource.number().to_le_bytes());
        self.raw.extend(name.text().as_bytes());
        if let Some(quantile) = quantile {
            // After a byte that no text holds, so that no name can end like a quantile.
            self.raw.push(0xff);
            self.raw.extend(quantile.to_bits().to_le_bytes());
        }
        Group { resource, name, quantile, number: self.series.group(&self.raw) }
    }

    fn number(&mut self, group: Group<'_>, kind: MetricKind, point: &[u8]) -> Result<(), Stop> {
        let point = NumberPoint::of(point, self.series.expected(group.number))?;
        let Some(time_ms) = self.time(&point.point)? else { return Ok(()) };
        match point.value {
            Some(value) => self.sample(group, &point.point, kind, time_ms, value),
            None => {
                self.check_attributes(&point.point)?;
                Ok(self.malformed()?)
            }
        }
    }

    fn histogram(&mut self, group: Group<'_>, is_delta: bool, point: &[u8]) -> Result<(), Stop> {
        let mut buckets = std::mem::take(&mut self.buckets);
        let point = HistogramPoint::of(point, self.series.expected(group.number), &mut buckets)?;
        if let Some(time_ms) = self.time(&point.point)? {
            let Buckets { bounds, counts } = &buckets;
            let fits = if counts.is_empty() { bounds.is_empty() } else { counts.len() == bounds.len() + 1 };
            let ascending = bounds.iter().all(|bound| bound.is_finite()) && bounds.is_sorted_by(|a, b| a < b);
            if fits && ascending {
                self.buckets(group, &point.point, (time_ms, is_delta), &point.count, bounds, counts)?;
            } else {
                self.check_attributes(&point.point)?;
                self.malformed()?;
            }
        }
        self.buckets = buckets;
        Ok(())
    }

    fn exponential(&mut self, group: Group<'_>, is_delta: bool, point: &[u8]) -> Result<(), Stop> {
        let point = ExponentialPoint::of(point, self.series.expected(group.number))?;
        let Some(time_ms) = self.time(&point.point)? else { return Ok(()) };
        match explicit_buckets(point.scale, point.zero, &point.negative, &point.positive) {
            Some((bounds, counts)) => {
                self.buckets(group, &point.point, (time_ms, is_delta), &point.count, &bounds, &counts)
            }
            None => {
                self.check_attributes(&point.point)?;
                Ok(self.malformed()?)
            }
        }
    }

    fn summary(&mut self, group: Group<'_>, bytes: &[u8]) -> Result<(), Stop> {
        let SummaryPoint { point, count, sum } = SummaryPoint::of(bytes)?;
        let Some(time_ms) = self.time(&point)? else { return Ok(()) };
        // A group takes memory, so it is made for values only that give a row.
        for (quantile, value) in SummaryPoint::quantiles(bytes) {
            if !value.is_finite() {
                self.non_finite(&point)?;
                continue;
            }
            let group = self.named_group(group.resource, group.name, Some(quantile));
            self.sample(group, &point, MetricKind::Gauge, time_ms, value)?;
        }
        for (suffix, value) in [("_count", count as f64), ("_sum", sum)] {
            if !value.is_finite() {
                self.non_finite(&point)?;
                continue;
            }
            let name = format!("{}{suffix}", group.name.text());
            let group = self.named_group(group.resource, Name::Text(&name), None);
            self.sample(group, &point, MetricKind::Counter, time_ms, value)?;
        }
        Ok(())
    }

    /// None, and counted, if the point has no value or no time.
    #[inline]
    fn time(&mut self, point: &Point<'_>) -> Result<Option<i64>, Stop> {
        if point.flags & NO_RECORDED_VALUE != 0 {
            self.dropped.no_value += 1;
        } else if let Some(time_ms) = time_ms(point.time_ns) {
            return Ok(Some(time_ms));
        } else {
            self.dropped.no_time += 1;
        }
        self.check_attributes(point)?;
        self.budget.take(1, 0)?;
        Ok(None)
    }

    #[inline]
    fn sample(
        &mut self,
        group: Group<'_>,
        point: &Point<'_>,
        kind: MetricKind,
        time_ms: i64,
        value: f64,
    ) -> Result<(), Stop> {
        if !value.is_finite() {
            return self.non_finite(point);
        }
        let labels = self.labels(group, point)?;
        let sample = Sample { kind, time_ms, start_ms: self::time_ms(point.start_ns), value };
        self.samples.push(self.series, labels, sample);
        Ok(())
    }

    fn buckets(
        &mut self,
        group: Group<'_>,
        point: &Point<'_>,
        (time_ms, delta): (i64, bool),
        count: &Count,
        bounds: &[f64],
        counts: &[u64],
    ) -> Result<(), Stop> {
        let labels = self.labels(group, point)?;
        self.histograms.push(&HistogramRow {
            labels: self.series.text(labels),
            time_ms,
            start_ms: self::time_ms(point.start_ns),
            delta,
            count: count.count,
            sum: count.sum.filter(|sum| sum.is_finite()).unwrap_or(f64::NAN),
            bounds,
            counts,
        });
        Ok(())
    }

    /// The labels of the point, which are taken from the budget of the record.
    #[inline]
    fn labels(&mut self, group: Group<'_>, point: &Point<'_>) -> Result<TextIndex, Stop> {
        let labels = if point.is_expected {
            self.series.find_expected(group.number)
        } else {
            match self.series.find(group.number, &point.attributes) {
                Ok(labels) => labels,
                Err(unknown) => {
                    let resource = self.series.text(group.resource);
                    let text = canonical(resource, group, point, self.limits.depth_max)?;
                    self.series.insert(unknown, &text, naming::metric_kind(group.name.text()))
                }
            }
        };
        self.budget.take(1, self.series.text_length(labels))?;
        Ok(labels)
    }

    /// Checks the attributes of a point that is left out.
    fn check_attributes(&mut self, point: &Point<'_>) -> Result<(), WireError> {
        point.each_attribute(check_attribute)
    }

    fn non_finite(&mut self, point: &Point<'_>) -> Result<(), Stop> {
        self.dropped.non_finite += 1;
        self.check_attributes(point)?;
        Ok(self.budget.take(1, 0)?)
    }

    fn malformed(&mut self) -> Result<(), Rejected> {
        self.dropped.malformed += 1;
        self.budget.take(1, 0)
    }
}

fn check_attribute(attribute: &[u8]) -> Result<(), WireError> {
    validate(attribute, &attributes::KEY_VALUE, LEVELS_MAX - LEVELS_ABOVE_METRIC - 3)
}

/// The canonical text of the labels. Those of the point count before those of the `resource`.
fn canonical(resource: &str, group: Group<'_>, point: &Point<'_>, depth_max: usize) -> Result<String, Stop> {
    let resource = Labels::parse(resource);
    let mut pairs: Vec<(&str, Cow<'_, str>)> =
        resource.iter().map(|(key, value)| (key, Cow::Borrowed(value))).collect();
    point.each_attribute(|bytes| {
        check_attribute(bytes)?;
        let attribute = attributes::Attribute::of(bytes)?;
        pairs.push((attribute.key, attributes::text(MESSAGE, &attribute.value, depth_max)?));
        Ok::<(), Stop>(())
    })?;
    if let Some(quantile) = group.quantile {
        pairs.push(("quantile", Cow::Owned(quantile.to_string())));
    }
    // Last, so that no attribute takes their place.
    pairs.push((SERVICE, Cow::Borrowed(resource.service())));
    pairs.push((NAME, Cow::Borrowed(group.name.text())));
    let mut text = String::new();
    labels::append_canonical(&mut pairs, &mut text);
    Ok(text)
}
