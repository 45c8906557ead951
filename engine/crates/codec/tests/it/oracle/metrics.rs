//! Metrics: gauges, sums, histograms of both kinds and summaries.

use std::borrow::Cow;

use model::labels::{self, NAME, SERVICE};
use model::{
    HistogramBatchBuilder, HistogramRow, MetricKind, SampleBatchBuilder, SampleRow, SourceRecord, Telemetry,
};
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::common::v1::KeyValue;
use proto::opentelemetry::metrics::v1::{
    AggregationTemporality, DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint, Metric,
    NumberDataPoint, Sum, SummaryDataPoint, exponential_histogram_data_point::Buckets, metric::Data,
    number_data_point::Value,
};

use super::{Budget, attributes, read, time_ms};
use foreshock_codec::{Decoder, Dropped, Limits, Rejected};

/// A point of an exponential histogram with more buckets is malformed; writers keep at most 160 by default.
const EXPONENTIAL_BUCKETS_MAX: usize = 10_000;
/// Scales that the data model allows.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;

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
    limits: Limits,
    dropped: Dropped,
}

impl MetricsDecoder {
    pub fn new(limits: Limits) -> Self {
        Self { limits, dropped: Dropped::default() }
    }
}

impl Decoder for MetricsDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        let request: ExportMetricsServiceRequest = read("metrics", record.payload, &self.limits)?;
        let mut reading = Reading {
            limits: self.limits,
            budget: Budget::new(self.limits),
            dropped: self.dropped,
            samples: SampleBatchBuilder::default(),
            histograms: HistogramBatchBuilder::default(),
        };
        for resource_metrics in &request.resource_metrics {
            let (resource, depth_max) = (resource_metrics.resource.as_ref(), self.limits.depth_max);
            let service = attributes::service(resource, depth_max)?;
            let instance = attributes::instance(resource, depth_max);
            let owner = Owner {
                service: &service,
                instance: instance.as_ref().map(|(name, value)| (*name, value.as_str())),
            };
            for metric in resource_metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                reading.metric(owner, metric)?;
            }
        }
        self.dropped = reading.dropped;
        let (samples, histograms) = (reading.samples.finish(), reading.histograms.finish());
        if !samples.is_empty() {
            out.push(Telemetry::Samples(samples));
        }
        if !histograms.is_empty() {
            out.push(Telemetry::Histograms(histograms));
        }
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// One record under way.
struct Reading {
    limits: Limits,
    budget: Budget,
    dropped: Dropped,
    samples: SampleBatchBuilder,
    histograms: HistogramBatchBuilder,
}

/// What the resource says of its series.
#[derive(Clone, Copy)]
struct Owner<'a> {
    service: &'a str,
    instance: Option<(&'a str, &'a str)>,
}

/// Where a point belongs and when it was.
#[derive(Clone, Copy)]
struct Place<'a> {
    owner: Owner<'a>,
    name: &'a str,
    attributes: &'a [KeyValue],
    time_ms: i64,
    start_ms: Option<i64>,
}

impl Reading {
    fn metric(&mut self, owner: Owner<'_>, metric: &Metric) -> Result<(), Rejected> {
        match &metric.data {
            None => Ok(()),
            Some(Data::Gauge(gauge)) => gauge
                .data_points
                .iter()
                .try_for_each(|point| self.number(owner, metric, MetricKind::Gauge, point)),
            Some(Data::Sum(sum)) => match sum_kind(sum) {
                Some(kind) => {
                    sum.data_points.iter().try_for_each(|point| self.number(owner, metric, kind, point))
                }
                None => self.malformed(sum.data_points.len()),
            },
            Some(Data::Histogram(histogram)) => match is_delta(histogram.aggregation_temporality) {
                Some(delta) => histogram
                    .data_points
                    .iter()
                    .try_for_each(|point| self.histogram(owner, metric, delta, point)),
                None => self.malformed(histogram.data_points.len()),
            },
            Some(Data::ExponentialHistogram(histogram)) => {
                match is_delta(histogram.aggregation_temporality) {
                    Some(delta) => histogram
                        .data_points
                        .iter()
                        .try_for_each(|point| self.exponential(owner, metric, delta, point)),
                    None => self.malformed(histogram.data_points.len()),
                }
            }
            Some(Data::Summary(summary)) => {
                summary.data_points.iter().try_for_each(|point| self.summary(owner, metric, point))
            }
        }
    }

