//! Table `user_group_member`.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_group_member")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_group_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub folded: String,
    pub position: i16,
    pub email: String,
    pub display_name: String,
    pub unsubscribe_time: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
