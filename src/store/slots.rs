//! The limit of 10, in the schema: each live key occupies one of the slots 0 to 9 of its service user.
//!
//! Expiry is computed, so a key that has expired still holds its slot until somebody needs it; then it is recorded as
//! EXPIRED and gives the slot back. An expired key never blocks a create.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::domain::{Time, ids::ServiceUserName, limits};

use super::{
    StoreError, Write,
    entity::api_key::{Column, Entity},
    row,
};

/// A place for a live key of a service user: 0 to 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(i16);

impl Slot {
    pub(super) fn number(self) -> i16 {
        self.0
    }
}

impl Write {
    /// The lowest free slot of a service user; `None` when ten keys are live at `now`.
    pub async fn free_slot(&self, owner: &ServiceUserName, now: Time) -> Result<Option<Slot>, StoreError> {
        if let Some(slot) = self.unoccupied_slot(owner).await? {
            return Ok(Some(slot));
        }
        let ended = self.unrecorded_ends(Some(owner), now).await?;
        if ended.is_empty() {
            return Ok(None);
        }
        self.record_ends(&ended, now).await?;
        self.unoccupied_slot(owner).await
    }

    async fn unoccupied_slot(&self, owner: &ServiceUserName) -> Result<Option<Slot>, StoreError> {
        let query = Entity::find()
            .filter(Column::TenantId.eq(owner.tenant.as_str()))
            .filter(Column::ServiceUserId.eq(owner.id.as_str()))
            .filter(Column::Slot.is_not_null())
            .order_by_asc(Column::Slot);
        let rows = row::fetch(&self.transaction, query).await?;
        let taken: Vec<i16> = rows.iter().map(|row| row.try_get("", "slot")).collect::<Result<_, _>>()?;
        let all = 0..i16::try_from(limits::LIVE_KEYS).unwrap_or(0);
        Ok(all.into_iter().find(|slot| !taken.contains(slot)).map(Slot))
    }
}
