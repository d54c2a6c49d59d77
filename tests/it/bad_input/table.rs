//! Every field of every request: what kind of value it takes, or why no value of it can be bad.

use super::kinds::Kind::{self, *};

/// One field of one RPC.
pub struct Field {
    /// Full name of the RPC.
    pub rpc: String,
    /// As `key.display_name`.
    pub path: &'static str,
    pub kind: Kind,
}

/// The fields that are checked.
pub fn fields() -> Vec<Field> {
    CHECKED
        .iter()
        .flat_map(|(rpc, fields)| {
            fields.iter().map(move |&(path, kind)| Field { rpc: format!("claviger.v1.{rpc}"), path, kind })
        })
        .collect()
}

/// Paths that an update mask of this RPC may name.
pub fn editable(rpc: &str) -> Option<&'static [&'static str]> {
    match rpc.rsplit_once('/').map(|(_, method)| method) {
        Some("UpdateKey") => {
            Some(&["display_name", "description", "scopes", "key_group", "allowed_networks", "expire_time"])
        }
        Some("UpdateTenant") => Some(&["display_name", "time_zone", "warning_hour", "policy"]),
        Some("UpdateUserGroup") => Some(&["display_name", "account_alerts", "members"]),
        Some("UpdateServiceUser") => Some(&["display_name", "description", "certificate_identities"]),
        Some("UpdateKeyGroup") => Some(&["display_name", "description"]),
        _ => None,
    }
}

type Fields = &'static [(&'static str, Kind)];

const KEY: Fields = &[("name", KeyName), ("expected_revision", Revision)];
const USER: Fields = &[("name", UserName), ("expected_revision", Revision)];
const TENANT: Fields = &[("name", TenantName), ("expected_revision", Revision)];

