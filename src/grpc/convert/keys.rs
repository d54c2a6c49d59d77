//! Keys.

use prost_types::Duration;
use sha2::{Digest, Sha256};

use crate::authority::{call::Call, keys::CreationRequest, replays::ReplayRequest, rotation::RotationRequest};
use crate::domain::{
    Refusal, Revision, Time,
    actor::Actor,
    attributes::{Attributes, IntegrationType, Role},
    ids::{KeyGroupName, KeyName, KeyParent, ServiceUserName, TenantId},
    key::{self, Key, KeyEdit, KeyState, NewKey, check_expire_time},
    limits,
    network::Network,
    rights::Right,
    rotation::Rotation,
    scope::Scope,
    text::{Description, DisplayName, OnBehalfOf, RevokeReason},
};
use crate::proto::v1;
use crate::store::{KeyFilter, KeyStateFilter};

use super::{credential_file, expected_revision, fields::Fields, key_groups, mask, time};

const EDITABLE: [&str; 6] = ["display_name", "description", "scopes", "key_group", "allowed_networks", "expire_time"];
const IMMUTABLE: [&str; 18] = [
    "name",
    "role",
    "on_behalf_of",
    "integration_type",
    "state",
    "create_time",
    "update_time",
    "last_used_time",
    "revoke_time",
    "revoke_reason",
    "delete_time",
    "purge_time",
    "creator",
    "secret_hint",
    "retrievable",
    "supersedes",
    "superseded_by",
    "revision",
];

/// An UpdateKeyRequest.
pub struct Update {
    /// Which key.
    pub name: KeyName,
    /// What to set.
    pub edit: KeyEdit,
    /// The revision the caller saw, or 0.
    pub expected: Revision,
}

/// Reads a CreateKeyRequest of this call, and the format of the credential file that it asks for.
pub fn create(
    request: &v1::CreateKeyRequest,
    call: &Call,
) -> Result<(CreationRequest, Option<credential_file::Format>), Refusal> {
    let mut fields = Fields::default();
    let owner = fields.take("parent", ServiceUserName::parse(&request.parent));
    let absent = v1::Key::default();
    let key = request.key.as_ref().unwrap_or(&absent);
    let display_name = fields.take("key.display_name", DisplayName::parse(&key.display_name));
    let description = fields.take("key.description", Description::parse(&key.description));
    let scopes = scopes(&mut fields, key);
    let attributes = attributes(&mut fields, key);
    let tenant = owner.as_ref().map(|owner| &owner.tenant);
    let key_group = key_groups::of_keys(&mut fields, "key.key_group", &key.key_group, tenant);
    let networks = networks(&mut fields, key);
    check_admin_scopes(&mut fields, call, tenant, scopes.as_deref());
    let times = (key.expire_time.as_ref(), request.ttl.as_ref());
    let expire_time = expire_time(&mut fields, "key.expire_time", times, call.now);
    let replay = replay(&mut fields, &request.request_id, "CreateKey", request);
    let file = credential_file::read(&mut fields, request.credential_file_format);
    let complete = || {
        let new = NewKey {
            display_name: display_name?,
            description: description?,
            scopes: scopes?,
            attributes: attributes?,
            key_group: key_group?,
            networks: networks?,
            expire_time: expire_time?,
            disabled: request.disabled,
            retrievable: key.retrievable,
        };
        Some((CreationRequest { owner: owner?, new, replay: replay? }, file?))
    };
    fields.finish(complete())
}

/// Reads a RotateKeyRequest at `now`, and the format of the credential file that it asks for.
pub fn rotate(
    request: &v1::RotateKeyRequest,
    now: Time,
) -> Result<(RotationRequest, Option<credential_file::Format>), Refusal> {
    let mut fields = Fields::default();
    let name = fields.take("name", KeyName::parse(&request.name));
    let grace = match &request.grace_period {
        Some(grace) => fields.take("grace_period", time::parse_grace(grace)),
        None => Some(limits::DEFAULT_GRACE_PERIOD),
    };
    let times = (request.expire_time.as_ref(), request.ttl.as_ref());
    let expire_time = expire_time(&mut fields, "expire_time", times, now);
    let expected = expected_revision(&mut fields, request.expected_revision);
    let replay = replay(&mut fields, &request.request_id, "RotateKey", request);
    let file = credential_file::read(&mut fields, request.credential_file_format);
    let complete = || {
        let rotation = Rotation { grace: grace?, expire_time: expire_time? };
        Some((RotationRequest { name: name?, rotation, expected: expected?, replay: replay? }, file?))
    };
    fields.finish(complete())
}

