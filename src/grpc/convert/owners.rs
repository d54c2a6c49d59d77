//! Tenants and service users.

use crate::authority::{service_users::ServiceUserEdit, tenants::TenantEdit};
use crate::domain::{
    Refusal, Revision, Time,
    calendar::{Calendar, TimeZone, WarningHour},
    certificate_identity::CertificateIdentities,
    ids::{ServiceUserId, ServiceUserName, TenantId},
    limits,
    owner::{OwnerState, ServiceUser, Tenant},
    policy::TenantPolicy,
    text::{Description, DisplayName},
};
use crate::proto::v1;

use super::{expected_revision, fields::Fields, identities, mask, policy, time};

const IMMUTABLE: [&str; 7] = ["name", "state", "create_time", "update_time", "delete_time", "purge_time", "revision"];

/// Reads a CreateTenantRequest.
pub fn create_tenant(
    request: &v1::CreateTenantRequest,
) -> Result<(TenantId, DisplayName, Calendar, TenantPolicy), Refusal> {
    let mut fields = Fields::default();
    let id = fields.take("tenant_id", TenantId::parse_new(&request.tenant_id));
    let absent = v1::Tenant::default();
    let tenant = request.tenant.as_ref().unwrap_or(&absent);
    let display_name = fields.take("tenant.display_name", DisplayName::parse(&tenant.display_name));
    let zone = if tenant.time_zone.is_empty() { TimeZone::UTC.name() } else { &tenant.time_zone };
    let zone = fields.take("tenant.time_zone", TimeZone::parse(zone));
    let hour = tenant.warning_hour.map_or(Ok(WarningHour::DEFAULT), WarningHour::parse);
    let hour = fields.take("tenant.warning_hour", hour);
    let policy = policy::read(&mut fields, tenant.policy.as_ref());
    let complete = || Some((id?, display_name?, Calendar { zone: zone?, hour: hour? }, policy?));
    fields.finish(complete())
}

/// Reads an UpdateTenantRequest.
pub fn update_tenant(request: &v1::UpdateTenantRequest) -> Result<(TenantId, TenantEdit, Revision), Refusal> {
    let mut fields = Fields::default();
    let absent = v1::Tenant::default();
    let tenant = request.tenant.as_ref().unwrap_or(&absent);
    let id = fields.take("tenant.name", TenantId::parse_name(&tenant.name));
    let expected = expected_revision(&mut fields, request.expected_revision);
    let editable = ["display_name", "time_zone", "warning_hour", "policy"];
    let paths = mask(&mut fields, request.update_mask.as_ref(), &editable, &IMMUTABLE);
    let mut edit = TenantEdit::default();
    if paths.contains(&"display_name") {
        edit.display_name = fields.take("tenant.display_name", DisplayName::parse(&tenant.display_name));
    }
    if paths.contains(&"time_zone") {
        edit.zone = fields.take("tenant.time_zone", TimeZone::parse(&tenant.time_zone));
    }
    if paths.contains(&"warning_hour") {
        let hour = tenant.warning_hour.ok_or_else(|| "must be given: an hour, 0 to 23".to_owned());
        edit.hour = fields.take("tenant.warning_hour", hour.and_then(WarningHour::parse));
    }
    if paths.contains(&"policy") {
        edit.policy = policy::read(&mut fields, tenant.policy.as_ref());
    }
    let complete = || Some((id?, edit, expected?));
    fields.finish(complete())
}

/// Reads a CreateServiceUserRequest.
pub fn create_service_user(
    request: &v1::CreateServiceUserRequest,
) -> Result<(ServiceUserName, DisplayName, Description, CertificateIdentities), Refusal> {
    let mut fields = Fields::default();
    let absent = v1::ServiceUser::default();
    let service_user = request.service_user.as_ref().unwrap_or(&absent);
    let tenant = fields.take("parent", TenantId::parse_name(&request.parent));
    let id = fields.take("service_user_id", ServiceUserId::parse_new(&request.service_user_id));
    let display_name = fields.take("service_user.display_name", DisplayName::parse(&service_user.display_name));
    let description = fields.take("service_user.description", Description::parse(&service_user.description));
    let identities = identities::read(&mut fields, tenant.as_ref(), &service_user.certificate_identities);
    let complete = || Some((ServiceUserName { tenant: tenant?, id: id? }, display_name?, description?, identities?));
    fields.finish(complete())
}

/// Reads an UpdateServiceUserRequest.
pub fn update_service_user(
    request: &v1::UpdateServiceUserRequest,
) -> Result<(ServiceUserName, ServiceUserEdit, Revision), Refusal> {
    let mut fields = Fields::default();
    let absent = v1::ServiceUser::default();
    let service_user = request.service_user.as_ref().unwrap_or(&absent);
    let name = fields.take("service_user.name", ServiceUserName::parse(&service_user.name));
    let expected = expected_revision(&mut fields, request.expected_revision);
    let editable = ["display_name", "description", "certificate_identities"];
    let paths = mask(&mut fields, request.update_mask.as_ref(), &editable, &IMMUTABLE);
    let mut edit = ServiceUserEdit::default();
    if paths.contains(&"display_name") {
        edit.display_name = fields.take("service_user.display_name", DisplayName::parse(&service_user.display_name));
    }
    if paths.contains(&"description") {
        edit.description = fields.take("service_user.description", Description::parse(&service_user.description));
    }
    if paths.contains(&"certificate_identities") {
        let tenant = name.as_ref().map(|name| &name.tenant);
        edit.identities = identities::read(&mut fields, tenant, &service_user.certificate_identities);
    }
    let complete = || Some((name?, edit, expected?));
    fields.finish(complete())
}

/// Writes a tenant.
#[must_use]
pub fn write_tenant(tenant: &Tenant) -> v1::Tenant {
    let state = match tenant.state {
        OwnerState::Enabled => v1::TenantState::Enabled,
        OwnerState::Disabled => v1::TenantState::Disabled,
    };
    v1::Tenant {
        name: tenant.id.name(),
        display_name: tenant.display_name.as_str().to_owned(),
        state: state.into(),
        time_zone: tenant.calendar.zone.name().to_owned(),
        warning_hour: Some(tenant.calendar.hour.get().into()),
        policy: policy::write(&tenant.policy),
        create_time: Some(time::write(tenant.create_time)),
        update_time: Some(time::write(tenant.update_time)),
        delete_time: tenant.delete_time.map(time::write),
        purge_time: tenant.delete_time.map(purge_time),
        revision: tenant.revision,
    }
}

/// Writes a service user.
#[must_use]
pub fn write_service_user(service_user: &ServiceUser) -> v1::ServiceUser {
    let state = match service_user.state {
        OwnerState::Enabled => v1::ServiceUserState::Enabled,
        OwnerState::Disabled => v1::ServiceUserState::Disabled,
    };
    v1::ServiceUser {
        name: service_user.name.to_string(),
        display_name: service_user.display_name.as_str().to_owned(),
        description: service_user.description.as_str().to_owned(),
        state: state.into(),
        certificate_identities: identities::write(&service_user.identities),
        create_time: Some(time::write(service_user.create_time)),
        update_time: Some(time::write(service_user.update_time)),
        delete_time: service_user.delete_time.map(time::write),
        purge_time: service_user.delete_time.map(purge_time),
        revision: service_user.revision,
    }
}

fn purge_time(deleted: Time) -> prost_types::Timestamp {
    time::write(deleted + limits::PURGE_AFTER)
}
