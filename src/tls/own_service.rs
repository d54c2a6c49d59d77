//! The way to our own service, to ask whether it serves.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::pem;

/// Goes to a service on this machine whose certificate should be the one in a file.
///
/// Whichever it has, its health is asked for: nothing secret is said, and a service that keeps its old certificate because
/// the new files can't be used must not be killed for that by whoever asks. [`Self::is_other`] tells of it.
#[derive(Debug, Clone)]
pub struct Way(Arc<Expectation>);

#[derive(Debug)]
struct Expectation {
    certificate: Option<CertificateDer<'static>>,
    was_other: AtomicBool,
    provider: Arc<CryptoProvider>,
}

impl Way {
    /// To a service whose certificate is in this file.
    #[must_use]
    pub fn to(certificate_file: &Path) -> Self {
        let read = pem::read(certificate_file).and_then(|text| pem::certificates(certificate_file, &text));
        let certificate = read.ok().and_then(|chain| chain.into_iter().next());
        let provider = Arc::new(ring::default_provider());
        Self(Arc::new(Expectation { certificate, was_other: AtomicBool::new(false), provider }))
    }

    /// Connects.
    pub async fn connect(self, address: SocketAddr) -> Result<TlsStream<TcpStream>, std::io::Error> {
        let provider = Arc::clone(&self.0.provider);
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.map_err(std::io::Error::other)?;
        let verifier = builder.dangerous().with_custom_certificate_verifier(self.0);
        let mut config = verifier.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::IpAddress(address.ip().into()), stream).await
    }

    /// Whether the service had another certificate than the file.
    #[must_use]
    pub fn is_other(&self) -> bool {
        self.0.was_other.load(Ordering::Relaxed)
    }
}

impl ServerCertVerifier for Expectation {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _issuers: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_other = self.certificate.as_ref() != Some(certificate);
        self.was_other.store(is_other, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
