//! Certificates, from PEM files.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::server::Error;
use crate::settings::Settings;

/// None if connections are to be plain text.
pub(crate) fn acceptor(settings: &Settings, protocols: &[&[u8]]) -> Result<Option<TlsAcceptor>, Error> {
    let (certificate, key) = match (&settings.tls_certificate, &settings.tls_key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) if settings.tls_client_ca.is_none() => return Ok(None),
        _ => {
            return Err(Error::Tls(
                "tls_certificate and tls_key go together, and with tls_client_ca".to_owned(),
            ));
        }
    };
    let wrong = |what: String| move |error: &dyn std::fmt::Display| Error::Tls(format!("{what}: {error}"));
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("protocol versions".to_owned())(&error))?;
    let builder = match &settings.tls_client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut authorities = RootCertStore::empty();
            for authority in certificates(path)? {
                authorities.add(authority).map_err(|error| wrong(path.display().to_string())(&error))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build();
            let verifier = verifier.map_err(|error| wrong(path.display().to_string())(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key.display().to_string())(&error))?;
    let chain = certificates(certificate)?;
    let mut config = builder.with_single_cert(chain, private).map_err(|error| {
        wrong(format!("{} and {} are no pair", certificate.display(), key.display()))(&error)
    })?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Tls(format!("{}: {error}", path.display()));
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?.collect();
    let certificates = read.map_err(|error| wrong(&error))?;
    if certificates.is_empty() {
        return Err(wrong(&"the file holds no certificate in PEM"));
    }
    Ok(certificates)
}
