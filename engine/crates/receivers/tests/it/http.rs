//! OTLP over HTTP and remote write, sent well and badly.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use foreshock_receivers::{Settings, Topics};
use prost::Message;
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceResponse;

use crate::destination::Mood;
use crate::rig::{Response, Rig, logs, response, settings, topics, wait_until};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const LOG: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1760000000000000000","body":{"stringValue":"m"}}]}]}]}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).expect("written");
    writer.finish().expect("written")
}

#[test]
fn protobuf_and_json_are_written_as_the_decoder_reads_them() {
    let rig = Rig::new(Mood::Safe);
    let request = logs(2).encode_to_vec();
    let answer = rig.post("/v1/logs", &[PROTOBUF], &request);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-protobuf")));
    assert_eq!(ExportLogsServiceResponse::decode(answer.body.as_slice()).unwrap(), Default::default());
    let zipped = rig.post("/v1/logs", &[PROTOBUF, ("content-encoding", "gzip")], &gzip(&request));
    assert_eq!(zipped.status, 200);
    let answer = rig.post("/v1/logs", &[JSON], LOG.as_bytes());
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let records = rig.held.take();
    assert_eq!(records[..2], [("l".to_owned(), request.clone()), ("l".to_owned(), request)]);
    let mut decoder = codec::decoder("logs", "otlp_proto", codec::Limits::default()).unwrap();
    let mut read = Vec::new();
    decoder.decode(record(&records[2].1), &mut read).unwrap();
    let model::Telemetry::Logs(batch) = &read[0] else { panic!("{read:?}") };
    assert_eq!(batch.rows().map(|row| row.body.to_owned()).collect::<Vec<_>>(), ["m"]);
    assert_eq!(rig.receivers.counters().otlp_http.items, 5);
}

fn record(payload: &[u8]) -> model::SourceRecord<'_> {
    model::SourceRecord {
        topic: "",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        headers: &[],
        payload,
    }
}

#[test]
fn every_mistake_has_its_status() {
    let small = Settings { body_bytes_max: 5000, decompressed_bytes_max: 9000, ..settings() };
    let rig = Rig::with(small, Topics { spans: None, ..topics() }, Mood::Safe);
    let body = logs(1).encode_to_vec();
    let status = |path: &str, headers: &[(&str, &str)], body: &[u8]| rig.post(path, headers, body).status;
    assert_eq!(status("/v2/logs", &[PROTOBUF], &body), 404);
    assert_eq!(status("/v1/traces", &[PROTOBUF], b""), 404);
    assert_eq!(status("/v1/logs", &[], &body), 415);
    assert_eq!(status("/v1/logs", &[("content-type", "text/plain")], &body), 415);
    assert_eq!(status("/v1/logs", &[PROTOBUF, ("content-encoding", "br")], &body), 415);
    assert_eq!(status("/v1/logs", &[PROTOBUF, ("content-encoding", "gzip")], &body), 400);
    assert_eq!(status("/v1/logs", &[PROTOBUF], b"\xff\xff"), 400);
    assert_eq!(status("/v1/logs", &[JSON], b"{\"resourceLogs\": 1}"), 400);
    assert_eq!(status("/v1/logs", &[PROTOBUF], &logs(60).encode_to_vec()), 413);
    let bomb = gzip(&vec![0; 1 << 20]);
    assert_eq!(status("/v1/logs", &[PROTOBUF, ("content-encoding", "gzip")], &bomb), 413);
    // Refused by what it claims, before a byte of it is read.
    let claims = [PROTOBUF, ("content-length", "1000000000000")];
    assert_eq!(status("/v1/logs", &claims, b""), 413);
    let mut get = TcpStream::connect(rig.http()).unwrap();
    get.write_all(b"GET /v1/logs HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").unwrap();
    assert_eq!(response(get).status, 405);
    assert!(rig.held.take().is_empty());
    let counters = rig.receivers.counters();
    assert_eq!((counters.in_flight_bytes, counters.otlp_http.refusals.too_large), (0, 3));
    // JSON is answered in JSON.
    let said: Response = rig.post("/v1/logs", &[JSON], b"[");
    let said: serde_json::Value = serde_json::from_slice(&said.body).unwrap();
    assert_eq!(said["code"], 3);
    assert!(said["message"].as_str().unwrap().contains("no JSON"), "{said}");
}

#[test]
fn a_destination_that_is_away_or_a_bound_that_is_reached_is_for_later() {
    let rig = Rig::new(Mood::Later);
    let away = rig.post("/v1/logs", &[PROTOBUF], &logs(1).encode_to_vec());
    assert_eq!((away.status, away.header("retry-after")), (503, Some("1")));
    rig.held.set(Mood::Never);
    let never = rig.post("/v1/logs", &[PROTOBUF], &logs(1).encode_to_vec());
    assert_eq!((never.status, never.header("retry-after")), (500, None));

    let rig = Rig::with(Settings { in_flight_bytes_max: 100, ..settings() }, topics(), Mood::Safe);
    let busy = rig.post("/v1/logs", &[PROTOBUF], &logs(1).encode_to_vec());
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
    assert_eq!(rig.receivers.counters().otlp_http.refusals.busy, 1);
    assert_eq!(rig.receivers.counters().in_flight_bytes, 0);
}