    fn number(
        &mut self,
        owner: Owner<'_>,
        metric: &Metric,
        kind: MetricKind,
        point: &NumberDataPoint,
    ) -> Result<(), Rejected> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let Some(place) = self.place(owner, &metric.name, &point.attributes, times, point.flags)? else {
            return Ok(());
        };
        match point.value {
            Some(Value::AsDouble(value)) => self.sample(place, kind, None, value),
            Some(Value::AsInt(value)) => self.sample(place, kind, None, value as f64),
            None => self.malformed(1),
        }
    }

    fn histogram(
        &mut self,
        owner: Owner<'_>,
        metric: &Metric,
        delta: bool,
        point: &HistogramDataPoint,
    ) -> Result<(), Rejected> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let Some(place) = self.place(owner, &metric.name, &point.attributes, times, point.flags)? else {
            return Ok(());
        };
        let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
        let fits = if counts.is_empty() { bounds.is_empty() } else { counts.len() == bounds.len() + 1 };
        let ascending = bounds.iter().all(|bound| bound.is_finite()) && bounds.is_sorted_by(|a, b| a < b);
        if !fits || !ascending {
            return self.malformed(1);
        }
        self.buckets(place, delta, point.count, point.sum, bounds, counts)
    }

    fn exponential(
        &mut self,
        owner: Owner<'_>,
        metric: &Metric,
        delta: bool,
        point: &ExponentialHistogramDataPoint,
    ) -> Result<(), Rejected> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let Some(place) = self.place(owner, &metric.name, &point.attributes, times, point.flags)? else {
            return Ok(());
        };
        match explicit_buckets(point) {
            Some((bounds, counts)) => self.buckets(place, delta, point.count, point.sum, &bounds, &counts),
            None => self.malformed(1),
        }
    }

    fn summary(
        &mut self,
        owner: Owner<'_>,
        metric: &Metric,
        point: &SummaryDataPoint,
    ) -> Result<(), Rejected> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let Some(place) = self.place(owner, &metric.name, &point.attributes, times, point.flags)? else {
            return Ok(());
        };
        for at in &point.quantile_values {
            self.sample(place, MetricKind::Gauge, Some(at.quantile), at.value)?;
        }
        let (count, sum) = (format!("{}_count", metric.name), format!("{}_sum", metric.name));
        self.sample(Place { name: &count, ..place }, MetricKind::Counter, None, point.count as f64)?;
        self.sample(Place { name: &sum, ..place }, MetricKind::Counter, None, point.sum)
    }

    /// None, and counted, if the point has no value or no time.
    fn place<'a>(
        &mut self,
        owner: Owner<'a>,
        name: &'a str,
        attributes: &'a [KeyValue],
        (start, time): (u64, u64),
        flags: u32,
    ) -> Result<Option<Place<'a>>, Rejected> {
        if flags & DataPointFlags::NoRecordedValueMask as u32 != 0 {
            self.dropped.no_value += 1;
            return self.budget.take(1, 0).map(|()| None);
        }
        let Some(time_ms) = time_ms(time) else {
            self.dropped.no_time += 1;
            return self.budget.take(1, 0).map(|()| None);
        };
        Ok(Some(Place { owner, name, attributes, time_ms, start_ms: self::time_ms(start) }))
    }

    fn sample(
        &mut self,
        place: Place<'_>,
        kind: MetricKind,
        quantile: Option<f64>,
        value: f64,
    ) -> Result<(), Rejected> {
        if !value.is_finite() {
            self.dropped.non_finite += 1;
            return self.budget.take(1, 0);
        }
        let labels = self.labels(&place, quantile)?;
        let Place { time_ms, start_ms, .. } = place;
        self.samples.push(&SampleRow { labels: &labels, kind, time_ms, start_ms, value });
        Ok(())
    }

    fn buckets(
        &mut self,
        place: Place<'_>,
        delta: bool,
        count: u64,
        sum: Option<f64>,
        bounds: &[f64],
        counts: &[u64],
    ) -> Result<(), Rejected> {
        let labels = self.labels(&place, None)?;
        let Place { time_ms, start_ms, .. } = place;
        let sum = sum.filter(|sum| sum.is_finite()).unwrap_or(f64::NAN);
        let row = HistogramRow { labels: &labels, time_ms, start_ms, delta, count, sum, bounds, counts };
        self.histograms.push(&row);
        Ok(())
    }

    fn labels(&mut self, place: &Place<'_>, quantile: Option<f64>) -> Result<String, Rejected> {
        let mut pairs: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(place.attributes.len() + 3);
        pairs.extend(place.owner.instance.map(|(name, value)| (name, Cow::Borrowed(value))));
        attributes::push_labels(&mut pairs, place.attributes, self.limits.depth_max)?;
        if let Some(quantile) = quantile {
            pairs.push(("quantile", Cow::Owned(quantile.to_string())));
        }
        // Last, so that no attribute takes their place.
        pairs.push((SERVICE, Cow::Borrowed(place.owner.service)));
        pairs.push((NAME, Cow::Borrowed(place.name)));
        let mut text = String::new();
        labels::append_canonical(&mut pairs, &mut text);
        self.budget.take(1, text.len())?;
        Ok(text)
    }

    fn malformed(&mut self, points: usize) -> Result<(), Rejected> {
        self.dropped.malformed += points as u64;
        self.budget.take(points, 0)
    }
}

