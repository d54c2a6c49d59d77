//! The tables, as sea-orm sees them. Known to `store` alone; the schema itself is in `migrations/`.
//!
//! A row is not yet a value of the domain: reading one may fail, see `row.rs`.
#![expect(unreachable_pub, reason = "sea-orm's derives make public items and want a public Model")]

pub(super) mod api_key;
pub(super) mod audit_event;
pub(super) mod certificate_identity;
pub(super) mod delivery;
pub(super) mod key_group;
pub(super) mod key_usage;
pub(super) mod notification;
pub(super) mod pepper;
pub(super) mod request_replay;
pub(super) mod sealed_secret;
pub(super) mod service_user;
pub(super) mod subscriber;
pub(super) mod tenant;
pub(super) mod user_group;
pub(super) mod user_group_member;
