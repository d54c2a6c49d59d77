//! Whom clients may say they are.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::domain::peer_name::PeerNames;

use super::x509;

/// Clients that present no certificate, or one that is good by the usual rules and whose names are.
#[derive(Debug)]
pub(super) struct Clients(Arc<dyn ClientCertVerifier>);

/// Why the names of a certificate are no good.
#[derive(Debug)]
struct BadNames(String);

impl fmt::Display for BadNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate {}", self.0)
    }
}

impl std::error::Error for BadNames {}

impl Clients {
    /// Whose certificates these authorities signed.
    pub(super) fn signed_by(
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let usual = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self(usual.allow_unauthenticated().build()?))
    }
}

/// The names of a client certificate; the error says why it is refused as a whole.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Result<Option<PeerNames>, String> {
    let facts = x509::read(certificate)?;
    let [uris, dns_names] =
        [&facts.uris, &facts.dns_names].map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
    PeerNames::of(&uris, &dns_names, facts.not_after)
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(certificate, issuers, now)?;
        let named = names_of(certificate);
        named.map_err(|why| CertificateError::Other(OtherError(Arc::new(BadNames(why)))))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
