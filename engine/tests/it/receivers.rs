//! The doors of an engine, before a mock broker that goes away.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use foreshock::config::Config;
use kafka::{MockKafka, TopicScan};

use crate::command_line::configuration;

const TIMEOUT: Duration = Duration::from_secs(10);
const LOG: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1760000000000000000","body":{"stringValue":"m"}}]}]}]}"#;

struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn ask(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn get(port: u16, path: &str) -> Option<String> {
    ask(port, &format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"))
}

#[test]
fn what_comes_in_lies_on_the_topic_and_without_brokers_it_is_to_come_again() {
    let config = Config::default();
    let sources: Vec<(&str, i32)> = config.sources.iter().map(|source| (source.topic.as_str(), 1)).collect();
    let outputs = config.topics.all().map(|topic| (topic.as_str(), 1));
    let kafka = MockKafka::start(&[&sources[..], &outputs].concat()).unwrap();
    let (door, http, grpc) = (free_port(), free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "kafka: {{ brokers: \"{}\" }}\nstate: {{ location: null }}\nhttp: {{ listen: 127.0.0.1:{http} }}\n\
         grpc: {{ listen: 127.0.0.1:{grpc} }}\nreceivers: {{ http: 127.0.0.1:{door}, acknowledge_timeout: 1s }}\n",
        kafka.brokers()
    );
    let path = configuration(&folder, &yaml);
    let mut command = Command::new(env!("CARGO_BIN_EXE_foreshock"));
    let _engine = Engine(command.args(["run", "-c"]).arg(path).stderr(Stdio::null()).spawn().unwrap());
    let started = Instant::now();
    while !get(http, "/readyz").is_some_and(|answer| answer.contains("200 OK")) {
        assert!(started.elapsed() < Duration::from_secs(60), "the engine is not ready");
        std::thread::sleep(Duration::from_millis(50));
    }

    let request = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{LOG}",
        LOG.len()
    );
    let answer = ask(door, &request).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let scan = TopicScan::new(&kafka.connection(), "otlp_logs", TIMEOUT).unwrap();
    let mut records = 0;
    scan.read(&scan.beginning(), TIMEOUT, |record| {
        let mut decoder = codec::decoder("logs", "otlp_proto", codec::Limits::default()).unwrap();
        decoder.decode(record, &mut Vec::new()).unwrap();
        records += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(records, 1);
    let metrics = get(http, "/metrics").unwrap();
    assert!(metrics.contains("foreshock_receiver_items_total{door=\"otlp_http\"} 1\n"), "{metrics}");

    drop(kafka);
    let answer = ask(door, &request).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    let metrics = get(http, "/metrics").unwrap();
    let refused = "foreshock_receiver_refusals_total{door=\"otlp_http\",reason=\"undelivered\"} 1\n";
    assert!(metrics.contains(refused), "{metrics}");
}
