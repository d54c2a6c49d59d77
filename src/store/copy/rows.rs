//! Rows of any table: read in pages, written, and summed up so that both engines give the same sum for the same rows.

use std::fmt;

use sea_orm::prelude::DateTimeUtc;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value};
use sha2::{Digest, Sha256};

use crate::domain::limits;

use super::super::StoreError;
use super::table::{Kind, Table, quoted};

/// What a table holds: how many rows, and the SHA-256 of all of them in the order of the primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// How many rows.
    pub rows: u64,
    /// Their digest.
    pub digest: [u8; 32],
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>11} ", grouped(self.rows))?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A number with a comma after each three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Some rows of a table, in order; never none.
pub(super) struct Page(Vec<Vec<Cell>>);

impl Page {
    /// How many rows it has.
    pub(super) fn rows(&self) -> u64 {
        self.0.len() as u64
    }

    /// These columns of the last row.
    pub(super) fn last_row_at(&self, places: &[usize]) -> Vec<Value> {
        let last = self.0.last().map_or(&[][..], Vec::as_slice);
        places.iter().filter_map(|place| last.get(*place)).map(|cell| cell.clone().into_value()).collect()
    }
}

/// One value.
#[derive(Clone)]
enum Cell {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
    Time(Option<DateTimeUtc>),
}

impl Cell {
    fn read(row: &QueryResult, place: usize, kind: Kind) -> Result<Self, DbErr> {
        Ok(match kind {
            Kind::Text => Self::Text(row.try_get_by_index(place)?),
            Kind::Number => Self::Number(row.try_get_by_index(place)?),
            Kind::Bytes => Self::Bytes(row.try_get_by_index(place)?),
            Kind::Time => Self::Time(row.try_get_by_index(place)?),
        })
    }

    fn into_value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Number(number) => number.into(),
            Self::Bytes(bytes) => bytes.into(),
            Self::Time(time) => time.into(),
        }
    }

    /// Each value says whether it is there and how long it is, so that no two rows look alike. Times to the nanosecond: what
    /// PostgreSQL would round must show.
    fn sum_up(&self, sum: &mut Sha256) {
        match self {
            Self::Text(text) => sum_up_bytes(sum, text.as_deref().map(str::as_bytes)),
            Self::Number(number) => sum_up_bytes(sum, number.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice)),
            Self::Bytes(bytes) => sum_up_bytes(sum, bytes.as_deref()),
            Self::Time(time) => {
                let (seconds, rest) =
                    (time.map(|time| time.timestamp()), time.map(|time| time.timestamp_subsec_nanos()));
                sum_up_bytes(sum, seconds.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
                sum_up_bytes(sum, rest.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
            }
        }
    }
}

fn sum_up_bytes(sum: &mut Sha256, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return sum.update([0]) };
    sum.update([1]);
    sum.update((bytes.len() as u64).to_be_bytes());
    sum.update(bytes);
}

/// How many rows a table has.
pub(super) async fn count(database: &impl ConnectionTrait, table: &Table) -> Result<u64, StoreError> {
    let sql = format!("SELECT count(*) FROM {}", quoted(&table.name));
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), sql)).await?;
    let count: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The next rows after the one with this primary key, or the first ones; `None` when there are none.
pub(super) async fn page(
    database: &impl ConnectionTrait,
    table: &Table,
    after: Option<&[Value]>,
) -> Result<Option<Page>, StoreError> {
    let values = after.unwrap_or_default().to_vec();
    let sql = page_sql(table, values.len());
    let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
    let rows = database.query_all_raw(statement).await?;
    let read = |row: &QueryResult| {
        let cells = table.columns.iter().enumerate().map(|(place, column)| Cell::read(row, place, column.kind));
        cells.collect::<Result<Vec<_>, _>>()
    };
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(if rows.is_empty() { None } else { Some(Page(rows)) })
}

/// Numbers are widened, because a driver reads each width as another type.
fn page_sql(table: &Table, parameters: usize) -> String {
    let columns = table.columns.iter().map(|column| match column.kind {
        Kind::Number => format!("CAST({} AS bigint)", quoted(&column.name)),
        Kind::Text | Kind::Bytes | Kind::Time => quoted(&column.name),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let (name, key, limit) = (quoted(&table.name), table.key_columns(), limits::ROWS_PER_STATEMENT);
    let after = match parameters {
        0 => String::new(),
        count => format!("WHERE ({key}) > ({})", parameter_list(1, count)),
    };
    format!("SELECT {columns} FROM {name} {after} ORDER BY {key} LIMIT {limit}")
}

/// `$first, $first+1, …`
fn parameter_list(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// Writes rows.
pub(super) async fn insert(database: &impl ConnectionTrait, table: &Table, page: Page) -> Result<(), StoreError> {
    let width = table.columns.len();
    let columns = table.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
    let rows = (0..page.0.len()).map(|row| format!("({})", parameter_list(row * width + 1, width)));
    let rows = rows.collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO {} ({columns}) VALUES {rows}", quoted(&table.name));
    let values = page.0.into_iter().flatten().map(Cell::into_value);
    let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
    database.execute_raw(statement).await?;
    Ok(())
}

/// Reads a whole table and sums it up.
pub(super) async fn fingerprint(database: &impl ConnectionTrait, table: &Table) -> Result<Fingerprint, StoreError> {
    let (mut rows, mut sum, mut after) = (0, Sha256::new(), None);
    while let Some(page) = self::page(database, table, after.as_deref()).await? {
        after = Some(table.key_of(&page));
        rows += page.rows();
        page.0.iter().flatten().for_each(|cell| cell.sum_up(&mut sum));
    }
    Ok(Fingerprint { rows, digest: sum.finalize().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1_200, "1,200"), (1_000_000, "1,000,000")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn no_two_rows_look_alike() {
        let of = |cells: &[Cell]| {
            let mut sum = Sha256::new();
            cells.iter().for_each(|cell| cell.sum_up(&mut sum));
            let digest: [u8; 32] = sum.finalize().into();
            digest
        };
        let text = |text: &str| Cell::Text(Some(text.to_owned()));
        let time = |nanoseconds| Cell::Time(DateTimeUtc::from_timestamp(1, nanoseconds));
        let different = [
            of(&[text("ab"), text("c")]),
            of(&[text("a"), text("bc")]),
            of(&[text(""), Cell::Text(None)]),
            of(&[Cell::Text(None), text("")]),
            of(&[Cell::Bytes(None), Cell::Number(Some(0))]),
            of(&[time(1_000)]),
            of(&[time(1_001)]),
        ];
        for (index, one) in different.iter().enumerate() {
            assert!(different[index + 1..].iter().all(|other| other != one), "{index}");
        }
    }
}
