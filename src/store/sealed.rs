//! Sealed secrets of retrievable keys. A row is there exactly as long as its key is live: the schema erases it with the slot.
//!
//! Nothing here can be opened without a KEK, which the store never sees.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr},
};

use crate::domain::{
    Time,
    ids::{KeyId, KeyName, TenantId},
    kek::{KekId, SealedSecret, WrappedKey},
    limits,
    reveals::Reveals,
};

use super::{
    Bookkeeping, Store, StoreError, Write,
    entity::sealed_secret::{ActiveModel, Column, Entity, Model},
    error::within,
    row::{self, Row, column, json},
};

/// A sealed secret, whose it is, and when it was revealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// The tenant of its key.
    pub tenant: TenantId,
    /// Its key.
    pub key: KeyId,
    /// The secret.
    pub sealed: SealedSecret,
    /// The last reveals.
    pub reveals: Reveals,
}

/// A part of the secrets whose data keys are wrapped under one KEK.
#[derive(Debug)]
pub struct SealedPage {
    /// Those that can be understood.
    pub secrets: Vec<StoredSecret>,
    /// What is wrong with each of the others.
    pub damaged: Vec<String>,
    /// The last one's id, understood or not: where the next page starts. `None` when there was none.
    pub last: Option<String>,
}

impl Store {
    /// How many data keys are wrapped under each KEK, by id.
    pub async fn sealed_counts(&self) -> Result<Vec<(KekId, u64)>, StoreError> {
        let query = Entity::find().select_only().column(Column::KekId).expr_as(Expr::cust("COUNT(*)"), "count");
        let rows = row::fetch(&self.readers, query.group_by(Column::KekId).order_by_asc(Column::KekId)).await?;
        let read = |row: &sea_orm::QueryResult| {
            let count: i64 = row.try_get("", "count")?;
            Ok::<_, StoreError>((KekId::from_stored(row.try_get("", "kek_id")?), u64::try_from(count).unwrap_or(0)))
        };
        rows.iter().map(read).collect()
    }
}

impl Write {
    /// Stores the sealed secrets of keys that this very change makes.
    pub async fn insert_sealed_secrets(&self, secrets: &[(KeyName, SealedSecret)]) -> Result<(), StoreError> {
        if secrets.is_empty() {
            return Ok(());
        }
        let rows: Vec<ActiveModel> = secrets.iter().map(new_row).collect::<Result<_, _>>()?;
        within(Entity::insert_many(rows).exec_without_returning(&self.transaction)).await.map(drop)
    }

    /// The sealed secret of a key, if it is kept.
    pub async fn sealed_secret(&self, key: KeyId) -> Result<Option<StoredSecret>, StoreError> {
        row::read_one(&self.transaction, Entity::find_by_id(key.to_string())).await
    }

    /// Stores when a key was revealed.
    pub async fn note_reveals(&self, key: KeyId, reveals: &Reveals) -> Result<(), StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::RevealTimes, Expr::val(reveal_times(reveals)?))
            .filter(Column::KeyId.eq(key.to_string()));
        let changed = within(update.exec(&self.transaction)).await?.rows_affected;
        row::require_one(changed, "sealed_secret")
    }
}

impl Bookkeeping {
    /// Secrets whose data keys are wrapped under this KEK, by key id: at most
    /// [`REWRAP_BATCH`](crate::domain::limits::REWRAP_BATCH) after `after`.
    pub async fn sealed_under(&self, kek: &KekId, after: Option<&str>) -> Result<SealedPage, StoreError> {
        let mut query = Entity::find().filter(Column::KekId.eq(kek.as_str()));
        if let Some(after) = after {
            query = query.filter(Column::KeyId.gt(after));
        }
        let query = query.order_by_asc(Column::KeyId).limit(limits::REWRAP_BATCH);
        let rows = row::fetch(&self.transaction, query).await?;
        let last = rows.last().map(|row| row.try_get("", "key_id")).transpose()?;
        let mut page = SealedPage { secrets: Vec::new(), damaged: Vec::new(), last };
        for row in &rows {
            match row::read::<Model>(row) {
                Ok(secret) => page.secrets.push(secret),
                Err(error) => page.damaged.push(error.to_string()),
            }
        }
        Ok(page)
    }

    /// Stores data keys that are wrapped anew, all under the same KEK. Answers how many.
    pub async fn rewrap(&self, rows: &[(KeyId, WrappedKey)]) -> Result<u64, StoreError> {
        let Some((_, first)) = rows.first() else { return Ok(0) };
        // One statement for all, so that the other writers wait for one round trip and not for hundreds.
        let wrapped = rows.iter().fold(CaseStatement::new(), |case, (id, wrapped)| {
            case.case(Column::KeyId.eq(id.to_string()), Expr::val(wrapped.bytes.clone()))
        });
        let update = Entity::update_many()
            .col_expr(Column::WrappedKey, wrapped.into())
            .col_expr(Column::KekId, Expr::val(first.kek.as_str()))
            .filter(Column::KeyId.is_in(rows.iter().map(|(id, _)| id.to_string())));
        Ok(within(update.exec(&self.transaction)).await?.rows_affected)
    }
}

fn reveal_times(reveals: &Reveals) -> Result<String, StoreError> {
    json(&reveals.times().iter().map(Time::timestamp_micros).collect::<Vec<_>>())
}

fn new_row((name, sealed): &(KeyName, SealedSecret)) -> Result<ActiveModel, StoreError> {
    Ok(ActiveModel {
        key_id: Set(name.id.to_string()),
        tenant_id: Set(name.owner.tenant.to_string()),
        kek_id: Set(sealed.data_key.kek.as_str().to_owned()),
        wrapped_key: Set(sealed.data_key.bytes.clone()),
        sealed: Set(sealed.bytes.clone()),
        reveal_times: Set(reveal_times(&Reveals::default())?),
    })
}

impl Row for Model {
    type Value = StoredSecret;
    const TABLE: &'static str = "sealed_secret";
    const NAMED_BY: &'static [&'static str] = &["key_id"];

    fn into_value(self) -> Result<StoredSecret, String> {
        let times: Vec<i64> =
            column("reveal_times", serde_json::from_str(&self.reveal_times).map_err(|error| error.to_string()))?;
        let times: Option<Vec<Time>> = times.into_iter().map(Time::from_timestamp_micros).collect();
        let data_key = WrappedKey { kek: KekId::from_stored(self.kek_id), bytes: self.wrapped_key };
        Ok(StoredSecret {
            tenant: column("tenant_id", TenantId::parse(&self.tenant_id))?,
            key: KeyId::parse(&self.key_id).ok_or("key_id: is not a key id")?,
            sealed: SealedSecret { data_key, bytes: self.sealed },
            reveals: Reveals::from_stored(times.ok_or("reveal_times: is no list of instants")?),
        })
    }
}
