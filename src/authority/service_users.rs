//! Use cases of service users.

use crate::domain::{
    Refusal, Revision,
    certificate_identity::CertificateIdentities,
    ids::{ServiceUserName, TenantId},
    owner::{OwnerState, ServiceUser},
    page::{Page, Paged},
    refusal::{Resource, require_revision},
    rights::Right,
    text::{Description, DisplayName},
};
use crate::store::{Store, Write};

use super::{Authority, AuthorityError, Changed, call::Call, tenants};

/// An edit: `Some` for each field the mask names.
#[derive(Debug, Clone, Default)]
pub struct ServiceUserEdit {
    /// `display_name`
    pub display_name: Option<DisplayName>,
    /// `description`
    pub description: Option<Description>,
    /// `certificate_identities`
    pub identities: Option<CertificateIdentities>,
}

impl Authority {
    /// Makes a service user. Needs `keys.write` of the tenant, and `admin` for names in certificates.
    pub async fn create_service_user(
        &self,
        call: Call,
        name: ServiceUserName,
        display_name: DisplayName,
        description: Description,
        identities: CertificateIdentities,
    ) -> Result<ServiceUser, AuthorityError> {
        call.caller.require(if identities.is_empty() { Right::KeysWrite } else { Right::Admin })?;
        call.see(&name.tenant, || Resource::tenant(&name.tenant))?;
        self.change(call, move |write, call| async move {
            tenants::load(&write, &name.tenant).await?;
            if write.service_user(&name).await?.is_some() {
                return Err(Refusal::IdTaken(Resource::service_user(&name)).into());
            }
            let mut service_user = ServiceUser::create(name, display_name, description, call.now);
            service_user.identities = identities;
            write.insert_service_user(&service_user).await?;
            set_identities(&write, &service_user).await?;
            let event = call.event(&service_user.name.tenant, service_user.name.to_string());
            service_user.revision = write.commit(event).await?;
            Ok(Changed::at(service_user.revision, service_user))
        })
        .await
    }

    /// Reads a service user. Needs `keys.read` of its tenant.
    pub async fn get_service_user(&self, call: &Call, name: &ServiceUserName) -> Result<ServiceUser, AuthorityError> {
        call.caller.require(Right::KeysRead)?;
        call.see(&name.tenant, || Resource::service_user(name))?;
        let found = self.store().service_user(name).await?;
        Ok(found.ok_or_else(|| Refusal::NotFound(Resource::service_user(name)))?)
    }

    /// Lists a tenant's service users. Needs `keys.read` of it.
    pub async fn list_service_users(
        &self,
        call: &Call,
        tenant: &TenantId,
        page: &Page,
        show_deleted: bool,
    ) -> Result<Paged<ServiceUser>, AuthorityError> {
        call.caller.require(Right::KeysRead)?;
        call.see(tenant, || Resource::tenant(tenant))?;
        require_tenant(self.store(), tenant).await?;
        Ok(self.store().service_users(tenant, page, show_deleted).await?)
    }

    /// Edits a service user. Needs `keys.write` of its tenant, and `admin` for names in certificates.
    pub async fn update_service_user(
        &self,
        call: Call,
        name: ServiceUserName,
        edit: ServiceUserEdit,
        expected: Revision,
    ) -> Result<ServiceUser, AuthorityError> {
        if edit.identities.is_some() {
            call.caller.require(Right::Admin)?;
        }
        self.change_service_user(call, name, expected, move |service_user| {
            service_user.identities = edit.identities.unwrap_or_else(|| service_user.identities.clone());
            service_user.display_name = edit.display_name.unwrap_or_else(|| service_user.display_name.clone());
            service_user.description = edit.description.unwrap_or_else(|| service_user.description.clone());
            Ok(())
        })
        .await
    }

    /// Lets its keys verify again. Needs `keys.write` of its tenant, and every right that its live keys carry or its names in
    /// certificates give.
    pub async fn enable_service_user(
        &self,
        call: Call,
        name: ServiceUserName,
        expected: Revision,
    ) -> Result<ServiceUser, AuthorityError> {
        self.change_service_user(call, name, expected, |service_user| {
            service_user.state = OwnerState::Enabled;
            Ok(())
        })
        .await
    }