/// Reads an UpdateKeyRequest of this call: only the fields that the mask names.
pub fn update(request: &v1::UpdateKeyRequest, call: &Call) -> Result<Update, Refusal> {
    let mut fields = Fields::default();
    let absent = v1::Key::default();
    let key = request.key.as_ref().unwrap_or(&absent);
    let name = fields.take("key.name", KeyName::parse(&key.name));
    let expected = expected_revision(&mut fields, request.expected_revision);
    let paths = mask(&mut fields, request.update_mask.as_ref(), &EDITABLE, &IMMUTABLE);
    let tenant = name.as_ref().map(|name| &name.owner.tenant);
    let edit = edit(&mut fields, key, &paths, tenant, call.now);
    check_admin_scopes(&mut fields, call, tenant, edit.scopes.as_deref());
    let complete = || Some(Update { name: name?, edit, expected: expected? });
    fields.finish(complete())
}

fn edit(fields: &mut Fields, key: &v1::Key, paths: &[&str], tenant: Option<&TenantId>, now: Time) -> KeyEdit {
    let mut edit = KeyEdit::default();
    if paths.contains(&"display_name") {
        edit.display_name = fields.take("key.display_name", DisplayName::parse(&key.display_name));
    }
    if paths.contains(&"description") {
        edit.description = fields.take("key.description", Description::parse(&key.description));
    }
    if paths.contains(&"scopes") {
        edit.scopes = scopes(fields, key);
    }
    if paths.contains(&"key_group") {
        edit.key_group = key_groups::of_keys(fields, "key.key_group", &key.key_group, tenant);
    }
    if paths.contains(&"allowed_networks") {
        edit.networks = networks(fields, key);
    }
    if paths.contains(&"expire_time") {
        edit.expire_time = expire_time(fields, "key.expire_time", (key.expire_time.as_ref(), None), now);
    }
    edit
}

/// A DisableKeyRequest, or a RevokeKeyRequest without its reason.
pub struct Stop {
    /// Which key.
    pub name: KeyName,
    /// The revision the caller saw, or 0.
    pub expected: Revision,
    /// How long to wait for the replicas; `None` = not at all.
    pub replica_wait: Option<std::time::Duration>,
}

/// Reads a DisableKeyRequest.
pub fn disable(request: &v1::DisableKeyRequest) -> Result<Stop, Refusal> {
    let mut fields = Fields::default();
    let wait = request.wait_for_replicas.as_ref();
    let stop = stop(&mut fields, &request.name, request.expected_revision, wait);
    fields.finish(stop)
}

/// Reads a RevokeKeyRequest.
pub fn revoke(request: &v1::RevokeKeyRequest) -> Result<(Stop, RevokeReason), Refusal> {
    let mut fields = Fields::default();
    let wait = request.wait_for_replicas.as_ref();
    let stop = stop(&mut fields, &request.name, request.expected_revision, wait);
    let reason = fields.take("reason", RevokeReason::parse(&request.reason));
    fields.finish(stop.zip(reason))
}

fn stop(fields: &mut Fields, name: &str, expected: i64, wait: Option<&Duration>) -> Option<Stop> {
    let name = fields.take("name", KeyName::parse(name));
    let expected = expected_revision(fields, expected);
    let wait = fields.take("wait_for_replicas", wait.map_or(Ok(None), time::parse_replica_wait));
    Some(Stop { name: name?, expected: expected?, replica_wait: wait? })
}

/// Reads the filter of a ListKeysRequest.
pub fn filter(fields: &mut Fields, request: &v1::ListKeysRequest) -> Option<KeyFilter> {
    let parent = fields.take("parent", KeyParent::parse(&request.parent));
    let state = match v1::KeyState::try_from(request.state) {
        Ok(v1::KeyState::Unspecified) => Some(None),
        Ok(v1::KeyState::Enabled) => Some(Some(KeyStateFilter::Enabled)),
        Ok(v1::KeyState::Disabled) => Some(Some(KeyStateFilter::Disabled)),
        Ok(v1::KeyState::Revoked) => Some(Some(KeyStateFilter::Revoked)),
        Ok(v1::KeyState::Expired) => Some(Some(KeyStateFilter::Expired)),
        Err(_) => fields.take("state", Err(format!("{} is no state of a key", request.state))),
    };
    let tenant = parent.as_ref().map(|parent| &parent.tenant);
    let key_group = key_groups::of_keys(fields, "key_group", &request.key_group, tenant);
    let expiring_before = optional_time(fields, "expiring_before", request.expiring_before.as_ref());
    let unused_since = optional_time(fields, "unused_since", request.unused_since.as_ref());
    Some(KeyFilter {
        parent: parent?,
        state: state?,
        key_group: key_group?,
        expiring_before: expiring_before?,
        unused_since: unused_since?,
        show_deleted: request.show_deleted,
    })
}

