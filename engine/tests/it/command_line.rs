//! Commands with right and wrong input.

use std::path::PathBuf;
use std::process::{Command, Output};

fn foreshock(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_foreshock")).args(arguments).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn configuration(folder: &tempfile::TempDir, yaml: &str) -> PathBuf {
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

#[test]
fn wrong_usage_exits_with_2() {
    assert_eq!(foreshock(&["vaildate"]).status.code(), Some(2));
    assert_eq!(foreshock(&["validate"]).status.code(), Some(2));
}
