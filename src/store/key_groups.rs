//! Key groups: finding, listing, writing, always inside their tenant; and the keys that are in one.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};

use crate::domain::{
    Revision, Time,
    ids::{KeyGroupId, KeyGroupName, TenantId},
    key_group::KeyGroup,
    page::{Page, Paged},
    text::{Description, DisplayName},
};

use super::{
    Store, StoreError, Write,
    entity::{
        api_key,
        key_group::{ActiveModel, Column, Entity, Model},
    },
    error::within,
    row::{self, Row, column},
};

impl Store {
    /// Finds a key group, whatever became of its tenant.
    pub async fn key_group(&self, name: &KeyGroupName) -> Result<Option<KeyGroup>, StoreError> {
        find(&self.readers, name).await
    }

    /// Lists a tenant's key groups by id. The page's cursor is the group's id.
    pub async fn key_groups(&self, tenant: &TenantId, page: &Page) -> Result<Paged<KeyGroup>, StoreError> {
        let mut query = Entity::find().filter(Column::TenantId.eq(tenant.as_str()));
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after));
        }
        let query = query.order_by_asc(Column::Id).limit(page.size + 1);
        let groups = row::read_all(&self.readers, query).await?;
        Ok(Paged::cut(groups, page.size, |group: &KeyGroup| group.name.id.as_str().to_owned()))
    }
}

impl Write {
    /// Finds a key group.
    pub async fn key_group(&self, name: &KeyGroupName) -> Result<Option<KeyGroup>, StoreError> {
        find(&self.transaction, name).await
    }

    /// Those of these key groups that are there.
    pub async fn key_groups(&self, names: Vec<KeyGroupName>) -> Result<Vec<KeyGroupName>, StoreError> {
        if names.is_empty() {
            return Ok(names);
        }
        let any = names.iter().map(named).fold(Condition::any(), Condition::add);
        let query = Entity::find().select_only().columns([Column::TenantId, Column::Id]).filter(any);
        let rows = row::fetch(&self.transaction, query).await?;
        let found: Vec<_> = rows.iter().map(row::naming_texts::<Model>).collect::<Result<_, _>>()?;
        let is_found = |name: &KeyGroupName| {
            let parts = [name.tenant.as_str(), name.id.as_str()];
            found.iter().any(|found| *found == parts)
        };
        Ok(names.into_iter().filter(is_found).collect())
    }

    /// How many key groups a tenant has.
    pub async fn key_group_count(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        row::count(&self.transaction, Entity::find().filter(Column::TenantId.eq(tenant.as_str()))).await
    }

    /// Stores a new key group. The id must be free, and the tenant there.
    pub async fn insert_key_group(&self, group: &KeyGroup) -> Result<(), StoreError> {
        let row = ActiveModel {
            tenant_id: Set(group.name.tenant.to_string()),
            id: Set(group.name.id.as_str().to_owned()),
            ..columns(group, self.revision())
        };
        within(Entity::insert(row).exec_without_returning(&self.transaction)).await.map(drop)
    }

    /// Stores every field of a key group that exists.
    pub async fn update_key_group(&self, group: &KeyGroup) -> Result<(), StoreError> {
        let update = Entity::update_many().set(columns(group, self.revision())).filter(named(&group.name));
        let changed = within(update.exec(&self.transaction)).await?.rows_affected;
        row::require_one(changed, "key_group")
    }

    /// Whether a key that isn't deleted is in the group.
    pub async fn key_group_has_keys(&self, name: &KeyGroupName) -> Result<bool, StoreError> {
        let query = api_key::Entity::find().filter(inside(name)).filter(api_key::Column::DeleteTime.is_null()).limit(1);
        Ok(!row::fetch(&self.transaction, query).await?.is_empty())
    }

    /// Deletes a key group that exists, for good. Every key leaves it, a deleted one too: it must not turn up in a group
    /// that gets the id later.
    pub async fn delete_key_group(&self, name: &KeyGroupName, now: Time) -> Result<(), StoreError> {
        let leave = api_key::Entity::update_many()
            .col_expr(api_key::Column::KeyGroupId, Expr::val(None::<String>))
            .col_expr(api_key::Column::UpdateTime, Expr::val(now))
            .col_expr(api_key::Column::Revision, Expr::val(self.revision()))
            .filter(inside(name));
        within(leave.exec(&self.transaction)).await?;
        let delete = Entity::delete_many().filter(named(name));
        let deleted = within(delete.exec(&self.transaction)).await?.rows_affected;
        row::require_one(deleted, "key_group")
    }
}

async fn find(database: &impl ConnectionTrait, name: &KeyGroupName) -> Result<Option<KeyGroup>, StoreError> {
    row::read_one(database, Entity::find().filter(named(name))).await
}

fn named(name: &KeyGroupName) -> Condition {
    Condition::all().add(Column::TenantId.eq(name.tenant.as_str())).add(Column::Id.eq(name.id.as_str()))
}

/// The keys in a group.
fn inside(name: &KeyGroupName) -> Condition {
    Condition::all()
        .add(api_key::Column::TenantId.eq(name.tenant.as_str()))
        .add(api_key::Column::KeyGroupId.eq(name.id.as_str()))
}

/// Every column but the ids.
fn columns(group: &KeyGroup, revision: Revision) -> ActiveModel {
    ActiveModel {
        tenant_id: NotSet,
        id: NotSet,
        display_name: Set(group.display_name.as_str().to_owned()),
        description: Set(group.description.as_str().to_owned()),
        create_time: Set(group.create_time),
        update_time: Set(group.update_time),
        revision: Set(revision),
    }
}

impl Row for Model {
    type Value = KeyGroup;
    const TABLE: &'static str = "key_group";
    const NAMED_BY: &'static [&'static str] = &["tenant_id", "id"];

    fn into_value(self) -> Result<KeyGroup, String> {
        Ok(KeyGroup {
            name: KeyGroupName {
                tenant: column("tenant_id", TenantId::parse(&self.tenant_id))?,
                id: column("id", KeyGroupId::parse(&self.id))?,
            },
            display_name: column("display_name", DisplayName::parse(&self.display_name))?,
            description: column("description", Description::parse(&self.description))?,
            create_time: self.create_time,
            update_time: self.update_time,
            revision: self.revision,
        })
    }

    fn name(parts: &[String]) -> String {
        match parts {
            [tenant, id] => format!("tenants/{tenant}/keyGroups/{id}"),
            _ => parts.join("/"),
        }
    }
}
