//! Answers that a repeated request gets again, for a while. What they hold is sealed before it comes here.

use std::fmt;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, Statement,
    sea_query::{Expr, ExprTrait, OnConflict},
};

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
    /// What these requests, named by caller and request id, were answered; perhaps expired, which the caller of this
    /// function decides.
    pub async fn replays(&self, requests: &[(String, String)]) -> Result<Vec<Replay>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let named = |(caller, id): &(String, String)| Column::Caller.eq(caller).and(Column::RequestId.eq(id));
        let any = requests.iter().map(named).fold(Condition::any(), Condition::add);
        row::read_all(&self.transaction, Entity::find().filter(any)).await
    }

    /// Stores answers, each in place of one that has expired at `now`. One that hasn't must not be there.
    pub async fn insert_replays(&self, replays: &[Replay], now: Time) -> Result<(), StoreError> {
        if replays.is_empty() {
            return Ok(());
        }
        let expired = Expr::col((Entity, Column::ExpireTime)).lte(now);
        let in_place = OnConflict::columns([Column::Caller, Column::RequestId])
            .update_columns([Column::Fingerprint, Column::Sealed, Column::ExpireTime])
            .action_and_where(expired)
            .to_owned();
        let insert = Entity::insert_many(replays.iter().map(columns)).on_conflict(in_place);
        let stored = within(insert.exec_without_returning(&self.transaction)).await?;
        if stored == replays.len() as u64 {
            return Ok(());
        }
        Err(StoreError::Bug("a request was answered twice".to_owned()))
    }
}

fn columns(replay: &Replay) -> ActiveModel {
    ActiveModel {
        caller: Set(replay.caller.clone()),
        request_id: Set(replay.request_id.clone()),
        fingerprint: Set(replay.fingerprint.to_vec()),
        sealed: Set(replay.sealed.clone()),
        expire_time: Set(replay.expire_time),
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
