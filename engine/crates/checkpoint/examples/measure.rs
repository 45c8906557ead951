use foreshock_checkpoint::*;
use std::time::Instant;
fn main() {
    let bytes: Vec<u8> = (0..64u64 << 20).map(|i| (i.wrapping_mul(0x9E3779B97F4A7C15) >> 56) as u8).collect();
    let s = Snapshot {
        topic: "t".into(),
        partition: 0,
        offset: 1,
        config_digest: 1,
        sections: vec![Section { name: "a".into(), bytes }],
    };
    let dir = std::env::args().nth(1).unwrap();
    let store = LocalStore::open(&dir).unwrap();
    for _ in 0..3 {
        let t = Instant::now();
        let b = s.to_bytes();
        let e = t.elapsed();
        let t = Instant::now();
        let r = Snapshot::from_bytes(&b).unwrap();
        let d = t.elapsed();
        assert!(r == s);
        let t = Instant::now();
        store.put("g/t/0/x", &b).unwrap();
        let p = t.elapsed();
        let t = Instant::now();
        let g = store.get("g/t/0/x").unwrap();
        let ge = t.elapsed();
        assert!(g == b);
        println!("64 MiB: to_bytes {e:?} from_bytes {d:?} put {p:?} get {ge:?}");
    }
    let t = Instant::now();
    for _ in 0..50 {
        store.put("g/t/0/y", b"small").unwrap();
    }
    println!("put small {:?}", t.elapsed() / 50);
    for len in [200, 2000] {
        let payload = vec![7; len];
        let mut d = OutputDigest::default();
        let t = Instant::now();
        for _ in 0..1_000_000 {
            d.update("foreshock.anomalies", b"0123456789abcdef", &payload);
        }
        println!("digest {len} B: {:?} {}", t.elapsed() / 1_000_000, d.state);
    }
    let m = CheckpointManifest {
        epoch: 1,
        config_digest: 2,
        time_ms: Some(3),
        snapshot: Some(SnapshotRef {
            name: "foreshock/foreshock.telemetry/0/00000000000000000100-40.snapshot".into(),
            offset: 100,
            digest: OutputDigest { state: u64::MAX, count: 9 },
        }),
    };
    let t = Instant::now();
    let mut n = 0;
    for _ in 0..100_000 {
        n += m.to_metadata().len();
    }
    println!("to_metadata {:?} {} bytes", t.elapsed() / 100_000, n / 100_000);
    let text = m.to_metadata();
    let t = Instant::now();
    for _ in 0..100_000 {
        CheckpointManifest::from_metadata(&text).unwrap();
    }
    println!("from_metadata {:?}", t.elapsed() / 100_000);
    let names: Vec<_> = (0..1000).map(|o| SnapshotName::new("g", "t", 0, o, 1).unwrap()).collect();
    let input = RecoveryInput {
        group: "g",
        topic: "t",
        partition: 0,
        committed_offset: Some(900),
        manifest: Some(&m),
        config_digest: 2,
        low_watermark: 0,
        snapshots: &names,
        start: StartPosition::Earliest,
    };
    let t = Instant::now();
    for _ in 0..1000 {
        plan(&input);
    }
    println!("plan of 1000 {:?}", t.elapsed() / 1000);
}
