//! Doors on loopback, requests to send, and an HTTP/1.1 client that does as it is told, right or wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foreshock_receivers::{Receivers, Settings, Token, Topics, start};
use proto::opentelemetry::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::opentelemetry::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proto::opentelemetry::metrics::v1::number_data_point::Value;
use proto::opentelemetry::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};

use crate::destination::{Held, Mood};

pub const TIME_NS: u64 = 1_760_000_000_000_000_000;

pub struct Rig {
    pub receivers: Receivers,
    pub held: Arc<Held>,
}

pub fn settings() -> Settings {
    let loopback = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Settings { grpc: loopback, http: loopback, ..Settings::default() }
}

pub fn topics() -> Topics {
    let topic = |name: &str| Some(name.to_owned());
    Topics { metrics: topic("m"), logs: topic("l"), spans: topic("s"), remote_write: topic("p") }
}

impl Rig {
    pub fn new(mood: Mood) -> Self {
        Self::with(settings(), topics(), mood)
    }

    pub fn with(settings: Settings, topics: Topics, mood: Mood) -> Self {
        let held = Held::new(mood);
        let receivers = start(settings, topics, held.clone()).expect("the doors open");
        Self { receivers, held }
    }

    pub fn with_token(token: &str) -> Self {
        Self::with(Settings { token: Token::new(token), ..settings() }, topics(), Mood::Safe)
    }

    pub fn grpc(&self) -> String {
        format!("http://{}", self.receivers.grpc.expect("the door is open"))
    }

    pub fn http(&self) -> SocketAddr {
        self.receivers.http.expect("the door is open")
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        post(TcpStream::connect(self.http()).expect("a connection"), path, headers, body)
    }
}

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn post(mut stream: impl Read + Write, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| *name == "content-length") {
        head += &format!("content-length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).expect("written");
    // A server that has had enough may answer and close before it has read everything.
    let _ = stream.write_all(body);
    response(stream)
}

pub fn response(mut stream: impl Read) -> Response {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer with a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Response { status, head, body: answer[end + 4..].to_vec() }
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn logs(bodies: usize) -> ExportLogsServiceRequest {
    let record = |number: usize| LogRecord {
        time_unix_nano: TIME_NS + number as u64,
        severity_text: format!("{number:0>100}"),
        ..Default::default()
    };
    let scope = ScopeLogs { log_records: (0..bodies).map(record).collect(), ..Default::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..Default::default() }],
    }
}

/// A gauge with points at these times.
pub fn metrics(times_ns: &[u64]) -> ExportMetricsServiceRequest {
    let point = |time: &u64| NumberDataPoint {
        time_unix_nano: *time,
        value: Some(Value::AsDouble(1.0)),
        ..Default::default()
    };
    let gauge = Gauge { data_points: times_ns.iter().map(point).collect() };
    let metric =
        Metric { name: "queue".to_owned(), data: Some(metric::Data::Gauge(gauge)), ..Default::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..Default::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics: vec![scope], ..Default::default() }],
    }
}
