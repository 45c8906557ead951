//! Commands with right and wrong input.

use std::path::PathBuf;
use std::process::{Command, Output};

pub(crate) fn foreshock(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_foreshock")).args(arguments).output().expect("the binary starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn configuration(folder: &tempfile::TempDir, yaml: &str) -> PathBuf {
    let path = folder.path().join("foreshock.yaml");
    std::fs::write(&path, yaml).expect("the folder is writable");
    path
}

#[test]
fn the_printed_defaults_are_a_valid_configuration() {
    let printed = foreshock(&["validate", "--print-default"]);
    assert!(printed.status.success());
    let folder = tempfile::tempdir().unwrap();
    let path = configuration(&folder, &text(&printed.stdout));
    let checked = foreshock(&["validate", "-c", path.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert!(text(&checked.stderr).contains("otlp_metrics"));
}

#[test]
fn a_wrong_configuration_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = configuration(&folder, "kafka:\n  borkers: localhost:9092\n");
    let checked = foreshock(&["validate", "-c", path.to_str().unwrap()]);
    let message = text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        message.contains("borkers") && message.contains("brokers") && message.contains("foreshock.yaml"),
        "{message}"
    );

    let absent = folder.path().join("absent.yaml");
    let message = text(&foreshock(&["validate", "-c", absent.to_str().unwrap()]).stderr);
    assert!(message.contains("absent.yaml") && message.contains("-c FILE"), "{message}");
}

/// A folder with one service whose CPU and queue jump.
fn telemetry(folder: &tempfile::TempDir) -> PathBuf {
    let mut csv = "timestamp_ms,service,metric,value\n".to_owned();
    for i in 0..240_i64 {
        let noise = [0.0, 0.02, -0.01, 0.01, -0.02][i as usize % 5];
        let level = if i >= 200 { 0.95 } else { 0.3 };
        csv += &format!("{},cart,cpu,{}\n", 1_700_000_000_000 + i * 10_000, level + noise);
        csv += &format!(
            "{},cart,queue_length,{}\n",
            1_700_000_000_000 + i * 10_000,
            100.0 * level + 10.0 * noise
        );
    }
    std::fs::write(folder.path().join("metrics.csv"), csv).expect("the folder is writable");
    folder.path().to_owned()
}

#[test]
fn replay_prints_each_version_of_an_incident_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let input = telemetry(&folder);
    let arguments = ["replay", "--input", input.to_str().unwrap(), "--output", "json"];
    let replayed = foreshock(&arguments);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    let lines = text(&replayed.stdout);
    let versions: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(versions[0]["state"], "open");
    assert_eq!(versions[0]["opened_ms"], 1_700_002_000_000_i64);
    assert_eq!(versions[0]["root_causes"][0]["service"], "cart");
    assert_eq!(text(&foreshock(&arguments).stdout), lines, "the same every time");

    let trigger = ["--trigger-ms", "1700002010000", "--to", "2023-11-14T22:50:00Z"];
    let by_hand = foreshock(&[&arguments[..], &trigger].concat());
    let lines = text(&by_hand.stdout);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["root_causes"][0]["service"], "cart", "{lines}");
}

#[test]
fn replay_says_what_is_watched_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let input = telemetry(&folder);
    let arguments = ["replay", "--coverage", "--input", input.to_str().unwrap()];
    let table = text(&foreshock(&arguments).stdout);
    assert!(table.contains("SERVICE") && table.contains("no traces"), "{table}");
    let lines = text(&foreshock(&[&arguments[..], &["--output", "json"]].concat()).stdout);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["service"], &last["modelled"]), (&"cart".into(), &2.into()));
    // Five minutes are too short to learn from.
    let soon = foreshock(&[&arguments[..], &["--output", "json", "--to", "1700000250000"]].concat());
    let last: serde_json::Value = serde_json::from_str(&text(&soon.stdout)).unwrap();
    assert_eq!((&last["modelled"], &last["learning"]["series"]), (&0.into(), &2.into()));
    assert_eq!(last["learning"]["listed"][0]["points_left"], 5);
}

#[test]
fn coverage_without_an_engine_says_where_it_was_looked_for() {
    let asked = foreshock(&["coverage", "--server", "http://127.0.0.1:1"]);
    let message = text(&asked.stderr);
    assert_eq!(asked.status.code(), Some(1));
    assert!(message.contains("http://127.0.0.1:1") && message.contains("is it running"), "{message}");
    let asked = foreshock(&["coverage", "--server", "nowhere at all"]);
    assert!(text(&asked.stderr).contains("http://host:port"), "{}", text(&asked.stderr));
    assert_eq!(foreshock(&["coverage", "--gap"]).status.code(), Some(2));
    assert_eq!(foreshock(&["coverage", "cart"]).status.code(), Some(2));
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let message = text(&foreshock(&["replay", "--input", &path]).stderr);
    assert!(message.contains("no telemetry") && message.contains("metrics"), "{message}");
    let nowhere = folder.path().join("nowhere");
    let message = text(&foreshock(&["replay", "--input", nowhere.to_str().unwrap()]).stderr);
    assert!(message.contains("nowhere: cannot open"), "{message}");
    telemetry(&folder);
    let message = text(&foreshock(&["replay", "--input", &path, "--trigger-ms", "5"]).stderr);
    assert!(message.contains("outside of the data"), "{message}");
    std::fs::write(folder.path().join("traces.csv"), "timestamp_us,trace_id\n1,a\n").unwrap();
    let message = text(&foreshock(&["replay", "--input", &path]).stderr);
    assert!(message.contains("traces.csv") && message.contains("column"), "{message}");
}

