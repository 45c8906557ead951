//! What every store must do.

use std::time::{SystemTime, UNIX_EPOCH};

use foreshock_checkpoint::{Section, Snapshot, SnapshotName, SnapshotStore, StoreError, superseded};

/// `store` is empty, before and after.
pub fn check(store: &dyn SnapshotStore) {
    bytes_come_back(store);
    what_is_missing_is_told(store);
    folders_are_listed(store);
    strange_names_stay_out(store);
    a_partition_keeps_its_newest(store);
    threads_may_share(store);
    assert_eq!(store.list("").unwrap(), []);
}

fn name(group: &str, partition: i32, offset: i64) -> String {
    SnapshotName::new(group, "otlp_metrics", partition, offset, 7).unwrap().to_string()
}

fn bytes_come_back(store: &dyn SnapshotStore) {
    let name = name("sre ü/%..", 0, 1);
    for bytes in [&b"first"[..], b"", &[255; 300_000], b"last"] {
        store.put(&name, bytes).unwrap();
        assert_eq!(store.get(&name).unwrap(), bytes);
    }
    store.delete(&name).unwrap();
}

fn what_is_missing_is_told(store: &dyn SnapshotStore) {
    let missing = name("g", 9, 9);
    let error = store.get(&missing).unwrap_err();
    assert!(matches!(&error, StoreError::NotFound { name } if *name == missing), "{error}");
    assert_eq!(store.list("g/otlp_metrics/9").unwrap(), []);
    store.delete(&missing).unwrap();
    // A folder is not a snapshot.
    let name = name("g", 9, 1);
    store.put(&name, b"x").unwrap();
    assert!(matches!(store.get("g/otlp_metrics"), Err(StoreError::NotFound { .. })));
    store.delete(&name).unwrap();
}

fn folders_are_listed(store: &dyn SnapshotStore) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let names = [name("g", 1, 5), name("g", 1, 10), name("g", 10, 1), name("g2", 1, 1)];
    for name in names.iter().rev() {
        store.put(name, name.as_bytes()).unwrap();
    }
    let listed = |prefix: &str| -> Vec<String> {
        store.list(prefix).unwrap().into_iter().map(|stored| stored.name).collect()
    };
    assert_eq!(listed("g/otlp_metrics/1"), names[..2]);
    assert_eq!(listed("g/otlp_metrics/1/"), names[..2]);
    assert_eq!(listed("g"), names[..3]);
    assert_eq!(listed(""), names);
    assert_eq!(listed("nothing/here"), [""; 0]);
    for stored in store.list("").unwrap() {
        assert_eq!(stored.size_bytes, stored.name.len() as u64);
        assert!((stored.modified_ms - now_ms).abs() < 60_000, "{stored:?}");
    }
    names.iter().for_each(|name| store.delete(name).unwrap());
}

fn strange_names_stay_out(store: &dyn SnapshotStore) {
    for name in
        ["", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", ".x", "a/.x", "a\\b", "a\0b", "ü", "a b"]
    {
        let results = [
            store.put(name, b"x").err(),
            store.get(name).err(),
            store.delete(name).err(),
            store.list(name).err(),
        ];
        for (index, error) in results.iter().enumerate() {
            let is_folder = index == 3 && ["", "a/"].contains(&name);
            let is_refused = matches!(error, Some(StoreError::InvalidName { .. }));
            assert!(is_refused || is_folder, "{name:?} {index}: {error:?}");
        }
    }
    let too_deep = "a/".repeat(8) + "a";
    assert!(matches!(store.put(&too_deep, b"x"), Err(StoreError::InvalidName { .. })));
}

fn a_partition_keeps_its_newest(store: &dyn SnapshotStore) {
    let snapshot = |offset| Snapshot {
        topic: "otlp_metrics".to_owned(),
        partition: 0,
        offset,
        config_digest: 1,
        sections: vec![Section { name: "detect".to_owned(), bytes: vec![7; 1000] }],
    };
    for offset in [10, 30, 20] {
        store.put(&name("g", 0, offset), &snapshot(offset).to_bytes()).unwrap();
    }
    let folder = SnapshotName::parse(&name("g", 0, 0)).unwrap().folder();
    for name in superseded(&store.list(&folder).unwrap(), 1) {
        store.delete(&name).unwrap();
    }
    let left = store.list(&folder).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(Snapshot::from_bytes(&store.get(&left[0].name).unwrap()), Ok(snapshot(30)));
    store.delete(&left[0].name).unwrap();
}

fn threads_may_share(store: &dyn SnapshotStore) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for offset in 0..5 {
                    let (own, shared) = (name("own", thread, offset), name("shared", 0, offset));
                    store.put(&own, own.as_bytes()).unwrap();
                    store.put(&shared, shared.as_bytes()).unwrap();
                    assert_eq!(store.get(&own).unwrap(), own.as_bytes());
                    assert_eq!(store.get(&shared).unwrap(), shared.as_bytes());
                }
            });
        }
    });
    for stored in store.list("").unwrap() {
        store.delete(&stored.name).unwrap();
    }
}