const CHECKED: &[(&str, Fields)] = &[
    (
        "KeyService/CreateKey",
        &[
            ("parent", UserName),
            ("key.display_name", DisplayName),
            ("key.description", Description),
            ("key.scopes", Scopes),
            ("key.role", Role),
            ("key.on_behalf_of", OnBehalfOf),
            ("key.integration_type", IntegrationType),
            ("key.key_group", KeyGroup),
            ("key.allowed_networks", Networks),
            ("key.expire_time", ExpireTime),
            ("ttl", Ttl),
            ("request_id", RequestId),
            ("credential_file_format", FileFormat),
        ],
    ),
    ("KeyService/GetKey", &[("name", KeyName)]),
    (
        "KeyService/ListKeys",
        &[
            ("parent", KeyParent),
            ("page_size", PageSize),
            ("page_token", PageToken),
            ("state", State),
            ("key_group", KeyGroup),
            ("expiring_before", Before),
            ("unused_since", Before),
        ],
    ),
    (
        "KeyService/UpdateKey",
        &[
            ("key.name", KeyName),
            ("key.display_name", DisplayName),
            ("key.description", Description),
            ("key.scopes", Scopes),
            ("key.key_group", KeyGroup),
            ("key.allowed_networks", Networks),
            ("key.expire_time", ExpireTime),
            ("update_mask", Mask),
            ("expected_revision", Revision),
        ],
    ),
    ("KeyService/EnableKey", KEY),
    (
        "KeyService/DisableKey",
        &[("name", KeyName), ("expected_revision", Revision), ("wait_for_replicas", ReplicaWait)],
    ),
    (
        "KeyService/RevokeKey",
        &[("name", KeyName), ("reason", Reason), ("expected_revision", Revision), ("wait_for_replicas", ReplicaWait)],
    ),
    (
        "KeyService/RotateKey",
        &[
            ("name", KeyName),
            ("grace_period", Grace),
            ("expire_time", ExpireTime),
            ("ttl", Ttl),
            ("request_id", RequestId),
            ("credential_file_format", FileFormat),
            ("expected_revision", Revision),
        ],
    ),
    ("KeyService/DeleteKey", KEY),
    ("KeyService/RevealKey", &[("name", KeyName)]),
    (
        "ServiceUserService/CreateServiceUser",
        &[
            ("parent", TenantName),
            ("service_user_id", NewId),
            ("service_user.display_name", DisplayName),
            ("service_user.description", Description),
            ("service_user.certificate_identities", Identities),
        ],
    ),
    ("ServiceUserService/GetServiceUser", &[("name", UserName)]),
    (
        "ServiceUserService/ListServiceUsers",
        &[("parent", TenantName), ("page_size", PageSize), ("page_token", PageToken)],
    ),
    (
        "ServiceUserService/UpdateServiceUser",
        &[
            ("service_user.name", UserName),
            ("service_user.display_name", DisplayName),
            ("service_user.description", Description),
            ("service_user.certificate_identities", Identities),
            ("update_mask", Mask),
            ("expected_revision", Revision),
        ],
    ),
    ("ServiceUserService/EnableServiceUser", USER),
    ("ServiceUserService/DisableServiceUser", USER),
    ("ServiceUserService/DeleteServiceUser", USER),
    (
        "TenantService/CreateTenant",
        &[
            ("tenant_id", NewId),
            ("tenant.display_name", DisplayName),
            ("tenant.time_zone", ZoneOrDefault),
            ("tenant.warning_hour", HourOrDefault),
            ("tenant.policy.max_lifetime", Ttl),
            ("tenant.policy.allowed_roles", Labels),
            ("tenant.policy.integration_types", Labels),
        ],
    ),
    ("TenantService/GetTenant", &[("name", TenantName)]),
    ("TenantService/ListTenants", &[("page_size", PageSize), ("page_token", PageToken)]),
    (
        "TenantService/UpdateTenant",
        &[
            ("tenant.name", TenantName),
            ("tenant.display_name", DisplayName),
            ("tenant.time_zone", Zone),
            ("tenant.warning_hour", Hour),
            ("tenant.policy.max_lifetime", Ttl),
            ("tenant.policy.allowed_roles", Labels),
            ("tenant.policy.integration_types", Labels),
            ("update_mask", Mask),
            ("expected_revision", Revision),
        ],
    ),
    ("TenantService/EnableTenant", TENANT),
    ("TenantService/DisableTenant", TENANT),
    ("TenantService/DeleteTenant", TENANT),
    (
        "KeyGroupService/CreateKeyGroup",
        &[
            ("parent", TenantName),
            ("key_group_id", NewId),
            ("key_group.display_name", DisplayName),
            ("key_group.description", Description),
        ],
    ),
    ("KeyGroupService/GetKeyGroup", &[("name", KeyGroupName)]),
    ("KeyGroupService/ListKeyGroups", &[("parent", TenantName), ("page_size", PageSize), ("page_token", PageToken)]),
    (
        "KeyGroupService/UpdateKeyGroup",
        &[
            ("key_group.name", KeyGroupName),
            ("key_group.display_name", DisplayName),
            ("key_group.description", Description),
            ("update_mask", Mask),
            ("expected_revision", Revision),
        ],
    ),
    ("KeyGroupService/DeleteKeyGroup", &[("name", KeyGroupName), ("expected_revision", Revision)]),
    (
        "UserGroupService/CreateUserGroup",
        &[
            ("parent", TenantName),
            ("user_group_id", NewId),
            ("user_group.display_name", DisplayName),
            ("user_group.members", Members),
        ],
    ),
    ("UserGroupService/GetUserGroup", &[("name", GroupName)]),
    ("UserGroupService/ListUserGroups", &[("parent", TenantName), ("page_size", PageSize), ("page_token", PageToken)]),
    (
        "UserGroupService/UpdateUserGroup",
        &[
            ("user_group.name", GroupName),
            ("user_group.display_name", DisplayName),
            ("user_group.members", Members),
            ("update_mask", Mask),
            ("expected_revision", Revision),
        ],
    ),
    ("UserGroupService/DeleteUserGroup", &[("name", GroupName), ("expected_revision", Revision)]),
    (
        "NotificationService/ListNotifications",
        &[
            ("parent", TenantName),
            ("page_size", PageSize),
            ("page_token", PageToken),
            ("kind", ToldAbout),
            ("recipient", Recipient),
        ],
    ),
    ("NotificationService/MarkNotificationRead", &[("name", NotificationName)]),
    ("NotificationService/PreviewWarnings", &[("tenant", TenantName), ("from", PreviewFrom), ("to", PreviewTo)]),
    ("NotificationService/RunWarnings", &[("tenant", TenantName)]),
    (
        "NotificationService/ListDeliveries",
        &[
            ("parent", TenantName),
            ("page_size", PageSize),
            ("page_token", PageToken),
            ("state", DeliveryState),
            ("recipient", Recipient),
        ],
    ),
    (
        "VerificationService/Verify",
        &[
            ("required_scopes", RequiredScopes),
            ("client_ip", ClientIp),
            ("tenant", VerifyTenant),
            ("min_revision", WatchedFrom),
            ("max_staleness", Staleness),
        ],
    ),
    ("VerificationService/BatchVerify", &[("requests", Questions)]),
    ("VerificationService/WatchRevocations", &[("min_revision", WatchedFrom)]),
    (
        "AuditService/ListAuditEvents",
        &[("parent", TenantName), ("page_size", PageSize), ("page_token", PageToken), ("target", Target)],
    ),
];

