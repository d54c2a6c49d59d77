//! Everything a database holds, as texts, by SQL of our own: the yardstick for what `claviger copy` says.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

use crate::rig::select;

/// Every table but the list of changes.
pub async fn tables(database: &DatabaseConnection) -> Vec<String> {
    let sql = match database.get_database_backend() {
        DbBackend::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY 1"
        }
        _ => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
    };
    select::<String>(database, sql).await.into_iter().filter(|name| name != "seaql_migrations").collect()
}

/// The rows of each table, sorted, as texts.
pub async fn contents(database: &DatabaseConnection) -> BTreeMap<String, Vec<String>> {
    let mut contents = BTreeMap::new();
    for table in tables(database).await {
        let columns = columns(database, &table).await.join(" || '|' || ");
        let mut rows = select::<String>(database, &format!("SELECT {columns} FROM \"{table}\"")).await;
        rows.sort_unstable();
        contents.insert(table, rows);
    }
    contents
}

/// Each column as an expression for a text: bytes as hexadecimal digits, times with six digits after the second.
async fn columns(database: &DatabaseConnection, table: &str) -> Vec<String> {
    match database.get_database_backend() {
        DbBackend::Sqlite => {
            let names = format!("SELECT name FROM pragma_table_info('{table}') ORDER BY name");
            let text = |name: String| {
                let is_time = name.ends_with("time") || name.starts_with("serves_") || name == "expire_time";
                let text = if is_time {
                    // As RFC 3339 with three or six digits, or none.
                    format!(
                        "substr(\"{name}\", 1, 19) || '.' || CASE substr(\"{name}\", 20, 1) WHEN '.' \
                         THEN substr(substr(\"{name}\", 21, instr(\"{name}\", '+') - 21) || '000000', 1, 6) ELSE '000000' END"
                    )
                } else {
                    format!("CASE typeof(\"{name}\") WHEN 'blob' THEN lower(hex(\"{name}\")) ELSE \"{name}\" END")
                };
                format!("'{name}=' || coalesce({text}, 'NULL')")
            };
            select::<String>(database, &names).await.into_iter().map(text).collect()
        }
        _ => {
            let names = format!(
                "SELECT column_name::text || ' ' || data_type::text FROM information_schema.columns
                 WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY column_name COLLATE \"C\""
            );
            let text = |name: String| {
                let (name, kind) = name.split_once(' ').expect("a name and a type");
                let text = match kind {
                    "bytea" => format!("encode(\"{name}\", 'hex')"),
                    "timestamp with time zone" => {
                        format!("to_char(\"{name}\" AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')")
                    }
                    _ => format!("\"{name}\"::text"),
                };
                format!("'{name}=' || coalesce({text}, 'NULL')")
            };
            select::<String>(database, &names).await.into_iter().map(text).collect()
        }
    }
}

pub async fn execute(database: &DatabaseConnection, statements: &[&str]) {
    for sql in statements {
        database.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
