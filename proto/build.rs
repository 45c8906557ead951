//! Compiles the .proto files with protox, so that no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message;

const OPENTELEMETRY: &[&str] = &[
    "opentelemetry/proto/collector/logs/v1/logs_service.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
];

const FORESHOCK: &[&str] = &[
    "foreshock/v1/alert_service.proto",
    "foreshock/v1/anomaly_service.proto",
    "foreshock/v1/coverage_service.proto",
    "foreshock/v1/incident_service.proto",
    "foreshock/v1/remark_service.proto",
    "foreshock/v1/silence_service.proto",
    "foreshock/v1/verdict_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for path in ["build.rs", "opentelemetry", "foreshock"] {
        println!("cargo:rerun-if-changed={path}");
    }

    // What is received is written on as it came, so no server takes it apart; clients are for tests.
    tonic_prost_build::configure().build_server(false).compile_fds(protox::compile(OPENTELEMETRY, ["."])?)?;

    let mut foreshock = protox::compile(FORESHOCK, ["."])?;
    tonic_prost_build::configure()
        // Sorted maps: equal messages have equal bytes.
        .btree_map(".foreshock.v1")
        .compile_fds(foreshock.clone())?;

    // Comments have gone into the Rust code; reflection has no use for them.
    for file in &mut foreshock.file {
        file.source_code_info = None;
    }
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("foreshock.v1.bin"), foreshock.encode_to_vec())?;
    Ok(())
}
