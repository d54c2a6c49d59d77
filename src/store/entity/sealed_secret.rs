//! Table `sealed_secret`. `reveal_times` is a JSON array of microseconds since 1970.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sealed_secret")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    pub tenant_id: String,
    pub kek_id: String,
    pub wrapped_key: Vec<u8>,
    pub sealed: Vec<u8>,
    pub reveal_times: String,
}

impl ActiveModelBehavior for ActiveModel {}
