//! Table `certificate_identity`. `scopes` is a JSON array of texts.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "certificate_identity")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub tenant_id: String,
    pub service_user_id: String,
    pub scopes: String,
}

impl ActiveModelBehavior for ActiveModel {}
