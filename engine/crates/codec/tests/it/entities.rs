//! Entities and tenants by rules.

use std::sync::Arc;

use foreshock_codec::{DECODERS, DecoderSettings, Dropped, EntityRules, TenantRule, encode};
use model::{LogBatchBuilder, LogRow, SourceRecord, SpanBatchBuilder, SpanRow};
use prost::Message as _;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::metrics::v1::{Gauge, metric::Data, number_data_point::Value};
use proto::opentelemetry::resource::v1::Resource;

use crate::golden::{metrics, number};
use crate::{lines, record, resource};

fn read(
    (signal, encoding): (&str, &str),
    settings: &DecoderSettings,
    headers: &[(&str, &[u8])],
    payload: &[u8],
) -> (Vec<String>, Dropped) {
    let spec = DECODERS.iter().find(|spec| spec.signal == signal && spec.encoding == encoding).unwrap();
    let mut decoder = (spec.build)(settings);
    let mut out = Vec::new();
    decoder.decode(SourceRecord { headers, ..record(payload) }, &mut out).unwrap();
    (lines(&out), decoder.dropped())
}

fn ruled(rules: &str) -> DecoderSettings {
    let entity: EntityRules = serde_json::from_str(rules).unwrap();
    DecoderSettings { entity: Arc::new(entity), ..DecoderSettings::default() }
}

fn gauge(resource: Option<Resource>) -> Vec<u8> {
    let data_points = vec![number(Value::AsDouble(1.0))];
    metrics(resource, vec![("g", Data::Gauge(Gauge { data_points }))])
}

/// The same log record and span of each resource.
fn logs(resources: Vec<Option<Resource>>) -> Vec<u8> {
    let mut batch = LogBatchBuilder::default();
    batch.push(&LogRow { time_ms: 9, service: "s", severity: 9, body: "b", trace_id: None, span_id: None });
    let request = ExportLogsServiceRequest::decode(encode::logs(&batch.finish()).as_slice()).unwrap();
    let of = |resource| {
        let mut logs = request.resource_logs[0].clone();
        logs.resource = resource;
        logs
    };
    ExportLogsServiceRequest { resource_logs: resources.into_iter().map(of).collect() }.encode_to_vec()
}

fn spans(resources: Vec<Option<Resource>>) -> Vec<u8> {
    let mut batch = SpanBatchBuilder::default();
    batch.push(&SpanRow {
        start_us: 9,
        duration_us: 1,
        trace_id: 7,
        span_id: 9,
        parent: None,
        service: "s",
        operation: "o",
        kind: 2,
        error: false,
    });
    let request = ExportTraceServiceRequest::decode(encode::spans(&batch.finish()).as_slice()).unwrap();
    let of = |resource| {
        let mut spans = request.resource_spans[0].clone();
        spans.resource = resource;
        spans
    };
    ExportTraceServiceRequest { resource_spans: resources.into_iter().map(of).collect() }.encode_to_vec()
}

