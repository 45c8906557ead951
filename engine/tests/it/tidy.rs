//! House rules that Cargo cannot enforce.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sources below `folder`, sorted, without test modules.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} holds sources");
    found
}

/// The names of the normal dependencies of a crate, from its manifest.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = read(&root().join(folder).join("Cargo.toml"));
    let section = manifest.split("\n[").find(|section| section.starts_with("dependencies]"));
    let lines = section.unwrap_or("").lines().skip(1);
    lines
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    for (folder, never) in [
        ("proto", &["model", "tokio", "rdkafka", "arrow-array"][..]),
        ("detectors", &["model", "tokio", "rdkafka", "arrow-array", "arrow-schema"]),
        ("engine/crates/model", &["tokio", "rdkafka", "serde_json"]),
        ("engine/crates/codec", &["tokio", "rdkafka", "pipeline"]),
        ("engine/crates/correlate", &["tokio", "rdkafka", "arrow-array", "pipeline"]),
        ("engine/crates/pipeline", &["tokio", "rdkafka", "kafka", "jiff", "rand"]),
        ("engine/crates/checkpoint", &["rdkafka", "kafka", "pipeline"]),
        ("engine/crates/worker", &["rdkafka", "kafka", "tokio"]),
        ("engine/crates/simulator", &["rdkafka", "kafka", "tokio"]),
        ("engine/crates/receivers", &["rdkafka", "kafka", "pipeline"]),
        ("engine/crates/calendars", &["rdkafka", "kafka", "tokio", "pipeline"]),
        ("engine/crates/controls", &["rdkafka", "kafka", "tokio", "pipeline"]),
        ("engine/crates/deliver", &["rdkafka", "kafka", "pipeline", "arrow-array"]),
        ("engine/crates/alerts", &["tokio", "rdkafka", "kafka", "pipeline", "arrow-array"]),
        ("engine/crates/replay", &["tokio", "rdkafka", "kafka"]),
        ("engine/crates/verdict", &["tokio", "rdkafka", "kafka", "pipeline", "arrow-array"]),
        ("engine", &["rdkafka"]),
    ] {
        let used = dependencies(folder);
        assert!(!used.is_empty(), "{folder} has dependencies");
        for name in never {
            assert!(!used.iter().any(|used| used == name), "{folder} must not depend on {name}");
        }
    }
}

#[test]
fn the_core_reads_no_clock() {
    for folder in ["engine/crates/pipeline/src", "engine/crates/correlate/src", "detectors/src"] {
        for path in sources(folder) {
            let text = read(&path);
            for clock in ["SystemTime", "Instant::now", "std::time::", "thread_rng", "rand::rng"] {
                assert!(!text.contains(clock), "{} uses {clock}", path.display());
            }
        }
    }
}

#[test]
fn one_arrow() {
    let lock = read(&root().join("Cargo.lock"));
    let versions = lock.split("[[package]]").filter(|package| package.contains("name = \"arrow-schema\""));
    assert_eq!(versions.count(), 1, "two versions of arrow-schema cannot exchange batches");
}
