//! The store in a directory, and what disks do to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use foreshock_checkpoint::{InvalidSnapshot, LocalStore, Section, Snapshot, SnapshotStore, StoreError, open};

use crate::conformance;

const NAME: &str = "g/t/0/00000000000000000001-1.snapshot";

fn snapshot() -> Snapshot {
    let sections = vec![Section { name: "detect".to_owned(), bytes: vec![7; 10_000] }];
    Snapshot { topic: "t".to_owned(), partition: 0, offset: 1, config_digest: 1, sections }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn a_directory_is_a_store() {
    let directory = tempfile::tempdir().unwrap();
    conformance::check(&LocalStore::open(directory.path()).unwrap());
    assert!(files_below(directory.path()).is_empty());
}

#[test]
fn paths_and_file_urls_open_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("created/on demand");
    open(path.to_str().unwrap(), &BTreeMap::new()).unwrap().put(NAME, b"x").unwrap();
    let store = open(&format!("file://{}", path.display()), &BTreeMap::new()).unwrap();
    assert_eq!(store.get(NAME).unwrap(), b"x");
}

#[test]
fn what_is_not_a_snapshot_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path()).unwrap();
    store.put(NAME, b"x").unwrap();
    fs::write(directory.path().join("g/t/0/.hidden"), "x").unwrap();
    fs::write(directory.path().join("a b"), "x").unwrap();
    fs::create_dir(directory.path().join("g/t/0/folder")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("..", directory.path().join("g/t/0/loop")).unwrap();
    let reopened = LocalStore::open(directory.path()).unwrap();
    let names: Vec<_> = reopened.list("").unwrap().into_iter().map(|stored| stored.name).collect();
    assert_eq!(names, [NAME]);
}

#[test]
fn damage_is_found_by_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path()).unwrap();
    store.put(NAME, &snapshot().to_bytes()).unwrap();
    let path = directory.path().join(NAME);
    let whole = fs::read(&path).unwrap();
    let read = || Snapshot::from_bytes(&store.get(NAME).unwrap());
    assert_eq!(read(), Ok(snapshot()));

    fs::File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
    assert_eq!(read(), Err(InvalidSnapshot::Truncated { bytes: 5000 }));

    let mut flipped = whole;
    flipped[5000] ^= 1;
    fs::write(&path, flipped).unwrap();
    assert_eq!(read(), Err(InvalidSnapshot::Checksum));
}

#[test]
fn too_much_is_neither_written_nor_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open_with_limit(directory.path(), 100).unwrap();
    store.put(NAME, &[0; 100]).unwrap();
    let error = store.put(NAME, &[0; 101]).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size_bytes: 101, limit_bytes: 100, .. }), "{error}");
    fs::write(directory.path().join(NAME), [0; 101]).unwrap();
    let error = store.get(NAME).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size_bytes: 101, limit_bytes: 100, .. }), "{error}");
}

#[test]
fn what_a_crash_left_is_removed_and_what_is_being_written_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path()).unwrap();
    store.put(NAME, b"whole").unwrap();
    let folder = directory.path().join("g/t/0");
    let (abandoned, busy) = (folder.join(".partial-1-0"), folder.join(".partial-2-0"));
    fs::write(&abandoned, "half").unwrap();
    let writer = fs::File::create(&busy).unwrap();
    writer.lock().unwrap();

    let reopened = LocalStore::open(directory.path()).unwrap();
    assert!(!abandoned.exists() && busy.exists());
    assert_eq!(reopened.get(NAME).unwrap(), b"whole");
    assert_eq!(reopened.list("").unwrap().len(), 1);

    drop(writer);
    LocalStore::open(directory.path()).unwrap();
    assert!(!busy.exists());
}

/// Names the directory to the process that is killed.
const DIRECTORY_VARIABLE: &str = "FORESHOCK_TEST_DIRECTORY";

