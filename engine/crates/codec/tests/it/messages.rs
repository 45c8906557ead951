//! Arbitrary requests of OTLP, with fields that the decoders read and such that they skip.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use proto::opentelemetry::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proto::opentelemetry::metrics::v1::exponential_histogram_data_point::Buckets;
use proto::opentelemetry::metrics::v1::summary_data_point::ValueAtQuantile;
use proto::opentelemetry::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data,
    number_data_point,
};
use proto::opentelemetry::resource::v1::Resource;
use proto::opentelemetry::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};

pub fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        5 => "[a-c=,\\\\é\"]{0,4}".prop_map(|text| Some(Value::StringValue(text))),
        1 => any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        1 => any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        1 => any::<f64>().prop_map(|value| Some(Value::DoubleValue(value))),
        1 => vec(any::<u8>(), 0..5).prop_map(|value| Some(Value::BytesValue(value))),
        1 => any::<i32>().prop_map(|value| Some(Value::StringValueStrindex(value))),
        1 => Just(None),
    ];
    let value = leaf.prop_map(|value| AnyValue { value });
    value.prop_recursive(4, 12, 3, |inner| {
        let pair = ("[a-c]{0,2}", option::of(inner.clone()));
        prop_oneof![
            vec(inner, 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(pair, 0..3).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
                Value::KvlistValue(KeyValueList { values: values.collect() })
            }),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop_oneof![
        4 => "[a-d]{0,2}",
        1 => Just("service.name".to_owned()),
        1 => Just("__name__".to_owned()),
    ];
    let pair = (key, option::weighted(0.9, any_value()), 0..2i32);
    vec(pair.prop_map(|(key, value, key_strindex)| KeyValue { key, value, key_strindex }), 0..5)
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    let key = prop_oneof![
        Just("service.name"),
        Just("service.namespace"),
        Just("host"),
        Just("host.name"),
        Just("service.instance.id"),
        Just("k8s.deployment.name"),
        Just("k8s.namespace.name"),
    ];
    let unknown = AnyValue { value: Some(Value::StringValue("unknown_service:x".to_owned())) };
    let value = prop_oneof![9 => any_value(), 1 => Just(unknown)];
    let pair = (key, value).prop_map(|(key, value)| attribute(key, value));
    let resource = vec(pair, 0..4).prop_map(|attributes| Resource { attributes, ..Default::default() });
    option::of(resource)
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    let scope = attributes().prop_map(|attributes| InstrumentationScope {
        name: "scope".to_owned(),
        attributes,
        ..Default::default()
    });
    option::of(scope)
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 6 => 1_000_000..2_000_000_000_000_000_000u64, 1 => any::<u64>()]
}

fn flags() -> impl Strategy<Value = u32> {
    prop_oneof![6 => Just(0u32), 1 => Just(1), 1 => any::<u32>()]
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![4 => -9.0..9.0f64, 1 => any::<f64>(), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)]
}

fn number_points() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    let value = option::weighted(
        0.9,
        prop_oneof![
            double().prop_map(number_data_point::Value::AsDouble),
            any::<i64>().prop_map(number_data_point::Value::AsInt),
        ],
    );
    let exemplars = vec(attributes(), 0..2).prop_map(|all| {
        let exemplar = |filtered_attributes| Exemplar { filtered_attributes, ..Default::default() };
        all.into_iter().map(exemplar).collect()
    });
    let point = (attributes(), time(), time(), value, flags(), exemplars).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, value, flags, exemplars)| NumberDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            value,
            exemplars,
            flags,
        },
    );
    vec(point, 0..4)
}

fn histogram_points() -> impl Strategy<Value = Vec<HistogramDataPoint>> {
    let buckets = prop_oneof![
        3 => vec(any::<u64>(), 0..5).prop_map(|counts| {
            ((1..counts.len()).map(|i| i as f64).collect::<Vec<_>>(), counts)
        }),
        1 => (vec(double(), 0..4), vec(any::<u64>(), 0..4)),
    ];
    let point = (attributes(), time(), time(), any::<u64>(), option::of(double()), buckets, flags())
        .prop_map(|(attributes, start, time, count, sum, (explicit_bounds, bucket_counts), flags)| {
            HistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                count,
                sum,
                bucket_counts,
                explicit_bounds,
                flags,
                min: sum,
                ..Default::default()
            }
        });
    vec(point, 0..4)
}

fn exponential_points() -> impl Strategy<Value = Vec<ExponentialHistogramDataPoint>> {
    let buckets = || {
        let buckets = (any::<i32>(), vec(any::<u64>(), 0..4));
        option::of(buckets.prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }))
    };
    let head = (attributes(), time(), time(), any::<u64>(), option::of(double()), flags());
    let point = (head, -12..22i32, any::<u64>(), buckets(), buckets(), double()).prop_map(
        |(head, scale, zero_count, positive, negative, zero_threshold)| {
            let (attributes, start_time_unix_nano, time_unix_nano, count, sum, flags) = head;
            ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum,
                scale,
                zero_count,
                positive,
                negative,
                flags,
                zero_threshold,
                ..Default::default()
            }
        },
    );
    vec(point, 0..3)
}

