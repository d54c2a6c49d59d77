//! Answers that a repeated request gets again, for a while. What they hold is sealed before it comes here.

use std::fmt;

use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Statement};

use crate::domain::{Time, limits};

use super::{
    Bookkeeping, StoreError, Write,
    entity::request_replay::{ActiveModel, Column, Entity, Model},
    error::within,
    row::{self, Row},
};

/// What a request was answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Replay {
    /// What its caller had shown, whose own this is.
    pub caller: String,
    /// What the caller named its request.
    pub request_id: String,
    /// A hash of the request, to notice another one of the same name.
    pub fingerprint: [u8; 32],
    /// The secret, sealed.
    pub sealed: Vec<u8>,
    /// Until when it is answered again.
    pub expire_time: Time,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl Write {
    /// What this caller's request was answered; perhaps expired, which the caller of this function decides.
    pub async fn replay(&self, caller: &str, request_id: &str) -> Result<Option<Replay>, StoreError> {
        let query = Entity::find().filter(Column::Caller.eq(caller)).filter(Column::RequestId.eq(request_id));
        row::read_one(&self.transaction, query).await
    }

    /// Stores an answer in place of one that has expired at `now`. One that hasn't must not be there.
    pub async fn insert_replay(&self, replay: &Replay, now: Time) -> Result<(), StoreError> {
        let expired = Entity::delete_many()
            .filter(Column::Caller.eq(&replay.caller))
            .filter(Column::RequestId.eq(&replay.request_id))
            .filter(Column::ExpireTime.lte(now));
        within(expired.exec(&self.transaction)).await?;
        let row = ActiveModel {
            caller: Set(replay.caller.clone()),
            request_id: Set(replay.request_id.clone()),
            fingerprint: Set(replay.fingerprint.to_vec()),
            sealed: Set(replay.sealed.clone()),
            expire_time: Set(replay.expire_time),
        };
        within(Entity::insert(row).exec_without_returning(&self.transaction)).await.map(drop)
    }
}

impl Bookkeeping {
    /// Removes at most 500 answers that have expired at `now`, and says how many.
    pub async fn delete_expired_replays(&self, now: Time) -> Result<u64, StoreError> {
        let sql = "DELETE FROM request_replay WHERE (caller, request_id) IN
            (SELECT caller, request_id FROM request_replay WHERE expire_time <= $1 LIMIT $2)";
        let batch = i64::try_from(limits::PURGE_BATCH).unwrap_or(i64::MAX);
        let backend = self.transaction.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, [now.into(), batch.into()]);
        Ok(within(self.transaction.execute_raw(statement)).await?.rows_affected())
    }
}

impl Row for Model {
    type Value = Replay;
    const TABLE: &'static str = "request_replay";
    const NAMED_BY: &'static [&'static str] = &["caller", "request_id"];

    fn into_value(self) -> Result<Replay, String> {
        Ok(Replay {
            caller: self.caller,
            request_id: self.request_id,
            fingerprint: self.fingerprint.try_into().map_err(|_| "fingerprint: is not 32 bytes long")?,
            sealed: self.sealed,
            expire_time: self.expire_time,
        })
    }
}
