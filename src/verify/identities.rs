//! Who calls by which name in its client certificate: only names that are mapped are in memory.
//!
//! A service user's row says all of its names. A name belongs to the newest row that says it, so it doesn't matter in which
//! order the rows of the one who gave it away and of the one who got it arrive: a row takes away only what it gave itself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{
    Revision,
    certificate_identity::{CertificateIdentities, CertificateIdentity},
    ids::ServiceUserName,
    limits,
    peer_name::PeerName,
    rights::Right,
    scope::Scope,
};

use super::NoVerdict;
use super::owners::{OwnerStanding, ServiceUserCell};

/// A name, whom its holder calls as, and what it may do.
pub struct Identity {
    mapped: CertificateIdentity,
    owner: Arc<ServiceUserCell>,
    revision: Revision,
}

/// What the mirror has for the names of a certificate.
#[derive(Clone)]
pub enum Certified {
    /// One of them is mapped, to a service user that is enabled, as its tenant is.
    Good(Arc<Identity>),
    /// One of them is mapped, and nobody calls as that service user now.
    OwnerDisabled,
    /// Several of them are mapped: who calls isn't clear.
    Ambiguous,
    /// None of them is mapped, or to a service user whose row hasn't arrived yet.
    Missing,
}

/// All mapped names.
#[derive(Default)]
pub struct Identities {
    by_name: HashMap<PeerName, Arc<Identity>>,
    /// What the newest row of each service user said that has names.
    of_owner: HashMap<ServiceUserName, Vec<Arc<Identity>>>,
    /// From whom which name was taken away, and by which revision: the database may lose that.
    taken: HashMap<(ServiceUserName, PeerName), Revision>,
}

impl Identity {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &PeerName {
        &self.mapped.name
    }

    /// Whom its holder calls as.
    #[must_use]
    pub fn owner(&self) -> &ServiceUserCell {
        &self.owner
    }

    /// What its holder may do.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.mapped.scopes
    }

    /// Whether a scope of it is, or implies, this right.
    #[must_use]
    pub fn holds(&self, right: Right) -> bool {
        right.is_granted_by(&self.mapped.scopes)
    }
}

impl Identities {
    /// What is known of the names of one certificate. [`NoVerdict::Unreadable`] when the row of the service user, or of its
    /// tenant, can't be understood.
    pub fn certify(&self, names: &[PeerName]) -> Result<Certified, NoVerdict> {
        let mut mapped = names.iter().filter_map(|name| self.by_name.get(name));
        let Some(identity) = mapped.next() else { return Ok(Certified::Missing) };
        if mapped.any(|other| !Arc::ptr_eq(other, identity)) {
            return Ok(Certified::Ambiguous);
        }
        let owners = identity.owner.standings();
        if owners.iter().any(|owner| matches!(owner, OwnerStanding::Missing | OwnerStanding::Deleted)) {
            Ok(Certified::Missing)
        } else if owners.contains(&OwnerStanding::Unreadable) {
            Err(NoVerdict::Unreadable)
        } else if owners == [OwnerStanding::Enabled; 2] {
            Ok(Certified::Good(Arc::clone(identity)))
        } else {
            Ok(Certified::OwnerDisabled)
        }
    }

    /// Takes in all names of a service user, as its row of this revision says them. For whoever knows that no newer row of it
    /// is in.
    pub fn put(&mut self, owner: &Arc<ServiceUserCell>, identities: &CertificateIdentities, revision: Revision) {
        for old in self.of_owner.remove(owner.name()).unwrap_or_default() {
            if self.by_name.get(old.name()).is_some_and(|current| Arc::ptr_eq(current, &old)) {
                self.by_name.remove(old.name());
            }
            self.taken.insert((owner.name().clone(), old.name().clone()), revision);
        }
        let new = |mapped: &CertificateIdentity| {
            Arc::new(Identity { mapped: mapped.clone(), owner: Arc::clone(owner), revision })
        };
        let new: Vec<_> = identities.iter().map(new).collect();
        for identity in &new {
            self.taken.remove(&(owner.name().clone(), identity.name().clone()));
            let is_newest = self.by_name.get(identity.name()).is_none_or(|other| other.revision < revision);
            if is_newest {
                self.by_name.insert(identity.name().clone(), Arc::clone(identity));
            }
        }
        if !new.is_empty() {
            self.of_owner.insert(owner.name().clone(), new);
        }
        self.forget_the_oldest();
    }

    /// From whom which name was taken away.
    #[must_use]
    pub fn taken(&self) -> Vec<(ServiceUserName, PeerName)> {
        self.taken.keys().cloned().collect()
    }

