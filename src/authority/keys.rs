//! Use cases of keys; rotation has a file of its own.

use crate::domain::{
    Refusal, Revision, Time,
    audit::AuditEvent,
    ids::{KeyGroupName, KeyId, KeyName, ServiceUserName},
    key::{Key, KeyEdit, NewKey, Transition},
    page::{Page, Paged},
    refusal::{Resource, require_revision},
    rights::Right,
    secret::Secret,
    text::RevokeReason,
};
use crate::random;
use crate::store::{KeyFilter, Room, Told, Write};

use super::{
    Authority, AuthorityError, Changed,
    call::Call,
    key_groups::{require_group_of, require_listed_group},
    replays::{ReplayRequest, replay_of},
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
        let created = Created { key, secret };
        let (authority, owner) = (self.clone(), created.key.name.owner.clone());
        let insert =
            move |write, call, room| async move { authority.insert_created(write, call, room, created, replay).await };
        self.change_in_room(call, &owner, insert).await
    }

    async fn insert_created(
        &self,
        write: Write,
        call: Call,
        room: Room,
        mut created: Created,
        replay: Option<ReplayRequest>,
    ) -> Result<Changed<Created>, AuthorityError> {
        let owner = &created.key.name.owner;
        if let Some(replayed) = self.replay(&write, &call, replay.as_ref()).await? {
            let key = load(&write, &owner.key(replayed.key_id())).await?;
            return Ok(Changed::at(key.revision, Created { key, secret: replayed }));
        }
        room.policy.allow_new(&created.key)?;
        require_group_of(&write, &created.key).await?;
        let event = call.event(&created.key.name.owner.tenant, created.key.name.to_string());
        let told = self.insert_key(&write, &created, &room, false, event, call.now).await?;
        if let Some(request) = &replay {
            let sealed = self.shared.replay_seal.seal(&call, request, &created.secret)?;
            write.insert_replay(&replay_of(&call, request, sealed), call.now).await?;
        }
        created.key.revision = write.commit_told(told).await?;
        Ok(Changed::at(created.key.revision, created))
    }

    /// Puts a new key into a free slot, and the event of the change beside it: the write order makes the count exact, the
    /// schema makes it certain. The secret of a retrievable key is kept with it, sealed.
    pub(super) async fn insert_key(
        &self,
        write: &Write,
        created: &Created,
        room: &Room,
        rotating: bool,
        event: AuditEvent,
        now: Time,
    ) -> Result<Told, AuthorityError> {
        let owner = &created.key.name.owner;
        let Some(slot) = write.free_slot(owner, room, now).await? else {
            return Err(Refusal::KeyLimit { owner: owner.clone(), rotating }.into());
        };
        let pepper = self.shared.peppers.current();
        let digest = pepper.digest(created.secret.presented());
        let told = write.insert_key(&created.key, slot, &digest, pepper.id(), event).await?;
        if created.key.retrievable {
            write.insert_sealed_secret(&created.key.name, &self.seal(created)?).await?;
        }
        Ok(told)
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
