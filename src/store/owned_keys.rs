//! Questions about all keys of a service user, or of a tenant, inside a change.

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, SimpleExpr},
};

use crate::domain::{
    Time,
    ids::{ServiceUserId, ServiceUserName, TenantId},
    key::Key,
    rights::Right,
    scope::Scope,
};

use super::{
    StoreError, Write,
    entity::{api_key, service_user},
    error::within,
    key_row::{DISABLED, ENABLED},
    keys::unexpired,
    row,
    usage::read_with_last_use,
};

/// The service user and the tenant that own a row of this table are there and enabled.
pub(super) fn owners_enabled(table: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM service_user JOIN tenant ON tenant.id = service_user.tenant_id
    WHERE service_user.tenant_id = {table}.tenant_id AND service_user.id = {table}.service_user_id
    AND service_user.state = 'ENABLED' AND service_user.delete_time IS NULL
    AND tenant.state = 'ENABLED' AND tenant.delete_time IS NULL)"
    )
}

impl Write {
    /// A service user's live keys, the oldest first. Never more than 10 that haven't expired.
    pub async fn live_keys(&self, owner: &ServiceUserName, now: Time) -> Result<Vec<Key>, StoreError> {
        let query = api_key::Entity::find()
            .filter(live(&owner.tenant, Some(&owner.id), now))
            .order_by_asc(api_key::Column::CreateTime)
            .order_by_asc(api_key::Column::Id);
        read_with_last_use(&self.transaction, query).await
    }

    /// Whether a service user, or anybody of a tenant, has a live key.
    pub async fn has_live_keys(
        &self,
        tenant: &TenantId,
        service_user: Option<&ServiceUserId>,
        now: Time,
    ) -> Result<bool, StoreError> {
        let query = api_key::Entity::find().filter(live(tenant, service_user, now)).limit(1);
        Ok(!row::fetch(&self.transaction, query).await?.is_empty())
    }

    /// The rights over Claviger that live keys of a service user, or of a tenant, carry, and those that somebody has by
    /// certificate. Each once. Keys of deleted service users are deleted, so they don't count.
    pub async fn live_scopes(
        &self,
        tenant: &TenantId,
        service_user: Option<&ServiceUserId>,
        now: Time,
    ) -> Result<Vec<Scope>, StoreError> {
        let mut carried = Vec::new();
        for right in Right::ALL {
            let carries = carries(api_key::Column::Scopes, right);
            let query = api_key::Entity::find().filter(live(tenant, service_user, now)).filter(carries).limit(1);
            if !row::fetch(&self.transaction, query).await?.is_empty()
                || self.has_identity_with(tenant, service_user, right).await?
            {
                carried.push(Scope::parse(right.scope()).map_err(StoreError::Bug)?);
            }
        }
        Ok(carried)
    }

    /// Deletes, softly, all keys of a service user; or all keys and all service users of a tenant. Answers how many keys.
    /// What was deleted before stays as it is; so does the owner itself.
    pub async fn delete_owned(
        &self,
        tenant: &TenantId,
        service_user: Option<&ServiceUserId>,
        now: Time,
    ) -> Result<u64, StoreError> {
        use api_key::Column;
        let keys = api_key::Entity::update_many()
            .col_expr(Column::DeleteTime, Expr::val(now))
            .col_expr(Column::UpdateTime, Expr::val(now))
            .col_expr(Column::Slot, Expr::val(None::<i16>))
            .col_expr(Column::Revision, Expr::val(self.revision()))
            .filter(owned(tenant, service_user))
            .filter(Column::DeleteTime.is_null());
        let deleted = within(keys.exec(&self.transaction)).await?.rows_affected;
        if service_user.is_none() {
            self.delete_service_users(tenant, now).await?;
        }
        Ok(deleted)
    }

    async fn delete_service_users(&self, tenant: &TenantId, now: Time) -> Result<(), StoreError> {
        use service_user::Column;
        let update = service_user::Entity::update_many()
            .col_expr(Column::DeleteTime, Expr::val(now))
            .col_expr(Column::UpdateTime, Expr::val(now))
            .col_expr(Column::Revision, Expr::val(self.revision()))
            .filter(Column::TenantId.eq(tenant.as_str()))
            .filter(Column::DeleteTime.is_null());
        within(update.exec(&self.transaction)).await.map(drop)
    }
}

/// A list of scopes has this right. A scope holds no character that JSON escapes or LIKE treats as special.
pub(super) fn carries(scopes: impl ColumnTrait, right: Right) -> SimpleExpr {
    scopes.like(format!("%\"{}\"%", right.scope()))
}

fn owned(tenant: &TenantId, service_user: Option<&ServiceUserId>) -> Condition {
    Condition::all()
        .add(api_key::Column::TenantId.eq(tenant.as_str()))
        .add_option(service_user.map(|id| api_key::Column::ServiceUserId.eq(id.as_str())))
}

/// A live key: not deleted, ENABLED or DISABLED, and not past its expire_time.
fn live(tenant: &TenantId, service_user: Option<&ServiceUserId>, now: Time) -> Condition {
    owned(tenant, service_user)
        .add(api_key::Column::DeleteTime.is_null())
        .add(api_key::Column::State.is_in([ENABLED, DISABLED]))
        .add(unexpired(now))
}
