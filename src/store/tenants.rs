//! Tenants: finding, listing, writing.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    prelude::DateTimeUtc,
    sea_query::Expr,
};

use crate::domain::{
    Revision, Time,
    calendar::{Calendar, TimeZone, WarningHour},
    ids::TenantId,
    owner::{Tenant, VerifiableTenant},
    page::{Page, Paged},
    text::DisplayName,
};

use super::{
    Store, StoreError, Write,
    entity::tenant::{ActiveModel, Column, Entity, Model},
    error::within,
    policy_row,
    row::{self, Row, column, owner_state, read_owner_state},
};

impl Store {
    /// Finds a tenant that isn't deleted.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        let found = find(&self.readers, id).await?;
        Ok(found.filter(|tenant| tenant.delete_time.is_none()))
    }

    /// Reads a tenant that may be deleted, as long as it isn't purged.
    pub async fn tenant_or_deleted(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        find(&self.readers, id).await
    }

    /// Lists tenants by id: the only list that isn't inside one tenant. The page's cursor is the tenant's id.
    pub async fn tenants(&self, page: &Page, show_deleted: bool) -> Result<Paged<Tenant>, StoreError> {
        let mut query = Entity::find().order_by_asc(Column::Id).limit(page.size + 1);
        if !show_deleted {
            query = query.filter(Column::DeleteTime.is_null());
        }
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after));
        }
        let tenants = row::read_all(&self.readers, query).await?;
        Ok(Paged::cut(tenants, page.size, |tenant| tenant.id.to_string()))
    }
}

impl Write {
    /// Finds a tenant, deleted or not.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        find(&self.transaction, id).await
    }

    /// Stores a new tenant. The id must be free.
    pub async fn insert_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let row = ActiveModel { id: Set(tenant.id.to_string()), ..columns(tenant, self.revision())? };
        within(Entity::insert(row).exec_without_returning(&self.transaction)).await.map(drop)
    }

    /// Asks for a look at a tenant's warnings, because when they are due, or whether, has changed.
    pub async fn look_at_warnings(&self, id: &TenantId) -> Result<(), StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::NextWarningTime, Expr::val(Time::UNIX_EPOCH))
            .filter(Column::Id.eq(id.as_str()));
        within(update.exec(&self.transaction)).await.map(drop)
    }

    /// Stores every field of a tenant that exists.
    pub async fn update_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let update =
            Entity::update_many().set(columns(tenant, self.revision())?).filter(Column::Id.eq(tenant.id.as_str()));
        let changed = within(update.exec(&self.transaction)).await?.rows_affected;
        row::require_one(changed, "tenant")
    }
}

async fn find(database: &impl ConnectionTrait, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
    row::read_one(database, Entity::find().filter(Column::Id.eq(id.as_str()))).await
}

/// Every column but the id, and the time of the next look at its warnings.
fn columns(tenant: &Tenant, revision: Revision) -> Result<ActiveModel, StoreError> {
    Ok(ActiveModel {
        id: NotSet,
        display_name: Set(tenant.display_name.as_str().to_owned()),
        state: Set(owner_state(tenant.state)),
        time_zone: Set(tenant.calendar.zone.name().to_owned()),
        warning_hour: Set(tenant.calendar.hour.get().into()),
        policy: Set(policy_row::write(&tenant.policy)?),
        next_warning_time: NotSet,
        create_time: Set(tenant.create_time),
        update_time: Set(tenant.update_time),
        delete_time: Set(tenant.delete_time),
        revision: Set(revision),
    })
}

/// The columns that Verify needs.
#[derive(FromQueryResult)]
pub(super) struct VerifiableTenantRow {
    id: String,
    state: String,
    delete_time: Option<DateTimeUtc>,
    revision: i64,
}

impl Row for VerifiableTenantRow {
    type Value = VerifiableTenant;
    const TABLE: &'static str = Model::TABLE;
    const NAMED_BY: &'static [&'static str] = Model::NAMED_BY;

    fn into_value(self) -> Result<VerifiableTenant, String> {
        Ok(VerifiableTenant {
            id: column("id", TenantId::parse(&self.id))?,
            state: read_owner_state(&self.state)?,
            delete_time: self.delete_time,
            revision: self.revision,
        })
    }
}

impl Row for Model {
    type Value = Tenant;
    const TABLE: &'static str = "tenant";
    const NAMED_BY: &'static [&'static str] = &["id"];

    fn into_value(self) -> Result<Tenant, String> {
        Ok(Tenant {
            id: column("id", TenantId::parse(&self.id))?,
            display_name: column("display_name", DisplayName::parse(&self.display_name))?,
            state: read_owner_state(&self.state)?,
            calendar: Calendar {
                zone: column("time_zone", TimeZone::parse(&self.time_zone))?,
                hour: column("warning_hour", WarningHour::parse(self.warning_hour.into()))?,
            },
            policy: policy_row::read(&self.policy)?,
            create_time: self.create_time,
            update_time: self.update_time,
            delete_time: self.delete_time,
            revision: self.revision,
        })
    }
}
