//! A key as a row of `api_key`, both ways.

use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::prelude::DateTimeUtc;
use sea_orm::{DbErr, FromQueryResult, QueryResult};

use crate::domain::{
    Revision, Span,
    actor::Actor,
    attributes::{Attributes, IntegrationType, Role},
    ids::{KeyGroupId, KeyId, KeyName, ServiceUserId, ServiceUserName, TenantId},
    key::{Key, KeyState},
    network::Network,
    pepper::{PepperId, SecretDigest},
    scope::Scope,
    text::{Description, DisplayName, OnBehalfOf, RevokeReason},
    verifiable_key::{Standing, VerifiableKey},
};

use super::{
    StoreError, StoredKey,
    entity::api_key::{ActiveModel, Column, Model},
    row::{Row, column, json, microseconds},
};

pub(super) const ENABLED: &str = "ENABLED";
pub(super) const DISABLED: &str = "DISABLED";
pub(super) const REVOKED: &str = "REVOKED";
pub(super) const EXPIRED: &str = "EXPIRED";

/// Every column of a key but ids, slot and what is stored of the secret. The last use has a table of its own.
pub(super) fn columns(key: &Key, revision: Revision) -> Result<ActiveModel, StoreError> {
    let (state, revoke_time, revoke_reason) = match &key.state {
        KeyState::Enabled => (ENABLED, None, None),
        KeyState::Disabled => (DISABLED, None, None),
        KeyState::Revoked { time, reason } => (REVOKED, Some(*time), Some(reason.as_str().to_owned())),
        KeyState::Expired => (EXPIRED, None, None),
    };
    Ok(ActiveModel {
        id: NotSet,
        tenant_id: NotSet,
        service_user_id: NotSet,
        display_name: Set(key.display_name.as_str().to_owned()),
        description: Set(key.description.as_str().to_owned()),
        state: Set(state.to_owned()),
        revoke_time: Set(revoke_time),
        revoke_reason: Set(revoke_reason),
        scopes: Set(json_of(key.scopes.iter().map(Scope::to_string))?),
        role: Set(key.attributes.role.as_str().to_owned()),
        on_behalf_of: Set(key.attributes.on_behalf_of.as_str().to_owned()),
        integration_type: Set(key.attributes.integration_type_text().to_owned()),
        key_group_id: Set(key.key_group.as_ref().map(|id| id.as_str().to_owned())),
        networks: Set(json_of(key.networks.iter().map(Network::to_string))?),
        expire_time: Set(key.expire_time),
        lifetime_microseconds: Set(key.lifetime.map(microseconds).transpose()?),
        create_time: Set(key.create_time),
        update_time: Set(key.update_time),
        delete_time: Set(key.delete_time),
        creator: Set(key.creator.as_ref().map(Actor::to_string)),
        supersedes: Set(key.supersedes.map(|id| id.to_string())),
        superseded_by: Set(key.superseded_by.map(|id| id.to_string())),
        retrievable: Set(key.retrievable.into()),
        slot: NotSet,
        secret_digest: NotSet,
        pepper_id: NotSet,
        revision: Set(revision),
    })
}

/// The columns that Verify needs: half of a row, read a million times when a process starts.
pub(super) struct VerifiableRow {
    id: String,
    tenant_id: String,
    service_user_id: String,
    state: String,
    revoke_time: Option<DateTimeUtc>,
    scopes: String,
    role: String,
    on_behalf_of: String,
    integration_type: String,
    key_group_id: Option<String>,
    networks: String,
    expire_time: Option<DateTimeUtc>,
    delete_time: Option<DateTimeUtc>,
    superseded_by: Option<String>,
    secret_digest: Vec<u8>,
    pepper_id: String,
    is_edited: bool,
    revision: i64,
}

impl VerifiableRow {
    pub(super) const COLUMNS: [Column; 17] = [
        Column::Id,
        Column::TenantId,
        Column::ServiceUserId,
        Column::State,
        Column::RevokeTime,
        Column::Scopes,
        Column::Role,
        Column::OnBehalfOf,
        Column::IntegrationType,
        Column::KeyGroupId,
        Column::Networks,
        Column::ExpireTime,
        Column::DeleteTime,
        Column::SupersededBy,
        Column::SecretDigest,
        Column::PepperId,
        Column::Revision,
    ];
}

impl FromQueryResult for VerifiableRow {
    /// By their places: to look for 18 names in each of a million rows takes a second. In the order of
    /// [`COLUMNS`](Self::COLUMNS), and then `is_edited`.
    fn from_query_result(row: &QueryResult, _prefix: &str) -> Result<Self, DbErr> {
        Ok(Self {
            id: row.try_get_by_index(0)?,
            tenant_id: row.try_get_by_index(1)?,
            service_user_id: row.try_get_by_index(2)?,
            state: row.try_get_by_index(3)?,
            revoke_time: row.try_get_by_index(4)?,
            scopes: row.try_get_by_index(5)?,
            role: row.try_get_by_index(6)?,
            on_behalf_of: row.try_get_by_index(7)?,
            integration_type: row.try_get_by_index(8)?,
            key_group_id: row.try_get_by_index(9)?,
            networks: row.try_get_by_index(10)?,
            expire_time: row.try_get_by_index(11)?,
            delete_time: row.try_get_by_index(12)?,
            superseded_by: row.try_get_by_index(13)?,
            secret_digest: row.try_get_by_index(14)?,
            pepper_id: row.try_get_by_index(15)?,
            revision: row.try_get_by_index(16)?,
            is_edited: row.try_get_by_index(17)?,
        })
    }
}

