//! What a calling credential grants, asked inside a change, when nothing can overtake it any more.

use std::sync::LazyLock;

use sea_orm::{QueryResult, Value};

use crate::domain::{
    Time,
    caller::Credential,
    ids::{KeyName, ServiceUserName},
    network::Network,
    peer_name::PeerName,
    scope::Scope,
};

use super::{StoreError, Write, key_row::list_of, owned_keys::owners_enabled};

/// What a credential grants.
#[derive(Debug, PartialEq, Eq)]
pub struct Grants {
    /// What its bearer may do.
    pub scopes: Vec<Scope>,
    /// Where from; empty = anywhere, as a certificate's holder may.
    pub networks: Vec<Network>,
}

/// The calling key, if it may be used: ENABLED, not expired, not deleted, and so are its owners.
static USABLE_KEY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT scopes, networks FROM api_key WHERE id = $1 AND tenant_id = $2 AND service_user_id = $3
        AND state = 'ENABLED' AND delete_time IS NULL AND (expire_time IS NULL OR expire_time > $4)
        AND {}",
        owners_enabled("api_key")
    )
});

/// The name that a certificate holds, if it is mapped to this service user, which is enabled, and so is its tenant.
static USABLE_IDENTITY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT scopes, '[]' AS networks FROM certificate_identity WHERE name = $1 AND tenant_id = $2
        AND service_user_id = $3 AND {}",
        owners_enabled("certificate_identity")
    )
});

fn calling_key(key: &KeyName, now: Time) -> [Value; 4] {
    [key.id.to_string().into(), key.owner.tenant.as_str().into(), key.owner.id.as_str().into(), now.into()]
}

fn calling_identity(owner: &ServiceUserName, name: &PeerName) -> [Value; 3] {
    [name.as_str().into(), owner.tenant.as_str().into(), owner.id.as_str().into()]
}

impl Write {
    /// What a credential grants at `now`; `None` when it may not be used any more.
    pub async fn grants(&self, credential: &Credential, now: Time) -> Result<Option<Grants>, StoreError> {
        let rows = match credential {
            Credential::Key(key) => self.rows(&USABLE_KEY, calling_key(key, now)).await?,
            Credential::Certificate { service_user, name } => {
                self.rows(&USABLE_IDENTITY, calling_identity(service_user, name)).await?
            }
        };
        rows.first().map(|row| read_grants(row, credential)).transpose()
    }
}

fn read_grants(row: &QueryResult, credential: &Credential) -> Result<Grants, StoreError> {
    let table = match credential {
        Credential::Key(_) => "api_key",
        Credential::Certificate { .. } => "certificate_identity",
    };
    let corrupt = |why: String| StoreError::Corrupt { table, id: credential.to_string(), why };
    let (scopes, networks): (String, String) = (row.try_get("", "scopes")?, row.try_get("", "networks")?);
    Ok(Grants {
        scopes: list_of(&scopes, Scope::parse).map_err(corrupt)?,
        networks: list_of(&networks, Network::parse).map_err(corrupt)?,
    })
}
