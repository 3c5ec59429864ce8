//! A certificate authority made for one run, and the server certificate it signs for loopback.
//!
//! It must never keep the authority's private key: that is dropped after its one signature.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{Error, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::StudioError;

/// The names that the server certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The authority's certificate as PEM, and a server that shows a certificate signed by it.
pub(super) struct Identity {
    pub(super) ca_pem: String,
    pub(super) server: Arc<ServerConfig>,
}

impl Identity {
    pub(super) fn fresh() -> Result<Self, StudioError> {
        let authority_key = KeyPair::generate().map_err(StudioError::Certificate)?;
        let authority = authority().map_err(StudioError::Certificate)?;
        let ca = authority.self_signed(&authority_key).map_err(StudioError::Certificate)?;
        let leaf_key = KeyPair::generate().map_err(StudioError::Certificate)?;
        let issuer = Issuer::new(authority, authority_key);
        let leaf = leaf().and_then(|leaf| leaf.signed_by(&leaf_key, &issuer)).map_err(StudioError::Certificate)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let mut server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .map_err(StudioError::Tls)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { ca_pem: ca.pem(), server: Arc::new(server) })
    }
}

fn authority() -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "sixty demo authority, good for one run");
    Ok(params)
}

fn leaf() -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(NAMES.map(String::from))?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name.push(DnType::CommonName, "pretend Model Studio");
    Ok(params)
}
