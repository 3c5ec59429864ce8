//! Whom we believe: Mozilla's roots, and the operator's own. HTTP/1.1 only, with resumption.
//! It never switches verification off.

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why there are no trust anchors.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("ca_file {0} cannot be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// There is no certificate in it.
    #[error("ca_file {0} holds no certificate in PEM form")]
    Empty(PathBuf),
    /// One of its certificates is none.
    #[error("ca_file {0} holds a certificate that cannot be an anchor")]
    Anchor(PathBuf),
    /// The provider has no safe default versions.
    #[error("the TLS library refuses its own defaults: {0}")]
    Defaults(rustls::Error),
}

/// The client's configuration.
pub(super) fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        add(&mut roots, path)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Defaults)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // With HTTP/2 the key would be Huffman-coded into buffers that nobody can wipe.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let pem = std::fs::read(path).map_err(|fault| TlsError::Read(path.into(), fault))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| TlsError::Anchor(path.into()))?;
        roots.add(certificate).map_err(|_| TlsError::Anchor(path.into()))?;
        count += 1;
    }
    if count == 0 { Err(TlsError::Empty(path.into())) } else { Ok(()) }
}

#[cfg(feature = "aws-lc-rs")]
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(not(feature = "aws-lc-rs"))]
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
