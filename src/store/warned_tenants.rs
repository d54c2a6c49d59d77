//! Tenants whose warnings are to be looked at: each has the time of its next look, so a run with nothing to do asks once.

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait as _},
};

use crate::domain::{Time, limits, owner::Tenant};

use super::{
    Bookkeeping, Store, StoreError,
    entity::tenant::{Column, Entity, Model},
    error::within,
    row,
};

/// A tenant whose time has come.
#[derive(Debug)]
pub struct DueTenant {
    /// Its id.
    pub id: String,
    /// The tenant, or a [`StoreError::Corrupt`].
    pub content: Result<Tenant, StoreError>,
}

impl Store {
    /// Tenants to look at, at most `limit`, those that wait longest first.
    pub async fn due_tenants(&self, now: Time, limit: u64) -> Result<Vec<DueTenant>, StoreError> {
        let query = Entity::find()
            .filter(waiting(now))
            .order_by_asc(Column::NextWarningTime)
            .order_by_asc(Column::Id)
            .limit(limit);
        let rows = row::fetch(&self.readers, query).await?;
        let read =
            |row| Ok(DueTenant { id: sea_orm::QueryResult::try_get(row, "", "id")?, content: row::read::<Model>(row) });
        rows.iter().map(read).collect()
    }
}

impl Bookkeeping {
    /// Keeps the other replicas from planning a tenant until `until`; `false` when one of them was faster, or the tenant has
    /// changed.
    pub async fn claim_tenant(&self, tenant: &Tenant, now: Time, until: Time) -> Result<bool, StoreError> {
        self.look_again(tenant.id.as_str(), unchanged(tenant).add(waiting(now)), until).await
    }

    /// Notes when to look at tenants again, unless they have changed meanwhile: one statement for all with the same time.
    pub async fn looked_at(&self, tenants: &[Tenant], next: Time) -> Result<(), StoreError> {
        for some in tenants.chunks(limits::ROWS_PER_STATEMENT) {
            let seen = some.iter().map(|tenant| (tenant.id.to_string(), tenant.revision));
            let update = Entity::update_many()
                .col_expr(Column::NextWarningTime, Expr::val(next))
                .filter(Expr::tuple([Expr::col(Column::Id), Expr::col(Column::Revision)]).in_tuples(seen));
            within(update.exec(&self.transaction)).await?;
        }
        Ok(())
    }

    /// Puts off a tenant that can't be understood.
    pub async fn put_off(&self, id: &str, next: Time) -> Result<(), StoreError> {
        self.look_again(id, Condition::all(), next).await.map(drop)
    }

    async fn look_again(&self, id: &str, condition: Condition, next: Time) -> Result<bool, StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::NextWarningTime, Expr::val(next))
            .filter(Column::Id.eq(id))
            .filter(condition);
        Ok(within(update.exec(&self.transaction)).await?.rows_affected > 0)
    }
}

/// Its time has come; or lies so far ahead that a wrong clock has set it.
fn waiting(now: Time) -> Condition {
    let come = Condition::any()
        .add(Column::NextWarningTime.lte(now))
        .add(Column::NextWarningTime.gt(now + limits::FURTHEST_LOOK));
    Condition::all().add(Column::DeleteTime.is_null()).add(come)
}

/// A change of the tenant asks for a look of its own, which must not be lost.
fn unchanged(tenant: &Tenant) -> Condition {
    Condition::all().add(Column::Revision.eq(tenant.revision))
}
