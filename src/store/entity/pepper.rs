//! Table `pepper`.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pepper")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub check_value: Vec<u8>,
    pub create_time: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
