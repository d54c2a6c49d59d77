//! Who we are: a certificate that is good now, its key, and whose certificates clients may present.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, UnixTime, pem, pem::PemObject};
use rustls::server::{NoServerSessionStorage, danger::ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{Error, ServerConfig};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::domain::Time;

use super::pem::{certificates, read, roots};
use super::{Port, TlsError, TlsFiles, peers::Clients, x509};

/// What the files hold, not looked at yet.
pub(super) struct Contents {
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Zeroizing<Vec<u8>>>,
}

/// What a connection is made with.
pub(super) struct Identity {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    /// When the certificate ends.
    pub(super) expire_time: Time,
    /// A name that it is good for.
    pub(super) name: Option<String>,
}

/// Certificates are judged by the clock that everything else is.
#[derive(Debug)]
struct ByOurClock(Clock);

impl TimeProvider for ByOurClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

impl Contents {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let mut problems = Vec::new();
        let certificate = noted(read(&files.certificate), CERTIFICATE, &mut problems);
        let key = noted(read(&files.key), KEY, &mut problems);
        let client_ca = files.client_ca.as_deref().map(|file| noted(read(file), CLIENT_CA, &mut problems));
        match (certificate, key, client_ca.map_or(Some(None), |found| found.map(Some))) {
            (Some(certificate), Some(key), Some(client_ca)) => Ok(Self { certificate, key, client_ca }),
            _ => Err(TlsError(problems)),
        }
    }

    /// Tells other contents from these, without keeping a private key for it.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten() {
            digest.update(part.len().to_be_bytes());
            digest.update(part.as_slice());
        }
        digest.finalize().into()
    }
}

const CERTIFICATE: &str = "tls_certificate_file";
const KEY: &str = "tls_key_file";
const CLIENT_CA: &str = "tls_client_ca_file";

impl Identity {
    /// Checks everything; the error names everything that is wrong.
    pub(super) fn new(files: &TlsFiles, contents: &Contents, clock: &Clock) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut problems = Vec::new();
        let chain = noted(certificates(&files.certificate, &contents.certificate), CERTIFICATE, &mut problems);
        let leaf = chain.as_ref().and_then(|chain| chain.first());
        let facts = leaf.and_then(|leaf| {
            let good = x509::read(leaf).and_then(|facts| good_at(facts, clock.now()));
            let good = good.map_err(|why| format!("{} {why}", files.certificate.display()));
            noted(good, CERTIFICATE, &mut problems)
        });
        let key = noted(private_key(&files.key, &contents.key, &provider), KEY, &mut problems);
        let authorities = contents.client_ca.as_ref().zip(files.client_ca.as_deref());
        let clients = authorities.map(|(text, file)| {
            let clients = roots(file, text).and_then(|roots| {
                Clients::signed_by(roots, &provider).map_err(|error| format!("{}: {error}", file.display()))
            });
            noted(clients, CLIENT_CA, &mut problems)
        });
        let (Some(chain), Some(facts), Some(key), Some(clients)) =
            (chain, facts, key, clients.map_or(Some(None), |clients| clients.map(Some)))
        else {
            return Err(TlsError(problems));
        };
        let certified = CertifiedKey::new(chain, key);
        if certified.keys_match().is_err() {
            let (key, certificate) = (files.key.display(), files.certificate.display());
            return Err(TlsError(vec![format!(
                "{KEY}: {key} isn't the key of the first certificate in {certificate}; give the two that were made together"
            )]));
        }
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let config = |port, clients| config(port, clients, &resolver, &provider, clock);
        let grpc = config(Port::Grpc, clients).map_err(|error| TlsError(vec![format!("{CERTIFICATE}: {error}")]))?;
        let http = config(Port::Http, None).map_err(|error| TlsError(vec![format!("{CERTIFICATE}: {error}")]))?;
        let name = facts.dns_names.into_iter().find(|name| !name.starts_with("*."));
        Ok(Self { grpc: Arc::new(grpc), http: Arc::new(http), expire_time: facts.not_after, name })
    }

    pub(super) fn config(&self, port: Port) -> Arc<ServerConfig> {
        match port {
            Port::Grpc => Arc::clone(&self.grpc),
            Port::Http => Arc::clone(&self.http),
        }
    }
}

fn noted<T>(read: Result<T, String>, setting: &str, problems: &mut Vec<String>) -> Option<T> {
    read.map_err(|why| problems.push(format!("{setting}: {why}"))).ok()
}

/// A certificate that no client would take is no reason to start: better the old replicas go on than that this one seems to
/// serve.
fn good_at(facts: x509::Facts, now: Time) -> Result<x509::Facts, String> {
    if now < facts.not_before {
        return Err(format!(
            "is valid from {} on, and it is {now} now; check the clock, or give another certificate",
            facts.not_before
        ));
    }
    if now >= facts.not_after {
        return Err(format!("has expired at {}; give a new certificate", facts.not_after));
    }
    Ok(facts)
}

fn private_key(
    file: &Path,
    text: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<dyn rustls::sign::SigningKey>, String> {
    let file = file.display();
    let key = PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) {
            return format!(
                "{file} holds no private key in the clear; PEM is needed: PKCS#8, PKCS#1 or SEC1, without a password"
            );
        }
        format!("{file} is damaged: a block of it isn't PEM")
    })?;
    provider.key_provider.load_private_key(key).map_err(|_| {
        format!("{file} holds a key that can't be used here; RSA of 2,048 to 8,192 bits, ECDSA on P-256 or P-384, or Ed25519 can")
    })
}

fn config(
    port: Port,
    clients: Option<Clients>,
    resolver: &Arc<SingleCertAndKey>,
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
) -> Result<ServerConfig, Error> {
    let time = Arc::new(ByOurClock(clock.clone()));
    let builder = ServerConfig::builder_with_details(Arc::clone(provider), time);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::new(clients) as Arc<dyn ClientCertVerifier>),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(resolver) as _);
    config.alpn_protocols = match port {
        Port::Grpc => vec![b"h2".to_vec()],
        Port::Http => vec![b"http/1.1".to_vec()],
    };
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
