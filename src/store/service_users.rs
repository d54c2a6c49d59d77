//! Service users: finding, listing, writing, always inside their tenant.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use crate::domain::{
    Revision,
    certificate_identity::CertificateIdentities,
    ids::{ServiceUserId, ServiceUserName, TenantId},
    owner::ServiceUser,
    page::{Page, Paged},
    text::{Description, DisplayName},
};

use super::{
    Store, StoreError, Write,
    certificate_identities::{read_service_user, with_identities},
    entity::service_user::{ActiveModel, Column, Entity, Model},
    error::within,
    row::{self, Row, column, owner_state, read_owner_state},
};

impl Store {
    /// Finds a service user that isn't deleted.
    pub async fn service_user(&self, name: &ServiceUserName) -> Result<Option<ServiceUser>, StoreError> {
        let found = find(&self.readers, name).await?;
        Ok(found.filter(|service_user| service_user.delete_time.is_none()))
    }

    /// Lists a tenant's service users by id. The page's cursor is the service user's id.
    pub async fn service_users(
        &self,
        tenant: &TenantId,
        page: &Page,
        show_deleted: bool,
    ) -> Result<Paged<ServiceUser>, StoreError> {
        let mut query = Entity::find().filter(Column::TenantId.eq(tenant.as_str()));
        if !show_deleted {
            query = query.filter(Column::DeleteTime.is_null());
        }
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after));
        }
        let query = query.order_by_asc(Column::Id).limit(page.size + 1);
        let rows = row::fetch(&self.readers, with_identities(query)).await?;
        let service_users = rows.iter().map(read_service_user).collect::<Result<_, _>>()?;
        Ok(Paged::cut(service_users, page.size, |service_user| service_user.name.id.to_string()))
    }
}

impl Write {
    /// Finds a service user, deleted or not.
    pub async fn service_user(&self, name: &ServiceUserName) -> Result<Option<ServiceUser>, StoreError> {
        find(&self.transaction, name).await
    }

    /// Stores a new service user, without its names in certificates. The id must be free, and the tenant there.
    pub async fn insert_service_user(&self, service_user: &ServiceUser) -> Result<(), StoreError> {
        let row = ActiveModel {
            tenant_id: Set(service_user.name.tenant.to_string()),
            id: Set(service_user.name.id.to_string()),
            ..columns(service_user, self.revision())
        };
        within(Entity::insert(row).exec_without_returning(&self.transaction)).await.map(drop)
    }

    /// Stores every field of a service user that exists, but its names in certificates.
    pub async fn update_service_user(&self, service_user: &ServiceUser) -> Result<(), StoreError> {
        let update = Entity::update_many()
            .set(columns(service_user, self.revision()))
            .filter(Column::TenantId.eq(service_user.name.tenant.as_str()))
            .filter(Column::Id.eq(service_user.name.id.as_str()));
        let changed = within(update.exec(&self.transaction)).await?.rows_affected;
        row::require_one(changed, "service_user")
    }
}

async fn find(database: &impl ConnectionTrait, name: &ServiceUserName) -> Result<Option<ServiceUser>, StoreError> {
    row::fetch(database, with_identities(named(name))).await?.first().map(read_service_user).transpose()
}

fn named(name: &ServiceUserName) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(name.tenant.as_str())).filter(Column::Id.eq(name.id.as_str()))
}

/// Every column but the ids.
fn columns(service_user: &ServiceUser, revision: Revision) -> ActiveModel {
    ActiveModel {
        tenant_id: NotSet,
        id: NotSet,
        display_name: Set(service_user.display_name.as_str().to_owned()),
        description: Set(service_user.description.as_str().to_owned()),
        state: Set(owner_state(service_user.state)),
        create_time: Set(service_user.create_time),
        update_time: Set(service_user.update_time),
        delete_time: Set(service_user.delete_time),
        revision: Set(revision),
    }
}

impl Row for Model {
    type Value = ServiceUser;
    const TABLE: &'static str = "service_user";
    const NAMED_BY: &'static [&'static str] = &["tenant_id", "id"];

    fn into_value(self) -> Result<ServiceUser, String> {
        Ok(ServiceUser {
            name: ServiceUserName {
                tenant: column("tenant_id", TenantId::parse(&self.tenant_id))?,
                id: column("id", ServiceUserId::parse(&self.id))?,
            },
            display_name: column("display_name", DisplayName::parse(&self.display_name))?,
            description: column("description", Description::parse(&self.description))?,
            state: read_owner_state(&self.state)?,
            identities: CertificateIdentities::default(),
            create_time: self.create_time,
            update_time: self.update_time,
            delete_time: self.delete_time,
            revision: self.revision,
        })
    }

    fn name(parts: &[String]) -> String {
        match parts {
            [tenant, id] => format!("tenants/{tenant}/serviceUsers/{id}"),
            _ => parts.join("/"),
        }
    }
}
