//! The tables to copy, as the schemas of both databases tell: SQLite what there is and what comes before what, PostgreSQL
//! what each column holds.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DbErr, Statement};

use super::super::StoreError;
use super::rows::Page;
use super::texts;

/// The list of the schema's own changes, which both databases have from their migration.
const CHANGES: &str = "seaql_migrations";
/// Tables that a migration makes with a row; the revision comes last, since the other one names it.
pub(super) const MADE_WITH_A_ROW: [&str; 2] = ["revision_token", "revision"];

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The places of the columns of its primary key, by which its rows are ordered.
    pub(super) key: Vec<usize>,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What a column holds; the only types that the schema has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bytes,
    Time,
}

impl Kind {
    /// From PostgreSQL's name of a type: SQLite keeps times as texts.
    fn of(postgres: &str) -> Option<Self> {
        match postgres {
            "text" => Some(Self::Text),
            "bigint" | "smallint" => Some(Self::Number),
            "bytea" => Some(Self::Bytes),
            "timestamp with time zone" => Some(Self::Time),
            _ => None,
        }
    }
}

impl Table {
    /// Names of the columns of its primary key, quoted.
    pub(super) fn key_columns(&self) -> String {
        let names = self.key.iter().filter_map(|place| self.columns.get(*place)).map(|column| quoted(&column.name));
        names.collect::<Vec<_>>().join(", ")
    }

    /// The primary key of a page's last row: where the next page begins.
    pub(super) fn key_of(&self, page: &Page) -> Vec<sea_orm::Value> {
        page.last_row_at(&self.key)
    }
}

/// As both engines quote a name.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// Every table of the SQLite file but the list of changes.
pub(super) async fn names(source: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let sql =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    Ok(texts(source, sql).await?.into_iter().filter(|name| name != CHANGES).collect())
}

/// A table of PostgreSQL's that is neither `ours` nor the list of changes.
pub(super) async fn foreign(target: &impl ConnectionTrait, ours: &[String]) -> Result<Option<String>, DbErr> {
    let sql = "SELECT table_name::text FROM information_schema.tables
        WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY table_name";
    let found = texts(target, sql).await?;
    Ok(found.into_iter().find(|name| name != CHANGES && !ours.contains(name)))
}

/// Every table, parents before their children.
pub(super) async fn all(
    source: &impl ConnectionTrait,
    target: &impl ConnectionTrait,
) -> Result<Vec<Table>, StoreError> {
    let mut parents = BTreeMap::new();
    for name in names(source).await? {
        let sql = format!("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list('{name}')");
        let of_this: BTreeSet<String> = texts(source, &sql).await?.into_iter().collect();
        parents.insert(name, of_this);
    }
    let mut tables = Vec::new();
    for name in parents_first(parents)? {
        tables.push(table(source, target, name).await?);
    }
    Ok(tables)
}

/// Orders names so that each comes after those it refers to.
fn parents_first(mut parents: BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, StoreError> {
    let mut ordered: Vec<String> = Vec::new();
    while !parents.is_empty() {
        let ready = parents.iter().find(|(_, of_this)| of_this.iter().all(|parent| ordered.contains(parent)));
        let next = ready.map(|(name, _)| name.clone());
        let next = next.ok_or_else(|| StoreError::Bug(format!("tables refer to each other: {parents:?}")))?;
        parents.remove(&next);
        ordered.push(next);
    }
    Ok(ordered)
}

async fn table(
    source: &impl ConnectionTrait,
    target: &impl ConnectionTrait,
    name: String,
) -> Result<Table, StoreError> {
    let kinds = kinds(target, &name).await?;
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    for (place, (column, in_key)) in columns_of(source, &name).await?.into_iter().enumerate() {
        let kind = kinds.get(&column).and_then(|postgres| Kind::of(postgres));
        let kind = kind.ok_or_else(|| StoreError::Bug(format!("{name}.{column} holds what no copy knows")))?;
        columns.push(Column { name: column, kind });
        if in_key > 0 {
            key.push((in_key, place));
        }
    }
    if columns.len() != kinds.len() || key.is_empty() {
        return Err(StoreError::Bug(format!("table {name} differs between SQLite and PostgreSQL")));
    }
    key.sort_unstable();
    Ok(Table { name, columns, key: key.into_iter().map(|(_, place)| place).collect() })
}

/// Columns with their place in the primary key, 0 = none.
async fn columns_of(source: &impl ConnectionTrait, table: &str) -> Result<Vec<(String, i64)>, DbErr> {
    let sql = format!("SELECT name, pk FROM pragma_table_info('{table}') ORDER BY cid");
    let rows = source.query_all_raw(Statement::from_string(source.get_database_backend(), sql)).await?;
    rows.iter().map(|row| Ok((row.try_get("", "name")?, row.try_get("", "pk")?))).collect()
}

/// PostgreSQL's type of each column.
async fn kinds(target: &impl ConnectionTrait, table: &str) -> Result<BTreeMap<String, String>, DbErr> {
    let sql = "SELECT column_name::text AS name, data_type::text AS type FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = $1";
    let statement = Statement::from_sql_and_values(target.get_database_backend(), sql, [table.into()]);
    let rows = target.query_all_raw(statement).await?;
    rows.iter().map(|row| Ok((row.try_get("", "name")?, row.try_get("", "type")?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_a_circle_is_refused() {
        let of = |pairs: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
            pairs
                .iter()
                .map(|(name, parents)| ((*name).into(), parents.iter().map(|p| (*p).into()).collect()))
                .collect()
        };
        let ordered = parents_first(of(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[]), ("d", &[])]));
        assert_eq!(ordered, Ok(["c", "b", "a", "d"].map(str::to_owned).to_vec()));
        assert!(parents_first(of(&[("a", &["b"]), ("b", &["a"])])).is_err());
    }
}