/// Writes a key as it is at `now`.
#[must_use]
pub fn write(key: &Key, now: Time) -> v1::Key {
    let state = key.state_at(now);
    let (revoke_time, revoke_reason) = match &key.state {
        KeyState::Revoked { time, reason } => (Some(time::write(*time)), reason.as_str().to_owned()),
        KeyState::Enabled | KeyState::Disabled | KeyState::Expired => (None, String::new()),
    };
    let sibling = |id| key.name.sibling(id).to_string();
    v1::Key {
        name: key.name.to_string(),
        display_name: key.display_name.as_str().to_owned(),
        description: key.description.as_str().to_owned(),
        state: write_state(&state).into(),
        scopes: key.scopes.iter().map(Scope::to_string).collect(),
        role: key.attributes.role.as_str().to_owned(),
        on_behalf_of: key.attributes.on_behalf_of.as_str().to_owned(),
        integration_type: key.attributes.integration_type_text().to_owned(),
        key_group: key.key_group_name().as_ref().map_or_else(String::new, KeyGroupName::to_string),
        allowed_networks: key.networks.iter().map(Network::to_string).collect(),
        expire_time: key.expire_time.map(time::write),
        create_time: Some(time::write(key.create_time)),
        update_time: Some(time::write(key.update_time)),
        last_used_time: key.last_used.map(time::write),
        revoke_time,
        revoke_reason,
        delete_time: key.delete_time.map(time::write),
        purge_time: key.delete_time.map(|deleted| time::write(deleted + limits::PURGE_AFTER)),
        creator: key.creator.as_ref().map_or_else(String::new, Actor::to_string),
        secret_hint: key.name.id.hint(),
        retrievable: key.retrievable,
        supersedes: key.supersedes.map_or_else(String::new, sibling),
        superseded_by: key.superseded_by.map_or_else(String::new, sibling),
        revision: key.revision,
    }
}

fn write_state(state: &KeyState) -> v1::KeyState {
    match state {
        KeyState::Enabled => v1::KeyState::Enabled,
        KeyState::Disabled => v1::KeyState::Disabled,
        KeyState::Revoked { .. } => v1::KeyState::Revoked,
        KeyState::Expired => v1::KeyState::Expired,
    }
}

fn scopes(fields: &mut Fields, key: &v1::Key) -> Option<Vec<Scope>> {
    fields.take_all("key.scopes", limits::SCOPES, &key.scopes, Scope::parse)
}

/// Empty texts are what most keys have: role `member`, and nothing else.
fn attributes(fields: &mut Fields, key: &v1::Key) -> Option<Attributes> {
    let role = if key.role.is_empty() { Role::MEMBER } else { &key.role };
    let role = fields.take("key.role", Role::parse(role));
    let on_behalf_of = fields.take("key.on_behalf_of", OnBehalfOf::parse(&key.on_behalf_of));
    let integration_type = fields.take("key.integration_type", IntegrationType::parse_optional(&key.integration_type));
    Some(Attributes { role: role?, on_behalf_of: on_behalf_of?, integration_type: integration_type? })
}

fn networks(fields: &mut Fields, key: &v1::Key) -> Option<Vec<Network>> {
    fields.take_all("key.allowed_networks", limits::NETWORKS, &key.allowed_networks, Network::parse)
}

/// `Some(None)`: absent.
fn optional_time(fields: &mut Fields, field: &str, timestamp: Option<&prost_types::Timestamp>) -> Option<Option<Time>> {
    match timestamp {
        Some(timestamp) => fields.take(field, time::parse(timestamp)).map(Some),
        None => Some(None),
    }
}

/// `Some(None)`: neither is given.
fn expire_time(
    fields: &mut Fields,
    time_field: &str,
    times: (Option<&prost_types::Timestamp>, Option<&Duration>),
    now: Time,
) -> Option<Option<Time>> {
    let check = |time: Time| check_expire_time(time, now).map(|()| Some(time));
    match times {
        (None, None) => Some(None),
        (Some(time), None) => fields.take(time_field, time::parse(time).and_then(check)),
        (None, Some(ttl)) => fields.take("ttl", time::parse_ttl(ttl).and_then(|ttl| check(now + ttl))),
        (Some(_), Some(_)) => fields.take("ttl", Err(format!("can't be given together with {time_field}; choose one"))),
    }
}

/// A caller that doesn't hold `claviger:admin` is refused for handing it out at all, wherever.
fn check_admin_scopes(fields: &mut Fields, call: &Call, tenant: Option<&TenantId>, scopes: Option<&[Scope]>) {
    if let (true, Some(tenant), Some(scopes)) = (call.caller.holds(Right::Admin), tenant, scopes) {
        fields.refuse(key::check_admin_scopes(tenant, scopes).err().unwrap_or_default());
    }
}

/// `Some(None)`: no request id. The fingerprint covers the whole request, so that another request under the same id is
/// noticed.
fn replay(
    fields: &mut Fields,
    request_id: &str,
    method: &str,
    request: &impl prost::Message,
) -> Option<Option<ReplayRequest>> {
    if request_id.is_empty() {
        return Some(None);
    }
    // Only the hyphenated, lower-case form: one id, one spelling.
    let parsed = uuid::Uuid::try_parse(request_id).ok().filter(|id| id.to_string() == request_id);
    let wrong = || "must be a UUID of 36 characters, in lower case with hyphens".to_owned();
    let id = fields.take("request_id", parsed.ok_or_else(wrong))?;
    let hash = Sha256::new().chain_update(method).chain_update([0]).chain_update(request.encode_to_vec());
    Some(Some(ReplayRequest { id, fingerprint: hash.finalize().into() }))
}