    /// Gives its place to what was loaded anew; what was taken away meanwhile isn't known from there.
    pub fn replace_with(&mut self, fresh: Self) {
        (self.by_name, self.of_owner) = (fresh.by_name, fresh.of_owner);
        let is_mapped = |owner: &ServiceUserName, name: &PeerName| {
            self.of_owner.get(owner).is_some_and(|identities| identities.iter().any(|identity| identity.name() == name))
        };
        self.taken.retain(|(owner, name), _| !is_mapped(owner, name));
    }

    fn forget_the_oldest(&mut self) {
        while self.taken.len() > limits::TAKEN_IDENTITIES {
            let oldest = self.taken.iter().min_by_key(|(_, revision)| **revision).map(|(taken, _)| taken.clone());
            oldest.map(|taken| self.taken.remove(&taken));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::owners::Owners;
    use super::*;
    use crate::domain::owner::OwnerState;

    const NAME: &str = "spiffe://example.org/billing";

    struct World {
        owners: Owners,
        identities: Identities,
    }

    impl World {
        fn new() -> Self {
            let mut owners = Owners::default();
            let tenant = user("a").tenant;
            owners.put_tenant(&tenant, 1, Some((OwnerState::Enabled, None)));
            Self { owners, identities: Identities::default() }
        }

        /// The row of a service user at a revision, with these names.
        fn put(&mut self, id: &str, revision: Revision, names: &[&str]) {
            let cell = self.owners.service_user(&user(id));
            self.owners.put_service_user(&user(id), revision, Some((OwnerState::Enabled, None)));
            let mapped = |name: &&str| CertificateIdentity { name: peer(name), scopes: Vec::new() };
            let names = CertificateIdentities::from_stored(names.iter().map(mapped).collect());
            self.identities.put(&cell, &names, revision);
        }

        /// Who calls by a certificate with these names.
        fn caller(&self, names: &[&str]) -> Option<String> {
            let names: Vec<_> = names.iter().map(|name| peer(name)).collect();
            match self.identities.certify(&names).expect("all are readable") {
                Certified::Good(identity) => Some(identity.owner().name().id.as_str().to_owned()),
                Certified::Missing => None,
                Certified::Ambiguous => Some("?".to_owned()),
                Certified::OwnerDisabled => panic!("all are enabled"),
            }
        }
    }

    fn user(id: &str) -> ServiceUserName {
        ServiceUserName::parse(&format!("tenants/acme/serviceUsers/{id}")).expect("a name")
    }

    fn peer(name: &str) -> PeerName {
        PeerName::parse(name).expect("a name")
    }

    /// A row: of which service user, at which revision, and whether it has the name.
    type Shown = (&'static str, Revision, bool);

    /// What happened: each row that the feed can show of it, in any order.
    #[test]
    fn a_name_that_moved_has_one_owner_in_whatever_order_the_rows_arrive() {
        let histories: [(&[Shown], Option<&str>); 4] = [
            (&[("a", 3, false), ("b", 4, true)], Some("b")),
            (&[("a", 5, true), ("b", 4, false)], Some("a")),
            (&[("a", 4, false), ("b", 5, false), ("c", 6, true)], Some("c")),
            (&[("a", 4, false), ("b", 6, false)], None),
        ];
        for (rows, owner) in histories {
            for turned in 0..rows.len() {
                for reversed in [false, true] {
                    let mut world = World::new();
                    world.put("a", 2, &[NAME]);
                    let mut rows = rows.to_vec();
                    rows.rotate_left(turned);
                    if reversed {
                        rows.reverse();
                    }
                    for (id, revision, has_it) in &rows {
                        world.put(id, *revision, if *has_it { &[NAME] } else { &[] });
                    }
                    assert_eq!(world.caller(&[NAME]).as_deref(), owner, "{rows:?}");
                }
            }
        }
    }

    #[test]
    fn exactly_one_name_of_a_certificate_must_be_mapped() {
        let mut world = World::new();
        world.put("a", 2, &[NAME, "dns:a.example.org"]);
        world.put("b", 3, &["dns:b.example.org"]);
        assert_eq!(world.caller(&[]), None);
        assert_eq!(world.caller(&["dns:nobody.example.org"]), None);
        assert_eq!(world.caller(&["dns:nobody.example.org", NAME]).as_deref(), Some("a"));
        assert_eq!(world.caller(&[NAME, NAME]).as_deref(), Some("a"));
        assert_eq!(world.caller(&[NAME, "dns:a.example.org"]).as_deref(), Some("?"), "what may it do?");
        assert_eq!(world.caller(&[NAME, "dns:b.example.org"]).as_deref(), Some("?"), "as whom?");
    }
}
