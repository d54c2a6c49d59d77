//! What a certificate says: until when, and for whom.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::{SubjectAltName, name::GeneralName};
use x509_cert::time::Time as CertificateTime;

use crate::domain::Time;

/// What is asked of a certificate.
pub(super) struct Facts {
    /// It isn't valid before.
    pub(super) not_before: Time,
    /// It isn't valid from here on.
    pub(super) not_after: Time,
    pub(super) uris: Vec<String>,
    pub(super) dns_names: Vec<String>,
}

/// Reads a certificate; the error goes on after the name of its file.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
    let unreadable = |_| "holds no certificate that can be read".to_owned();
    let certificate = Certificate::from_der(certificate).map_err(unreadable)?;
    let signed = certificate.tbs_certificate();
    let names = signed.get_extension::<SubjectAltName>().map_err(unreadable)?.map(|(_, names)| names.0);
    let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
    for name in names.unwrap_or_default() {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.to_string()),
            GeneralName::DnsName(name) => dns_names.push(name.to_string()),
            GeneralName::OtherName(_)
            | GeneralName::Rfc822Name(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EdiPartyName(_)
            | GeneralName::IpAddress(_)
            | GeneralName::RegisteredId(_) => {}
        }
    }
    let validity = signed.validity();
    Ok(Facts { not_before: instant(validity.not_before), not_after: instant(validity.not_after), uris, dns_names })
}

/// A certificate may be for ever, until the last second of the year 9999 (RFC 5280, 4.1.2.5).
fn instant(time: CertificateTime) -> Time {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Time::from_timestamp(seconds, 0).unwrap_or(Time::MAX_UTC)
}
