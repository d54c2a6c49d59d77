//! After the database lost writes (see `verify::refresh`): what a replica remembers as ended is ended again, as new changes
//! with their audit events. Always in the safe direction, so any number of replicas may do it at any time: the later ones
//! find nothing to do. Lost edits that only narrowed a key, or the scopes of a name in certificates, and lost keys, are not
//! made up again; nor are names that were taken away before this process started.

use std::collections::HashMap;

use crate::domain::{
    Time,
    audit::{AuditEvent, event_id},
    ends::{KeyEnd, OwnerEnd, RememberedEnds},
    ids::{KeyId, KeyName, ServiceUserName, TenantId},
    key::Key,
    limits,
    owner::ServiceUser,
    peer_name::PeerName,
};
use crate::random;
use crate::store::Write;

use super::{Authority, AuthorityError, call::own_event};

impl Authority {
    /// Ends what is more alive in the database than it is remembered; answers how many tenants, service users, keys and
    /// names. What the database doesn't have can't verify, and is left out.
    pub async fn end_again(&self, ends: &RememberedEnds) -> Result<usize, AuthorityError> {
        let mut ended = 0;
        for some in ends.tenants.chunks(limits::ENDS_BATCH) {
            ended += self.end_tenants(some).await?;
        }
        for some in ends.service_users.chunks(limits::ENDS_BATCH) {
            ended += self.end_service_users(some).await?;
        }
        for some in ends.keys.chunks(limits::ENDS_BATCH) {
            ended += self.end_keys(some).await?;
        }
        for some in ends.identities.chunks(limits::ENDS_BATCH) {
            ended += self.take_identities(some).await?;
        }
        Ok(ended)
    }

    async fn end_tenants(&self, ends: &[(TenantId, OwnerEnd)]) -> Result<usize, AuthorityError> {
        let mut wrong = Vec::new();
        for (id, end) in ends {
            let stored = self.store().tenant(id).await?;
            if stored.is_some_and(|tenant| end.of_tenant(tenant, self.shared.clock.now()).is_some()) {
                wrong.push((id, *end));
            }
        }
        if wrong.is_empty() {
            return Ok(0);
        }
        let write = self.store().write().await?;
        let now = self.shared.clock.now();
        let mut events = Vec::new();
        for (id, end) in wrong {
            let Some(tenant) = write.tenant(id).await?.and_then(|tenant| end.of_tenant(tenant, now)) else { continue };
            match end {
                OwnerEnd::Deleted => drop(write.delete_owned(id, None, now).await?),
                OwnerEnd::Disabled => write.look_at_warnings(id).await?,
            }
            write.update_tenant(&tenant).await?;
            events.push(event(id.clone(), id.name(), now)?);
        }
        commit(write, events, now).await
    }

    async fn end_service_users(&self, ends: &[(ServiceUserName, OwnerEnd)]) -> Result<usize, AuthorityError> {
        let mut wrong = Vec::new();
        for (name, end) in ends {
            let stored = self.store().service_user(name).await?;
            if stored.is_some_and(|user| end.of_service_user(user, self.shared.clock.now()).is_some()) {
                wrong.push((name, *end));
            }
        }
        if wrong.is_empty() {
            return Ok(0);
        }
        let write = self.store().write().await?;
        let now = self.shared.clock.now();
        let mut events = Vec::new();
        for (name, end) in wrong {
            let stored = write.service_user(name).await?;
            let Some(service_user) = stored.and_then(|user| end.of_service_user(user, now)) else { continue };
            match end {
                OwnerEnd::Deleted => {
                    write.delete_owned(&name.tenant, Some(&name.id), now).await?;
                    write.settle_warnings_of(name, now).await?;
                }
                OwnerEnd::Disabled => {}
            }
            write.update_service_user(&service_user).await?;
            events.push(event(name.tenant.clone(), name.to_string(), now)?);
        }
        commit(write, events, now).await
    }

    async fn take_identities(&self, taken: &[(ServiceUserName, PeerName)]) -> Result<usize, AuthorityError> {
        let mut wrong = Vec::new();
        for (owner, name) in taken {
            let stored = self.store().service_user(owner).await?;
            if without(stored, name, self.shared.clock.now()).is_some() {
                wrong.push((owner, name));
            }
        }
        if wrong.is_empty() {
            return Ok(0);
        }
        let write = self.store().write().await?;
        let now = self.shared.clock.now();
        let mut events = Vec::new();
        for (owner, name) in wrong {
            let stored = write.service_user(owner).await?;
            let Some(service_user) = without(stored, name, now) else { continue };
            write.set_identities(owner, &service_user.identities).await?;
            write.update_service_user(&service_user).await?;
            events.push(event(owner.tenant.clone(), owner.to_string(), now)?);
        }
        commit(write, events, now).await
    }

    async fn end_keys(&self, ends: &[(KeyName, KeyEnd)]) -> Result<usize, AuthorityError> {
        let ends: HashMap<KeyId, KeyEnd> = ends.iter().map(|(name, end)| (name.id, *end)).collect();
        let ended = |keys: Vec<Key>, now: Time| -> Vec<Key> {
            keys.into_iter().filter_map(|key| ends.get(&key.name.id)?.onto(key, now)).collect()
        };
        let ids: Vec<KeyId> = ends.keys().copied().collect();
        let wrong = ended(self.store().undeleted_keys(&ids).await?, self.shared.clock.now());
        if wrong.is_empty() {
            return Ok(0);
        }
        let ids: Vec<KeyId> = wrong.iter().map(|key| key.name.id).collect();
        let write = self.store().write().await?;
        let now = self.shared.clock.now();
        let keys = ended(write.undeleted_keys(&ids).await?, now);
        let mut events = Vec::new();
        for key in &keys {
            write.update_key(key).await?;
            events.push(event(key.name.owner.tenant.clone(), key.name.to_string(), now)?);
        }
        let silent = keys.iter().filter(|key| !key.is_warned_about(now));
        write.settle_warnings(silent.map(|key| &key.name), now).await?;
        commit(write, events, now).await
    }
}

/// The service user without a name that was taken away from it; `None` when it hasn't got it.
fn without(service_user: Option<ServiceUser>, name: &PeerName, now: Time) -> Option<ServiceUser> {
    let service_user = service_user.filter(|service_user| service_user.delete_time.is_none())?;
    let identities = service_user.identities.without(name)?;
    Some(ServiceUser { identities, update_time: now, ..service_user })
}

fn event(tenant: TenantId, target: String, now: Time) -> Result<AuditEvent, AuthorityError> {
    Ok(own_event(event_id(now, random::bytes()?), tenant, target, now))
}

/// Commits, unless another replica was faster and nothing is left to do.
async fn commit(write: Write, events: Vec<AuditEvent>, now: Time) -> Result<usize, AuthorityError> {
    if events.is_empty() {
        return Ok(0);
    }
    let ended = events.len();
    write.note(events).await?;
    write.commit(event(TenantId::system(), "ends/again".to_owned(), now)?).await?;
    Ok(ended)
}
