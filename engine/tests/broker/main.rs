//! The engine on Apache Kafka, from telemetry on source topics to alerts. Needs `FORESHOCK_TEST_BROKERS` and `kcat`.

mod catch_up;
mod dead_letters;
mod delivery;
mod doors;
mod killed;
mod random_records;
mod scale_out;
mod upgrade;
mod verdicts;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto::foreshock::v1;
use proto::foreshock::v1::alert_service_client::AlertServiceClient;
use proto::foreshock::v1::incident_service_client::IncidentServiceClient;

const PATIENCE: Duration = Duration::from_secs(60);
/// When scenarios of the shop begin.
const START_MS: i64 = 1_767_600_000_000;

fn brokers() -> String {
    std::env::var("FORESHOCK_TEST_BROKERS")
        .expect("FORESHOCK_TEST_BROKERS names the brokers, as .ci/kafka start prints")
}

fn foreshock() -> Command {
    Command::new(env!("CARGO_BIN_EXE_foreshock"))
}

/// A consumer and producer that shares no code with the engine's side of the topic.
fn kcat(arguments: &[&str], input: Option<&[u8]>) -> String {
    let mut command = Command::new("kcat");
    command.args(["-b", &brokers(), "-q"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("kcat is installed");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.unwrap_or_default()).expect("kcat reads");
    drop(stdin);
    let output = child.wait_with_output().expect("kcat ends");
    assert!(output.status.success(), "kcat {arguments:?} failed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    // 1.0, so that the answer is in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Asks an engine to end, as an init system does.
fn stop(mut engine: Child) {
    let asked = Command::new("kill").args(["-TERM", &engine.id().to_string()]).status();
    assert!(asked.is_ok_and(|status| status.success()));
    assert!(engine.wait().expect("the engine ends").success(), "a clean stop");
}

/// An engine on topics of its own.
struct Rig {
    folder: tempfile::TempDir,
    prefix: String,
    grpc: u16,
    http: u16,
    engine: Option<Child>,
}

impl Rig {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = format!("{name}-{}", std::process::id());
        let rig = Self { folder, prefix, grpc: free_port(), http: free_port(), engine: None };
        let mut yaml = format!(
            "kafka: {{ brokers: \"{}\", group: {}, start: earliest, partitions: 3 }}\nsources:\n",
            brokers(),
            rig.prefix
        );
        for (signal, encoding) in [
            ("metrics", "otlp_proto"),
            ("logs", "otlp_proto"),
            ("spans", "otlp_proto"),
            ("events", "cloud_events"),
        ] {
            let topic = rig.topic(signal);
            writeln!(yaml, "  - {{ topic: {topic}, signal: {signal}, encoding: {encoding} }}")
                .expect("memory");
        }
        yaml.push_str("topics:\n");
        for (key, name) in [
            ("samples", "samples"),
            ("spans", "spans-by-trace"),
            ("findings", "findings"),
            ("anomalies", "anomalies"),
            ("incidents", "incidents"),
            ("alerts", "alerts"),
            ("coverage", "coverage"),
            ("dead_letter", "dead-letter"),
            ("controls", "controls"),
        ] {
            writeln!(yaml, "  {key}: {}", rig.topic(name)).expect("memory");
        }
        writeln!(
            yaml,
            "grpc: {{ listen: 127.0.0.1:{} }}\nhttp: {{ listen: 127.0.0.1:{} }}\nstate: {{ location: {} }}",
            rig.grpc,
            rig.http,
            rig.folder.path().join("state").display()
        )
        .expect("memory");
        std::fs::write(rig.configuration(), yaml).expect("the folder is writable");
        rig
    }

    /// Adds to the configuration.
    fn configure(&self, yaml: &str) {
        let before = std::fs::read_to_string(self.configuration()).expect("the configuration is there");
        std::fs::write(self.configuration(), format!("{before}{yaml}")).expect("the folder is writable");
    }

    fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("foreshock.yaml")
    }

    fn create_sources(&self) {
        let connection = kafka::ConnectionSettings::new(brokers());
        let specs: Vec<kafka::TopicSpec> = ["metrics", "logs", "spans", "events"]
            .map(|name| kafka::TopicSpec {
                name: self.topic(name),
                partitions: 1,
                replication: 1,
                config: vec![("retention.ms".to_owned(), "-1".to_owned())],
            })
            .into();
        kafka::topics::ensure(&connection, &specs, PATIENCE).expect("topics can be created");
    }

    fn start(&mut self) {
        let child = foreshock().arg("run").arg("-c").arg(self.configuration()).spawn();
        self.engine = Some(child.expect("the engine starts"));
        let http = self.http;
        wait_until("the engine is ready", || {
            http_get(http, "/readyz").is_some_and(|answer| answer.contains("200 OK"))
        });
    }

    fn stop(&mut self) {
        stop(self.engine.take().expect("the engine runs"));
    }

    fn produce(&self, input: &Path) {
        let status =
            foreshock().arg("produce").arg("-c").arg(self.configuration()).arg("--input").arg(input).status();
        assert!(status.expect("produce starts").success());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(engine) = &mut self.engine {
            let _ = engine.kill();
            let _ = engine.wait();
        }
    }
}

/// Two services' CPU, of which one jumps after half an hour, with a queue that grows.
fn fixture(folder: &Path) -> PathBuf {
    telemetry(folder, "telemetry", 0..240, 200..240)
}

/// The same in steps of ten seconds, broken in some of them.
fn telemetry(folder: &Path, name: &str, steps: Range<i64>, broken: Range<i64>) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir(&path).expect("the folder is writable");
    let mut csv = "timestamp_ms,service,metric,value\n".to_owned();
    for i in steps {
        let time_ms = 1_700_000_000_000 + i * 10_000;
        let noise = [0.0, 0.02, -0.01, 0.01, -0.02][i as usize % 5];
        let is_broken = broken.contains(&i);
        let cpu = if is_broken { 0.95 } else { 0.3 } + noise;
        let queue = if is_broken { 400.0 } else { 20.0 } + 10.0 * noise;
        for (service, metric, value) in
            [("cart", "cpu", cpu), ("cart", "queue_length", queue), ("email", "cpu", 0.2 + noise)]
        {
            writeln!(csv, "{time_ms},{service},{metric},{value}").expect("memory");
        }
    }
    std::fs::write(path.join("metrics.csv"), csv).expect("the folder is writable");
    path
}

