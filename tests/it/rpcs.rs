//! Every RPC of the contract: the rights that admit it (design 3, spelled out and not computed), what another tenant's
//! objects look like through it, and a valid request.

use claviger::proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest,
    attribute_context::{HttpRequest, Request},
};
use claviger::proto::v1;
use prost::Message;
use prost_types::FieldMask;

use crate::harness::Client;

/// Every right there is.
pub const RIGHTS: [&str; 8] = [ADMIN, TENANT_ADMIN, WRITE, READ, OWN, REVEAL, VERIFY, AUDIT];

pub const ADMIN: &str = "claviger:admin";
pub const TENANT_ADMIN: &str = "claviger:tenant.admin";
pub const WRITE: &str = "claviger:keys.write";
pub const READ: &str = "claviger:keys.read";
pub const OWN: &str = "claviger:keys.self";
pub const REVEAL: &str = "claviger:keys.reveal";
pub const VERIFY: &str = "claviger:verify";
pub const AUDIT: &str = "claviger:audit.read";

const KEY_READERS: &[&str] = &[ADMIN, TENANT_ADMIN, WRITE, READ, OWN];
const KEY_WRITERS: &[&str] = &[ADMIN, TENANT_ADMIN, WRITE, OWN];
const READERS: &[&str] = &[ADMIN, TENANT_ADMIN, WRITE, READ];
const WRITERS: &[&str] = &[ADMIN, TENANT_ADMIN, WRITE];
const OF_TENANT: &[&str] = &[ADMIN, TENANT_ADMIN];
const OF_ALL: &[&str] = &[ADMIN];
const VERIFIERS: &[&str] = &[ADMIN, TENANT_ADMIN, VERIFY];
const AUDITORS: &[&str] = &[ADMIN, TENANT_ADMIN, AUDIT];
const REVEALERS: &[&str] = &[ADMIN, REVEAL];

/// A tenant with a user group, a key group and a notification, and with a service user with a key. In a tenant of its own the
/// key is retrievable.
pub struct Place {
    pub tenant: String,
    pub group: String,
    pub key_group: String,
    pub notification: String,
    pub owner: String,
    pub key: String,
    pub secret: String,
}

/// What a caller of another tenant gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// NOT_FOUND, byte-equal to a missing object.
    NotFound,
    /// The verdict UNKNOWN.
    Unknown,
    /// A denial like any other: tests/it/envoy/decisions.rs.
    Denied,
    /// Nothing: tests/it/watch_revocations.rs.
    Untold,
    /// Only `claviger:admin` may, and for it no tenant is another's.
    AdminOnly,
}

/// One RPC.
pub struct Row {
    pub rpc: &'static str,
    pub rights: &'static [&'static str],
    pub foreign: Foreign,
    /// A valid request about the place's objects.
    pub request: fn(&Place) -> Vec<u8>,
}

impl Place {
    /// Makes one.
    pub async fn make(root: &mut Client, tenant: &str) -> Self {
        let policy = Some(v1::TenantPolicy { allow_retrievable: true, ..Default::default() });
        let made = v1::Tenant { display_name: tenant.to_owned(), policy, ..Default::default() };
        let request = v1::CreateTenantRequest { tenant_id: tenant.to_owned(), tenant: Some(made) };
        let made = root.tenants.create_tenant(request).await.expect("a tenant").into_inner();
        Self::with_a_key(root, &made.tenant.expect("a tenant").name, "billing", true).await
    }

    /// Makes one inside a tenant that is there.
    pub async fn inside(root: &mut Client, tenant: &str, service_user: &str) -> Self {
        Self::with_a_key(root, tenant, service_user, false).await
    }

    async fn with_a_key(root: &mut Client, tenant: &str, service_user: &str, retrievable: bool) -> Self {
        let owner = root.create_service_user(tenant, service_user).await;
        let key = v1::Key { display_name: "a key".to_owned(), retrievable, ..Default::default() };
        let request = v1::CreateKeyRequest { parent: owner.clone(), key: Some(key), ..Default::default() };
        let made = root.keys.create_key(request).await.expect("a key").into_inner();
        let (key, secret) = (made.key.expect("a key"), made.secret);
        let notification = notification(root, tenant).await;
        let group = root.create_user_group(tenant, service_user, &["ops@example.com"]).await;
        let key_group = root.create_key_group(tenant, service_user).await;
        Self { tenant: tenant.to_owned(), group, key_group, notification, owner, key: key.name, secret }
    }
}

