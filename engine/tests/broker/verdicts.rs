//! A release is judged by what lies on Kafka, and what people say of an incident counts the next time.

use serde_json::Value;

use super::*;

/// The exit code and the JSON of a command against the engine.
fn ask(rig: &Rig, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let server = format!("http://127.0.0.1:{}", rig.grpc);
    let output = foreshock().args(arguments).args(["--output", "json", "--server", &server]).output();
    let output = output.expect("the command starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

#[test]
fn a_release_is_judged_over_grpc_and_noise_is_less_severe_the_next_time() {
    let mut rig = Rig::new("verdict");
    rig.create_sources();
    rig.configure("alerts: { encoding: protobuf }\n");
    rig.start();
    rig.produce(&telemetry(rig.folder.path(), "first", 0..300, 200..260));
    let incidents = |rig: &Rig| ask(rig, &["incidents", "list"]).1;
    wait_until("the incident is over", || {
        incidents(&rig).first().is_some_and(|incident| incident["state"] == "resolved")
    });
    let since = (1_700_000_000_000_i64 + 200 * 10_000).to_string();
    let judge = |service: &str| {
        let times = ["--since", &since, "--until", "1700002600000", "--settle", "0s"];
        ask(&rig, &[&["verdict", "--service", service], &times[..]].concat())
    };
    let (code, verdict) = judge("cart");
    assert_eq!((code, &verdict[0]["outcome"]), (Some(1), &"fail".into()), "{verdict:?}");
    let first = &verdict[0]["series"][0];
    assert_eq!((&first["finding"], &first["role"]), (&"worse".into(), &"resource".into()));
    assert!(first["after"].as_f64() > first["before"].as_f64() && first["p_adjusted"].as_f64() < Some(0.005));
    let (code, verdict) = judge("email");
    assert_eq!((code, &verdict[0]["outcome"]), (Some(3), &"unknown".into()), "a CPU alone shows no harm");
    assert_eq!(judge("nobody").0, Some(3));

    let before = incidents(&rig).remove(0);
    let id = before["incident"].as_str().expect("an id").to_owned();
    let (code, _) = ask(&rig, &["incidents", "feedback", &id, "noise", "--author", "test"]);
    assert_eq!(code, Some(0));
    rig.produce(&telemetry(rig.folder.path(), "second", 600..900, 800..860));
    wait_until("the next incident", || incidents(&rig).len() > 1);
    wait_until("it is over", || incidents(&rig).iter().all(|incident| incident["state"] == "resolved"));
    let after = incidents(&rig).remove(0);
    assert_ne!(after["incident"], before["incident"]);
    assert!(after["title"].as_str().is_some_and(|title| title.contains("noise")), "{after}");
    let dead = kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("dead-letter")], None);
    assert_eq!(dead, "", "all is read");
    let kinds = kcat(&["-C", "-e", "-o", "beginning", "-t", &rig.topic("alerts"), "-f", "%h\n"], None);
    assert!(kinds.contains("content-type=application/protobuf"), "{kinds}");
    rig.stop();
}