fn summary_points() -> impl Strategy<Value = Vec<SummaryDataPoint>> {
    let quantile = (double(), double()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    let point = (attributes(), time(), time(), any::<u64>(), double(), vec(quantile, 0..3), flags());
    let point =
        point.prop_map(|(attributes, start, time, count, sum, quantile_values, flags)| SummaryDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: time,
            count,
            sum,
            quantile_values,
            flags,
        });
    vec(point, 0..3)
}

fn data() -> impl Strategy<Value = Data> {
    let temporality = || prop_oneof![2 => 1..3i32, 1 => any::<i32>()];
    prop_oneof![
        number_points().prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (number_points(), temporality(), any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| Data::Sum(Sum {
                data_points,
                aggregation_temporality,
                is_monotonic
            })
        ),
        (histogram_points(), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (exponential_points(), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        summary_points().prop_map(|data_points| Data::Summary(Summary { data_points })),
    ]
}

pub fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let metric =
        ("[a-c]{0,2}", option::weighted(0.95, data()), attributes()).prop_map(|(name, data, metadata)| {
            Metric { name, description: "what it is".to_owned(), unit: "s".to_owned(), metadata, data }
        });
    let scope_metrics = (scope(), vec(metric, 0..3)).prop_map(|(scope, metrics)| ScopeMetrics {
        scope,
        metrics,
        schema_url: "schema".to_owned(),
    });
    let resource_metrics = (resource(), vec(scope_metrics, 0..3)).prop_map(|(resource, scope_metrics)| {
        ResourceMetrics { resource, scope_metrics, schema_url: "schema".to_owned() }
    });
    vec(resource_metrics, 0..3).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), length),
        1 => Just(Vec::new()),
        1 => Just(vec![0; length]),
        1 => vec(any::<u8>(), 0..20),
    ]
}

pub fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let severity = (prop_oneof![0..26i32, any::<i32>()], "(|info|WARN|Fatal|x)");
    let log =
        (time(), time(), severity, option::of(any_value()), attributes(), (id(16), id(8)), "[a-z]{0,3}");
    let log = log.prop_map(|(time, observed, severity, body, attributes, ids, event_name)| LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed,
        severity_number: severity.0,
        severity_text: severity.1,
        body,
        attributes,
        flags: 1,
        trace_id: ids.0,
        span_id: ids.1,
        event_name,
        ..Default::default()
    });
    let scope_logs = (scope(), vec(log, 0..4)).prop_map(|(scope, log_records)| ScopeLogs {
        scope,
        log_records,
        ..Default::default()
    });
    let resource_logs = (resource(), vec(scope_logs, 0..3)).prop_map(|(resource, scope_logs)| ResourceLogs {
        resource,
        scope_logs,
        ..Default::default()
    });
    vec(resource_logs, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

pub fn spans() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let status = option::of((0..4i32, "[a-z]{0,3}").prop_map(|(code, message)| Status { code, message }));
    let kind = prop_oneof![0..7i32, any::<i32>()];
    let span = ((id(16), id(8), id(8)), "[a-z]{0,3}", kind, (time(), time()), attributes(), status);
    let span = span.prop_map(|(ids, name, kind, (start, end), attributes, status)| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        trace_state: "a=b".to_owned(),
        flags: 1,
        name,
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        events: vec![span::Event { attributes: attributes.clone(), ..Default::default() }],
        links: vec![span::Link { attributes: attributes.clone(), ..Default::default() }],
        attributes,
        status,
        ..Default::default()
    });
    let scope_spans = (scope(), vec(span, 0..4)).prop_map(|(scope, spans)| ScopeSpans {
        scope,
        spans,
        ..Default::default()
    });
    let resource_spans = (resource(), vec(scope_spans, 0..3))
        .prop_map(|(resource, scope_spans)| ResourceSpans { resource, scope_spans, ..Default::default() });
    vec(resource_spans, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

pub fn one_point(attributes: Vec<KeyValue>) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        attributes,
        time_unix_nano: 1_000_000,
        value: Some(number_data_point::Value::AsDouble(1.0)),
        ..Default::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    let metrics = vec![Metric { name: "metric".to_owned(), data, ..Default::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..Default::default() }],
    }
}

pub fn one_log(body: AnyValue) -> ExportLogsServiceRequest {
    let log = LogRecord { time_unix_nano: 1_000_000, body: Some(body), ..Default::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![log], ..Default::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..Default::default() }] }
}

pub fn one_span() -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "GET".to_owned(),
        start_time_unix_nano: 5_000,
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
}