/// The name of a notification of a tenant: the newest, or else that its last subscriber has gone.
async fn notification(root: &mut Client, tenant: &str) -> String {
    let request = v1::ListNotificationsRequest { parent: tenant.to_owned(), page_size: 1, ..Default::default() };
    loop {
        let listed = root.notifications.list_notifications(request.clone()).await.expect("notifications");
        if let Some(newest) = listed.into_inner().notifications.pop() {
            return newest.name;
        }
        let name = root.create_user_group(tenant, "gone", &["gone@example.com"]).await;
        let delete = v1::DeleteUserGroupRequest { name, expected_revision: 0 };
        root.user_groups.delete_user_group(delete).await.expect("deleted");
    }
}

/// The row of an RPC.
pub fn row(rpc: &str) -> Row {
    rows().into_iter().find(|row| row.rpc == rpc).unwrap_or_else(|| panic!("no row for {rpc}"))
}

/// The whole table.
pub fn rows() -> Vec<Row> {
    let tables = [keys(), service_users(), tenants(), key_groups(), user_groups(), notifications(), others()];
    tables.into_iter().flatten().collect()
}

fn row_of(rpc: &'static str, rights: &'static [&'static str], foreign: Foreign, request: fn(&Place) -> Vec<u8>) -> Row {
    Row { rpc, rights, foreign, request }
}

fn mask(path: &str) -> Option<FieldMask> {
    Some(FieldMask { paths: vec![path.to_owned()] })
}

fn a_key(place: &Place) -> v1::Key {
    v1::Key { name: place.key.clone(), display_name: "renamed".to_owned(), ..Default::default() }
}

/// An id that isn't taken while each place makes one.
fn newcomer(beside: &str) -> String {
    let id = beside.rsplit('/').next().expect("an id");
    format!("{id}-new")
}

/// Encodes a message of which only these fields are said.
macro_rules! message {
    ($type:ident { $($field:ident : $value:expr),* $(,)? }) => {{
        #[allow(clippy::needless_update, reason = "some messages have no other field")]
        let message = v1::$type { $($field: $value,)* ..Default::default() };
        message.encode_to_vec()
    }};
}

fn keys() -> Vec<Row> {
    use Foreign::NotFound;
    vec![
        row_of("claviger.v1.KeyService/CreateKey", KEY_WRITERS, NotFound, |at| {
            message!(CreateKeyRequest { parent: at.owner.clone(), key: Some(a_key(at)) })
        }),
        row_of("claviger.v1.KeyService/GetKey", KEY_READERS, NotFound, |at| {
            message!(GetKeyRequest { name: at.key.clone() })
        }),
        row_of("claviger.v1.KeyService/ListKeys", KEY_READERS, NotFound, |at| {
            message!(ListKeysRequest { parent: at.owner.clone() })
        }),
        row_of("claviger.v1.KeyService/UpdateKey", KEY_WRITERS, NotFound, |at| {
            message!(UpdateKeyRequest { key: Some(a_key(at)), update_mask: mask("display_name") })
        }),
        row_of("claviger.v1.KeyService/EnableKey", WRITERS, NotFound, |at| {
            message!(EnableKeyRequest { name: at.key.clone() })
        }),
        row_of("claviger.v1.KeyService/DisableKey", WRITERS, NotFound, |at| {
            message!(DisableKeyRequest { name: at.key.clone() })
        }),
        row_of("claviger.v1.KeyService/RevokeKey", KEY_WRITERS, NotFound, |at| {
            message!(RevokeKeyRequest { name: at.key.clone() })
        }),
        row_of("claviger.v1.KeyService/RotateKey", KEY_WRITERS, NotFound, |at| {
            message!(RotateKeyRequest { name: at.key.clone() })
        }),
        row_of("claviger.v1.KeyService/DeleteKey", WRITERS, NotFound, |at| {
            message!(DeleteKeyRequest { name: at.key.clone() })
        }),
        row_of("claviger.v1.KeyService/RevealKey", REVEALERS, NotFound, |at| {
            message!(RevealKeyRequest { name: at.key.clone() })
        }),
    ]
}

fn a_service_user(place: &Place) -> Option<v1::ServiceUser> {
    let display_name = "renamed".to_owned();
    Some(v1::ServiceUser { name: place.owner.clone(), display_name, ..Default::default() })
}

fn service_users() -> Vec<Row> {
    use Foreign::NotFound;
    vec![
        row_of("claviger.v1.ServiceUserService/CreateServiceUser", WRITERS, NotFound, |at| {
            let (parent, id) = (at.tenant.clone(), newcomer(&at.owner));
            message!(CreateServiceUserRequest { parent: parent, service_user_id: id, service_user: a_service_user(at) })
        }),
        row_of("claviger.v1.ServiceUserService/GetServiceUser", READERS, NotFound, |at| {
            message!(GetServiceUserRequest { name: at.owner.clone() })
        }),
        row_of("claviger.v1.ServiceUserService/ListServiceUsers", READERS, NotFound, |at| {
            message!(ListServiceUsersRequest { parent: at.tenant.clone() })
        }),
        row_of("claviger.v1.ServiceUserService/UpdateServiceUser", WRITERS, NotFound, |at| {
            message!(UpdateServiceUserRequest { service_user: a_service_user(at), update_mask: mask("display_name") })
        }),
        row_of("claviger.v1.ServiceUserService/EnableServiceUser", WRITERS, NotFound, |at| {
            message!(EnableServiceUserRequest { name: at.owner.clone() })
        }),
        row_of("claviger.v1.ServiceUserService/DisableServiceUser", WRITERS, NotFound, |at| {
            message!(DisableServiceUserRequest { name: at.owner.clone() })
        }),
        row_of("claviger.v1.ServiceUserService/DeleteServiceUser", WRITERS, NotFound, |at| {
            message!(DeleteServiceUserRequest { name: at.owner.clone(), force: true })
        }),
    ]
}

fn a_tenant(place: &Place) -> Option<v1::Tenant> {
    Some(v1::Tenant {
        name: place.tenant.clone(),
        display_name: "renamed".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        warning_hour: Some(8),
        ..Default::default()
    })
}

fn tenants() -> Vec<Row> {
    use Foreign::{AdminOnly, NotFound};
    vec![
        row_of("claviger.v1.TenantService/CreateTenant", OF_ALL, AdminOnly, |at| {
            message!(CreateTenantRequest { tenant_id: newcomer(&at.tenant), tenant: a_tenant(at) })
        }),
        row_of("claviger.v1.TenantService/GetTenant", OF_TENANT, NotFound, |at| {
            message!(GetTenantRequest { name: at.tenant.clone() })
        }),
        row_of("claviger.v1.TenantService/ListTenants", OF_ALL, AdminOnly, |_| message!(ListTenantsRequest {})),
        row_of("claviger.v1.TenantService/UpdateTenant", OF_TENANT, NotFound, |at| {
            message!(UpdateTenantRequest { tenant: a_tenant(at), update_mask: mask("display_name") })
        }),
        row_of("claviger.v1.TenantService/EnableTenant", OF_TENANT, NotFound, |at| {
            message!(EnableTenantRequest { name: at.tenant.clone() })
        }),
        row_of("claviger.v1.TenantService/DisableTenant", OF_TENANT, NotFound, |at| {
            message!(DisableTenantRequest { name: at.tenant.clone() })
        }),
        row_of("claviger.v1.TenantService/DeleteTenant", OF_ALL, AdminOnly, |at| {
            message!(DeleteTenantRequest { name: at.tenant.clone(), force: true })
        }),
    ]
}

fn a_key_group(place: &Place) -> Option<v1::KeyGroup> {
    let display_name = "renamed".to_owned();
    Some(v1::KeyGroup { name: place.key_group.clone(), display_name, ..Default::default() })
}

fn key_groups() -> Vec<Row> {
    use Foreign::NotFound;
    vec![
        row_of("claviger.v1.KeyGroupService/CreateKeyGroup", WRITERS, NotFound, |at| {
            let (parent, id) = (at.tenant.clone(), newcomer(&at.key_group));
            message!(CreateKeyGroupRequest { parent: parent, key_group_id: id, key_group: a_key_group(at) })
        }),
        row_of("claviger.v1.KeyGroupService/GetKeyGroup", READERS, NotFound, |at| {
            message!(GetKeyGroupRequest { name: at.key_group.clone() })
        }),
        row_of("claviger.v1.KeyGroupService/ListKeyGroups", READERS, NotFound, |at| {
            message!(ListKeyGroupsRequest { parent: at.tenant.clone() })
        }),
        row_of("claviger.v1.KeyGroupService/UpdateKeyGroup", WRITERS, NotFound, |at| {
            message!(UpdateKeyGroupRequest { key_group: a_key_group(at), update_mask: mask("display_name") })
        }),
        row_of("claviger.v1.KeyGroupService/DeleteKeyGroup", WRITERS, NotFound, |at| {
            message!(DeleteKeyGroupRequest { name: at.key_group.clone() })
        }),
    ]
}

fn a_user_group(place: &Place) -> Option<v1::UserGroup> {
    let member = v1::UserGroupMember { email: "ops@example.org".to_owned(), ..Default::default() };
    Some(v1::UserGroup {
        name: place.group.clone(),
        display_name: "renamed".to_owned(),
        members: vec![member],
        ..Default::default()
    })
}

fn user_groups() -> Vec<Row> {
    use Foreign::NotFound;
    vec![
        row_of("claviger.v1.UserGroupService/CreateUserGroup", WRITERS, NotFound, |at| {
            let (parent, id) = (at.tenant.clone(), newcomer(&at.group));
            message!(CreateUserGroupRequest { parent: parent, user_group_id: id, user_group: a_user_group(at) })
        }),
        row_of("claviger.v1.UserGroupService/GetUserGroup", READERS, NotFound, |at| {
            message!(GetUserGroupRequest { name: at.group.clone() })
        }),
        row_of("claviger.v1.UserGroupService/ListUserGroups", READERS, NotFound, |at| {
            message!(ListUserGroupsRequest { parent: at.tenant.clone() })
        }),
        row_of("claviger.v1.UserGroupService/UpdateUserGroup", WRITERS, NotFound, |at| {
            message!(UpdateUserGroupRequest { user_group: a_user_group(at), update_mask: mask("display_name") })
        }),
        row_of("claviger.v1.UserGroupService/DeleteUserGroup", WRITERS, NotFound, |at| {
            message!(DeleteUserGroupRequest { name: at.group.clone() })
        }),
    ]
}

fn notifications() -> Vec<Row> {
    use Foreign::NotFound;
    vec![
        row_of("claviger.v1.NotificationService/ListNotifications", READERS, NotFound, |at| {
            message!(ListNotificationsRequest { parent: at.tenant.clone() })
        }),
        row_of("claviger.v1.NotificationService/MarkNotificationRead", READERS, NotFound, |at| {
            message!(MarkNotificationReadRequest { name: at.notification.clone() })
        }),
        row_of("claviger.v1.NotificationService/PreviewWarnings", READERS, NotFound, |at| {
            message!(PreviewWarningsRequest { tenant: at.tenant.clone() })
        }),
        row_of("claviger.v1.NotificationService/RunWarnings", WRITERS, NotFound, |at| {
            message!(RunWarningsRequest { tenant: at.tenant.clone() })
        }),
        row_of("claviger.v1.NotificationService/ListDeliveries", READERS, NotFound, |at| {
            message!(ListDeliveriesRequest { parent: at.tenant.clone() })
        }),
    ]
}

fn others() -> Vec<Row> {
    vec![
        row_of("claviger.v1.VerificationService/Verify", VERIFIERS, Foreign::Unknown, |at| {
            message!(VerifyRequest { secret: at.secret.clone() })
        }),
        row_of("claviger.v1.VerificationService/BatchVerify", VERIFIERS, Foreign::Unknown, |at| {
            let question = v1::VerifyRequest { secret: at.secret.clone(), ..Default::default() };
            message!(BatchVerifyRequest { requests: vec![question] })
        }),
        row_of("claviger.v1.VerificationService/VerifyStream", VERIFIERS, Foreign::Unknown, |at| {
            let question = v1::VerifyRequest { secret: at.secret.clone(), ..Default::default() };
            message!(VerifyStreamRequest { request: Some(question) })
        }),
        row_of("claviger.v1.VerificationService/WatchRevocations", VERIFIERS, Foreign::Untold, |_| {
            message!(WatchRevocationsRequest {})
        }),
        row_of("envoy.service.auth.v3.Authorization/Check", VERIFIERS, Foreign::Denied, |at| {
            let http = HttpRequest { headers: [("x-api-key".to_owned(), at.secret.clone())].into(), header_map: None };
            let request = Some(Request { http: Some(http) });
            let attributes = Some(AttributeContext { request, ..Default::default() });
            CheckRequest { attributes }.encode_to_vec()
        }),
        row_of("claviger.v1.AuditService/ListAuditEvents", AUDITORS, Foreign::NotFound, |at| {
            message!(ListAuditEventsRequest { parent: at.tenant.clone() })
        }),
    ]
}
