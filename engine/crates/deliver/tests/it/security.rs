//! TLS, credentials, and what must not be shown.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::server::{Answer, Server, status};
use crate::topic::{Topic, firing};
use crate::{courier, wait_until, webhook};

/// An authority, in a folder with the PEM files that it signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new([]).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("writable");
        Self { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new([name.to_owned()]).expect("parameters");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("writable");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("writable");
        (certificate, key)
    }

    /// Of a server that is called `name` and wants clients that this authority has signed.
    fn server(&self, name: &str, asks: bool) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = self.sign(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if asks {
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair"))
    }
}

/// Whether a receiver with these settings is told of an alert, or fails.
fn is_told(server: &Server, tls: Value) -> bool {
    let topic = Topic::default();
    let mut receiver = webhook(server);
    receiver["tls"] = tls;
    let courier = courier(&topic, receiver);
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("it is accepted or fails", || {
        courier.counters().accepted + courier.counters().attempts_failed > 0
    });
    courier.counters().accepted == 1
}

#[test]
fn only_a_server_that_the_authority_has_signed_is_told() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Server::with_tls([], Some(ours.server("localhost", false)));
    assert!(is_told(&server, json!({ "ca_file": ours.path("ca.pem") })));
    assert!(!is_told(&server, json!({ "ca_file": theirs.path("ca.pem") })));
    assert!(!is_told(&server, json!({ "ca_file": ours.path("absent.pem") })));
    let other_name = Server::with_tls([], Some(ours.server("elsewhere", false)));
    assert!(!is_told(&other_name, json!({ "ca_file": ours.path("ca.pem") })));
    assert_eq!((server.received().len(), other_name.received().len()), (1, 0));
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_it() {
    let ours = Authority::new();
    let server = Server::with_tls([], Some(ours.server("localhost", true)));
    ours.sign("client");
    let ca = ours.path("ca.pem");
    let with = json!({ "ca_file": ca, "certificate_file": ours.path("client.pem"), "key_file": ours.path("client.key") });
    assert!(is_told(&server, with));
    assert!(!is_told(&server, json!({ "ca_file": ca })));
    let mixed = json!({ "ca_file": ca, "certificate_file": ours.path("client.pem"), "key_file": ours.path("localhost.key") });
    assert!(!is_told(&server, mixed), "the key of another certificate");
}

#[test]
fn a_token_is_read_anew_each_time() {
    let (server, topic) = (Server::start([status(401)]), Topic::default());
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "old\n").expect("writable");
    let mut receiver = webhook(&server);
    receiver["bearer_token"] = json!({ "file": token.path() });
    let _courier = courier(&topic, receiver);
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("the first try", || server.received().len() == 1);
    std::fs::write(token.path(), "new\n").expect("writable");
    wait_until("the second try", || server.received().len() == 2);
    let tokens: Vec<_> =
        server.received().iter().map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(tokens, [Some("Bearer old".to_owned()), Some("Bearer new".to_owned())]);
}

#[test]
fn a_redirect_takes_no_secret_elsewhere() {
    let elsewhere = Server::start([]);
    let away = Answer::Status(307, vec![("location", elsewhere.url.clone())], String::new());
    let (server, topic) = (Server::start([away]), Topic::default());
    let password = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(password.path(), "hunter2").expect("writable");
    let mut receiver = webhook(&server);
    receiver["basic"] = json!({ "username": "foreshock", "password": { "file": password.path() } });
    let _courier = courier(&topic, receiver);
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("it is delivered", || topic.committed("to").is_some_and(|position| position.offset == 1));
    assert_eq!((server.received().len(), elsewhere.received().len()), (2, 0));
    assert_eq!(server.received()[1].header("authorization"), Some("Basic Zm9yZXNob2NrOmh1bnRlcjI="));
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_secret_is_logged_not_even_one_that_the_receiver_repeats() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    // The only test that sets one.
    tracing::subscriber::set_global_default(subscriber.with_writer(move || writer.clone()).finish())
        .expect("the first");

    let repeats = |status| Answer::Status(status, vec![], "no such key s3cr3t-k3y".to_owned());
    let (server, topic) = (Server::start([repeats(500), repeats(400)]), Topic::default());
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "s3cr3t-k3y").expect("writable");
    let receiver = json!({
        "pagerduty": { "routing_key": { "file": secret.path() }, "url": server.url },
        "bearer_token": { "file": secret.path() },
    });
    let courier = courier(&topic, receiver);
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("it is refused", || courier.counters().dead == 1);

    let unreachable = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(unreachable.path(), format!("{}/s3cr3t-k3y", crate::server::nobody())).expect("writable");
    let topic = Topic::default();
    let other = crate::courier(&topic, json!({ "slack": { "url": { "file": unreachable.path() } } }));
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("it fails", || other.counters().attempts_failed > 0);
    drop((courier, other));

    let logged = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(logged.contains("no such key ***") && logged.contains("cannot connect"), "{logged}");
    assert!(!logged.contains("s3cr3t-k3y"), "{logged}");
}
