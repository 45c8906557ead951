//! OTLP over gRPC, sent by tonic's clients.

use std::time::Duration;

use foreshock_receivers::{Settings, Topics};
use prost::Message;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::logs::v1::logs_service_client::LogsServiceClient;
use proto::opentelemetry::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use proto::opentelemetry::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::destination::Mood;
use crate::rig::{Rig, TIME_NS, logs, metrics, settings, topics, wait_until};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

async fn logs_client(rig: &Rig) -> LogsServiceClient<Channel> {
    LogsServiceClient::connect(rig.grpc()).await.expect("a connection")
}

async fn until_held(rig: &Rig) {
    while rig.held.waiting() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn each_signal_is_written_as_it_came_and_acknowledged() {
    let rig = Rig::new(Mood::Safe);
    let (metrics, logs) = (metrics(&[TIME_NS]), logs(3));
    run(async {
        let mut client = MetricsServiceClient::connect(rig.grpc()).await.unwrap();
        assert_eq!(client.export(metrics.clone()).await.unwrap().into_inner(), Default::default());
        let mut client = logs_client(&rig).await.send_compressed(CompressionEncoding::Gzip);
        client.export(logs.clone()).await.unwrap();
        let mut client = TraceServiceClient::connect(rig.grpc()).await.unwrap();
        // Nothing in it is nothing to write.
        client.export(ExportTraceServiceRequest::default()).await.unwrap();
    });
    let expected = [("m".to_owned(), metrics.encode_to_vec()), ("l".to_owned(), logs.encode_to_vec())];
    assert_eq!(rig.held.take(), expected);
    let counters = rig.receivers.counters();
    assert_eq!((counters.otlp_grpc.requests, counters.otlp_grpc.items), (3, 4));
    assert_eq!(counters.in_flight_bytes, 0);
}

#[test]
fn what_no_record_can_hold_whole_comes_in_several_in_order() {
    let record_bytes_max = 2000;
    let rig = Rig::with(Settings { record_bytes_max, ..settings() }, topics(), Mood::Safe);
    run(async { logs_client(&rig).await.export(logs(100)).await.unwrap() });
    let mut records = Vec::new();
    for (_, payload) in rig.held.take() {
        assert!(payload.len() <= record_bytes_max);
        let request = ExportLogsServiceRequest::decode(payload.as_slice()).unwrap();
        records.extend(request.resource_logs[0].scope_logs[0].log_records.clone());
    }
    assert_eq!(records, logs(100).resource_logs[0].scope_logs[0].log_records);
}

#[test]
fn nothing_is_acknowledged_before_it_is_safe() {
    let rig = Rig::new(Mood::Silent);
    run(async {
        let mut client = logs_client(&rig).await;
        let call = tokio::spawn(async move { client.export(logs(1)).await });
        until_held(&rig).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!call.is_finished());
        assert!(rig.receivers.counters().in_flight_bytes > 0);
        rig.held.answer();
        call.await.unwrap().unwrap();
    });
    assert_eq!(rig.receivers.counters().in_flight_bytes, 0);
}

fn refusal(rig: &Rig, request: ExportLogsServiceRequest) -> Status {
    run(async { logs_client(rig).await.export(request).await.expect_err("a refusal") })
}

#[test]
fn a_destination_that_fails_is_told_as_what_it_is() {
    let rig = Rig::new(Mood::Later);
    let status = refusal(&rig, logs(1));
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("the brokers are away"), "{status}");
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    rig.held.set(Mood::Never);
    let status = refusal(&rig, logs(1));
    assert_eq!((status.code(), status.get_details_retry_info().is_none()), (Code::Internal, true));
    assert_eq!(rig.receivers.counters().otlp_grpc.refusals.undelivered, 2);
    assert_eq!(rig.receivers.counters().in_flight_bytes, 0);
}

