//! Names in client certificates whose holders call as a service user, without a key.
//!
//! A name is mapped at most once in the whole installation, by `claviger:admin` alone: whoever could map a name could let in
//! whoever has a certificate with it, and lock its rightful owner out.

use super::{
    ids::TenantId, key::admin_scopes_outside_system, limits, peer_name::PeerName, refusal::FieldViolation, scope::Scope,
};

/// One such name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// The name, as a certificate has it.
    pub name: PeerName,
    /// What its holder may do.
    pub scopes: Vec<Scope>,
}

/// The names of one service user: each once, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateIdentities(Vec<CertificateIdentity>);

impl CertificateIdentities {
    /// Takes them as somebody wrote them for a service user of `tenant`, into the field of this path: at most 8, none twice,
    /// and `claviger:admin` only in tenant `system`, as for keys.
    pub fn new(
        tenant: &TenantId,
        identities: Vec<CertificateIdentity>,
        field: &str,
    ) -> Result<Self, Vec<FieldViolation>> {
        let (count, most) = (identities.len(), limits::CERTIFICATE_IDENTITIES);
        if count > most {
            let why = format!("has {count} entries; at most {most} are allowed");
            return Err(vec![FieldViolation::new(field, why)]);
        }
        let mut violations = Vec::new();
        for (index, identity) in identities.iter().enumerate() {
            if identities.iter().take(index).any(|earlier| earlier.name == identity.name) {
                let twice = format!("{field}[{index}].subject_alternative_name");
                violations.push(FieldViolation::new(twice, "is in the list already; put all of its scopes there"));
            }
            let scopes = format!("{field}[{index}].scopes");
            violations.extend(admin_scopes_outside_system(tenant, &identity.scopes, &scopes));
        }
        if violations.is_empty() { Ok(Self::from_stored(identities)) } else { Err(violations) }
    }

    /// Takes them as they were stored.
    #[must_use]
    pub fn from_stored(mut identities: Vec<CertificateIdentity>) -> Self {
        identities.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        Self(identities)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &CertificateIdentity> {
        self.0.iter()
    }

    /// The others, when this name is among them.
    #[must_use]
    pub fn without(&self, name: &PeerName) -> Option<Self> {
        let (with, others): (Vec<_>, _) = self.0.iter().cloned().partition(|identity| identity.name == *name);
        (!with.is_empty()).then_some(Self(others))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, scopes: &[&str]) -> CertificateIdentity {
        let scopes = scopes.iter().map(|scope| Scope::parse(scope).expect("a scope")).collect();
        CertificateIdentity { name: PeerName::parse(name).expect("a name"), scopes }
    }

    fn wrong(tenant: &str, identities: Vec<CertificateIdentity>) -> Vec<String> {
        let tenant = TenantId::parse(tenant).expect("an id");
        let refused = CertificateIdentities::new(&tenant, identities, "list").err().unwrap_or_default();
        refused.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn each_name_once_and_admin_only_in_system_by_the_places_that_were_written() {
        let pay = || identity("spiffe://example.org/pay", &["a"]);
        let admin = || identity("dns:admin.example.org", &["a", "claviger:admin"]);
        assert_eq!(wrong("system", vec![pay(), admin()]), [""; 0]);
        assert_eq!(wrong("acme", vec![pay(), admin()]), ["list[1].scopes[1]"]);
        assert_eq!(wrong("acme", vec![pay(), pay()]), ["list[1].subject_alternative_name"]);
        let many = |count: usize| (0..count).map(|n| identity(&format!("dns:{n}.example.org"), &[])).collect();
        assert_eq!(wrong("acme", many(8)), [""; 0]);
        assert_eq!(wrong("acme", many(9)), ["list"]);
    }

    #[test]
    fn they_are_ordered_by_name() {
        let (one, other) = (identity("dns:b.example.org", &[]), identity("dns:a.example.org", &[]));
        let of = |list| CertificateIdentities::new(&TenantId::system(), list, "list").expect("names");
        assert_eq!(of(vec![one.clone(), other.clone()]), of(vec![other, one]));
    }
}
