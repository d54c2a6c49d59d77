//! The limit of 10, in the schema: each live key occupies one of the slots 0 to 9 of its service user.
//!
//! Expiry is computed, so a key that has expired still holds its slot until somebody needs it; then it is recorded as
//! EXPIRED and gives the slot back. An expired key never blocks a create.

use std::sync::LazyLock;

use sea_orm::QueryResult;

use crate::domain::{Time, caller::Credential, ids::ServiceUserName, limits, policy::TenantPolicy};

use super::{
    Grants, StoreError, Write,
    grants::{USABLE_KEY, calling_key, read_grants},
    policy_row,
};

/// A place for a live key of a service user: 0 to 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(i16);

impl Slot {
    pub(super) fn number(self) -> i16 {
        self.0
    }
}

/// What a service user's next key must fit.
pub struct Room {
    /// Taken by live keys, and by expired ones whose end isn't recorded yet.
    taken: Vec<i16>,
    /// Of the tenant.
    pub policy: TenantPolicy,
}

impl Room {
    fn lowest_free(&self) -> Option<Slot> {
        let all = 0..i16::try_from(limits::LIVE_KEYS).unwrap_or(0);
        all.into_iter().find(|slot| !self.taken.contains(slot)).map(Slot)
    }
}

/// One question instead of two, because every other writer waits meanwhile: a service user without keys is one row.
const ROOM: &str = "SELECT api_key.slot AS slot, tenant.policy AS policy FROM service_user
    JOIN tenant ON tenant.id = service_user.tenant_id
    LEFT JOIN api_key ON api_key.tenant_id = service_user.tenant_id
        AND api_key.service_user_id = service_user.id AND api_key.slot IS NOT NULL
    WHERE service_user.tenant_id = $1 AND service_user.id = $2 AND service_user.delete_time IS NULL";

/// The same, asked together with the calling key.
static ROOM_FOR: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT taken.slot AS slot, tenant.policy AS policy, caller.scopes AS scopes, caller.networks AS networks
    FROM service_user
    JOIN tenant ON tenant.id = service_user.tenant_id
    JOIN ({}) AS caller ON TRUE
    LEFT JOIN api_key AS taken ON taken.tenant_id = service_user.tenant_id
        AND taken.service_user_id = service_user.id AND taken.slot IS NOT NULL
    WHERE service_user.tenant_id = $5 AND service_user.id = $6 AND service_user.delete_time IS NULL",
        *USABLE_KEY
    )
});

impl Write {
    /// The room that a service user has for keys; `None` when there is no such service user, or it is deleted.
    pub async fn room(&self, owner: &ServiceUserName) -> Result<Option<Room>, StoreError> {
        read_room(owner, &self.rows(ROOM, [owner.tenant.as_str().into(), owner.id.as_str().into()]).await?)
    }

    /// The room that a service user has for keys, and what the credential of who asks for it grants: `None` when there is
    /// no such service user, or the credential may not be used any more, or is a certificate. One question for both, which
    /// is a tenth more creates.
    pub async fn room_for(
        &self,
        owner: &ServiceUserName,
        caller: &Credential,
        now: Time,
    ) -> Result<Option<(Room, Grants)>, StoreError> {
        let Credential::Key(key) = caller else { return Ok(None) };
        let [id, tenant, service_user, now] = calling_key(key, now);
        let values = [id, tenant, service_user, now, owner.tenant.as_str().into(), owner.id.as_str().into()];
        let rows = self.rows(&ROOM_FOR, values).await?;
        let (Some(room), Some(first)) = (read_room(owner, &rows)?, rows.first()) else { return Ok(None) };
        Ok(Some((room, read_grants(first, caller)?)))
    }

    /// The lowest slot that isn't taken; `None` when ten keys are live at `now`.
    pub async fn free_slot(&self, owner: &ServiceUserName, room: &Room, now: Time) -> Result<Option<Slot>, StoreError> {
        if let Some(slot) = room.lowest_free() {
            return Ok(Some(slot));
        }
        let ended = self.unrecorded_ends(Some(owner), now).await?;
        if ended.is_empty() {
            return Ok(None);
        }
        self.record_ends(&ended, now).await?;
        Ok(self.room(owner).await?.and_then(|room| room.lowest_free()))
    }
}

/// The room of a service user, from a row for each of its slots that is taken.
fn read_room(owner: &ServiceUserName, rows: &[QueryResult]) -> Result<Option<Room>, StoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let policy = policy_row::read(&first.try_get::<String>("", "policy")?);
    let policy = policy.map_err(|why| StoreError::Corrupt { table: "tenant", id: owner.tenant.to_string(), why })?;
    let slots: Vec<Option<i16>> = rows.iter().map(|row| row.try_get("", "slot")).collect::<Result<_, _>>()?;
    Ok(Some(Room { taken: slots.into_iter().flatten().collect(), policy }))
}