    /// Makes its keys answer OWNER_DISABLED. Needs `keys.write` of its tenant.
    pub async fn disable_service_user(
        &self,
        call: Call,
        name: ServiceUserName,
        expected: Revision,
    ) -> Result<ServiceUser, AuthorityError> {
        self.change_service_user(call, name, expected, |service_user| {
            service_user.require_unprotected()?;
            service_user.state = OwnerState::Disabled;
            Ok(())
        })
        .await
    }

    /// Deletes a service user with its keys, and frees its names in certificates. Needs `keys.write` of its tenant.
    pub async fn delete_service_user(
        &self,
        call: Call,
        name: ServiceUserName,
        force: bool,
        expected: Revision,
    ) -> Result<ServiceUser, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.tenant, || Resource::service_user(&name))?;
        self.change(call, move |write, call| async move {
            let found = write.service_user(&name).await?;
            let mut service_user = found.ok_or_else(|| Refusal::NotFound(Resource::service_user(&name)))?;
            require_revision(&name, expected, service_user.revision)?;
            service_user.require_unprotected()?;
            if service_user.delete_time.is_some() {
                return Ok(Changed::at(service_user.revision, service_user));
            }
            if !force && write.has_live_keys(&name.tenant, Some(&name.id), call.now).await? {
                return Err(Refusal::LiveKeysExist(name.to_string()).into());
            }
            write.delete_owned(&name.tenant, Some(&name.id), call.now).await?;
            write.settle_warnings_of(&name, call.now).await?;
            service_user.identities = CertificateIdentities::default();
            service_user.delete_time = Some(call.now);
            service_user.update_time = call.now;
            save(write, &call, service_user).await
        })
        .await
    }

    async fn change_service_user(
        &self,
        call: Call,
        name: ServiceUserName,
        expected: Revision,
        change: impl FnOnce(&mut ServiceUser) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<ServiceUser, AuthorityError> {
        call.caller.require(Right::KeysWrite)?;
        call.see(&name.tenant, || Resource::service_user(&name))?;
        self.change(call, move |write, call| async move {
            let found = write.service_user(&name).await?.filter(|found| found.delete_time.is_none());
            let before = found.ok_or_else(|| Refusal::NotFound(Resource::service_user(&name)))?;
            require_revision(&name, expected, before.revision)?;
            let mut after = before.clone();
            change(&mut after)?;
            if after == before {
                return Ok(Changed::at(before.revision, before));
            }
            if before.state == OwnerState::Disabled && after.state == OwnerState::Enabled {
                let scopes = write.live_scopes(&name.tenant, Some(&name.id), call.now).await?;
                call.caller.require_held(&scopes)?;
            }
            if after.identities != before.identities {
                set_identities(&write, &after).await?;
            }
            after.update_time = call.now;
            save(write, &call, after).await
        })
        .await
    }
}

/// Refuses a parent that doesn't exist, instead of answering an empty list.
pub(super) async fn require_tenant(store: &Store, id: &TenantId) -> Result<(), AuthorityError> {
    match store.tenant(id).await? {
        Some(_) => Ok(()),
        None => Err(Refusal::NotFound(Resource::tenant(id)).into()),
    }
}

/// Stores the names of a service user in certificates. A name has one owner in the whole installation; only `admin` comes
/// here, which sees every tenant, and so may be told whose it is.
async fn set_identities(write: &Write, service_user: &ServiceUser) -> Result<(), AuthorityError> {
    for identity in service_user.identities.iter() {
        let owner = write.owner_of_identity(&identity.name).await?;
        if let Some(owner) = owner.filter(|owner| *owner != service_user.name) {
            return Err(Refusal::CertificateIdentityTaken { name: identity.name.clone(), owner }.into());
        }
    }
    Ok(write.set_identities(&service_user.name, &service_user.identities).await?)
}

async fn save(
    write: Write,
    call: &Call,
    mut service_user: ServiceUser,
) -> Result<Changed<ServiceUser>, AuthorityError> {
    write.update_service_user(&service_user).await?;
    let event = call.event(&service_user.name.tenant, service_user.name.to_string());
    service_user.revision = write.commit(event).await?;
    Ok(Changed::at(service_user.revision, service_user))
}
