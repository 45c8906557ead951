//! Certificates of servers and of clients.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use foreshock_receivers::{Settings, start};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use crate::destination::{Held, Mood};
use crate::rig::{Rig, logs, post, settings, topics};

/// An authority with a server's and a client's certificate, as PEM files.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("foreshock-receivers-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder is writable");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a certificate"))
            .expect("a certificate");
        fs::write(folder.join("ca.pem"), issuer.pem()).expect("written");
        for who in ["server", "client"] {
            let key = KeyPair::generate().expect("a certificate");
            let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
            let certificate = params.signed_by(&key, &issuer).expect("parameters");
            fs::write(folder.join(format!("{who}.pem")), certificate.pem()).expect("written");
            fs::write(folder.join(format!("{who}.key")), key.serialize_pem()).expect("written");
        }
        Self { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn settings(&self) -> Settings {
        Settings {
            tls_certificate: Some(self.path("server.pem")),
            tls_key: Some(self.path("server.key")),
            ..settings()
        }
    }

    /// Sends a request; the status, unless there is no connection.
    fn send(&self, rig: &Rig, with_certificate: bool) -> Option<u16> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path("ca.pem")).expect("a certificate"))
            .expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("a configuration")
            .with_root_certificates(roots);
        let mut config = if with_certificate {
            let chain = vec![CertificateDer::from_pem_file(self.path("client.pem")).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_file(self.path("client.key")).expect("a certificate");
            builder.with_client_auth_cert(chain, key).expect("a configuration")
        } else {
            builder.with_no_client_auth()
        };
        // As clients that know HTTP/1.1 only.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut stream = TcpStream::connect(rig.http()).expect("a connection");
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).ok()?;
        }
        // With TLS 1.3 a client learns after its own part of the handshake that it is not wanted.
        let stream = StreamOwned::new(connection, stream);
        let body = logs(1).encode_to_vec();
        let headers = [("content-type", "application/x-protobuf")];
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            post(stream, "/v1/logs", &headers, &body).status
        }))
        .ok()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_server_has_a_certificate_and_plain_text_gets_nothing() {
    let authority = Authority::new("server");
    let rig = Rig::with(authority.settings(), topics(), Mood::Safe);
    assert_eq!(authority.send(&rig, false), Some(200));
    assert_eq!(rig.held.take().len(), 1);
    let plain =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.post("/v1/logs", &[], b"").status));
    assert!(plain.is_err());
}

#[test]
fn clients_may_be_asked_for_a_certificate() {
    let (authority, other) = (Authority::new("client"), Authority::new("other"));
    let settings = Settings { tls_client_ca: Some(authority.path("ca.pem")), ..authority.settings() };
    let rig = Rig::with(settings, topics(), Mood::Safe);
    assert_eq!(authority.send(&rig, true), Some(200));
    assert_eq!(authority.send(&rig, false), None);
    let strange = Settings { tls_client_ca: Some(other.path("ca.pem")), ..authority.settings() };
    let rig = Rig::with(strange, topics(), Mood::Safe);
    assert_eq!(authority.send(&rig, true), None);
    assert!(rig.held.take().is_empty());
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let authority = Authority::new("files");
    let error =
        |settings: Settings| start(settings, topics(), Held::new(Mood::Safe)).err().unwrap().to_string();
    let absent = Settings { tls_key: Some(authority.path("absent.key")), ..authority.settings() };
    assert!(error(absent).contains("absent.key"));
    let swapped = Settings { tls_certificate: Some(authority.path("server.key")), ..authority.settings() };
    assert!(error(swapped).contains("holds no certificate"));
    let stranger = Settings { tls_key: Some(authority.path("client.key")), ..authority.settings() };
    assert!(error(stranger).contains("no pair"));
    let half = Settings { tls_key: None, ..authority.settings() };
    assert!(error(half).contains("go together"));
}