impl Row for VerifiableRow {
    type Value = VerifiableKey;
    const TABLE: &'static str = Model::TABLE;
    const NAMED_BY: &'static [&'static str] = Model::NAMED_BY;

    fn into_value(self) -> Result<VerifiableKey, String> {
        Ok(VerifiableKey {
            name: key_name(&self.tenant_id, &self.service_user_id, &self.id)?,
            standing: read_standing(&self.state, self.revoke_time)?,
            scopes: column("scopes", list_of(&self.scopes, Scope::parse))?,
            attributes: attributes(&self.role, &self.on_behalf_of, &self.integration_type)?,
            key_group: key_group(self.key_group_id.as_deref())?,
            networks: column("networks", list_of(&self.networks, Network::parse))?,
            expire_time: self.expire_time,
            delete_time: self.delete_time,
            superseded_by: self.superseded_by.map(|id| key_id("superseded_by", &id)).transpose()?,
            digest: digest(&self.secret_digest)?,
            pepper: PepperId::from_stored(self.pepper_id),
            is_edited: self.is_edited,
            revision: self.revision,
        })
    }
}

impl Row for Model {
    type Value = StoredKey;
    const TABLE: &'static str = "api_key";
    const NAMED_BY: &'static [&'static str] = &["id"];

    fn into_value(self) -> Result<StoredKey, String> {
        let state = read_state(&self)?;
        let key = Key {
            name: key_name(&self.tenant_id, &self.service_user_id, &self.id)?,
            display_name: column("display_name", DisplayName::parse(&self.display_name))?,
            description: column("description", Description::parse(&self.description))?,
            state,
            scopes: column("scopes", list_of(&self.scopes, Scope::parse))?,
            attributes: attributes(&self.role, &self.on_behalf_of, &self.integration_type)?,
            key_group: key_group(self.key_group_id.as_deref())?,
            networks: column("networks", list_of(&self.networks, Network::parse))?,
            expire_time: self.expire_time,
            lifetime: self.lifetime_microseconds.map(Span::microseconds),
            create_time: self.create_time,
            update_time: self.update_time,
            delete_time: self.delete_time,
            creator: self.creator.map(|name| column("creator", Actor::parse(&name))).transpose()?,
            supersedes: self.supersedes.map(|id| key_id("supersedes", &id)).transpose()?,
            superseded_by: self.superseded_by.map(|id| key_id("superseded_by", &id)).transpose()?,
            retrievable: self.retrievable == 1,
            last_used: None,
            revision: self.revision,
        };
        Ok(StoredKey { key, digest: digest(&self.secret_digest)?, pepper: PepperId::from_stored(self.pepper_id) })
    }
}

fn key_name(tenant: &str, service_user: &str, id: &str) -> Result<KeyName, String> {
    Ok(KeyName {
        owner: ServiceUserName {
            tenant: column("tenant_id", TenantId::parse(tenant))?,
            id: column("service_user_id", ServiceUserId::parse(service_user))?,
        },
        id: key_id("id", id)?,
    })
}

fn attributes(role: &str, on_behalf_of: &str, integration_type: &str) -> Result<Attributes, String> {
    Ok(Attributes {
        role: column("role", Role::parse(role))?,
        on_behalf_of: column("on_behalf_of", OnBehalfOf::parse(on_behalf_of))?,
        integration_type: column("integration_type", IntegrationType::parse_optional(integration_type))?,
    })
}

fn key_group(id: Option<&str>) -> Result<Option<KeyGroupId>, String> {
    column("key_group_id", id.map(KeyGroupId::parse).transpose())
}

fn digest(bytes: &[u8]) -> Result<SecretDigest, String> {
    SecretDigest::from_stored(bytes).ok_or_else(|| "secret_digest: is not 32 bytes long".to_owned())
}

fn read_state(row: &Model) -> Result<KeyState, String> {
    match (read_standing(&row.state, row.revoke_time)?, &row.revoke_reason) {
        (Standing::Enabled, None) => Ok(KeyState::Enabled),
        (Standing::Disabled, None) => Ok(KeyState::Disabled),
        (Standing::Expired, None) => Ok(KeyState::Expired),
        (Standing::Revoked { time }, Some(reason)) => {
            Ok(KeyState::Revoked { time, reason: column("revoke_reason", RevokeReason::parse(reason))? })
        }
        (Standing::Enabled | Standing::Disabled | Standing::Expired, Some(_)) | (Standing::Revoked { .. }, None) => {
            Err("revoke_reason: doesn't fit the state".to_owned())
        }
    }
}

fn read_standing(state: &str, revoke_time: Option<DateTimeUtc>) -> Result<Standing, String> {
    match (state, revoke_time) {
        (ENABLED, None) => Ok(Standing::Enabled),
        (DISABLED, None) => Ok(Standing::Disabled),
        (EXPIRED, None) => Ok(Standing::Expired),
        (REVOKED, Some(time)) => Ok(Standing::Revoked { time }),
        _ => Err("state: is unknown, or doesn't fit revoke_time".to_owned()),
    }
}

fn key_id(name: &str, text: &str) -> Result<KeyId, String> {
    KeyId::parse(text).ok_or_else(|| format!("{name}: is not a key id"))
}

pub(super) fn json_of(texts: impl Iterator<Item = String>) -> Result<String, StoreError> {
    json(&texts.collect::<Vec<_>>())
}

pub(super) fn list_of<T>(json: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let texts: Vec<String> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    texts.iter().map(|text| parse(text)).collect()
}
