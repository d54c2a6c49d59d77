//! The limit of 10, in the schema: each live key occupies one of the slots 0 to 9 of its service user.
//!
//! Expiry is computed, so a key that has expired still holds its slot until somebody needs it; then it is recorded as
//! EXPIRED and gives the slot back. An expired key never blocks a create.

use std::collections::HashMap;

use sea_orm::QueryResult;

use crate::domain::{Time, ids::ServiceUserName, limits, policy::TenantPolicy};

use super::{StoreError, Write, policy_row};

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
    /// Given away in this very change.
    given: Vec<i16>,
    policy: Result<TenantPolicy, StoreError>,
}

impl Room {
    /// The tenant's policy. `Corrupt` when it can't be understood, which is nothing to those of other tenants.
    pub fn policy(&self) -> Result<&TenantPolicy, StoreError> {
        self.policy.as_ref().map_err(Clone::clone)
    }

    fn give_lowest(&mut self) -> Option<Slot> {
        let mut all = 0..i16::try_from(limits::LIVE_KEYS).unwrap_or(0);
        let slot = all.find(|slot| !self.taken.contains(slot) && !self.given.contains(slot))?;
        self.given.push(slot);
        Some(Slot(slot))
    }
}

/// One question for all, because every other writer waits meanwhile: a row for each slot that is taken, and one for a
/// service user without keys. `owner` is the owner's place among those asked for.
fn rooms_of(owners: usize) -> String {
    let wanted = |owner: usize| format!("(${}, ${}, {owner})", 2 * owner + 1, 2 * owner + 2);
    let wanted = (0..owners).map(wanted).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT wanted.column3 AS owner, api_key.slot AS slot, tenant.policy AS policy
    FROM (VALUES {wanted}) AS wanted
    JOIN service_user ON service_user.tenant_id = wanted.column1 AND service_user.id = wanted.column2
    JOIN tenant ON tenant.id = service_user.tenant_id
    LEFT JOIN api_key ON api_key.tenant_id = service_user.tenant_id
        AND api_key.service_user_id = service_user.id AND api_key.slot IS NOT NULL
    WHERE service_user.delete_time IS NULL"
    )
}

impl Write {
    /// The room that a service user has for keys; `None` when there is no such service user, or it is deleted.
    pub async fn room(&self, owner: &ServiceUserName) -> Result<Option<Room>, StoreError> {
        Ok(self.rooms(&[owner]).await?.remove(owner))
    }

    /// The rooms of those of these service users that are there, of which each is asked for once.
    pub async fn rooms(&self, owners: &[&ServiceUserName]) -> Result<HashMap<ServiceUserName, Room>, StoreError> {
        let mut rooms = HashMap::new();
        if owners.is_empty() {
            return Ok(rooms);
        }
        let values = owners.iter().flat_map(|owner| [owner.tenant.as_str().into(), owner.id.as_str().into()]);
        for row in self.rows(&rooms_of(owners.len()), values).await? {
            let index: i32 = row.try_get("", "owner")?;
            let owner = usize::try_from(index).ok().and_then(|index| owners.get(index));
            let owner = *owner.ok_or_else(|| StoreError::Bug("a room of nobody asked for".to_owned()))?;
            if !rooms.contains_key(owner) {
                rooms.insert(owner.clone(), empty_room(owner, &row)?);
            }
            let slot: Option<i16> = row.try_get("", "slot")?;
            if let (Some(slot), Some(room)) = (slot, rooms.get_mut(owner)) {
                room.taken.push(slot);
            }
        }
        Ok(rooms)
    }

    /// The lowest slot that isn't taken, which is given away by this; `None` when ten keys are live at `now`.
    pub async fn free_slot(
        &self,
        owner: &ServiceUserName,
        room: &mut Room,
        now: Time,
    ) -> Result<Option<Slot>, StoreError> {
        if let Some(slot) = room.give_lowest() {
            return Ok(Some(slot));
        }
        let ended = self.unrecorded_ends(Some(owner), now).await?;
        if ended.is_empty() {
            return Ok(None);
        }
        self.record_ends(&ended, now).await?;
        room.taken = self.room(owner).await?.map_or_else(Vec::new, |room| room.taken);
        Ok(room.give_lowest())
    }
}

fn empty_room(owner: &ServiceUserName, row: &QueryResult) -> Result<Room, StoreError> {
    let policy = policy_row::read(&row.try_get::<String>("", "policy")?);
    let policy = policy.map_err(|why| StoreError::Corrupt { table: "tenant", id: owner.tenant.to_string(), why });
    Ok(Room { taken: Vec::new(), given: Vec::new(), policy })
}
