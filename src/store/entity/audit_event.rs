//! Table `audit_event`. `id` is a version 7 UUID as text.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_event")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub tenant_id: String,
    pub time: DateTimeUtc,
    pub caller: String,
    pub method: String,
    pub target: String,
    pub outcome: String,
    pub reason: String,
    pub request_id: String,
    pub revision: i64,
    pub address: String,
    pub count: i64,
}

impl ActiveModelBehavior for ActiveModel {}
