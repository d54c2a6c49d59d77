//! Use cases of user groups.

use crate::domain::{
    Refusal, Revision, Time,
    ids::{TenantId, UserGroupName},
    limits,
    notification::Notification,
    page::{Page, Paged},
    refusal::{Resource, require_revision},
    rights::Right,
    user_group::{NewUserGroup, UserGroup, UserGroupEdit},
};
use crate::random;
use crate::store::Write;

use super::{Authority, AuthorityError, Changed, call::Call, service_users::require_tenant, tenants};

impl Authority {
    /// Makes a user group. Needs `keys.write` of the tenant.
    pub async fn create_user_group(
        &self,
        call: Call,
        name: UserGroupName,
        new: NewUserGroup,
    ) -> Result<UserGroup, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.tenant, || Resource::tenant(&name.tenant))?;
        self.change(call, move |write, call| async move {
            tenants::load(&write, &name.tenant).await?;
            if write.user_group(&name).await?.is_some() {
                return Err(Refusal::IdTaken(Resource::user_group(&name)).into());
            }
            if write.user_group_count(&name.tenant).await? >= limits::USER_GROUPS {
                return Err(Refusal::UserGroupLimit(name.tenant).into());
            }
            let mut group = UserGroup::create(name.clone(), new, call.now)?;
            respect_wishes(&write, None, &mut group).await?;
            write.insert_user_group(&group).await?;
            commit(write, &call, name).await
        })
        .await
    }

    /// Reads a user group. Needs `keys.read` of its tenant.
    pub async fn get_user_group(&self, call: &Call, name: &UserGroupName) -> Result<UserGroup, AuthorityError> {
        call.caller.require(Right::KeysRead)?;
        let missing = || Resource::user_group(name);
        call.see(&name.tenant, missing)?;
        let found = match self.store().tenant(&name.tenant).await? {
            Some(_) => self.store().user_group(name).await?,
            None => None,
        };
        Ok(found.ok_or_else(|| Refusal::NotFound(missing()))?)
    }

    /// Lists a tenant's user groups. Needs `keys.read` of it.
    pub async fn list_user_groups(
        &self,
        call: &Call,
        tenant: &TenantId,
        page: &Page,
    ) -> Result<Paged<UserGroup>, AuthorityError> {
        call.caller.require(Right::KeysRead)?;
        call.see(tenant, || Resource::tenant(tenant))?;
        require_tenant(self.store(), tenant).await?;
        Ok(self.store().user_groups(tenant, page).await?)
    }

    /// Edits a user group. Needs `keys.write` of its tenant.
    pub async fn update_user_group(
        &self,
        call: Call,
        name: UserGroupName,
        edit: UserGroupEdit,
        expected: Revision,
    ) -> Result<UserGroup, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.tenant, || Resource::user_group(&name))?;
        let random = random::bytes()?;
        self.change(call, move |write, call| async move {
            let before = require_user_group(&write, &name, expected).await?;
            let mut after = before.edit(edit, call.now)?;
            respect_wishes(&write, Some(&before), &mut after).await?;
            if after == before {
                return Ok(Changed::at(before.revision, before));
            }
            let had_subscribers = write.has_subscribers(&name.tenant).await?;
            save(&write, &before, &after).await?;
            tell_if_last_gone(&write, &name.tenant, had_subscribers, random, call.now).await?;
            commit(write, &call, name).await
        })
        .await
    }

    /// Deletes a user group, at once and for good. Needs `keys.write` of its tenant.
    pub async fn delete_user_group(
        &self,
        call: Call,
        name: UserGroupName,
        expected: Revision,
    ) -> Result<(), AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.tenant, || Resource::user_group(&name))?;
        let random = random::bytes()?;
        self.change(call, move |write, call| async move {
            require_user_group(&write, &name, expected).await?;
            let had_subscribers = write.has_subscribers(&name.tenant).await?;
            write.delete_user_group(&name).await?;
            tell_if_last_gone(&write, &name.tenant, had_subscribers, random, call.now).await?;
            let revision = write.commit(call.event(&name.tenant, name.to_string())).await?;
            Ok(Changed::at(revision, ()))
        })
        .await
    }
}

/// Tells the tenant when the change under way took its last subscriber. `random` makes the notification's id.
pub(super) async fn tell_if_last_gone(
    write: &Write,
    tenant: &TenantId,
    had_subscribers: bool,
    random: [u8; 10],
    now: Time,
) -> Result<(), AuthorityError> {
    if had_subscribers && !write.has_subscribers(tenant).await? {
        write.notify(&[Notification::last_subscriber_gone(tenant.clone(), random, now)]).await?;
    }
    Ok(())
}

/// The group, if it is there and at the revision that the caller saw.
async fn require_user_group(
    write: &Write,
    name: &UserGroupName,
    expected: Revision,
) -> Result<UserGroup, AuthorityError> {
    let found = if tenants::find(write, &name.tenant).await?.is_some() { write.user_group(name).await? } else { None };
    let group = found.ok_or_else(|| Refusal::NotFound(Resource::user_group(name)))?;
    require_revision(name, expected, group.revision)?;
    Ok(group)
}

/// Whoever has unsubscribed stays so when put into another group; in the group where it shows, UpdateUserGroup undoes it.
async fn respect_wishes(
    write: &Write,
    before: Option<&UserGroup>,
    group: &mut UserGroup,
) -> Result<(), AuthorityError> {
    let newcomers: Vec<_> = group.newcomers(before).collect();
    let since = write.unsubscribed(&group.name.tenant, &newcomers).await?;
    group.respect(&since);
    Ok(())
}

async fn save(write: &Write, before: &UserGroup, after: &UserGroup) -> Result<(), AuthorityError> {
    write.update_user_group(after).await?;
    if after.members != before.members {
        write.replace_members(after).await?;
        let addresses: Vec<_> = after.members.iter().map(|member| member.address.clone()).collect();
        write.clear_refusals(&after.name.tenant, &addresses).await?;
    }
    Ok(())
}

/// Answers the group as it is stored now: an address may have been refused before it came into this group.
async fn commit(write: Write, call: &Call, name: UserGroupName) -> Result<Changed<UserGroup>, AuthorityError> {
    let stored = write.user_group(&name).await?;
    let group = stored.ok_or_else(|| AuthorityError::Defect(format!("{name} is missing in its own change")))?;
    let revision = write.commit(call.event(&name.tenant, name.to_string())).await?;
    Ok(Changed::at(revision, group))
}