#[test]
#[ignore = "runs only as the process that is killed"]
fn writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY_VARIABLE) else { return };
    let store = LocalStore::open(directory).unwrap();
    for section_bytes in (0..).map(|round| round * 7919 % 3_000_000) {
        let sections = vec![Section { name: "detect".to_owned(), bytes: vec![7; section_bytes] }];
        store.put(NAME, &Snapshot { sections, ..snapshot() }.to_bytes()).unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_a_whole_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot_path = directory.path().join(NAME);
    for pause_ms in [0, 1, 3, 7, 13, 20, 31, 50] {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "local::writes_until_it_is_killed", "--ignored"])
            .env(DIRECTORY_VARIABLE, directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !snapshot_path.exists() {
            assert!(writer.try_wait().unwrap().is_none(), "the writer has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(pause_ms));
        writer.kill().unwrap();
        writer.wait().unwrap();

        let store = LocalStore::open(directory.path()).unwrap();
        assert_eq!(files_below(directory.path()), std::slice::from_ref(&snapshot_path));
        Snapshot::from_bytes(&store.get(NAME).unwrap()).unwrap();
        store.delete(NAME).unwrap();
    }
}

#[test]
fn a_file_in_the_way_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = LocalStore::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");

    let store = LocalStore::open(directory.path()).unwrap();
    assert!(matches!(store.put("file/below", b"x"), Err(StoreError::Io { .. })));
    assert!(matches!(store.get("file/below"), Err(StoreError::NotFound { .. })));
}

/// A file system of its own, if this process may mount one.
struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    fn new(options: &str) -> Option<Mounted> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Mounted { directory }),
            Ok(output) => {
                eprintln!(
                    "skipped, no tmpfs can be mounted: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(error) => {
                eprintln!("skipped, no tmpfs can be mounted: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(self.path());
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_the_old_snapshot_stays() {
    let Some(mounted) = Mounted::new("size=1m") else { return };
    let store = LocalStore::open(mounted.path()).unwrap();
    store.put(NAME, b"old").unwrap();
    let error = store.put(NAME, &[7; 2 << 20]).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("is full"), "{error}");
    assert!(error.to_string().contains(mounted.path().to_str().unwrap()), "{error}");
    assert_eq!(store.get(NAME).unwrap(), b"old");
    assert_eq!(files_below(mounted.path()), [mounted.path().join(NAME)]);
    store.put(NAME, &[7; 1 << 19]).unwrap();
}

#[test]
fn a_read_only_disk_is_told_at_once() {
    let Some(mounted) = Mounted::new("size=1m") else { return };
    let store = LocalStore::open(mounted.path()).unwrap();
    store.put(NAME, b"old").unwrap();
    mounted.remount("ro");
    for error in [
        store.put(NAME, b"new").unwrap_err(),
        store.delete(NAME).unwrap_err(),
        LocalStore::open(mounted.path()).unwrap_err(),
        LocalStore::open(mounted.path().join("below")).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Denied { .. }) && !error.is_transient(), "{error:?}");
        assert!(error.to_string().contains(mounted.path().to_str().unwrap()), "{error}");
    }
    assert_eq!(store.get(NAME).unwrap(), b"old");
}

#[cfg(unix)]
#[test]
fn a_directory_without_the_right_to_write_is_told_at_once() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(directory.path().join("probe"), "").is_ok() {
        eprintln!("skipped, this user may write everywhere");
        return;
    }
    let error = LocalStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
}

#[cfg(unix)]
#[test]
fn others_may_not_read_snapshots() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path()).unwrap();
    store.put(NAME, b"x").unwrap();
    let mode = fs::metadata(directory.path().join(NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn many_may_open_it_at_once_while_others_write() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let directory = directory.path();
            scope.spawn(move || {
                for offset in 0..100 {
                    let store = LocalStore::open(directory).expect("whoever else opens it");
                    let name = format!("g/t/{thread}/{offset:020}-1.snapshot");
                    store.put(&name, b"x").expect("whoever opens it");
                }
            });
        }
    });
    assert_eq!(files_below(directory.path()).len(), 400);
}
