//! Telemetry in by gRPC, alerts out on Kafka.

use std::io::Write as _;

use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use proto::opentelemetry::common::v1::{AnyValue, KeyValue, any_value};
use proto::opentelemetry::metrics::v1::number_data_point::Value;
use proto::opentelemetry::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use proto::opentelemetry::resource::v1::Resource;

use crate::{Rig, fixture, free_port, http_get, kcat, wait_until};

/// The points of a moment, as a Collector would send them.
fn request(rows: &[(i64, String, String, f64)]) -> ExportMetricsServiceRequest {
    let resource_metrics = |(time_ms, service, name, value): &(i64, String, String, f64)| {
        let service = Some(AnyValue { value: Some(any_value::Value::StringValue(service.clone())) });
        let attribute = KeyValue { key: "service.name".to_owned(), value: service, ..Default::default() };
        let point = NumberDataPoint {
            time_unix_nano: u64::try_from(*time_ms).expect("after 1970") * 1_000_000,
            value: Some(Value::AsDouble(*value)),
            ..Default::default()
        };
        let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
        let metric = Metric { name: name.clone(), data, ..Default::default() };
        ResourceMetrics {
            resource: Some(Resource { attributes: vec![attribute], ..Default::default() }),
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }],
            ..Default::default()
        }
    };
    ExportMetricsServiceRequest { resource_metrics: rows.iter().map(resource_metrics).collect() }
}

#[test]
fn a_fault_that_comes_in_by_grpc_becomes_an_alert_on_kafka() {
    let mut rig = Rig::new("doors");
    rig.create_sources();
    let door = free_port();
    let mut configuration =
        std::fs::OpenOptions::new().append(true).open(rig.configuration()).expect("the configuration");
    writeln!(configuration, "receivers: {{ grpc: 127.0.0.1:{door} }}").expect("the folder is writable");
    rig.start();

    let telemetry = fixture(rig.folder.path()).join("metrics.csv");
    let text = std::fs::read_to_string(telemetry).expect("the fixture");
    let rows: Vec<(i64, String, String, f64)> = text
        .lines()
        .skip(1)
        .map(|line| {
            let [time_ms, service, name, value] = line.split(',').collect::<Vec<_>>()[..] else {
                panic!("a row of four: {line}");
            };
            let (time_ms, value) = (time_ms.parse().expect("a time"), value.parse().expect("a number"));
            (time_ms, service.to_owned(), name.to_owned(), value)
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let address = format!("http://127.0.0.1:{door}");
        let mut client = MetricsServiceClient::connect(address).await.expect("the door is open");
        for moment in rows.chunk_by(|a, b| a.0 == b.0) {
            client.export(request(moment)).await.expect("acknowledged");
        }
    });
    let lies = kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("metrics"), "-f", "%o\n"], None);
    assert_eq!(lies.lines().count(), 240, "what is acknowledged lies on the topic");
    let alerts = || kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("alerts")], None);
    wait_until("an alert", || alerts().lines().count() > 0);
    let alert: serde_json::Value =
        serde_json::from_str(alerts().lines().next().expect("an alert")).expect("JSON");
    assert_eq!((&alert["state"], &alert["labels"]["service"]), (&"firing".into(), &"cart".into()));
    let metrics = http_get(rig.http, "/metrics").expect("metrics");
    assert!(metrics.contains("foreshock_receiver_items_total{door=\"otlp_grpc\"} 720\n"), "{metrics}");
    rig.stop();
}
