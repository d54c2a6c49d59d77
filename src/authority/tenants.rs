//! Use cases of tenants.

use crate::domain::{
    Refusal, Revision, Time,
    calendar::{Calendar, TimeZone, WarningHour},
    caller::Caller,
    ids::TenantId,
    owner::{OwnerState, Tenant},
    page::{Page, Paged},
    policy::TenantPolicy,
    refusal::{Resource, require_revision},
    rights::Right,
    text::DisplayName,
};
use crate::store::Write;

use super::{Authority, AuthorityError, Changed, call::Call};

/// An edit: `Some` for each field the mask names.
#[derive(Debug, Clone, Default)]
pub struct TenantEdit {
    /// `display_name`
    pub display_name: Option<DisplayName>,
    /// `time_zone`
    pub zone: Option<TimeZone>,
    /// `warning_hour`
    pub hour: Option<WarningHour>,
    /// `policy`
    pub policy: Option<TenantPolicy>,
}

impl Authority {
    /// Makes a tenant. Needs `admin`.
    pub async fn create_tenant(
        &self,
        call: Call,
        id: TenantId,
        display_name: DisplayName,
        calendar: Calendar,
        policy: TenantPolicy,
    ) -> Result<Tenant, AuthorityError> {
        call.caller.require(Right::Admin)?;
        self.change(call, move |write, call| async move {
            if write.tenant(&id).await?.is_some() {
                return Err(Refusal::IdTaken(Resource::tenant(&id)).into());
            }
            let mut tenant = Tenant::create(id, display_name, calendar, policy, call.now);
            write.insert_tenant(&tenant).await?;
            tenant.revision = write.commit(call.event(&tenant.id, tenant.id.name())).await?;
            Ok(Changed::at(tenant.revision, tenant))
        })
        .await
    }

    /// Reads a tenant. Needs `tenant.admin` of it.
    pub async fn get_tenant(&self, call: &Call, id: &TenantId) -> Result<Tenant, AuthorityError> {
        self.tenant(call, id, Right::TenantAdmin).await
    }

    /// Reads a tenant for a caller who needs `right` of it.
    pub async fn tenant(&self, call: &Call, id: &TenantId, right: Right) -> Result<Tenant, AuthorityError> {
        call.caller.require(right)?;
        call.see(id, || Resource::tenant(id))?;
        let tenant = self.store().tenant(id).await?;
        Ok(tenant.ok_or_else(|| Refusal::NotFound(Resource::tenant(id)))?)
    }

    /// Lists every tenant. Needs `admin`.
    pub async fn list_tenants(
        &self,
        call: &Call,
        page: &Page,
        show_deleted: bool,
    ) -> Result<Paged<Tenant>, AuthorityError> {
        call.caller.require(Right::Admin)?;
        Ok(self.store().tenants(page, show_deleted).await?)
    }

    /// Edits a tenant. Needs `tenant.admin` of it, and `admin` for its policy.
    pub async fn update_tenant(
        &self,
        call: Call,
        id: TenantId,
        edit: TenantEdit,
        expected: Revision,
    ) -> Result<Tenant, AuthorityError> {
        call.caller.require(if edit.policy.is_some() { Right::Admin } else { Right::TenantAdmin })?;
        self.change_tenant(call, id, expected, move |tenant| {
            tenant.display_name = edit.display_name.unwrap_or_else(|| tenant.display_name.clone());
            tenant.calendar.zone = edit.zone.unwrap_or(tenant.calendar.zone);
            tenant.calendar.hour = edit.hour.unwrap_or(tenant.calendar.hour);
            tenant.policy = edit.policy.unwrap_or_else(|| tenant.policy.clone());
            Ok(())
        })
        .await
    }

    /// Lets a tenant's keys verify again. Needs `tenant.admin` of it, and every right that its live keys carry.
    pub async fn enable_tenant(&self, call: Call, id: TenantId, expected: Revision) -> Result<Tenant, AuthorityError> {
        call.caller.require(Right::TenantAdmin)?;
        self.change_tenant(call, id, expected, |tenant| {
            tenant.state = OwnerState::Enabled;
            Ok(())
        })
        .await
    }

    /// Makes a tenant's keys answer OWNER_DISABLED. Needs `tenant.admin` of it.
    pub async fn disable_tenant(&self, call: Call, id: TenantId, expected: Revision) -> Result<Tenant, AuthorityError> {
        call.caller.require(Right::TenantAdmin)?;
        self.change_tenant(call, id, expected, |tenant| {
            tenant.require_unprotected()?;
            tenant.state = OwnerState::Disabled;
            Ok(())
        })
        .await
    }

    /// Deletes a tenant with everything in it. Needs `admin`.
    pub async fn delete_tenant(
        &self,
        call: Call,
        id: TenantId,
        force: bool,
        expected: Revision,
    ) -> Result<Tenant, AuthorityError> {
        call.caller.require(Right::Admin)?;
        self.change(call, move |write, call| async move {
            let found = write.tenant(&id).await?;
            let mut tenant = found.ok_or_else(|| Refusal::NotFound(Resource::tenant(&id)))?;
            require_revision(id.name(), expected, tenant.revision)?;
            tenant.require_unprotected()?;
            if tenant.delete_time.is_some() {
                return Ok(Changed::at(tenant.revision, tenant));
            }
            if !force && write.has_live_keys(&id, None, call.now).await? {
                return Err(Refusal::LiveKeysExist(id.name()).into());
            }
            write.delete_owned(&id, None, call.now).await?;
            tenant.delete_time = Some(call.now);
            tenant.update_time = call.now;
            save(write, &call, tenant).await
        })
        .await
    }

    async fn change_tenant(
        &self,
        call: Call,
        id: TenantId,
        expected: Revision,
        change: impl FnOnce(&mut Tenant) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Tenant, AuthorityError> {
        call.see(&id, || Resource::tenant(&id))?;
        self.change(call, move |write, call| async move {
            let before = load(&write, &id).await?;
            require_revision(id.name(), expected, before.revision)?;
            let mut after = before.clone();
            change(&mut after)?;
            if after == before {
                return Ok(Changed::at(before.revision, before));
            }
            if before.state == OwnerState::Disabled && after.state == OwnerState::Enabled {
                require_held_by_all(&write, &call.caller, &id, call.now).await?;
            }
            if (after.calendar, after.state) != (before.calendar, before.state) {
                write.look_at_warnings(&id).await?;
            }
            after.update_time = call.now;
            save(write, &call, after).await
        })
        .await
    }
}

/// A tenant, unless it is deleted.
pub(super) async fn find(write: &Write, id: &TenantId) -> Result<Option<Tenant>, AuthorityError> {
    Ok(write.tenant(id).await?.filter(|tenant| tenant.delete_time.is_none()))
}

/// A tenant that is not deleted.
pub(super) async fn load(write: &Write, id: &TenantId) -> Result<Tenant, AuthorityError> {
    let found = find(write, id).await?;
    Ok(found.ok_or_else(|| Refusal::NotFound(Resource::tenant(id)))?)
}

async fn require_held_by_all(write: &Write, caller: &Caller, id: &TenantId, now: Time) -> Result<(), AuthorityError> {
    let scopes = write.live_scopes(id, None, now).await?;
    Ok(caller.require_held(&scopes)?)
}

async fn save(write: Write, call: &Call, mut tenant: Tenant) -> Result<Changed<Tenant>, AuthorityError> {
    write.update_tenant(&tenant).await?;
    tenant.revision = write.commit(call.event(&tenant.id, tenant.id.name())).await?;
    Ok(Changed::at(tenant.revision, tenant))
}
