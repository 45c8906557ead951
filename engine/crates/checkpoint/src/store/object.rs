//! Snapshots in a bucket that speaks S3.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    ClientConfigKey, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutPayload, RetryConfig,
};
use tokio::runtime::{Handle, Runtime};
use tokio_stream::StreamExt as _;

use super::{
    SNAPSHOT_BYTES_MAX, SnapshotStore, StoreError, Stored, check_name, check_size, checked_folder,
    without_userinfo,
};
use crate::name::is_storable;

const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Of one request; a large snapshot takes its time on a slow line.
const DEFAULT_TIMEOUT: &str = "120s";
const REASON_CHARS_MAX: usize = 400;

/// All options, in the order in which they are told. `aws_` may stand before each.
const OPTIONS: [(&str, AmazonS3ConfigKey); 13] = [
    ("endpoint", AmazonS3ConfigKey::Endpoint),
    ("region", AmazonS3ConfigKey::Region),
    ("access_key_id", AmazonS3ConfigKey::AccessKeyId),
    ("secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
    ("session_token", AmazonS3ConfigKey::Token),
    (ALLOW_HTTP, AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)),
    ("virtual_hosted_style_request", AmazonS3ConfigKey::VirtualHostedStyleRequest),
    ("skip_signature", AmazonS3ConfigKey::SkipSignature),
    ("role_arn", AmazonS3ConfigKey::RoleArn),
    ("role_session_name", AmazonS3ConfigKey::RoleSessionName),
    ("web_identity_token_file", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("container_credentials_relative_uri", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("timeout", AmazonS3ConfigKey::Client(ClientConfigKey::Timeout)),
];
const ALLOW_HTTP: &str = "allow_http";
const SECRETS: [&str; 3] = ["access_key_id", "secret_access_key", "session_token"];

/// A bucket of S3 or of what speaks its protocol.
///
/// Options: `endpoint` (default: AWS), `region`, `access_key_id`, `secret_access_key`, `session_token`, `allow_http` (default: `false`),
/// `virtual_hosted_style_request`, `skip_signature`, `role_arn`, `role_session_name`, `web_identity_token_file`,
/// `container_credentials_relative_uri`, `timeout` of a request (default: `120s`), each also with `aws_` before it.
/// Without keys, those of the machine's role are used.
pub struct ObjectStore {
    client: AmazonS3,
    /// `s3://bucket/prefix`, for people.
    place: String,
    prefix: Path,
    /// Are blotted out of errors.
    secrets: Vec<String>,
    /// `None` only while dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ObjectStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl ObjectStore {
    /// Of `s3://bucket/prefix`. Speaks to nobody yet.
    pub fn from_url(url: &str, options: &BTreeMap<String, String>) -> Result<ObjectStore, StoreError> {
        let problem = |problem: String| StoreError::Location { location: without_userinfo(url), problem };
        let mut known_options = BTreeMap::new();
        for (given, value) in options {
            let name = given.strip_prefix("aws_").unwrap_or(given);
            let Some((name, key)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
                let known: Vec<_> = OPTIONS.iter().map(|(known, _)| *known).collect();
                return Err(problem(format!("unknown option {given:?}; known are {}", known.join(", "))));
            };
            if known_options.insert(*name, (*key, value.as_str())).is_some() {
                return Err(problem(format!("the option {name} is given twice, with aws_ and without")));
            }
        }
        let value_of = |name: &str| known_options.get(name).map(|(_, value)| *value);
        let (bucket, prefix) = bucket_and_prefix(url).map_err(|text| problem(text.to_owned()))?;
        let is_http_allowed = match value_of(ALLOW_HTTP) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(problem(format!("the option {ALLOW_HTTP} is either true or false"))),
        };
        if value_of("endpoint").is_some_and(|endpoint| endpoint.contains('@')) {
            return Err(problem("keys do not belong into the endpoint; give them as options".to_owned()));
        }
        let is_http = value_of("endpoint").is_some_and(|endpoint| !endpoint.starts_with("https://"));
        if is_http && !is_http_allowed {
            return Err(problem(format!(
                "the endpoint does not begin with https://; set the option {ALLOW_HTTP}: true to send keys and data unencrypted"
            )));
        }

        let retry =
            RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_config(timeout, DEFAULT_TIMEOUT);
        for (key, value) in known_options.values() {
            builder = builder.with_config(*key, *value);
        }
        let mut secrets: Vec<String> = SECRETS
            .iter()
            .filter_map(|name| value_of(name))
            .filter(|secret| !secret.is_empty())
            .map(str::to_owned)
            .collect();
        // One may be part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));

        // As tonic does. An error says that one was installed already, which then is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|reason| StoreError::Io { place: place_of(bucket, &prefix), doing: "start", reason })?;
        let client = builder.build().map_err(|error| problem(reason_of(&error, &secrets)))?;
        Ok(ObjectStore { client, place: place_of(bucket, &prefix), prefix, secrets, runtime: Some(runtime) })
    }

    fn path(&self, name: &str) -> Result<Path, StoreError> {
        let text = if self.prefix.is_root() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(text).map_err(|_| StoreError::InvalidName { name: name.to_owned() })
    }

    /// The name of an object below the prefix.
    fn name<'a>(&self, location: &'a Path) -> Option<&'a str> {
        let location = location.as_ref();
        if self.prefix.is_root() {
            return Some(location);
        }
        location.strip_prefix(self.prefix.as_ref())?.strip_prefix('/')
    }

    /// Also within a thread of another runtime, where waiting would otherwise panic.
    fn wait<T: Send>(
        &self,
        future: impl Future<Output = object_store::Result<T>> + Send,
    ) -> object_store::Result<T> {
        let no_runtime =
            || object_store::Error::Generic { store: "S3", source: "the runtime has stopped".into() };
        let Some(runtime) = &self.runtime else { return Err(no_runtime()) };
        if Handle::try_current().is_err() {
            return runtime.block_on(future);
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| runtime.block_on(future));
            waiting.join().unwrap_or_else(|_| Err(no_runtime()))
        })
    }

    fn error(&self, error: &object_store::Error, name: &str, doing: &'static str) -> StoreError {
        let place = self.place.clone();
        let reason = reason_of(error, &self.secrets);
        match error {
            _ if reason.contains("NoSuchBucket") => StoreError::Location {
                location: place,
                problem: "there is no such bucket; create it".to_owned(),
            },
            object_store::Error::NotFound { .. } => StoreError::NotFound { name: name.to_owned() },
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                StoreError::Denied { place, doing, reason }
            }
            // A list that is refused has no kind of its own.
            _ if ["status code: 401", "status code: 403"].iter().any(|status| reason.contains(status)) => {
                StoreError::Denied { place, doing, reason }
            }
            _ => StoreError::Unreachable { place, doing, reason },
        }
    }
}

