//! Names in client certificates.

use crate::domain::{
    certificate_identity::{CertificateIdentities, CertificateIdentity},
    ids::TenantId,
    limits,
    peer_name::PeerName,
    scope::Scope,
    text::quote,
};
use crate::proto::v1;

use super::fields::Fields;

const FIELD: &str = "service_user.certificate_identities";

/// Reads the names of a service user of `tenant`; `None` when they, or the tenant, are wrong.
pub fn read(
    fields: &mut Fields,
    tenant: Option<&TenantId>,
    identities: &[v1::CertificateIdentity],
) -> Option<CertificateIdentities> {
    let (count, most) = (identities.len(), limits::CERTIFICATE_IDENTITIES);
    if count > most {
        return fields.take(FIELD, Err(format!("has {count} entries; at most {most} are allowed")));
    }
    let read = |(index, identity)| read_one(fields, &format!("{FIELD}[{index}]"), identity);
    let read: Vec<_> = identities.iter().enumerate().map(read).collect();
    let checked = CertificateIdentities::new(tenant?, read.into_iter().collect::<Option<_>>()?, FIELD);
    checked.map_err(|violations| fields.refuse(violations)).ok()
}

fn read_one(fields: &mut Fields, field: &str, identity: &v1::CertificateIdentity) -> Option<CertificateIdentity> {
    let name = parse_name(&identity.subject_alternative_name);
    let name = fields.take(&format!("{field}.subject_alternative_name"), name);
    let scopes = fields.take_all(&format!("{field}.scopes"), limits::SCOPES, &identity.scopes, Scope::parse);
    Some(CertificateIdentity { name: name?, scopes: scopes? })
}

/// In one spelling, as ids are: what is answered is what was written.
fn parse_name(text: &str) -> Result<PeerName, String> {
    let name = PeerName::parse(text)?;
    if name.as_str() == text { Ok(name) } else { Err(format!("is another spelling; write {}", quote(name.as_str()))) }
}

/// Writes them, ordered by name.
#[must_use]
pub fn write(identities: &CertificateIdentities) -> Vec<v1::CertificateIdentity> {
    let write = |identity: &CertificateIdentity| v1::CertificateIdentity {
        subject_alternative_name: identity.name.as_str().to_owned(),
        scopes: identity.scopes.iter().map(Scope::to_string).collect(),
    };
    identities.iter().map(write).collect()
}