#[test]
fn at_the_bound_senders_are_told_to_come_back_and_when() {
    let settings = Settings { in_flight_bytes_max: 600, retry_after: Duration::from_secs(7), ..settings() };
    let rig = Rig::with(settings, topics(), Mood::Silent);
    run(async {
        let mut client = logs_client(&rig).await;
        let mut first = client.clone();
        let first = tokio::spawn(async move { first.export(logs(4)).await });
        until_held(&rig).await;
        let status = client.export(logs(4)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(delay, Some(Duration::from_secs(7)));
        rig.held.answer();
        first.await.unwrap().unwrap();
        let second = tokio::spawn(async move { client.export(logs(4)).await });
        until_held(&rig).await;
        rig.held.answer();
        second.await.unwrap().unwrap();
    });
    assert_eq!(rig.receivers.counters().otlp_grpc.refusals.busy, 1);
}

#[test]
fn a_sender_that_goes_away_leaves_its_bytes_until_the_record_is_safe() {
    let rig = Rig::new(Mood::Silent);
    run(async {
        let mut client = logs_client(&rig).await;
        let call = tokio::spawn(async move { client.export(logs(1)).await });
        until_held(&rig).await;
        call.abort();
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(rig.receivers.counters().in_flight_bytes > 0);
    rig.held.answer();
    wait_until("the bytes to be given back", || rig.receivers.counters().in_flight_bytes == 0);
}

#[test]
fn what_is_too_large_or_a_bomb_is_refused_for_good() {
    let limits = Settings { body_bytes_max: 2000, decompressed_bytes_max: 4000, ..settings() };
    let rig = Rig::with(limits, topics(), Mood::Safe);
    let status = refusal(&rig, logs(50));
    assert_eq!((status.code(), status.get_details_retry_info().is_none()), (Code::ResourceExhausted, true));
    let status = run(async {
        let mut client = logs_client(&rig).await.send_compressed(CompressionEncoding::Gzip);
        client.export(logs(60)).await.unwrap_err()
    });
    assert!(status.message().contains("4000 bytes (once it is unpacked)"), "{status}");
    assert_eq!((status.code(), status.get_details_retry_info().is_none()), (Code::ResourceExhausted, true));
    assert_eq!(rig.receivers.counters().otlp_grpc.refusals.too_large, 2);
    assert!(rig.held.take().is_empty());
}

#[test]
fn what_cannot_be_used_in_part_is_said_and_the_rest_is_written() {
    let rig = Rig::new(Mood::Safe);
    let response = run(async {
        let mut client = MetricsServiceClient::connect(rig.grpc()).await.unwrap();
        // One has no time.
        client.export(metrics(&[TIME_NS, 0, TIME_NS + 1])).await.unwrap().into_inner()
    });
    let partial = response.partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(partial.error_message.contains("no time"), "{}", partial.error_message);
    assert_eq!(rig.held.take().len(), 1);
    let counters = rig.receivers.counters().otlp_grpc;
    assert_eq!((counters.items, counters.items_rejected), (2, 1));
}

#[test]
fn only_who_holds_the_token_may_send() {
    let rig = Rig::with_token(" secret\n");
    assert_eq!(refusal(&rig, logs(1)).code(), Code::Unauthenticated);
    let send = |token: &'static str| {
        run(async {
            let mut request = Request::new(logs(1));
            request.metadata_mut().insert("authorization", token.parse().unwrap());
            logs_client(&rig).await.export(request).await.map(drop).map_err(|status| status.code())
        })
    };
    for wrong in ["Bearer secre", "Bearer secrex", "Bearer secret ", "secret"] {
        assert_eq!(send(wrong), Err(Code::Unauthenticated), "{wrong}");
    }
    assert_eq!(send("Bearer secret"), Ok(()));
    assert_eq!(rig.receivers.counters().otlp_grpc.refusals.unauthenticated, 5);
}

#[test]
fn a_signal_that_nobody_reads_is_not_implemented() {
    let rig = Rig::with(settings(), Topics { logs: None, ..topics() }, Mood::Safe);
    let status = refusal(&rig, logs(1));
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("no source of the configuration reads logs as otlp_proto"), "{status}");
}