impl Drop for ObjectStore {
    /// A runtime must not be dropped within another, unless it is not waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl SnapshotStore for ObjectStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(name)?;
        check_size(name, bytes.len() as u64, SNAPSHOT_BYTES_MAX)?;
        let path = self.path(name)?;
        let payload = PutPayload::from(bytes.to_vec());
        self.wait(self.client.put(&path, payload))
            .map_err(|error| self.error(&error, name, "write a snapshot"))?;
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        check_name(name)?;
        let path = self.path(name)?;
        let read = async {
            let found = self.client.get(&path).await?;
            let size_bytes = found.meta.size;
            if size_bytes > SNAPSHOT_BYTES_MAX {
                return Ok((size_bytes, None));
            }
            Ok((size_bytes, Some(found.bytes().await?)))
        };
        let (size_bytes, bytes) =
            self.wait(read).map_err(|error| self.error(&error, name, "read a snapshot"))?;
        check_size(name, size_bytes, SNAPSHOT_BYTES_MAX)?;
        Ok(bytes.map(Vec::from).unwrap_or_default())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        let folder = checked_folder(prefix)?;
        let below = if folder.is_empty() { self.prefix.clone() } else { self.path(folder)? };
        let list = async {
            let mut objects = self.client.list(Some(&below));
            let mut all: Vec<ObjectMeta> = Vec::new();
            while let Some(object) = objects.next().await {
                all.push(object?);
            }
            Ok(all)
        };
        let objects = self.wait(list).map_err(|error| self.error(&error, folder, "list snapshots"))?;
        let mut stored: Vec<Stored> = objects
            .iter()
            .filter_map(|object| {
                let name = self.name(&object.location).filter(|name| is_storable(name))?.to_owned();
                let modified_ms = object.last_modified.timestamp_millis();
                Some(Stored { name, size_bytes: object.size, modified_ms })
            })
            .collect();
        stored.sort_by(|first, second| first.name.cmp(&second.name));
        Ok(stored)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let path = self.path(name)?;
        match self
            .wait(self.client.delete(&path))
            .map_err(|error| self.error(&error, name, "delete a snapshot"))
        {
            Err(StoreError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}

fn place_of(bucket: &str, prefix: &Path) -> String {
    format!("s3://{bucket}/{prefix}")
}

/// The problem never quotes the URL, which may hold a key.
fn bucket_and_prefix(url: &str) -> Result<(&str, Path), &'static str> {
    let rest = url.strip_prefix("s3://").ok_or("it does not begin with s3://")?;
    if rest.contains('@') {
        return Err("keys do not belong into the URL; give them as options");
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_bucket = !bucket.is_empty()
        && bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if !is_bucket {
        return Err("it names no bucket; write s3://bucket/prefix");
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if !prefix.is_empty() && !is_storable(prefix) {
        return Err("its prefix is not a plain path of letters, digits, '_', '-' and '.'");
    }
    Path::parse(prefix).map(|prefix| (bucket, prefix)).map_err(|_| "its prefix is not a plain path")
}

/// All that is known about an error, without secrets, on one line.
fn reason_of(error: &object_store::Error, secrets: &[String]) -> String {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason.push_str(": ");
            reason.push_str(&text);
        }
        source = cause.source();
    }
    for secret in secrets {
        reason = reason.replace(secret, "***");
    }
    let words: Vec<_> = reason.split_whitespace().collect();
    words.join(" ").chars().take(REASON_CHARS_MAX).collect()
}
