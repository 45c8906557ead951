//! The generated code does what its users count on.

use foreshock_proto::FILE_DESCRIPTOR_SET;
use foreshock_proto::foreshock::v1 as foreshock;
use foreshock_proto::opentelemetry::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point},
    resource::v1::Resource,
};
use prost::Message;
use prost_types::FileDescriptorSet;

#[test]
fn otlp_request_survives_encoding() {
    let service_name = KeyValue {
        key: "service.name".into(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue("cart".into())) }),
        ..Default::default()
    };
    let point = NumberDataPoint {
        time_unix_nano: 1_700_000_000_000_000_000,
        value: Some(number_data_point::Value::AsDouble(0.25)),
        ..Default::default()
    };
    let metric = Metric {
        name: "queue.length".into(),
        data: Some(metric::Data::Gauge(Gauge { data_points: vec![point] })),
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: vec![service_name], ..Default::default() }),
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }],
            ..Default::default()
        }],
    };

    let bytes = request.encode_to_vec();

    assert_eq!(ExportMetricsServiceRequest::decode(bytes.as_slice()).unwrap(), request);
    // Field 1, length-delimited: the same on every writer of OTLP.
    assert_eq!(bytes[0], 0x0a);
}

#[test]
fn descriptor_set_lists_the_services() {
    let descriptors = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();

    let mut services: Vec<String> = descriptors
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name())))
        .collect();
    services.sort();

    let expected = [
        foreshock::alert_service_server::SERVICE_NAME,
        foreshock::anomaly_service_server::SERVICE_NAME,
        foreshock::coverage_service_server::SERVICE_NAME,
        foreshock::incident_service_server::SERVICE_NAME,
        foreshock::remark_service_server::SERVICE_NAME,
        foreshock::silence_service_server::SERVICE_NAME,
        foreshock::verdict_service_server::SERVICE_NAME,
    ];
    assert_eq!(services, expected);
}
