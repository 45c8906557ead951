//! Alerts on their way to a real Alertmanager, beside a receiver that is down.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;

/// Alertmanager on loopback; dropping it ends it.
struct Alertmanager {
    process: Child,
    port: u16,
}

impl Alertmanager {
    /// Debian's package calls it prometheus-alertmanager.
    fn start(folder: &Path) -> Self {
        let port = free_port();
        let configuration = folder.join("alertmanager.yaml");
        std::fs::write(&configuration, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")
            .expect("the folder is writable");
        let names = ["prometheus-alertmanager", "alertmanager"];
        let folders = std::env::var("PATH").unwrap_or_default();
        let mut paths = std::env::split_paths(&folders).flat_map(|path| names.map(|name| path.join(name)));
        let binary: PathBuf =
            paths.find(|path| path.exists()).expect("install Debian's prometheus-alertmanager");
        let process = Command::new(binary)
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .spawn()
            .expect("Alertmanager starts");
        let alertmanager = Self { process, port };
        wait_until("Alertmanager is ready", || {
            http_get(port, "/-/ready").is_some_and(|answer| answer.contains("200 OK"))
        });
        alertmanager
    }

    /// The alerts that fire.
    fn alerts(&self) -> Vec<Value> {
        let answer = http_get(self.port, "/api/v2/alerts").expect("Alertmanager answers");
        let json = answer.find('[').zip(answer.rfind(']')).map(|(begin, end)| &answer[begin..=end]);
        serde_json::from_str(json.expect("a list")).expect("JSON")
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Accepts everything; what it was sent lies in the vector.
fn accept_all(listener: TcpListener) -> Arc<Mutex<Vec<Value>>> {
    let bodies = Arc::<Mutex<Vec<Value>>>::default();
    let into = Arc::clone(&bodies);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((_, body)) = text.split_once("\r\n\r\n")
                    && let Ok(json) = serde_json::from_str::<Value>(body)
                {
                    break Some(json);
                }
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break None,
                    Ok(n) => request.extend_from_slice(&buffer[..n]),
                }
            };
            into.lock().expect("nobody panics").extend(body);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    bodies
}

fn metric(rig: &Rig, line: &str) -> Option<f64> {
    let metrics = http_get(rig.http, "/metrics")?;
    let value = metrics.lines().find_map(|metric| metric.strip_prefix(line)?.strip_prefix(' '))?;
    value.parse().ok()
}

#[test]
fn an_alert_appears_in_alertmanager_survives_a_restart_and_resolves_while_another_receiver_is_down() {
    let mut rig = Rig::new("delivery");
    rig.create_sources();
    let alertmanager = Alertmanager::start(rig.folder.path());
    let webhook = free_port();
    rig.configure(&format!(
        "delivery:
  annotations: {{ runbook_url: 'https://runbooks.example.com/{{{{ labels.service }}}}' }}
  receivers:
    - {{ name: alertmanager, alertmanager: {{ urls: ['http://127.0.0.1:{}'], resend: 2s }} }}
    - {{ name: hook, webhook: {{ url: 'http://127.0.0.1:{webhook}/', format: cloud_events }} }}
",
        alertmanager.port
    ));
    rig.start();
    rig.produce(&telemetry(rig.folder.path(), "broken", 0..240, 200..240));
    wait_until("the alert is in Alertmanager", || !alertmanager.alerts().is_empty());
    let alert = alertmanager.alerts().remove(0);
    assert_eq!((&alert["labels"]["service"], &alert["status"]["state"]), (&"cart".into(), &"active".into()));
    assert_eq!(alert["annotations"]["runbook_url"], "https://runbooks.example.com/cart");
    assert!(alert["startsAt"].as_str().is_some_and(|at| at.starts_with("2023-11-14")), "{alert}");
    let accepted = "foreshock_delivery_accepted_total{receiver=\"alertmanager\"}";
    wait_until("it is counted", || metric(&rig, accepted).is_some_and(|count| count >= 1.0));
    wait_until("the other fails", || {
        metric(&rig, "foreshock_delivery_consecutive_failures{receiver=\"hook\"}").is_some_and(|n| n > 0.0)
    });

    // Longer than an alert holds that is not sent again.
    rig.stop();
    rig.start();
    wait_until("it is sent again", || {
        metric(&rig, "foreshock_delivery_repeated_total{receiver=\"alertmanager\"}").is_some_and(|n| n >= 5.0)
    });
    assert_eq!(alertmanager.alerts().len(), 1);
    assert_eq!(metric(&rig, accepted), Some(0.0), "what was told is not news after a restart");

    let listener = TcpListener::bind(("127.0.0.1", webhook)).expect("the port is still free");
    let bodies = accept_all(listener);
    wait_until("the other receiver is told of what it has missed", || !bodies.lock().unwrap().is_empty());

    rig.produce(&telemetry(rig.folder.path(), "well", 240..330, 0..0));
    wait_until("the alert is over", || alertmanager.alerts().is_empty());
    wait_until("both are told of the end", || {
        bodies.lock().unwrap().last().is_some_and(|event| event["data"]["state"] == "resolved")
    });
    let bodies = bodies.lock().unwrap().clone();
    let versions: Vec<_> = bodies.iter().map(|event| event["data"]["incident_version"].as_u64()).collect();
    assert!(versions.is_sorted() && bodies[0]["data"]["state"] == "firing", "{bodies:?}");
    rig.stop();
}

#[test]
fn a_silenced_alert_is_on_its_topic_but_not_delivered_until_the_silence_is_expired() {
    let mut rig = Rig::new("silenced");
    rig.create_sources();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let bodies = accept_all(listener);
    rig.configure(&format!(
        "delivery: {{ receivers: [{{ name: hook, webhook: {{ url: 'http://127.0.0.1:{port}/', format: cloud_events }} }}] }}\n"
    ));
    rig.start();
    let server = format!("http://127.0.0.1:{}", rig.grpc);
    let silences = |arguments: &[&str]| {
        let command = foreshock()
            .arg("silences")
            .args(arguments)
            .args(["--server", &server, "--output", "json"])
            .output();
        let output = command.expect("the command runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    let wrong = foreshock()
        .args([
            "silences",
            "add",
            "--match",
            "service=~.*",
            "--for",
            "1h",
            "--comment",
            "x",
            "--author",
            "ada",
            "--server",
            &server,
        ])
        .output()
        .expect("the command runs");
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("everything"));

    let added = silences(&[
        "add",
        "--match",
        "service=cart",
        "--for",
        "1h",
        "--comment",
        "load test",
        "--author",
        "ada",
    ]);
    let id = added[0]["silence"].as_str().expect("an id").to_owned();
    assert_eq!((added.len(), &added[0]["state"]), (1, &"active".into()));
    // Also what a restart reads.
    rig.stop();
    rig.start();
    assert_eq!(silences(&["list"])[0]["silence"], id.as_str());
    rig.produce(&telemetry(rig.folder.path(), "broken", 0..240, 200..240));
    wait_until("the alert is held back", || {
        metric(&rig, "foreshock_delivery_held{receiver=\"hook\"}").is_some_and(|held| held >= 1.0)
    });
    let on_kafka = kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("alerts")], None);
    assert!(on_kafka.contains("firing") && bodies.lock().unwrap().is_empty());
    let listed =
        foreshock().args(["incidents", "list", "--server", &server]).output().expect("the command runs");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("(silenced)"), "{listed:?}");

    // A restart holds it back as well, and knows that it was not told.
    rig.stop();
    rig.start();
    wait_until("it is held back again", || {
        metric(&rig, "foreshock_delivery_held{receiver=\"hook\"}").is_some_and(|held| held >= 1.0)
    });
    assert!(bodies.lock().unwrap().is_empty());
    let expired = silences(&["expire", &id, "--comment", "done", "--author", "bob"]);
    assert_eq!((&expired[0]["state"], &expired[0]["changes"][1]["author"]), (&"over".into(), &"bob".into()));
    wait_until("it is told at last", || !bodies.lock().unwrap().is_empty());
    assert_eq!(bodies.lock().unwrap()[0]["data"]["state"], "firing");
    assert_eq!((silences(&["list"]).len(), silences(&["list", "--all"]).len()), (0, 1));

    // What people say of it is shown with it, also after a restart.
    let incidents = |arguments: &[&str]| {
        let command = foreshock()
            .arg("incidents")
            .args(arguments)
            .args(["--server", &server, "--output", "json"])
            .output();
        let output = command.expect("the command runs");
        let line = String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned);
        (
            output.status.success(),
            line.map(|line| serde_json::from_str::<Value>(&line).expect("JSON")).unwrap_or_default(),
        )
    };
    let (_, incident) = incidents(&["list"]);
    let incident = incident["incident"].as_str().expect("an incident").to_owned();
    assert!(incidents(&["ack", &incident, "--author", "ada"]).0);
    assert!(!incidents(&["ack", "no-such-incident", "--author", "ada"]).0);
    let (_, remark) = incidents(&[
        "feedback",
        &incident,
        "wrong-cause",
        "--cause",
        "db",
        "--comment",
        "pool",
        "--author",
        "ada",
    ]);
    let remark = remark["remark"].as_str().expect("an id").to_owned();
    assert!(incidents(&["undo", &incident, &remark, "--author", "bob"]).0);
    rig.stop();
    rig.start();
    let (_, shown) = incidents(&["show", &incident]);
    let kinds: Vec<_> =
        shown["remarks"].as_array().expect("remarks").iter().map(|remark| &remark["kind"]).collect();
    assert_eq!(kinds, ["acknowledged", "wrong_cause"]);
    assert_eq!(
        (&shown["remarks"][1]["cause"], &shown["remarks"][1]["undone_by"]),
        (&"db".into(), &"bob".into())
    );
    rig.stop();
}