#[test]
fn a_fault_becomes_an_alert_on_kafka_and_over_grpc_and_a_corrupt_record_a_dead_letter() {
    let mut rig = Rig::new("alert");
    rig.create_sources();
    rig.start();
    let corrupt = b"\xff\xfe this is not protobuf";
    kcat(&["-P", "-t", &rig.topic("metrics"), "-H", "origin=test"], Some(corrupt));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = format!("http://127.0.0.1:{}", rig.grpc);
    let over_grpc = runtime.block_on(async {
        let mut alerts = AlertServiceClient::connect(address.clone()).await.expect("gRPC answers");
        let mut stream =
            alerts.watch_alerts(v1::WatchAlertsRequest::default()).await.expect("a stream").into_inner();
        rig.produce(&fixture(rig.folder.path()));
        let next = tokio::time::timeout(PATIENCE, stream.message()).await.expect("an alert in time");
        let response = next.expect("the stream goes on").expect("the stream has not ended");
        let alert = response.alert.expect("a response holds an alert");

        let mut incidents = IncidentServiceClient::connect(address.clone()).await.expect("gRPC answers");
        let request = v1::GetIncidentRequest { incident: alert.incident.clone() };
        let incident = incidents.get_incident(request).await.expect("the incident is there").into_inner();
        assert!(incident.incident.is_some_and(|incident| incident.services.contains(&"cart".to_owned())));
        let none = incidents.get_incident(v1::GetIncidentRequest { incident: "none".to_owned() }).await;
        assert_eq!(none.map(drop).map_err(|status| status.code()), Err(tonic::Code::NotFound));
        alert
    });

    let on_kafka = kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("alerts")], None);
    let first: serde_json::Value =
        serde_json::from_str(on_kafka.lines().next().expect("an alert on the topic")).expect("JSON");
    assert_eq!(first["fingerprint"], over_grpc.fingerprint.as_str());
    assert_eq!((&first["state"], &first["labels"]["service"]), (&"firing".into(), &"cart".into()));

    let dead =
        kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("dead-letter"), "-f", "%h|%S|%s\n"], None);
    for part in ["origin=test", "foreshock-partition=0", "foreshock-offset=0", "foreshock-reason=", "|23|"] {
        assert!(dead.contains(part), "{part} is not in {dead}");
    }
    assert_eq!(dead.lines().count(), 1);
    let metrics = http_get(rig.http, "/metrics").expect("metrics");
    assert!(metrics.contains("foreshock_dead_letters_total{worker=\"ingest\"} 1"), "{metrics}");

    let coverage = |arguments: &[&str]| {
        let output =
            foreshock().args(["coverage", "--server", &address]).args(arguments).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    wait_until("the ledger says that all is modelled", || {
        let lines = coverage(&["--output", "json"]);
        let services =
            lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let modelled =
            |service: serde_json::Value| (service["service"].to_string(), service["modelled"].as_u64());
        let expected = [("\"cart\"".to_owned(), Some(2)), ("\"email\"".to_owned(), Some(1))];
        services.map(modelled).eq(expected)
    });
    assert!(coverage(&["--gaps", "--service", "cart"]).contains("no traces"));
    assert_eq!(coverage(&["--service", "nobody"]), "");
    let keys = kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("coverage"), "-f", "%k\n"], None);
    assert!(
        keys.lines().all(|key| key.starts_with(&rig.topic("samples")) && key.split('/').count() == 3),
        "{keys}"
    );
    wait_until("the sums are metrics", || {
        let metrics = http_get(rig.http, "/metrics").expect("metrics");
        metrics.contains("foreshock_series_by_state{worker=\"series\",state=\"modelled\"} 3")
    });

    let listed = foreshock()
        .args(["incidents", "list", "--output", "json", "--server", &address])
        .output()
        .expect("runs");
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&over_grpc.incident));
    rig.stop();
}

