//! Which peppers keys were ever stored under: their ids and check values, never the peppers.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, TransactionTrait,
};

use crate::domain::{
    Time, limits,
    pepper::{Pepper, PepperId},
};

use super::{
    Store, StoreError, Write,
    entity::{
        api_key,
        pepper::{ActiveModel, Column, Entity, Model},
    },
    error::{within, within_time},
    row::{self, Row},
};

/// The id of a pepper, and the value that tells it from another of the same id.
type Registration = (PepperId, [u8; 32]);

impl Store {
    /// Every registered pepper, the oldest first.
    pub async fn pepper_registrations(&self) -> Result<Vec<Registration>, StoreError> {
        registrations(&self.readers).await
    }

    /// The peppers under which keys are stored that Verify still knows at `now`: each id once. Goes through all keys, which
    /// takes a second for each million.
    pub async fn peppers_in_use(&self, now: Time) -> Result<Vec<PepperId>, StoreError> {
        let forgotten = now - limits::DEAD_KEYS_REMEMBERED;
        let remembered = |end: api_key::Column| Condition::any().add(end.is_null()).add(end.gt(forgotten));
        let query = api_key::Entity::find()
            .select_only()
            .column(api_key::Column::PepperId)
            .distinct()
            .filter(api_key::Column::DeleteTime.is_null())
            .filter(remembered(api_key::Column::RevokeTime))
            .filter(remembered(api_key::Column::ExpireTime));
        let survey = async {
            let transaction = self.readers.begin().await?;
            let backend = transaction.get_database_backend();
            if backend == DbBackend::Postgres {
                // Before we do, so that it says why.
                let patience = (limits::SURVEY_TIMEOUT - limits::DATABASE_PATIENCE).as_millis();
                transaction.execute_unprepared(&format!("SET LOCAL statement_timeout = {patience}")).await?;
            }
            transaction.query_all_raw(query.build(backend)).await
        };
        let rows = within_time(limits::SURVEY_TIMEOUT, survey).await?;
        rows.iter().map(|row| Ok(PepperId::from_stored(row.try_get("", "pepper_id")?))).collect()
    }
}

impl Write {
    /// Every registered pepper, the oldest first.
    pub async fn pepper_registrations(&self) -> Result<Vec<Registration>, StoreError> {
        registrations(&self.transaction).await
    }

    /// Registers a pepper that isn't yet.
    pub async fn register_pepper(&self, pepper: &Pepper, now: Time) -> Result<(), StoreError> {
        let row = ActiveModel {
            id: Set(pepper.id().as_str().to_owned()),
            check_value: Set(pepper.check_value().to_vec()),
            create_time: Set(now),
        };
        within(Entity::insert(row).exec_without_returning(&self.transaction)).await.map(drop)
    }
}

async fn registrations(database: &impl ConnectionTrait) -> Result<Vec<Registration>, StoreError> {
    row::read_all(database, Entity::find().order_by_asc(Column::CreateTime).order_by_asc(Column::Id)).await
}

impl Row for Model {
    type Value = Registration;
    const TABLE: &'static str = "pepper";
    const NAMED_BY: &'static [&'static str] = &["id"];

    fn into_value(self) -> Result<Registration, String> {
        let check_value = self.check_value.try_into().map_err(|_| "check_value: is not 32 bytes long")?;
        Ok((PepperId::from_stored(self.id), check_value))
    }
}
