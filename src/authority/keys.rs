//! Use cases of keys; rotation has a file of its own.

use crate::domain::{
    Refusal, Revision,
    ids::{KeyGroupName, KeyId, KeyName, ServiceUserName},
    key::{Key, KeyEdit, NewKey, Transition},
    limits,
    page::{Page, Paged},
    refusal::{Resource, require_revision},
    rights::Right,
    secret::Secret,
    text::RevokeReason,
};
use crate::random;
use crate::store::{KeyFilter, Room, Write};

use super::{
    Authority, AuthorityError, Changed,
    call::Call,
    creations::Creation,
    key_groups::{require_group_of, require_listed_group},
    replays::ReplayRequest,
    service_users::require_tenant,
    tenants,
};

/// What a caller asks of a new key.
#[derive(Debug, Clone)]
pub struct CreationRequest {
    /// The owner-to-be.
    pub owner: ServiceUserName,
    /// What was decided about it.
    pub new: NewKey,
    /// The `request_id`.
    pub replay: Option<ReplayRequest>,
}

/// A new key with its secret.
#[derive(Debug, Clone)]
pub struct Created {
    /// The record.
    pub key: Key,
    /// Its secret, to be shown; kept only if the key is retrievable.
    pub secret: Secret,
}

impl Authority {
    /// Makes a key. Needs `keys.write` of the tenant, or `keys.self` for an own key no wider than the calling one.
    pub async fn create_key(&self, call: Call, wanted: CreationRequest) -> Result<Created, AuthorityError> {
        let CreationRequest { owner, new, replay } = wanted;
        call.see(&owner.tenant, || Resource::service_user(&owner))?;
        call.caller.require_owner(&owner, Right::KeysWrite)?;
        call.caller.require_held(&new.scopes)?;
        let id = KeyId::from_random(random::bytes()?);
        let secret = Secret::generate(id, random::fill)?;
        let name = KeyName { owner, id };
        let key = Key::create(name, new, Some(call.caller.credential.actor()), call.now)?;
        call.caller.require_no_wider(&key)?;
        let creation = Creation::new(call, Created { key, secret }, replay);
        let created = self.create_in_line(creation).await?;
        self.store().followed(created.key.revision, limits::OWN_MIRROR_WAIT).await;
        Ok(created)
    }

    /// Reads a key. Needs `keys.read` of the tenant, or `keys.self` for an own key.
    pub async fn get_key(&self, call: &Call, name: &KeyName) -> Result<Key, AuthorityError> {
        call.see(&name.owner.tenant, || Resource::key(name))?;
        call.caller.require_owner(&name.owner, Right::KeysRead)?;
        let found = self.store().key(name).await?;
        Ok(found.ok_or_else(|| Refusal::NotFound(Resource::key(name)))?)
    }

    /// Lists keys. Needs `keys.read` of the tenant, or `keys.self` for own keys.
    pub async fn list_keys(&self, call: &Call, filter: &KeyFilter, page: &Page) -> Result<Paged<Key>, AuthorityError> {
        let tenant = &filter.parent.tenant;
        match &filter.parent.service_user {
            Some(id) => {
                let owner = ServiceUserName { tenant: tenant.clone(), id: id.clone() };
                call.see(tenant, || Resource::service_user(&owner))?;
                call.caller.require_owner(&owner, Right::KeysRead)?;
                let found = self.store().service_user(&owner).await?;
                found.ok_or_else(|| Refusal::NotFound(Resource::service_user(&owner)))?;
            }
            None => {
                call.see(tenant, || Resource::tenant(tenant))?;
                call.caller.require(Right::KeysRead)?;
                require_tenant(self.store(), tenant).await?;
            }
        }
        if let Some(id) = filter.key_group.clone() {
            require_listed_group(self.store(), &KeyGroupName { tenant: tenant.clone(), id }).await?;
        }
        Ok(self.store().keys(filter, page, call.now).await?)
    }

    /// Edits a key. Needs `keys.write` of the tenant, or `keys.self` for an own key that gets no wider than the calling one.
    pub async fn update_key(
        &self,
        call: Call,
        name: KeyName,
        edit: KeyEdit,
        expected: Revision,
    ) -> Result<Key, AuthorityError> {
        call.see(&name.owner.tenant, || Resource::key(&name))?;
        call.caller.require_owner(&name.owner, Right::KeysWrite)?;
        self.change_key(call, name, expected, |key, call| {
            call.caller.require_held(&key.scopes)?;
            let transition = key.edit(edit, call.now)?;
            let (Transition::Changed(edited) | Transition::Unchanged(edited)) = &transition;
            call.caller.require_held(&edited.scopes)?;
            call.caller.require_no_wider(edited)?;
            Ok(transition)
        })
        .await
    }

