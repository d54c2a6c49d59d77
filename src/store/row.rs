//! Reads rows one by one, so that a row which breaks the rules names itself and spoils no other (reliability.md R25).

use sea_orm::{
    ConnectionTrait, EntityTrait, FromQueryResult, QueryResult, QuerySelect, QueryTrait, Select, sea_query::Expr,
};

use crate::domain::{Span, owner::OwnerState};

use super::{StoreError, error::within};

/// A row of a table, and how to read it as a value of the domain.
pub(super) trait Row: FromQueryResult {
    /// What it is read as.
    type Value;
    /// The table's name.
    const TABLE: &'static str;
    /// The columns whose texts name a row.
    const NAMED_BY: &'static [&'static str];

    /// Reads it, or says what is wrong.
    fn into_value(self) -> Result<Self::Value, String>;

    /// What a person calls the row, given the texts of its naming columns.
    fn name(parts: &[String]) -> String {
        parts.join("/")
    }
}

/// Runs a query.
pub(super) async fn fetch<E: EntityTrait>(
    database: &impl ConnectionTrait,
    query: Select<E>,
) -> Result<Vec<QueryResult>, StoreError> {
    let statement = query.build(database.get_database_backend());
    within(database.query_all_raw(statement)).await
}

/// Reads every row; the first that can't be read fails it all.
pub(super) async fn read_all<E>(
    database: &impl ConnectionTrait,
    query: Select<E>,
) -> Result<Vec<<E::Model as Row>::Value>, StoreError>
where
    E: EntityTrait,
    E::Model: Row,
{
    fetch(database, query).await?.iter().map(read::<E::Model>).collect()
}

/// Reads the only row there may be.
pub(super) async fn read_one<E>(
    database: &impl ConnectionTrait,
    query: Select<E>,
) -> Result<Option<<E::Model as Row>::Value>, StoreError>
where
    E: EntityTrait,
    E::Model: Row,
{
    fetch(database, query).await?.first().map(read::<E::Model>).transpose()
}

/// How many rows there are.
pub(super) async fn count<E: EntityTrait>(
    database: &impl ConnectionTrait,
    query: Select<E>,
) -> Result<u64, StoreError> {
    let query = query.select_only().expr_as(Expr::cust("COUNT(*)"), "count");
    let rows = fetch(database, query).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get("", "count"))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Reads one row.
pub(super) fn read<R: Row>(row: &QueryResult) -> Result<R::Value, StoreError> {
    let read = R::from_query_result(row, "").map_err(|error| error.to_string()).and_then(R::into_value);
    read.map_err(|why| {
        let id = naming_texts::<R>(row).map_or_else(|_| "?".to_owned(), |parts| R::name(&parts));
        StoreError::Corrupt { table: R::TABLE, id, why }
    })
}

/// The texts of the columns that name the row.
pub(super) fn naming_texts<R: Row>(row: &QueryResult) -> Result<Vec<String>, StoreError> {
    R::NAMED_BY.iter().map(|column| row.try_get("", column).map_err(StoreError::from)).collect()
}

/// Names the column in what is wrong.
pub(super) fn column<T>(name: &str, read: Result<T, String>) -> Result<T, String> {
    read.map_err(|why| format!("{name}: {why}"))
}

/// Writes a value as JSON text.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Bug(error.to_string()))
}

/// Writes a length of time.
pub(super) fn microseconds(span: Span) -> Result<i64, StoreError> {
    span.num_microseconds().ok_or_else(|| StoreError::Bug("a lifetime is too long to store".to_owned()))
}

/// Reads the state of a tenant or a service user.
pub(super) fn read_owner_state(text: &str) -> Result<OwnerState, String> {
    match text {
        "ENABLED" => Ok(OwnerState::Enabled),
        "DISABLED" => Ok(OwnerState::Disabled),
        _ => Err("state: is neither ENABLED nor DISABLED".to_owned()),
    }
}

/// Writes the state of a tenant or a service user.
pub(super) fn owner_state(state: OwnerState) -> String {
    match state {
        OwnerState::Enabled => "ENABLED",
        OwnerState::Disabled => "DISABLED",
    }
    .to_owned()
}

/// An update by key that changed no row, or several, is a defect.
pub(super) fn require_one(changed: u64, table: &str) -> Result<(), StoreError> {
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::Bug(format!("an update of one row of {table} changed {changed}")))
    }
}