/// Fields without a bad value: the end of an RPC's name, the end of a path, and why.
pub const EXEMPT: &[(&str, &str, Why)] = &[
    ("", "show_deleted", Why::EveryValueIsGood("a bool")),
    ("", ".require_expiry", Why::EveryValueIsGood("a bool")),
    ("", ".require_networks", Why::EveryValueIsGood("a bool")),
    ("", ".allow_retrievable", Why::EveryValueIsGood("a bool")),
    ("CreateKey", "key.retrievable", Why::EveryValueIsGood("a bool")),
    ("CreateKey", "disabled", Why::EveryValueIsGood("a bool")),
    ("UpdateKey", "key.role", Why::Ignored),
    ("UpdateKey", "key.on_behalf_of", Why::Ignored),
    ("UpdateKey", "key.integration_type", Why::Ignored),
    ("UpdateKey", "key.retrievable", Why::Ignored),
    ("", "force", Why::EveryValueIsGood("a bool")),
    ("ListNotifications", "unread", Why::EveryValueIsGood("a bool")),
    ("Verify", "secret", Why::EveryValueIsGood("any text gets a verdict: bad_input/presented.rs")),
    (
        "BatchVerify",
        "requests.required_scopes",
        Why::EveryValueIsGood("its item has the error: bad_input/presented.rs"),
    ),
    ("BatchVerify", "requests.client_ip", Why::EveryValueIsGood("its item has the error: bad_input/presented.rs")),
    ("BatchVerify", "requests.tenant", Why::EveryValueIsGood("its item has the error: bad_input/presented.rs")),
    ("BatchVerify", "requests.min_revision", Why::EveryValueIsGood("its item has the error: bad_input/presented.rs")),
    ("BatchVerify", "requests.max_staleness", Why::EveryValueIsGood("its item has the error: bad_input/presented.rs")),
    ("VerifyStream", "", Why::EveryValueIsGood("its item has the error: verify_stream.rs")),
    ("Check", "attributes", Why::EveryValueIsGood("what Envoy knows of somebody's request: envoy/decisions.rs")),
    ("CreateKey", "key.name", Why::Ignored),
    ("CreateServiceUser", "service_user.name", Why::Ignored),
    ("CreateTenant", "tenant.name", Why::Ignored),
    ("CreateKeyGroup", "key_group.name", Why::Ignored),
    ("CreateUserGroup", "user_group.name", Why::Ignored),
    ("UserGroup", "user_group.account_alerts", Why::EveryValueIsGood("a bool")),
    ("ServiceUser", "identities.subject_alternative_name", Why::EveryValueIsGood("checked inside its list")),
    ("ServiceUser", "identities.scopes", Why::EveryValueIsGood("checked inside its list")),
    ("UserGroup", "members.email", Why::EveryValueIsGood("checked inside user_group.members")),
    ("UserGroup", "members.display_name", Why::EveryValueIsGood("checked inside user_group.members")),
    ("UserGroup", "members.unsubscribe_time", Why::EveryValueIsGood("only whether it is there counts")),
    ("UserGroup", "members.refusal", Why::Ignored),
    ("UserGroup", "members.refuse_time", Why::Ignored),
    ("", ".state", Why::Ignored),
    ("", ".create_time", Why::Ignored),
    ("", ".update_time", Why::Ignored),
    ("", ".last_used_time", Why::Ignored),
    ("", ".revoke_time", Why::Ignored),
    ("", ".revoke_reason", Why::Ignored),
    ("", ".delete_time", Why::Ignored),
    ("", ".purge_time", Why::Ignored),
    ("", ".creator", Why::Ignored),
    ("", ".secret_hint", Why::Ignored),
    ("", ".supersedes", Why::Ignored),
    ("", ".superseded_by", Why::Ignored),
    ("", ".revision", Why::Ignored),
];

/// Why a field has no bad value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    EveryValueIsGood(&'static str),
    /// For output only; whatever a caller puts there changes nothing.
    Ignored,
}

/// Why this field is exempt, if it is.
pub fn exemption(rpc: &str, path: &str) -> Option<Why> {
    EXEMPT.iter().find(|(method, field, _)| rpc.ends_with(method) && path.ends_with(field)).map(|(_, _, why)| *why)
}
