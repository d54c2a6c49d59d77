//! PEM files of certificates, as people make them with openssl, cert-manager and others.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::domain::limits;

/// Authorities whose certificates are trusted, and no others.
#[derive(Debug, Clone)]
pub struct Authorities(Vec<u8>);

impl Authorities {
    /// Reads a file of at least one authority; what is wrong names the file.
    pub fn read(file: &str) -> Result<Self, String> {
        let text = read(Path::new(file))?.to_vec();
        roots(Path::new(file), &text)?;
        Ok(Self(text))
    }

    /// As PEM.
    #[must_use]
    pub fn pem(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a file, forgotten when they are dropped: it may hold a private key.
pub(super) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = Zeroizing::new(Vec::new());
    let opened = File::open(file).and_then(|open| open.take(limits::TLS_FILE_BYTES + 1).read_to_end(&mut bytes));
    let length = opened.map_err(|error| format!("{}: {error}", file.display()))?;
    if u64::try_from(length).is_ok_and(|length| length > limits::TLS_FILE_BYTES) {
        return Err(format!("{} is longer than {} bytes", file.display(), limits::TLS_FILE_BYTES));
    }
    Ok(bytes)
}

/// The certificates of a file, at least one.
pub(super) fn certificates(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|_| format!("{} is damaged: a block of it isn't PEM", file.display()))?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate; PEM is needed, -----BEGIN CERTIFICATE-----", file.display()));
    }
    Ok(found)
}

/// The authorities of a file, at least one.
pub(super) fn roots(file: &Path, text: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(file, text)?.into_iter().enumerate() {
        let added = roots.add(certificate);
        added.map_err(|error| {
            format!("{}: certificate {} can't be that of an authority: {error}", file.display(), index + 1)
        })?;
    }
    Ok(roots)
}