#[test]
fn a_full_disk_and_an_unreachable_broker_are_said_with_what_to_do() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let input = telemetry(&folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_foreshock"));
    let output = command.args(["replay", "--input", input.to_str().unwrap()]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is the disk full"), "{}", text(&output.stderr));

    let path = configuration(&folder, "kafka: { brokers: \"127.0.0.1:1\" }\n");
    let message = text(
        &foreshock(&["produce", "--input", input.to_str().unwrap(), "-c", path.to_str().unwrap()]).stderr,
    );
    assert!(
        message.contains("127.0.0.1:1")
            && message.contains("no answer from Kafka")
            && message.contains("check that the address is right"),
        "{message}"
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    assert_eq!(foreshock(&["vaildate"]).status.code(), Some(2));
    assert_eq!(foreshock(&["validate"]).status.code(), Some(2));
}

/// A folder with a calm series that jumps once, another below it, and a file that is none.
fn series(folder: &tempfile::TempDir) -> PathBuf {
    let input = folder.path().join("input");
    std::fs::create_dir_all(input.join("deep/er")).expect("the folder is writable");
    let mut text = "timestamp,host,value\n".to_owned();
    for i in 0..600_i64 {
        let noise = (i * 7 % 13 + i * i % 11) as f64 / 8.0;
        let value = if i == 400 { "90.0".to_owned() } else { (20.0 + noise).to_string() };
        let value = if i == 300 { "" } else { &value };
        text += &format!("{},\"a, {i}\",{value}\n", 1_700_000_000 + i * 300);
    }
    std::fs::write(input.join("cpu.csv"), text).expect("the folder is writable");
    std::fs::write(input.join("deep/er/flat.csv"), "timestamp,value\n2026-01-31 12:00:00,1\n")
        .expect("the folder is writable");
    std::fs::write(input.join("deep/readme.txt"), "no series").expect("the folder is writable");
    input
}

#[test]
fn score_judges_every_row_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (series(&folder), folder.path().join("new/output"));
    let arguments = ["score", "--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    let scored = foreshock(&arguments);
    assert!(scored.status.success(), "{}", text(&scored.stderr));
    let summary = text(&scored.stdout);
    assert!(summary.contains("2 files, 601 rows: 1 alerts in 1 series"), "{summary}");
    assert!(summary.contains("2023-11-16T07:33:20Z  cpu.csv"), "{summary}");

    let before = std::fs::read_to_string(input.join("cpu.csv")).unwrap();
    let after = std::fs::read_to_string(output.join("cpu.csv")).unwrap();
    assert_eq!(before.lines().count(), after.lines().count());
    for (i, (before, after)) in before.lines().zip(after.lines()).enumerate() {
        let added = after.strip_prefix(before).expect("the row as it was").trim_start_matches(',');
        let numbers: Vec<f64> = added.split(',').filter_map(|field| field.parse().ok()).collect();
        match i {
            0 => assert_eq!(added, "anomaly_score,expected,lower,upper"),
            1..=50 | 301 => assert_eq!(added, "0,,,", "row {i} is not judged"),
            _ => {
                let [score, expected, lower, upper] = numbers[..] else { panic!("{after}") };
                assert_eq!(score > 0.5, i == 401, "{after}");
                assert!(lower < expected && expected < upper && (20.0..24.0).contains(&expected), "{after}");
            }
        }
    }
    let flat = std::fs::read_to_string(output.join("deep/er/flat.csv")).unwrap();
    assert_eq!(flat, "timestamp,value,anomaly_score,expected,lower,upper\n2026-01-31 12:00:00,1,0,,,\n");
    assert!(!output.join("deep/readme.txt").exists());
    let pictures = folder.path().join("pictures");
    assert!(foreshock(&[&arguments[..], &["--plot", pictures.to_str().unwrap()]].concat()).status.success());
    assert_eq!(std::fs::read_to_string(output.join("cpu.csv")).unwrap(), after, "the same every time");
    let picture = |name: &str| std::fs::read_to_string(pictures.join(name)).unwrap();
    assert_eq!(picture("cpu.csv.svg").matches("<circle").count(), 1, "of the one alert");
    assert!(picture("deep/er/flat.csv.svg").starts_with("<svg"));
}

#[test]
fn what_cannot_be_scored_is_said_and_the_input_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let input = series(&folder);
    let message = |input: &std::path::Path, output: &std::path::Path| {
        let arguments = ["score", "--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
        let scored = foreshock(&arguments);
        assert_eq!(scored.status.code(), Some(1));
        text(&scored.stderr)
    };
    let before = std::fs::read_to_string(input.join("cpu.csv")).unwrap();
    for output in [&input, &input.join("scored"), &input.join("../input/deep"), &folder.path().to_owned()] {
        let said = message(&input, output);
        assert!(said.contains("must stay as they are"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(input.join("cpu.csv")).unwrap(), before);
    assert!(!input.join("scored").exists());
    let (to, from) = (folder.path().join("elsewhere"), input.to_str().unwrap());
    let arguments = ["score", "--input", from, "--output", to.to_str().unwrap(), "--plot", from];
    assert!(text(&foreshock(&arguments).stderr).contains("--plot"));
    let said = message(&input, &folder.path().join("absent/../input"));
    assert!(said.contains("without it") && !folder.path().join("absent").exists(), "{said}");

    let output = folder.path().join("output");
    let said = message(&folder.path().join("absent"), &output);
    assert!(said.contains("no such folder"), "{said}");
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let said = message(&folder.path().join("empty"), &output);
    assert!(said.contains("no .csv file"), "{said}");
    std::fs::write(input.join("deep/bad.csv"), "timestamp,value\n1,2\n2,two\n").unwrap();
    let said = message(&input, &output);
    assert!(said.contains("bad.csv, line 3") && said.contains("\"two\" is not a number"), "{said}");
    assert!(output.join("cpu.csv").exists() && !output.join("deep/bad.csv").exists(), "the rest is scored");
    assert_eq!(std::fs::read_dir(output.join("deep")).unwrap().count(), 1, "nothing unfinished is left");
    let unknown = foreshock(&["score", "--input", "a", "--output", "b", "--detector", "oracle"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("ensemble"), "{}", text(&unknown.stderr));
}

#[test]
fn templates_lists_or_writes_them_and_says_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("app.log"), folder.path().join("lines.csv"));
    let lines: Vec<String> = (0..9).map(|i| format!("connection from 10.0.0.{i} closed")).collect();
    std::fs::write(&input, lines.join("\n") + "\nready\n").unwrap();
    let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());

    let listed = text(&foreshock(&["templates", "--input", input]).stdout);
    assert!(listed.contains("         9  connection from <*> closed\n"), "{listed}");
    assert!(listed.ends_with("10 lines, 2 templates\n"), "{listed}");

    let written = foreshock(&["templates", "--input", input, "--output", output]);
    assert!(written.status.success());
    let csv = std::fs::read_to_string(output).unwrap();
    assert_eq!(csv.lines().next(), Some("line_id,template_id,template"));
    assert_eq!(csv.lines().last(), Some("10,1,\"ready\""));

    let absent = folder.path().join("absent.log");
    let message = text(&foreshock(&["templates", "--input", absent.to_str().unwrap()]).stderr);
    assert!(message.contains("absent.log"), "{message}");
    let full = foreshock(&["templates", "--input", input, "--output", "/dev/full"]);
    assert!(!full.status.success() && text(&full.stderr).contains("/dev/full"), "{}", text(&full.stderr));
}

#[test]
fn a_release_is_judged_by_a_folder_with_an_exit_code_for_a_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = "timestamp_ms,service,metric,value\n".to_owned();
    for i in 0..480_i64 {
        let noise = [0.0, 0.3, -0.2, 0.1, -0.4, 0.25, -0.1][i as usize % 7];
        let slow = if i >= 360 { 30.0 } else { 0.0 };
        let time_ms = 1_700_000_000_000 + i * 10_000;
        csv += &format!("{time_ms},slow,request_latency,{}\n", 50.0 + noise + slow);
        csv += &format!("{time_ms},steady,request_latency,{}\n", 50.0 + noise);
    }
    std::fs::write(folder.path().join("metrics.csv"), csv).unwrap();
    let input = folder.path().to_str().unwrap();
    let verdict = |service: &str, more: &[&str]| {
        let arguments = ["verdict", "--service", service, "--since", "1700003600000", "--input", input];
        foreshock(&[&arguments[..], more].concat())
    };
    let failed = verdict("slow", &["--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!((failed.status.code(), &json["outcome"]), (Some(1), &"fail".into()), "{json}");
    let passed = verdict("steady", &[]);
    assert_eq!(passed.status.code(), Some(0), "{}", text(&passed.stdout));
    assert!(text(&passed.stdout).starts_with("pass: steady since 2023-11-14"), "{}", text(&passed.stdout));
    assert_eq!(verdict("slow", &["--tolerance", "1.0"]).status.code(), Some(0));
    let unknown = verdict("nobody", &[]);
    assert!(unknown.status.code() == Some(3) && text(&unknown.stdout).contains("nothing is known"));
    for (wrong, part) in [(&["--until", "1700003600000"][..], "until"), (&["--tolerance", "-1"], "tolerance")]
    {
        let output = verdict("slow", wrong);
        assert!(output.status.code().is_some_and(|code| code == 4 || code == 2), "{output:?}");
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
    let nowhere =
        foreshock(&["verdict", "--service", "x", "--since", "-15m", "--server", "http://127.0.0.1:1"]);
    assert!(nowhere.status.code() == Some(4) && text(&nowhere.stderr).contains("127.0.0.1:1"));
}
