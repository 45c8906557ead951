//! The store in a bucket, as far as no server or one that always says the same is needed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;

use foreshock_checkpoint::{ObjectStore, SnapshotStore, StoreError, open};

const SECRETS: [&str; 3] = ["AKIDEXAMPLE", "wJalrXUtnFEMI", "FwoGZXIvYXdzEBY"];
const NAME: &str = "g/t/0/00000000000000000001-1.snapshot";

fn options(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let keys =
        [("access_key_id", SECRETS[0]), ("aws_secret_access_key", SECRETS[1]), ("session_token", SECRETS[2])];
    keys.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn at_endpoint(endpoint: &str) -> Box<dyn SnapshotStore> {
    let more = [("aws_endpoint", endpoint), ("aws_allow_http", "true"), ("timeout", "2s")];
    open("s3://bucket/prefix", &options(&more)).unwrap()
}

/// The endpoint of a server that gives each request the same answer.
fn server(status: &'static str, headers: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            let is_complete = |request: &[u8]| {
                // The greeting of TLS begins with 22.
                request.first() == Some(&22) || request.windows(4).any(|window| window == b"\r\n\r\n")
            };
            while !is_complete(&request) {
                let count = connection.read(&mut chunk).unwrap();
                request.extend_from_slice(&chunk[..count]);
            }
            let answer = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n{body}");
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    endpoint
}

#[track_caller]
fn check_refused(url: &str, more: &[(&str, &str)], expected: &str) {
    let error = ObjectStore::from_url(url, &options(more)).unwrap_err();
    assert!(matches!(error, StoreError::Location { .. }) && !error.is_transient(), "{error:?}");
    check_told(&error, expected);
}

#[track_caller]
fn check_told(error: &StoreError, expected: &str) {
    let text = format!("{error} {error:?}");
    assert!(text.contains(expected), "{text}");
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
}

#[test]
fn mistakes_are_told_without_secrets() {
    check_refused("s3://", &[], "names no bucket");
    check_refused("s3:///prefix", &[], "names no bucket");
    check_refused("s3://bucket/a/../b", &[], "prefix is not a plain path");
    check_refused("s3://bucket/a//b", &[], "prefix is not a plain path");
    check_refused("s3://AKIDEXAMPLE:wJalrXUtnFEMI@bucket/x", &[], "give them as options");
    check_refused(
        "s3://bucket",
        &[("acces_key_id", "AKIDEXAMPLE")],
        "known are endpoint, region, access_key_id",
    );
    check_refused("s3://bucket", &[("aws_access_key_id", "AKIDEXAMPLE")], "access_key_id is given twice");
    check_refused("s3://bucket", &[("endpoint", "http://localhost:9")], "set the option allow_http: true");
    check_refused("s3://bucket", &[("endpoint", "localhost:9")], "set the option allow_http: true");
    let endpoint = ("endpoint", "https://AKIDEXAMPLE:wJalrXUtnFEMI@localhost:9");
    check_refused("s3://bucket", &[endpoint], "do not belong into the endpoint");
    check_refused("s3://bucket", &[("allow_http", "yes")], "either true or false");
    check_refused("s3://bucket", &[("timeout", "soon")], "soon");
}

#[test]
fn secrets_are_not_shown() {
    let store = ObjectStore::from_url("s3://bucket/prefix/", &options(&[])).unwrap();
    assert_eq!(format!("{store:?}"), r#"ObjectStore { place: "s3://bucket/prefix", .. }"#);
}

#[test]
fn an_endpoint_that_nobody_listens_on_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = at_endpoint(&endpoint).get(NAME).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    check_told(&error, "s3://bucket/prefix");
}

#[test]
fn refusals_are_told_without_secrets() {
    let body = "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId>wJalrXUtnFEMI</Error>";
    let store = at_endpoint(&server("403 Forbidden", "", body));
    for error in [
        store.put(NAME, b"x").unwrap_err(),
        store.get(NAME).unwrap_err(),
        store.list("g").unwrap_err(),
        store.delete(NAME).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Denied { .. }) && !error.is_transient(), "{error:?}");
        check_told(&error, "SignatureDoesNotMatch");
    }
}

#[test]
fn a_bucket_that_does_not_exist_is_told() {
    let body = "<Error><Code>NoSuchBucket</Code></Error>";
    let store = at_endpoint(&server("404 Not Found", "", body));
    for error in
        [store.put(NAME, b"x").unwrap_err(), store.get(NAME).unwrap_err(), store.list("").unwrap_err()]
    {
        assert!(matches!(error, StoreError::Location { .. }), "{error:?}");
        check_told(&error, "create it");
    }
}

#[test]
fn a_server_in_trouble_is_told() {
    let store = at_endpoint(&server("503 Slow Down", "", "AKIDEXAMPLE"));
    let error = store.put(NAME, b"x").unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    check_told(&error, "503");
}

#[test]
fn a_server_that_does_not_encrypt_is_told() {
    let endpoint = server("200 OK", "", "").replace("http://", "https://");
    let more = [("endpoint", endpoint.as_str()), ("timeout", "2s")];
    let error = open("s3://bucket", &options(&more)).unwrap().get(NAME).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    check_told(&error, "InvalidContentType");
}

#[test]
fn what_is_too_large_is_not_read() {
    let headers =
        "Content-Length: 1073741825\r\nETag: \"x\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
    let error = at_endpoint(&server("200 OK", headers, "")).get(NAME).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size_bytes: 1_073_741_825, .. }), "{error:?}");
}

#[test]
fn what_ends_too_early_is_told() {
    let headers = "Content-Length: 1000\r\nETag: \"x\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
    let error = at_endpoint(&server("200 OK", headers, "half")).get(NAME).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
}

#[test]
fn it_may_be_used_and_dropped_within_another_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = at_endpoint(&server("403 Forbidden", "", ""));
        assert!(matches!(store.get(NAME), Err(StoreError::Denied { .. })));
    });
}
