//! User groups: finding, listing, writing, always inside their tenant. Members are rows of their own, read with their group
//! by one statement, so that a group and its members are always of one revision.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, Statement, Value,
    prelude::DateTimeUtc,
};

use crate::domain::{
    Revision,
    address::MailAddress,
    ids::{TenantId, UserGroupId, UserGroupName},
    limits,
    page::{Page, Paged},
    text::DisplayName,
    user_group::{AddressRefusal, Member, UserGroup},
};

use super::{
    Store, StoreError, Write,
    entity::{
        user_group::{ActiveModel, Column, Entity},
        user_group_member as member,
    },
    error::within,
    row::{self, Row, column},
};

/// One row for each member, and one for a group without any. Ends with the condition on `g`.
const JOINED: &str =
    "SELECT g.tenant_id, g.id, g.display_name, g.account_alerts, g.create_time, g.update_time, g.revision,
        m.email, m.display_name AS member_display_name, m.unsubscribe_time, s.refusal, s.refuse_time
    FROM user_group g
    LEFT JOIN user_group_member m ON m.tenant_id = g.tenant_id AND m.user_group_id = g.id
    LEFT JOIN subscriber s ON s.tenant_id = m.tenant_id AND s.folded = m.folded
    WHERE g.tenant_id = $1 AND";

/// By one index for the groups and one for each group's members, so that the limit ends the work and not only the answer.
const PAGE: &str = "g.id > $2
    AND g.id <= (SELECT max(id) FROM
        (SELECT id FROM user_group WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3) AS page)
    ORDER BY g.id, m.position LIMIT $4";

impl Store {
    /// Finds a user group, whatever became of its tenant.
    pub async fn user_group(&self, name: &UserGroupName) -> Result<Option<UserGroup>, StoreError> {
        find(&self.readers, name).await
    }

    /// Lists a tenant's user groups by id. The page's cursor is the group's id. A page ends before the group with which it
    /// would hold more than 4,000 members.
    pub async fn user_groups(&self, tenant: &TenantId, page: &Page) -> Result<Paged<UserGroup>, StoreError> {
        let most_rows = limits::USER_GROUP_PAGE_MEMBERS + 1;
        // No id is empty, so every id comes after the empty text.
        let after = page.after.clone().unwrap_or_default();
        let values = [tenant.as_str().into(), after.into(), bound(page.size.saturating_add(1)), bound(most_rows)];
        let rows = fetch(&self.readers, &format!("{JOINED} {PAGE}"), values).await?;
        let was_cut = rows.len() == most_rows;
        let mut groups = group(rows);
        if was_cut {
            // The rest of its members may be missing.
            groups.pop();
        }
        let mut paged = Paged::cut(groups, page.size, |group| group.name.id.as_str().to_owned());
        if was_cut && paged.next.is_none() {
            paged.next = paged.entries.last().map(|group| group.name.id.as_str().to_owned());
        }
        Ok(paged)
    }
}

impl Write {
    /// Finds a user group.
    pub async fn user_group(&self, name: &UserGroupName) -> Result<Option<UserGroup>, StoreError> {
        find(&self.transaction, name).await
    }

    /// How many user groups a tenant has.
    pub async fn user_group_count(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        row::count(&self.transaction, Entity::find().filter(Column::TenantId.eq(tenant.as_str()))).await
    }

    /// Stores a new user group with its members. The id must be free, and the tenant there.
    pub async fn insert_user_group(&self, group: &UserGroup) -> Result<(), StoreError> {
        let row = ActiveModel {
            tenant_id: Set(group.name.tenant.to_string()),
            id: Set(group.name.id.as_str().to_owned()),
            ..columns(group, self.revision())
        };
        within(Entity::insert(row).exec_without_returning(&self.transaction)).await?;
        self.insert_members(group).await
    }

    /// Stores every field of a user group that exists, but not its members.
    pub async fn update_user_group(&self, group: &UserGroup) -> Result<(), StoreError> {
        let update = Entity::update_many()
            .set(columns(group, self.revision()))
            .filter(Column::TenantId.eq(group.name.tenant.as_str()))
            .filter(Column::Id.eq(group.name.id.as_str()));
        let changed = within(update.exec(&self.transaction)).await?.rows_affected;
        row::require_one(changed, "user_group")
    }

    /// Stores the members of a user group that exists, in place of those it has.
    pub async fn replace_members(&self, group: &UserGroup) -> Result<(), StoreError> {
        let before = member::Entity::delete_many()
            .filter(member::Column::TenantId.eq(group.name.tenant.as_str()))
            .filter(member::Column::UserGroupId.eq(group.name.id.as_str()));
        within(before.exec(&self.transaction)).await?;
        self.insert_members(group).await
    }