#[test]
fn pods_of_one_workload_are_one_entity_and_several_series() {
    let pod = |name| {
        resource(&[("k8s.namespace.name", "shop"), ("k8s.deployment.name", "cart"), ("k8s.pod.name", name)])
    };
    let payload = [gauge(pod("cart-1")), gauge(pod("cart-2"))].concat();
    let (lines, _) = read(("metrics", "otlp_proto"), &DecoderSettings::default(), &[], &payload);
    let expected = ["cart-1", "cart-2"].map(|pod| {
        format!(
            r"Gauge __name__=g,host=h1,k8s.pod.name={pod},service.name=shop/cart,zone=a\,b start Some(5) at 9 = 1"
        )
    });
    assert_eq!(lines, expected);
    for (signal, payload) in [("logs", logs(vec![pod("cart-1")])), ("spans", spans(vec![pod("cart-1")]))] {
        let (lines, _) = read((signal, "otlp_proto"), &DecoderSettings::default(), &[], &payload);
        assert!(lines[0].contains(r#"service: "shop/cart""#), "{lines:?}");
    }
}

#[test]
fn rules_name_the_entity_of_every_signal() {
    let settings = ruled(
        r#"{"service": ["{team}.{app}", "other"], "instance": [], "labels": {"zone": "{cloud.zone}", "region": "{cloud.region}"}}"#,
    );
    let attributes = resource(&[
        ("team", "a"),
        ("app", "cart"),
        ("cloud.zone", "z"),
        ("cloud.region", "r"),
        ("host.name", "h"),
    ]);
    let (own, _) = read(("metrics", "otlp_proto"), &settings, &[], &gauge(attributes.clone()));
    // An attribute of the point counts before that of the resource.
    assert_eq!(
        own,
        [r"Gauge __name__=g,host=h1,region=r,service.name=a.cart,zone=a\,b start Some(5) at 9 = 1"]
    );
    for (signal, payload) in
        [("logs", logs(vec![attributes.clone(), None])), ("spans", spans(vec![attributes, None]))]
    {
        let (lines, _) = read((signal, "otlp_proto"), &settings, &[], &payload);
        assert!(lines[0].contains(r#"service: "a.cart""#), "{lines:?}");
        assert!(lines[1].contains(r#"service: "other""#), "{lines:?}");
    }
    for (format, payload) in [
        (("metrics", "influx"), "cpu,team=a,app=cart,job=x value=1 1760000000"),
        (
            ("metrics", "json"),
            r#"{"time": 1760000000, "name": "q", "value": 1, "labels": {"team": "a"}, "app": "cart", "service": "x"}"#,
        ),
        (("logs", "json"), r#"{"time": 1760000000, "msg": "m", "team": "a", "app": "cart", "service": "x"}"#),
        (
            ("logs", "ecs_json"),
            r#"{"@timestamp": 1760000000, "message": "m", "fields": {"team": "a"}, "app": "cart", "service.name": "x"}"#,
        ),
        (
            ("logs", "splunk_hec_json"),
            r#"{"time": 1760000000, "event": "m", "fields": {"team": "a", "app": "cart", "service": "x"}}"#,
        ),
        (
            ("spans", "zipkin_json"),
            r#"{"traceId": "1", "id": "2", "timestamp": 1, "localEndpoint": {"serviceName": "x"}, "tags": {"team": "a", "app": "cart"}}"#,
        ),
    ] {
        let (lines, _) = read(format, &settings, &[], payload.as_bytes());
        assert!(lines[0].contains("a.cart"), "{format:?}: {lines:?}");
    }
    let headers: &[(&str, &[u8])] = &[("team", b"a"), ("app", b"cart"), ("service.name", b"x")];
    let line = b"<34>1 2025-10-09T08:53:20Z h named - - - broken";
    let (lines, _) = read(("logs", "plain"), &settings, headers, line);
    assert!(lines[0].contains("a.cart"), "{lines:?}");
}

/// By rules a service may come from a member that is no part of a series otherwise.
#[test]
fn where_no_rule_holds_the_encoding_says_the_service_and_a_mapping_says_more() {
    let mut settings = ruled(r#"{"service": ["{team}/{app}"]}"#);
    let payload = br#"{"timestamp": 1760000000, "name": "g", "value": 1, "labels": {"job": "cart"}}"#;
    let (found, _) = read(("metrics", "json"), &settings, &[], payload);
    assert!(found[0].contains("service.name=cart"), "{found:?}");
    let line = b"<11>1 2025-10-09T08:53:20Z host cart 7 - - failed";
    let (found, _) = read(("logs", "plain"), &settings, &[], line);
    assert!(found[0].contains(r#"service: "cart""#), "{found:?}");
    let payload =
        br#"{"timestamp": 1760000000, "name": "g", "value": 1, "team": "shop", "app": "web", "unit": "cart"}"#;
    let (found, _) = read(("metrics", "json"), &settings, &[], payload);
    assert!(found[0].contains("service.name=shop/web"), "{found:?}");
    settings.mapping =
        foreshock_codec::Mapping::parse("metrics", serde_json::json!({"service": "unit"})).unwrap();
    let (found, _) = read(("metrics", "json"), &settings, &[], payload);
    assert!(found[0].contains("service.name=cart"), "{found:?}");
}

#[test]
fn series_that_differ_in_their_entity_only_are_two() {
    let settings = ruled(r#"{"service": ["{app}"]}"#);
    let of = |app| format!(r#"{{"time": 1760000000, "name": "q", "value": 1, "app": "{app}"}}"#);
    let (lines, _) =
        read(("metrics", "json"), &settings, &[], [of("a"), of("b"), of("a")].concat().as_bytes());
    let expected = ["a", "b", "a"]
        .map(|app| format!("Gauge __name__=q,service.name={app} start None at 1760000000000 = 1"));
    assert_eq!(lines, expected);
}

#[test]
fn other_tenants_are_left_out_and_counted() {
    let of = |header: Option<&str>, attribute: Option<&str>| {
        let (header, attribute) = (header.map(str::to_owned), attribute.map(str::to_owned));
        let tenant = Some(Arc::new(TenantRule { tenant: "acme".to_owned(), header, attribute }));
        DecoderSettings { tenant, ..DecoderSettings::default() }
    };
    let (by_header, by_attribute) = (of(Some("x-scope-orgid"), None), of(None, Some("tenant.id")));
    let influx = b"cpu value=1 1760000000";
    for (value, rows, others) in [(&b"acme"[..], 1, 0), (b"other", 0, 1), (b"", 0, 1)] {
        let (lines, dropped) = read(("metrics", "influx"), &by_header, &[("x-scope-orgid", value)], influx);
        assert_eq!((lines.len(), dropped), (rows, Dropped { other_tenant: others, ..Dropped::default() }));
    }
    let (lines, dropped) = read(("metrics", "influx"), &by_header, &[], influx);
    assert_eq!((lines.len(), dropped.other_tenant), (0, 1), "nobody's is not ours");

    let tenant = |name| resource(&[("service.name", "cart"), ("tenant.id", name)]);
    let resources = vec![tenant("other"), tenant("acme"), None];
    let metrics: Vec<u8> = resources.iter().cloned().flat_map(gauge).collect();
    for (signal, payload) in
        [("metrics", metrics), ("logs", logs(resources.clone())), ("spans", spans(resources))]
    {
        let (lines, dropped) = read((signal, "otlp_proto"), &by_attribute, &[], &payload);
        assert_eq!(
            (lines.len(), dropped),
            (1, Dropped { other_tenant: 2, ..Dropped::default() }),
            "{signal}"
        );
        assert!(lines[0].contains("cart"), "{lines:?}");
    }
}

/// Remembered by its bytes, a resource of another tenant stays one of another tenant.
#[test]
fn resources_of_other_tenants_stay_so() {
    let rule = TenantRule { tenant: "acme".to_owned(), header: None, attribute: Some("t".to_owned()) };
    let settings = DecoderSettings { tenant: Some(Arc::new(rule)), ..DecoderSettings::default() };
    let payload: Vec<u8> =
        ["b", "acme", "b", "acme", "b"].iter().flat_map(|name| gauge(resource(&[("t", name)]))).collect();
    let request = ExportMetricsServiceRequest::decode(payload.as_slice()).unwrap();
    assert_eq!(request.resource_metrics.len(), 5);
    let (lines, dropped) = read(("metrics", "otlp_proto"), &settings, &[], &payload);
    assert_eq!((lines.len(), dropped.other_tenant), (2, 3));
}

#[test]
fn a_resource_has_so_many_attributes_at_the_most() {
    use proto::opentelemetry::common::v1::KeyValue;
    let of = |count: usize| {
        let attributes = vec![KeyValue::default(); count];
        gauge(Some(Resource { attributes, ..Resource::default() }))
    };
    let spec =
        DECODERS.iter().find(|spec| (spec.signal, spec.encoding) == ("metrics", "otlp_proto")).unwrap();
    let mut decoder = (spec.build)(&DecoderSettings::default());
    let mut decode = |payload: &[u8]| decoder.decode(record(payload), &mut Vec::new());
    decode(&of(4_096)).unwrap();
    let reason = decode(&of(4_097)).unwrap_err().to_string();
    assert!(reason.contains("more than 4096 attributes"), "{reason}");
    decode(&of(4_096)).unwrap();
}
