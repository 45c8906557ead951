//! Snapshots in a directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use super::{SNAPSHOT_BYTES_MAX, SnapshotStore, StoreError, Stored, check_name, check_size, checked_folder};
use crate::name::{PARTS_MAX, is_storable};

/// Begins with a dot, as no name does.
const PARTIAL_PREFIX: &str = ".partial-";

/// A directory. A file gets its name when its bytes are on the disk, so that a crash leaves either the old or the new one.
///
/// Several processes may share it. Files that are being written are locked; what a crash left is not, and is removed by [`LocalStore::open`].
#[derive(Debug)]
pub struct LocalStore {
    directory: PathBuf,
    size_bytes_max: u64,
    /// Tells the files of this store's threads apart.
    partials: AtomicU64,
}

impl LocalStore {
    /// Creates the directory if it is missing, and fails if it cannot be written to.
    pub fn open(directory: impl AsRef<Path>) -> Result<LocalStore, StoreError> {
        LocalStore::open_with_limit(directory, SNAPSHOT_BYTES_MAX)
    }

    /// With another limit than [`SNAPSHOT_BYTES_MAX`].
    pub fn open_with_limit(
        directory: impl AsRef<Path>,
        size_bytes_max: u64,
    ) -> Result<LocalStore, StoreError> {
        let directory = directory.as_ref();
        let store =
            LocalStore { directory: directory.to_owned(), size_bytes_max, partials: AtomicU64::new(0) };
        let failed = |doing| move |source| error(&store_place(directory), doing, source);
        create_directories(&store.directory).map_err(failed("create the directory"))?;
        store
            .walk("", &mut |path, _| remove_if_abandoned(path))
            .map_err(failed("remove unfinished files"))?;
        let (probe, file) = store.create_partial(&store.directory).map_err(failed("write a file"))?;
        fs::remove_file(probe).map_err(failed("remove a file"))?;
        drop(file);
        Ok(store)
    }

    /// A directory that is there already, to be looked at.
    pub fn existing(directory: impl AsRef<Path>) -> Result<LocalStore, StoreError> {
        let directory = directory.as_ref();
        if !directory.is_dir() {
            return Err(StoreError::Location {
                location: directory.display().to_string(),
                problem: "there is no such directory; a path is seen from the engine's working directory"
                    .to_owned(),
            });
        }
        let (size_bytes_max, partials) = (SNAPSHOT_BYTES_MAX, AtomicU64::new(0));
        Ok(LocalStore { directory: directory.to_owned(), size_bytes_max, partials })
    }

