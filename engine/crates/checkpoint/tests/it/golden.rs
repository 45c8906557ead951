//! A snapshot that version 1 of the format wrote must stay readable.

use foreshock_checkpoint::{Section, Snapshot};

const VERSION_1: &[u8] = include_bytes!("../fixtures/version-1.snapshot");

fn snapshot() -> Snapshot {
    let section = |name: &str, bytes: &[u8]| Section { name: name.to_owned(), bytes: bytes.to_vec() };
    Snapshot {
        topic: "otlp_metrics".to_owned(),
        partition: 3,
        offset: 1_234_567,
        config_digest: 0xfeed_f00d_dead_beef,
        sections: vec![section("detect", &[0, 1, 2, 255]), section("templates", &[9; 200]), section("", b"")],
    }
}

#[test]
fn version_1_is_readable() {
    assert_eq!(Snapshot::from_bytes(VERSION_1), Ok(snapshot()));
}
