//! Table `api_key`. `scopes` and `networks` are JSON arrays of texts.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub tenant_id: String,
    pub service_user_id: String,
    pub display_name: String,
    pub description: String,
    pub state: String,
    pub revoke_time: Option<DateTimeUtc>,
    pub revoke_reason: Option<String>,
    pub scopes: String,
    pub role: String,
    pub on_behalf_of: String,
    pub integration_type: String,
    pub key_group_id: Option<String>,
    pub networks: String,
    pub expire_time: Option<DateTimeUtc>,
    pub lifetime_microseconds: Option<i64>,
    pub create_time: DateTimeUtc,
    pub update_time: DateTimeUtc,
    pub delete_time: Option<DateTimeUtc>,
    pub creator: Option<String>,
    pub supersedes: Option<String>,
    pub superseded_by: Option<String>,
    pub retrievable: i16,
    pub slot: Option<i16>,
    pub secret_digest: Vec<u8>,
    pub pepper_id: String,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}
