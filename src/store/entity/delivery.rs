//! Table `delivery`. `day` is a local date, as `2026-11-21`.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub tenant_id: String,
    pub subscriber_id: String,
    pub day: String,
    pub due_time: DateTimeUtc,
    pub end_time: DateTimeUtc,
    pub state: String,
    pub attempts: i16,
    pub next_attempt_time: DateTimeUtc,
    pub answer: String,
    pub message_id: String,
    pub key_count: i64,
    pub create_time: DateTimeUtc,
    pub update_time: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
