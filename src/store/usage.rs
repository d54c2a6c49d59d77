//! When keys were last used: a row beside the key's own, so that a use changes no key and takes no revision.

use std::fmt::Write as _;

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryResult, QuerySelect, QueryTrait, Select,
    Statement, Value,
    sea_query::{Expr, ExprTrait},
};

use crate::domain::{Time, ids::KeyId, key::Key};

use super::{
    Bookkeeping, StoreError,
    entity::{
        api_key,
        key_usage::{Column, Entity},
    },
    error::within,
    row,
};

const LAST_USED_TIME: &str = "last_used_time";

impl Bookkeeping {
    /// Writes when keys were last used: at most [`USAGE_BATCH`](crate::domain::limits::USAGE_BATCH), each key once. What is
    /// stored and later stays, because every replica writes; a key that was purged meanwhile is left out.
    pub async fn write_last_uses(&self, uses: &[(KeyId, Time)]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let values: Vec<Value> = uses.iter().flat_map(|(id, time)| [id.to_string().into(), (*time).into()]).collect();
        let backend = self.transaction.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, upsert(uses.len()), values);
        within(self.transaction.execute_raw(statement)).await.map(drop)
    }
}

fn upsert(rows: usize) -> String {
    let mut used = String::new();
    for row in 0..rows {
        let comma = if row == 0 { "" } else { ", " };
        // Writing to a text never fails.
        let _ = write!(used, "{comma}(${}, ${})", row * 2 + 1, row * 2 + 2);
    }
    format!(
        "INSERT INTO key_usage (key_id, last_used_time)
         SELECT used.column1, used.column2 FROM (VALUES {used}) AS used
         WHERE EXISTS (SELECT 1 FROM api_key WHERE api_key.id = used.column1)
         ON CONFLICT (key_id) DO UPDATE SET last_used_time = excluded.last_used_time
         WHERE excluded.last_used_time > key_usage.last_used_time"
    )
}

/// Reads keys for callers, each with the time of its last use. The feed reads them without.
pub(super) async fn read_with_last_use(
    database: &impl ConnectionTrait,
    query: Select<api_key::Entity>,
) -> Result<Vec<Key>, StoreError> {
    row::fetch(database, with_last_use(query)).await?.iter().map(read_used).collect()
}

/// Asks for the last use of each key too.
pub(super) fn with_last_use(query: Select<api_key::Entity>) -> Select<api_key::Entity> {
    query.expr_as(Expr::from(usage_of_key().into_query()), LAST_USED_TIME)
}

/// Reads a key of a query [with its last use](with_last_use).
pub(super) fn read_used(found: &QueryResult) -> Result<Key, StoreError> {
    let mut key = row::read::<api_key::Model>(found)?.key;
    key.last_used = found.try_get("", LAST_USED_TIME).map_err(|error| {
        let (id, why) = (key.name.id.to_string(), error.to_string());
        StoreError::Corrupt { table: "key_usage", id, why }
    })?;
    Ok(key)
}

/// Keys made before `time` and not used at or after it, as far as their uses are written.
pub(super) fn unused_since(time: Time) -> Condition {
    let used_since = usage_of_key().filter(Column::LastUsedTime.gte(time));
    Condition::all().add(api_key::Column::CreateTime.lt(time)).add(Expr::not_exists(used_since.into_query()))
}

/// A query inside one of `api_key`: the last use of its key.
fn usage_of_key() -> Select<Entity> {
    let of_key = Expr::col((Entity, Column::KeyId)).equals((api_key::Entity, api_key::Column::Id));
    Entity::find().select_only().column(Column::LastUsedTime).filter(of_key)
}
