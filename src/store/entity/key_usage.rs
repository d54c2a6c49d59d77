//! Table `key_usage`: bookkeeping about a key, beside its row.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_usage")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    pub last_used_time: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
