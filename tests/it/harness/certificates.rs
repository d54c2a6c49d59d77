//! An authority of the test's own, and the certificates that it signs.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, as PEM.
    pub pem: String,
}

/// What a certificate is to be.
#[derive(Clone)]
pub struct Wanted {
    pub dns: Vec<String>,
    pub uris: Vec<String>,
    pub usage: ExtendedKeyUsagePurpose,
    /// Unix time, in seconds.
    pub from: u64,
    pub until: u64,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Certified {
    pub certificate: String,
    pub key: String,
}

/// 2020 and 2040: around every clock of the tests.
const LONG_AGO: u64 = 1_577_836_800;
const FAR_AHEAD: u64 = 2_208_988_800;

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn sign(&self, wanted: &Wanted) -> Certified {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(wanted.dns.clone()).expect("parameters");
        let uris = wanted.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().expect("ASCII")));
        params.subject_alt_names.extend(uris);
        params.extended_key_usages = vec![wanted.usage.clone()];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(wanted.from);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(wanted.until);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Certified { certificate, key: key.serialize_pem() }
    }
}

impl Wanted {
    /// A server's, for these names.
    pub fn server(dns: &[&str]) -> Self {
        let dns = dns.iter().map(ToString::to_string).collect();
        Self { dns, uris: Vec::new(), usage: ExtendedKeyUsagePurpose::ServerAuth, from: LONG_AGO, until: FAR_AHEAD }
    }

    /// A client's, with these URIs and DNS names.
    pub fn client(uris: &[&str], dns: &[&str]) -> Self {
        let uris = uris.iter().map(ToString::to_string).collect();
        Self { uris, usage: ExtendedKeyUsagePurpose::ClientAuth, ..Self::server(dns) }
    }

    /// The same that ended long ago.
    pub fn expired(self) -> Self {
        Self { until: LONG_AGO + 86_400, ..self }
    }

    /// The same that begins long from now.
    pub fn not_yet_valid(self) -> Self {
        Self { from: FAR_AHEAD - 86_400, ..self }
    }
}

impl Certified {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.crt")), &self.certificate).expect("written");
        std::fs::write(folder.join(format!("{name}.key")), &self.key).expect("written");
    }
}
