//! PEM files of certificates, as people make them with openssl, cert-manager and others.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::domain::limits;
use crate::files;

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
pub(crate) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    files::read(file, limits::TLS_FILE_BYTES)
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