fn sum_kind(sum: &Sum) -> Option<MetricKind> {
    Some(match (is_delta(sum.aggregation_temporality)?, sum.is_monotonic) {
        (true, _) => MetricKind::Delta,
        (false, true) => MetricKind::Counter,
        (false, false) => MetricKind::Gauge,
    })
}

fn is_delta(temporality: i32) -> Option<bool> {
    match AggregationTemporality::try_from(temporality) {
        Ok(AggregationTemporality::Delta) => Some(true),
        Ok(AggregationTemporality::Cumulative) => Some(false),
        _ => None,
    }
}

/// The buckets with bounds written out: negative ones, the one around zero, positive ones. None if the point is not
/// as the data model says.
fn explicit_buckets(point: &ExponentialHistogramDataPoint) -> Option<(Vec<f64>, Vec<u64>)> {
    let none = Buckets::default();
    let (negative, positive) =
        (point.negative.as_ref().unwrap_or(&none), point.positive.as_ref().unwrap_or(&none));
    let length = negative.bucket_counts.len() + positive.bucket_counts.len();
    if length > EXPONENTIAL_BUCKETS_MAX || !SCALES.contains(&point.scale) {
        return None;
    }
    // Bucket i of the positive ones holds values in (edge(i), edge(i + 1)].
    let edge = |buckets: &Buckets, i: usize| {
        ((f64::from(buckets.offset) + i as f64) * f64::from(-point.scale).exp2()).exp2()
    };
    let mut bounds = Vec::with_capacity(length + 2);
    let mut counts = Vec::with_capacity(length + 3);
    // Values up to `bound` and above the bound before. What has no room between two numbers joins its neighbour.
    let mut push = |bound: f64, count: u64| {
        let follows = bounds.last().is_none_or(|last| *last < bound);
        match counts.last_mut() {
            Some(last) if !follows => *last = count.saturating_add(*last),
            _ => {
                bounds.push(bound);
                counts.push(count);
            }
        }
    };
    if !negative.bucket_counts.is_empty() {
        push((-edge(negative, negative.bucket_counts.len())).max(f64::MIN), 0);
    }
    for (i, count) in negative.bucket_counts.iter().enumerate().rev() {
        push((-edge(negative, i)).max(f64::MIN), *count);
    }
    let zero_end = if positive.bucket_counts.is_empty() { point.zero_threshold } else { edge(positive, 0) };
    let zero_end = if zero_end.is_finite() { zero_end.max(0.0) } else { f64::MAX };
    push(zero_end, point.zero_count);
    for (i, count) in positive.bucket_counts.iter().enumerate() {
        push(edge(positive, i + 1).min(f64::MAX), *count);
    }
    counts.push(0);
    Some((bounds, counts))
}
