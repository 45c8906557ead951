//! Where snapshots lie: a directory, or a bucket that speaks S3.

mod local;
mod object;

use std::collections::BTreeMap;

pub use local::LocalStore;
pub use object::ObjectStore;

use crate::name::is_storable;

/// Largest snapshot that is written or read.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// Keeps bytes under names. All calls block.
///
/// A name is up to 8 parts of ASCII letters, digits and `_ - . %` between slashes, none of which begins with a dot;
/// [`crate::SnapshotName`] writes such.
pub trait SnapshotStore: Send + Sync {
    /// Once this returns, the bytes are durable; before, what `name` held is whole. Replaces what was there.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;
    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError>;
    /// All below the folder `prefix` (such as [`crate::SnapshotName::folder`]), or all if it is empty, sorted by name.
    fn list(&self, prefix: &str) -> Result<Vec<Stored>, StoreError>;
    /// Not an error if there is nothing of that name.
    fn delete(&self, name: &str) -> Result<(), StoreError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub name: String,
    pub size_bytes: u64,
    /// Since 1970 UTC.
    pub modified_ms: i64,
}

/// `place` is the directory or bucket.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no snapshot {name:?}")]
    NotFound { name: String },
    #[error(
        "the disk (or quota) is full, no snapshot can be written to {place}: make room there or keep fewer snapshots"
    )]
    Full { place: String },
    #[error(
        "not allowed to {doing} in {place} ({reason}): give the engine's user or key the right to read and write there"
    )]
    Denied { place: String, doing: &'static str, reason: String },
    #[error(
        "the snapshot {name:?} has {size_bytes} bytes, at most {limit_bytes} are written or read: lower analysis.series_max"
    )]
    TooLarge { name: String, size_bytes: u64, limit_bytes: u64 },
    #[error(
        "{name:?} cannot be the name of a snapshot: it is not a plain path of letters, digits, '_', '-', '.' and '%'"
    )]
    InvalidName { name: String },
    #[error("the snapshot store {location:?} cannot be opened: {problem}")]
    Location { location: String, problem: String },
    #[error("failed to {doing} in {place}: {reason}; check the disk and the path")]
    Io { place: String, doing: &'static str, reason: std::io::Error },
    #[error("failed to {doing} in {place}: {reason}; check the endpoint, the region and the network")]
    Unreachable { place: String, doing: &'static str, reason: String },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing the configuration.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Full { .. } | StoreError::Io { .. } | StoreError::Unreachable { .. })
    }
}

/// Opens a path or `file:` as [`LocalStore`], `s3://` as [`ObjectStore`]. `options` are those of the latter.
pub fn open(
    url_or_path: &str,
    options: &BTreeMap<String, String>,
) -> Result<Box<dyn SnapshotStore>, StoreError> {
    open_by(url_or_path, options, |directory| LocalStore::open(directory))
}

/// The same for somebody who only looks: a directory is neither made nor tidied.
pub fn open_existing(
    url_or_path: &str,
    options: &BTreeMap<String, String>,
) -> Result<Box<dyn SnapshotStore>, StoreError> {
    open_by(url_or_path, options, |directory| LocalStore::existing(directory))
}

type OpenDirectory = fn(&str) -> Result<LocalStore, StoreError>;

fn open_by(
    url_or_path: &str,
    options: &BTreeMap<String, String>,
    open: OpenDirectory,
) -> Result<Box<dyn SnapshotStore>, StoreError> {
    match scheme(url_or_path) {
        Some("s3") => Ok(Box::new(ObjectStore::from_url(url_or_path, options)?)),
        Some("file") => open_local(url_or_path, path_of_file_url(url_or_path), options, open),
        None => open_local(url_or_path, Some(url_or_path), options, open),
        Some(other) => Err(StoreError::Location {
            location: without_userinfo(url_or_path),
            problem: format!("{other:?} is not known; known are a path, file: and s3:"),
        }),
    }
}

fn open_local(
    location: &str,
    path: Option<&str>,
    options: &BTreeMap<String, String>,
    open: OpenDirectory,
) -> Result<Box<dyn SnapshotStore>, StoreError> {
    let problem = |problem: String| StoreError::Location { location: location.to_owned(), problem };
    if let Some(option) = options.keys().next() {
        return Err(problem(format!("a directory has no options, but {option:?} is given")));
    }
    match path {
        Some("") | None => Err(problem(
            "it names no directory; write /path/to/directory or file:///path/to/directory".to_owned(),
        )),
        Some(path) => Ok(Box::new(open(path)?)),
    }
}

/// `None` for a path. One letter is a drive of Windows.
fn scheme(url_or_path: &str) -> Option<&str> {
    let (scheme, _) = url_or_path.split_once(':')?;
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

/// `file:path`, `file:/path`, `file:///path` and `file://localhost/path`; `None` for another host.
fn path_of_file_url(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("file:")?;
    let Some(authority_and_path) = rest.strip_prefix("//") else { return Some(rest) };
    let path = authority_and_path.strip_prefix("localhost").unwrap_or(authority_and_path);
    path.starts_with('/').then_some(path)
}

/// An URL may hold a password before an `@`; it is not for errors and logs.
fn without_userinfo(url: &str) -> String {
    match (url.split_once("://"), url.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://***{}", &url[at..]),
        (None, Some(at)) => format!("***{}", &url[at..]),
        (_, None) => url.to_owned(),
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    if is_storable(name) {
        return Ok(());
    }
    Err(StoreError::InvalidName { name: name.chars().take(80).collect() })
}

/// The folder without a slash at its end.
fn checked_folder(prefix: &str) -> Result<&str, StoreError> {
    let folder = prefix.strip_suffix('/').unwrap_or(prefix);
    if !prefix.is_empty() {
        check_name(folder)?;
    }
    Ok(folder)
}

fn check_size(name: &str, size_bytes: u64, limit_bytes: u64) -> Result<(), StoreError> {
    if size_bytes <= limit_bytes {
        return Ok(());
    }
    Err(StoreError::TooLarge { name: name.to_owned(), size_bytes, limit_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_decides() {
        for (location, expected) in [
            ("/var/lib/foreshock", None),
            ("relative/path:with/colon", None),
            ("C:\\snapshots", None),
            ("s3://bucket/prefix", Some("s3")),
            ("file:///x", Some("file")),
            ("gs://bucket", Some("gs")),
        ] {
            assert_eq!(scheme(location), expected, "{location}");
        }
        assert_eq!(path_of_file_url("file:///a/b"), Some("/a/b"));
        assert_eq!(path_of_file_url("file:/a"), Some("/a"));
        assert_eq!(path_of_file_url("file:a"), Some("a"));
        assert_eq!(path_of_file_url("file://localhost/a"), Some("/a"));
        assert_eq!(path_of_file_url("file://elsewhere/a"), None);
    }

    #[test]
    fn an_unknown_scheme_names_what_is_known_and_no_password() {
        let error = open("ftp://user:secret@host/x", &BTreeMap::new()).err().unwrap().to_string();
        assert!(error.contains("\"ftp\" is not known; known are a path, file: and s3:"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_directory_is_named_and_has_no_options() {
        let options = BTreeMap::from([("region".to_owned(), "x".to_owned())]);
        for (location, options) in
            [("", BTreeMap::new()), ("file://host/x", BTreeMap::new()), ("/tmp", options)]
        {
            let error = open(location, &options).err().unwrap();
            assert!(matches!(error, StoreError::Location { .. }), "{error}");
        }
    }
}
