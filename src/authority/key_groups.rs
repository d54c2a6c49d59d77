//! Use cases of key groups.

use crate::domain::{
    Refusal, Revision,
    ids::{KeyGroupName, TenantId},
    key::Key,
    key_group::{KeyGroup, KeyGroupEdit},
    limits,
    page::{Page, Paged},
    refusal::{Resource, require_revision},
    rights::Right,
    text::{Description, DisplayName},
};
use crate::store::{Store, Write};

use super::{Authority, AuthorityError, Changed, call::Call, service_users::require_tenant, tenants};

impl Authority {
    /// Makes a key group. Needs `keys.write` of the tenant.
    pub async fn create_key_group(
        &self,
        call: Call,
        name: KeyGroupName,
        display_name: DisplayName,
        description: Description,
    ) -> Result<KeyGroup, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.tenant, || Resource::tenant(&name.tenant))?;
        self.change(call, move |write, call| async move {
            tenants::load(&write, &name.tenant).await?;
            if write.key_group(&name).await?.is_some() {
                return Err(Refusal::IdTaken(Resource::key_group(&name)).into());
            }
            if write.key_group_count(&name.tenant).await? >= limits::KEY_GROUPS {
                return Err(Refusal::KeyGroupLimit(name.tenant).into());
            }
            let group = KeyGroup::create(name, display_name, description, call.now);
            write.insert_key_group(&group).await?;
            commit(write, &call, group).await
        })
        .await
    }

    /// Reads a key group. Needs `keys.read` of its tenant.
    pub async fn get_key_group(&self, call: &Call, name: &KeyGroupName) -> Result<KeyGroup, AuthorityError> {
        call.caller.require(Right::KeysRead)?;
        let missing = || Resource::key_group(name);
        call.see(&name.tenant, missing)?;
        let found = match self.store().tenant(&name.tenant).await? {
            Some(_) => self.store().key_group(name).await?,
            None => None,
        };
        Ok(found.ok_or_else(|| Refusal::NotFound(missing()))?)
    }

    /// Lists a tenant's key groups. Needs `keys.read` of it.
    pub async fn list_key_groups(
        &self,
        call: &Call,
        tenant: &TenantId,
        page: &Page,
    ) -> Result<Paged<KeyGroup>, AuthorityError> {
        call.caller.require(Right::KeysRead)?;
        call.see(tenant, || Resource::tenant(tenant))?;
        require_tenant(self.store(), tenant).await?;
        Ok(self.store().key_groups(tenant, page).await?)
    }

    /// Edits a key group. Needs `keys.write` of its tenant.
    pub async fn update_key_group(
        &self,
        call: Call,
        name: KeyGroupName,
        edit: KeyGroupEdit,
        expected: Revision,
    ) -> Result<KeyGroup, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.tenant, || Resource::key_group(&name))?;
        self.change(call, move |write, call| async move {
            let before = require_key_group(&write, &name, expected).await?;
            let after = before.edit(edit, call.now);
            if after == before {
                return Ok(Changed::at(before.revision, before));
            }
            write.update_key_group(&after).await?;
            commit(write, &call, after).await
        })
        .await
    }

    /// Deletes a key group, at once and for good; with `force` also one that has keys, which go on without it. Needs
    /// `keys.write` of its tenant.
    pub async fn delete_key_group(
        &self,
        call: Call,
        name: KeyGroupName,
        force: bool,
        expected: Revision,
    ) -> Result<(), AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.tenant, || Resource::key_group(&name))?;
        self.change(call, move |write, call| async move {
            require_key_group(&write, &name, expected).await?;
            if !force && write.key_group_has_keys(&name).await? {
                return Err(Refusal::KeyGroupNotEmpty(name).into());
            }
            write.delete_key_group(&name, call.now).await?;
            let revision = write.commit(call.event(&name.tenant, name.to_string())).await?;
            Ok(Changed::at(revision, ()))
        })
        .await
    }
}

/// Refuses to put a key into a group that isn't there.
pub(super) async fn require_group_of(write: &Write, key: &Key) -> Result<(), AuthorityError> {
    let Some(name) = key.key_group_name() else { return Ok(()) };
    let found = write.key_group(&name).await?;
    found.map(drop).ok_or_else(|| Refusal::NotFound(Resource::key_group(&name)).into())
}

/// Refuses to list the keys of a group that isn't there, instead of answering an empty list.
pub(super) async fn require_listed_group(store: &Store, name: &KeyGroupName) -> Result<(), AuthorityError> {
    let found = store.key_group(name).await?;
    found.map(drop).ok_or_else(|| Refusal::NotFound(Resource::key_group(name)).into())
}

/// The group, if it is there and at the revision that the caller saw.
async fn require_key_group(write: &Write, name: &KeyGroupName, expected: Revision) -> Result<KeyGroup, AuthorityError> {
    let found = if tenants::find(write, &name.tenant).await?.is_some() { write.key_group(name).await? } else { None };
    let group = found.ok_or_else(|| Refusal::NotFound(Resource::key_group(name)))?;
    require_revision(name, expected, group.revision)?;
    Ok(group)
}

async fn commit(write: Write, call: &Call, mut group: KeyGroup) -> Result<Changed<KeyGroup>, AuthorityError> {
    group.revision = write.commit(call.event(&group.name.tenant, group.name.to_string())).await?;
    Ok(Changed::at(group.revision, group))
}
