//! Table `notification`.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notification")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub tenant_id: String,
    pub kind: String,
    pub once: String,
    pub key_name: Option<String>,
    pub key_display_name: Option<String>,
    pub expire_time: Option<DateTimeUtc>,
    pub days_left: Option<i16>,
    pub superseded_by: Option<String>,
    pub create_time: DateTimeUtc,
    pub read_time: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