    /// Enables a key. Needs `keys.write` of the tenant, and every right that the key carries.
    pub async fn enable_key(&self, call: Call, name: KeyName, expected: Revision) -> Result<Key, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.owner.tenant, || Resource::key(&name))?;
        self.change_key(call, name, expected, |key, call| {
            call.caller.require_held(&key.scopes)?;
            key.enable(call.now)
        })
        .await
    }

    /// Disables a key. Needs `keys.write` of the tenant.
    pub async fn disable_key(&self, call: Call, name: KeyName, expected: Revision) -> Result<Key, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.owner.tenant, || Resource::key(&name))?;
        self.change_key(call, name, expected, |key, call| key.disable(call.now)).await
    }

    /// Revokes a key. Needs `keys.write` of the tenant, or `keys.self` for an own key.
    pub async fn revoke_key(
        &self,
        call: Call,
        name: KeyName,
        reason: RevokeReason,
        expected: Revision,
    ) -> Result<Key, AuthorityError> {
        call.see(&name.owner.tenant, || Resource::key(&name))?;
        call.caller.require_owner(&name.owner, Right::KeysWrite)?;
        self.change_key(call, name, expected, |key, call| key.revoke(reason, call.now)).await
    }

    /// Deletes a key. Needs `keys.write` of the tenant. Deleting it again answers the same.
    pub async fn delete_key(&self, call: Call, name: KeyName, expected: Revision) -> Result<Key, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.owner.tenant, || Resource::key(&name))?;
        self.change(call, move |write, call| async move {
            let key = write.key(&name).await?.ok_or_else(|| Refusal::NotFound(Resource::key(&name)))?;
            require_revision(&name, expected, key.revision)?;
            let transition = key.delete(call.now);
            save(write, &call, transition).await
        })
        .await
    }

    async fn change_key(
        &self,
        call: Call,
        name: KeyName,
        expected: Revision,
        rule: impl FnOnce(Key, &Call) -> Result<Transition, Refusal> + Send + 'static,
    ) -> Result<Key, AuthorityError> {
        self.change(call, move |write, call| async move {
            let key = load(&write, &name).await?;
            require_revision(&name, expected, key.revision)?;
            let before = key.clone();
            let transition = rule(key, &call)?;
            if let Transition::Changed(after) = &transition {
                if (after.expire_time, &after.networks) != (before.expire_time, &before.networks) {
                    let tenant = tenants::load(&write, &name.owner.tenant).await?;
                    tenant.policy.allow_edit(&before, after)?;
                }
                if after.key_group != before.key_group {
                    require_group_of(&write, after).await?;
                }
                if after.expire_time != before.expire_time {
                    write.settle_warnings([&name], call.now).await?;
                }
            }
            save(write, &call, transition).await
        })
        .await
    }
}

/// A key that is not deleted.
pub(super) async fn load(write: &Write, name: &KeyName) -> Result<Key, AuthorityError> {
    let found = write.key(name).await?.filter(|key| key.delete_time.is_none());
    Ok(found.ok_or_else(|| Refusal::NotFound(Resource::key(name)))?)
}

/// The room of a service user that is there.
pub(super) async fn room(write: &Write, owner: &ServiceUserName) -> Result<Room, AuthorityError> {
    Ok(write.room(owner).await?.ok_or_else(|| Refusal::NotFound(Resource::service_user(owner)))?)
}

async fn save(write: Write, call: &Call, transition: Transition) -> Result<Changed<Key>, AuthorityError> {
    match transition {
        Transition::Unchanged(key) => Ok(Changed::at(key.revision, key)),
        Transition::Changed(mut key) => {
            write.update_key(&key).await?;
            if !key.is_warned_about(call.now) {
                write.settle_warnings([&key.name], call.now).await?;
            }
            key.revision = write.commit(call.event(&key.name.owner.tenant, key.name.to_string())).await?;
            Ok(Changed::at(key.revision, key))
        }
    }
}