    fn place(&self) -> String {
        store_place(&self.directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Visits the files below `folder`, with their names, and no links to directories.
    fn walk(&self, folder: &str, visit: &mut dyn FnMut(&Path, &str) -> io::Result<()>) -> io::Result<()> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            // No name of ours: not UTF-8.
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            let name = if folder.is_empty() { file_name } else { format!("{folder}/{file_name}") };
            let file_type = match entry.file_type() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                file_type => file_type?,
            };
            let is_folder = file_type.is_dir() && is_storable(&name) && name.split('/').count() < PARTS_MAX;
            if is_folder {
                self.walk(&name, visit)?;
            } else if !file_type.is_dir() {
                visit(&entry.path(), &name)?;
            }
        }
        Ok(())
    }

    fn create_partial(&self, directory: &Path) -> io::Result<(PathBuf, File)> {
        loop {
            let number = self.partials.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{PARTIAL_PREFIX}{}-{number}", std::process::id()));
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            // Snapshots hold names and log templates of the observed systems.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            match options.open(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
                Ok(file) => {
                    // Without locks, another process that opens the store now would remove the file, and the write would fail.
                    let _ = file.lock();
                    // It may have done so before the lock.
                    if is_linked(&file, &path)? {
                        return Ok((path, file));
                    }
                }
            }
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let directory = path.parent().unwrap_or(&self.directory);
        create_directories(directory)?;
        let (partial, mut file) = self.create_partial(directory)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&partial, path))
            .and_then(|()| sync_directory(directory));
        if written.is_err() {
            // The cause is already known; what cannot be removed now is removed when the store is next opened.
            let _ = fs::remove_file(&partial);
        }
        written
    }

    fn read(&self, name: &str) -> io::Result<Result<Vec<u8>, StoreError>> {
        let file = File::open(self.path(name))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        let size_bytes = metadata.len();
        if let Err(error) = check_size(name, size_bytes, self.size_bytes_max) {
            return Ok(Err(error));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
        // The file may have grown since.
        file.take(self.size_bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(check_size(name, bytes.len() as u64, self.size_bytes_max).map(|()| bytes))
    }
}

impl SnapshotStore for LocalStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(name)?;
        check_size(name, bytes.len() as u64, self.size_bytes_max)?;
        self.write(&self.path(name), bytes).map_err(|source| error(&self.place(), "write a snapshot", source))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        check_name(name)?;
        self.read(name).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => StoreError::NotFound { name: name.to_owned() },
            _ => error(&self.place(), "read a snapshot", source),
        })?
    }

    fn list(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        let folder = checked_folder(prefix)?;
        let mut stored = Vec::new();
        let mut visit = |path: &Path, name: &str| {
            if !is_storable(name) {
                return Ok(());
            }
            match path.metadata() {
                // Deleted meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
                Ok(metadata) if !metadata.is_file() => Ok(()),
                Ok(metadata) => {
                    let since_1970 = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                    let modified_ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
                    stored.push(Stored { name: name.to_owned(), size_bytes: metadata.len(), modified_ms });
                    Ok(())
                }
            }
        };
        self.walk(folder, &mut visit).map_err(|source| error(&self.place(), "list snapshots", source))?;
        stored.sort_by(|first, second| first.name.cmp(&second.name));
        Ok(stored)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let path = self.path(name);
        let directory = path.parent().unwrap_or(&self.directory);
        match fs::remove_file(&path).and_then(|()| sync_directory(directory)) {
            Err(source) if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
            result => result.map_err(|source| error(&self.place(), "delete a snapshot", source)),
        }
    }
}

fn store_place(directory: &Path) -> String {
    format!("the directory {}", directory.display())
}

fn error(place: &str, doing: &'static str, source: io::Error) -> StoreError {
    let place = place.to_owned();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { place },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::Denied { place, doing, reason: source.to_string() }
        }
        _ => StoreError::Io { place, doing, reason: source },
    }
}

/// Removes a file that was being written when its process ended.
fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    let is_partial = path
        .file_name()
        .and_then(|file_name| file_name.to_str())
        .is_some_and(|file_name| file_name.starts_with(PARTIAL_PREFIX));
    if !is_partial {
        return Ok(());
    }
    let locked = File::open(path).and_then(|file| file.try_lock().map(|()| file).map_err(io::Error::from));
    match &locked {
        // Another process is writing it, or was faster.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotFound) => return Ok(()),
        // It got its name meanwhile, and the path may be that of another one by now.
        Ok(file) if !is_at(file, path)? => return Ok(()),
        // Without locks, or without the right to read, nothing tells it from an abandoned one.
        Err(_) | Ok(_) => {}
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Creates what is missing of a path. Each new directory is durable in its parent.
fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_directories(parent)?;
    }
    match fs::create_dir(directory) {
        // Another thread was faster. A file of that name is an error.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(parent.unwrap_or(Path::new("."))),
    }
}

/// Whether a file that was opened by its path still has it.
#[cfg(unix)]
fn is_linked(file: &File, _path: &Path) -> io::Result<bool> {
    Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 0)
}

#[cfg(not(unix))]
fn is_linked(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Whether the path leads to this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        found => Ok(place(found?) == place(file.metadata()?)),
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Other systems do not open directories as files.
#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}