#[test]
fn a_missing_topic_is_named() {
    let rig = Rig::new("missing");
    let output =
        foreshock().arg("run").arg("-c").arg(rig.configuration()).output().expect("the engine starts");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains(&rig.topic("metrics")), "{message}");
}

#[test]
fn a_restarted_engine_goes_on_where_it_stopped_and_shows_what_it_said() {
    let mut rig = Rig::new("restart");
    rig.create_sources();
    rig.start();
    rig.produce(&fixture(rig.folder.path()));
    let alerts = |rig: &Rig| kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("alerts")], None);
    wait_until("an alert", || alerts(&rig).lines().count() > 0);
    rig.stop();
    let before = alerts(&rig);
    rig.start();
    rig.stop();
    assert_eq!(alerts(&rig), before, "what was said once is not said again");
}

#[test]
fn series_of_a_keyed_source_are_judged_where_they_are_read() {
    let mut rig = Rig::new("keyed");
    let yaml = std::fs::read_to_string(rig.configuration()).expect("written before");
    let metrics = format!("topic: {}, signal: metrics, ", rig.topic("metrics"));
    let yaml = yaml.replacen(&metrics, &format!("{metrics}keyed: entity, "), 1);
    assert!(yaml.contains("keyed"));
    std::fs::write(rig.configuration(), yaml).expect("the folder is writable");
    rig.create_sources();
    rig.start();
    rig.produce(&fixture(rig.folder.path()));
    let alerts = |rig: &Rig| kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("alerts")], None);
    wait_until("an alert", || alerts(&rig).lines().count() > 0);
    let metrics = http_get(rig.http, "/metrics").expect("metrics");
    for line in ["foreshock_series{worker=\"keyed\"} 3", "foreshock_series{worker=\"series\"} 0"] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let corrupt = b"\xff\xfe this is not protobuf";
    kcat(&["-P", "-t", &rig.topic("metrics")], Some(corrupt));
    wait_until("a dead letter", || {
        !kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("dead-letter")], None).is_empty()
    });
    rig.stop();
    let before = alerts(&rig);
    rig.start();
    let metrics = http_get(rig.http, "/metrics").expect("metrics");
    assert!(metrics.contains("foreshock_state_restored_total{worker=\"keyed\"} 1"), "{metrics}");
    rig.stop();
    assert_eq!(alerts(&rig), before, "what was said once is not said again");
}