    /// Deletes a user group that exists, with its members, for good.
    pub async fn delete_user_group(&self, name: &UserGroupName) -> Result<(), StoreError> {
        let delete = Entity::delete_many()
            .filter(Column::TenantId.eq(name.tenant.as_str()))
            .filter(Column::Id.eq(name.id.as_str()));
        let deleted = within(delete.exec(&self.transaction)).await?.rows_affected;
        row::require_one(deleted, "user_group")
    }

    async fn insert_members(&self, group: &UserGroup) -> Result<(), StoreError> {
        let rows: Vec<_> =
            (0_i16..).zip(&group.members).map(|(position, one)| member_row(group, position, one)).collect();
        for some in rows.chunks(limits::ROWS_PER_STATEMENT) {
            let insert = member::Entity::insert_many(some.iter().cloned());
            within(insert.exec_without_returning(&self.transaction)).await?;
        }
        Ok(())
    }
}

async fn find(database: &impl ConnectionTrait, name: &UserGroupName) -> Result<Option<UserGroup>, StoreError> {
    let values = [name.tenant.as_str().into(), name.id.as_str().into()];
    let rows = fetch(database, &format!("{JOINED} g.id = $2 ORDER BY m.position"), values).await?;
    Ok(group(rows).pop())
}

async fn fetch<const N: usize>(
    database: &impl ConnectionTrait,
    sql: &str,
    values: [Value; N],
) -> Result<Vec<(UserGroup, Option<Member>)>, StoreError> {
    let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
    within(database.query_all_raw(statement)).await?.iter().map(row::read::<Joined>).collect()
}

fn bound(number: impl TryInto<i64>) -> Value {
    number.try_into().unwrap_or(i64::MAX).into()
}

/// Puts members to their groups; rows of one group follow each other.
fn group(rows: Vec<(UserGroup, Option<Member>)>) -> Vec<UserGroup> {
    let mut groups: Vec<UserGroup> = Vec::new();
    for (group, member) in rows {
        match groups.last_mut() {
            Some(last) if last.name == group.name => last.members.extend(member),
            Some(_) | None => groups.push(UserGroup { members: member.into_iter().collect(), ..group }),
        }
    }
    groups
}

/// Every column but the ids.
fn columns(group: &UserGroup, revision: Revision) -> ActiveModel {
    ActiveModel {
        tenant_id: NotSet,
        id: NotSet,
        display_name: Set(group.display_name.as_str().to_owned()),
        account_alerts: Set(group.account_alerts.into()),
        create_time: Set(group.create_time),
        update_time: Set(group.update_time),
        revision: Set(revision),
    }
}

fn member_row(group: &UserGroup, position: i16, one: &Member) -> member::ActiveModel {
    let display_name = one.display_name.as_ref().map_or("", DisplayName::as_str);
    member::ActiveModel {
        tenant_id: Set(group.name.tenant.to_string()),
        user_group_id: Set(group.name.id.as_str().to_owned()),
        folded: Set(one.address.folded().to_owned()),
        position: Set(position),
        email: Set(one.address.as_str().to_owned()),
        display_name: Set(display_name.to_owned()),
        unsubscribe_time: Set(one.unsubscribe_time),
    }
}

/// A group beside one of its members.
#[derive(FromQueryResult)]
struct Joined {
    tenant_id: String,
    id: String,
    display_name: String,
    account_alerts: i16,
    create_time: DateTimeUtc,
    update_time: DateTimeUtc,
    revision: i64,
    email: Option<String>,
    member_display_name: Option<String>,
    unsubscribe_time: Option<DateTimeUtc>,
    refusal: Option<String>,
    refuse_time: Option<DateTimeUtc>,
}

impl Row for Joined {
    type Value = (UserGroup, Option<Member>);
    const TABLE: &'static str = "user_group";
    const NAMED_BY: &'static [&'static str] = &["tenant_id", "id"];

    fn into_value(self) -> Result<Self::Value, String> {
        let refusal = self.refusal.zip(self.refuse_time).map(|(answer, time)| AddressRefusal { answer, time });
        let name = self.member_display_name.filter(|name| !name.is_empty());
        let read_member = |email: String| {
            Ok::<_, String>(Member {
                address: column("member's email", MailAddress::parse(&email))?,
                display_name: column("member's display_name", name.as_deref().map(DisplayName::parse).transpose())?,
                unsubscribe_time: self.unsubscribe_time,
                refusal,
            })
        };
        let member = self.email.map(read_member).transpose()?;
        let group = UserGroup {
            name: UserGroupName {
                tenant: column("tenant_id", TenantId::parse(&self.tenant_id))?,
                id: column("id", UserGroupId::parse(&self.id))?,
            },
            display_name: column("display_name", DisplayName::parse(&self.display_name))?,
            account_alerts: self.account_alerts != 0,
            members: Vec::new(),
            create_time: self.create_time,
            update_time: self.update_time,
            revision: self.revision,
        };
        Ok((group, member))
    }

    fn name(parts: &[String]) -> String {
        match parts {
            [tenant, id] => format!("tenants/{tenant}/userGroups/{id}"),
            _ => parts.join("/"),
        }
    }
}
