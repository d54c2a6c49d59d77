//! Each change of the schema since the first one only adds: what the version before knew is as it was, and what is new in a
//! table that was there is nullable or has a default. Or its name says `_contract_`, and older versions refuse.

use std::collections::{BTreeMap, BTreeSet};

use claviger_migrations::{Migrator, contracts, known};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use sea_orm_migration::MigratorTrait;

use crate::harness::Engine;
use crate::rig::{database, select};

on_both_engines!(each_change_only_adds);

/// Columns by table and name: their type, whether they may be left out, and whether they may be NULL.
type Columns = BTreeMap<(String, String), (String, bool, bool)>;

async fn columns(database: &DatabaseConnection) -> Columns {
    let sql = match database.get_database_backend() {
        DbBackend::Sqlite => {
            "SELECT m.name AS of_table, c.name AS name, c.type AS type, c.\"notnull\" = 0 OR c.dflt_value IS NOT NULL AS optional,
                c.\"notnull\" = 0 AS nullable
             FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"
        }
        _ => {
            "SELECT table_name::text AS of_table, column_name::text AS name, data_type::text AS type,
                is_nullable = 'YES' OR column_default IS NOT NULL AS optional, is_nullable = 'YES' AS nullable
             FROM information_schema.columns WHERE table_schema = 'public'"
        }
    };
    let rows =
        database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.expect("rows");
    let text = |row: &sea_orm::QueryResult, name: &str| row.try_get::<String>("", name).expect("a text");
    let flag = |row: &sea_orm::QueryResult, name: &str| row.try_get::<bool>("", name).expect("a flag");
    let column = |row| {
        ((text(row, "of_table"), text(row, "name")), (text(row, "type"), flag(row, "optional"), flag(row, "nullable")))
    };
    rows.iter().map(column).collect()
}

/// What PostgreSQL demands of rows, as `table: demand` with the columns it is about. SQLite's are made by the same text.
async fn demands(database: &DatabaseConnection) -> BTreeSet<(String, Vec<String>)> {
    if database.get_database_backend() == DbBackend::Sqlite {
        return BTreeSet::new();
    }
    let demands = "SELECT conrelid::regclass::text || ': ' || pg_get_constraintdef(oid) || ' # ' || coalesce((SELECT
            string_agg(attname::text, ',') FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)), '')
        FROM pg_constraint WHERE contype IN ('c', 'f', 'u', 'p') AND connamespace = 'public'::regnamespace
        UNION ALL SELECT indrelid::regclass::text || ': unique ' || indexrelid::regclass::text || ' # ' || coalesce((SELECT
            string_agg(attname::text, ',') FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)), '')
        FROM pg_index WHERE indisunique AND indrelid IN
            (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)";
    let parse = |demand: String| {
        let (what, columns) = demand.rsplit_once(" # ").expect("columns");
        (what.to_owned(), columns.split(',').map(str::to_owned).collect())
    };
    select::<String>(database, demands).await.into_iter().map(parse).collect()
}

async fn each_change_only_adds(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    if engine == Engine::Sqlite {
        std::fs::write(place.sqlite_file(), "").expect("written");
    }
    let database = database(&place).await;
    Migrator::up(&database, Some(1)).await.expect("migrated");
    for name in known().into_iter().skip(1) {
        let (before, demanded) = (columns(&database).await, demands(&database).await);
        Migrator::up(&database, Some(1)).await.expect("migrated");
        if contracts(&name) {
            continue;
        }
        let (after, demands) = (columns(&database).await, demands(&database).await);
        let tables: BTreeSet<&str> = before.keys().map(|(table, _)| table.as_str()).collect();
        for (column, kind) in &before {
            assert_eq!(after.get(column), Some(kind), "{name}: {column:?} was there, and must stay as it was");
        }
        for (column, (_, optional, _)) in after.iter().filter(|(column, _)| !before.contains_key(*column)) {
            let of_old_table = tables.contains(column.0.as_str());
            assert!(*optional || !of_old_table, "{name}: the version before writes rows without {column:?}");
        }
        for (demand, of_columns) in demands.difference(&demanded) {
            let table = demand.split(": ").next().expect("a table").to_owned();
            let is_old = |column: &String| before.contains_key(&(table.clone(), column.clone()));
            assert!(!of_columns.iter().any(is_old), "{name}: the version before doesn't know that {demand}");
        }
    }
}