#[test]
fn slow_and_broken_senders_hold_nothing_for_long() {
    let settings = Settings { read_timeout: Duration::from_millis(300), ..settings() };
    let rig = Rig::with(settings, topics(), Mood::Safe);
    let head = "POST /v1/logs HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100\r\n\r\n";
    // A body that never ends.
    let mut slow = TcpStream::connect(rig.http()).unwrap();
    slow.write_all(format!("{head}abc").as_bytes()).unwrap();
    assert_eq!(response(&slow).status, 408);
    // One that breaks off.
    let mut broken = TcpStream::connect(rig.http()).unwrap();
    broken.write_all(format!("{head}abc").as_bytes()).unwrap();
    drop(broken);
    // Headers that never end, and nothing at all.
    let mut headers = TcpStream::connect(rig.http()).unwrap();
    headers.write_all(b"POST /v1/logs HTTP/1.1\r\nx").unwrap();
    let silent = TcpStream::connect(rig.http()).unwrap();
    // What may yet become either HTTP.
    let mut undecided = TcpStream::connect(rig.http()).unwrap();
    undecided.write_all(b"P").unwrap();
    let mut garbage = TcpStream::connect(rig.http()).unwrap();
    garbage.write_all(b"\x16\x03\x01 no http at all\r\n\r\n").unwrap();
    for mut stream in [headers, silent, undecided, garbage] {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // An error of its own is an end as well.
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(ended.as_ref().map_err(std::io::Error::kind) != Err(ErrorKind::WouldBlock), "{ended:?}");
    }
    wait_until("all connections to be closed", || rig.receivers.counters().connections == 0);
    assert_eq!(rig.receivers.counters().in_flight_bytes, 0);
    assert_eq!(rig.receivers.counters().otlp_http.refusals.slow, 1);
    assert_eq!(rig.post("/v1/logs", &[PROTOBUF], &logs(1).encode_to_vec()).status, 200);
}

#[test]
fn connections_beyond_the_bound_are_closed_and_counted() {
    let rig = Rig::with(Settings { connections_max: 2, ..settings() }, topics(), Mood::Safe);
    let held: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(rig.http()).unwrap()).collect();
    wait_until("both to be open", || rig.receivers.counters().connections == 2);
    let _third = TcpStream::connect(rig.http()).unwrap();
    wait_until("the third to be refused", || rig.receivers.counters().connections_refused == 1);
    drop(held);
    wait_until("places to be free", || rig.receivers.counters().connections == 0);
    assert_eq!(rig.post("/v1/logs", &[PROTOBUF], &logs(1).encode_to_vec()).status, 200);
}

#[test]
fn the_doors_close_after_the_requests_under_way() {
    let rig = Rig::new(Mood::Silent);
    let (address, held) = (rig.http(), rig.held.clone());
    let body = logs(1).encode_to_vec();
    let call = std::thread::spawn(move || {
        crate::rig::post(TcpStream::connect(address).unwrap(), "/v1/logs", &[PROTOBUF], &body).status
    });
    wait_until("the request", || held.waiting() == 1);
    let close = std::thread::spawn(move || drop(rig));
    std::thread::sleep(Duration::from_millis(200));
    assert!(!close.is_finished());
    held.answer();
    assert_eq!(call.join().unwrap(), 200);
    close.join().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

const WRITE: [(&str, &str); 2] = [PROTOBUF, ("content-encoding", "snappy")];

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<Series>,
}

/// A request of 1.0, as Prometheus compresses it; series without a name are nothing.
fn write_request(names: &[&str]) -> Vec<u8> {
    let series = |name: &&str| Series {
        labels: vec![Label { name: "__name__".to_owned(), value: (*name).to_owned() }],
        samples: vec![Sample { value: 1.0, timestamp: 1_760_000_000_000 }],
    };
    let request = WriteRequest { timeseries: names.iter().map(series).collect() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("compressed")
}

#[test]
fn remote_write_is_written_as_it_came() {
    let rig = Rig::new(Mood::Safe);
    let body = write_request(&["up", "queue"]);
    let answer = rig.post("/api/v1/write", &WRITE, &body);
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("2"));
    assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), Some("0"));
    assert_eq!(rig.held.take(), [("p".to_owned(), body)]);
    let counters = rig.receivers.counters().remote_write;
    assert_eq!((counters.requests, counters.items), (1, 2));
}

#[test]
fn remote_write_of_mistakes_says_what_prometheus_must_not_send_again() {
    let rig = Rig::new(Mood::Safe);
    // A part of it.
    let answer = rig.post("/api/v1/write", &WRITE, &write_request(&["up", ""]));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("1"));
    assert!(answer.text().contains("1 of the samples are refused"), "{}", answer.text());
    assert_eq!(rig.held.take().len(), 1);
    let status = |headers: &[(&str, &str)], body: &[u8]| rig.post("/api/v1/write", headers, body).status;
    assert_eq!(status(&WRITE, b"\xff\xff\xff\xff\x0f\x00"), 413);
    assert_eq!(status(&WRITE, b"no snappy"), 400);
    assert_eq!(status(&[PROTOBUF], &write_request(&["up"])), 415);
    let other = ("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request");
    assert_eq!(status(&[other, WRITE[1]], &write_request(&["up"])), 415);
    let second = ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");
    assert_eq!(status(&[second, WRITE[1]], &write_request(&["up"])), 204);
    rig.held.set(Mood::Later);
    let later = rig.post("/api/v1/write", &WRITE, &write_request(&["up"]));
    assert_eq!((later.status, later.header("retry-after")), (503, Some("1")));
}
