//! Notifications: each told once, read newest first. They take no revision: no mirror holds them.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict, SimpleExpr},
};
use uuid::Uuid;

use crate::domain::{
    Time,
    calendar::Day,
    ids::{KeyId, KeyName, NotificationName, ServiceUserName, TenantId},
    limits,
    notification::{KeyFacts, Kind, Notification, Subject},
    page::{Page, Paged},
    text::DisplayName,
};

use super::{
    Bookkeeping, Store, StoreError, Write,
    entity::notification::{ActiveModel, Column, Entity, Model},
    error::within,
    row::{self, Row, column},
};

/// Which notifications to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationFilter {
    /// Of which tenant.
    pub tenant: TenantId,
    /// Only those that nobody read.
    pub unread: bool,
    /// Only of this kind.
    pub kind: Option<Kind>,
}

impl Store {
    /// Lists a tenant's notifications, the newest first. The page's cursor is the notification's id.
    pub async fn notifications(
        &self,
        filter: &NotificationFilter,
        page: &Page,
    ) -> Result<Paged<Notification>, StoreError> {
        let mut query = Entity::find().filter(Column::TenantId.eq(filter.tenant.as_str()));
        if filter.unread {
            query = query.filter(Column::ReadTime.is_null());
        }
        if let Some(kind) = filter.kind {
            query = query.filter(Column::Kind.eq(kind.word()));
        }
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.lt(after));
        }
        let query = query.order_by_desc(Column::Id).limit(page.size + 1);
        let notifications = row::read_all(&self.readers, query).await?;
        Ok(Paged::cut(notifications, page.size, |notification| notification.id.to_string()))
    }
}

impl Write {
    /// Stores notifications with a change; what was told already isn't told again.
    pub async fn notify(&self, notifications: &[Notification]) -> Result<(), StoreError> {
        insert(&self.transaction, notifications).await.map(drop)
    }

    /// Marks the warnings about keys as read: there is nothing left to do about them.
    pub async fn settle_warnings(&self, keys: impl IntoIterator<Item = &KeyName>, now: Time) -> Result<(), StoreError> {
        let names: Vec<String> = keys.into_iter().map(KeyName::to_string).collect();
        for some in names.chunks(limits::ROWS_PER_STATEMENT) {
            self.settle(Column::KeyName.is_in(some), now).await?;
        }
        Ok(())
    }

    /// Marks the warnings about all keys of a service user as read.
    pub async fn settle_warnings_of(&self, owner: &ServiceUserName, now: Time) -> Result<(), StoreError> {
        // A key's id is base62, and `~` comes after all of these.
        self.settle(Column::KeyName.between(format!("{owner}/keys/"), format!("{owner}/keys/~")), now).await
    }

    async fn settle(&self, which: SimpleExpr, now: Time) -> Result<(), StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::ReadTime, Expr::val(now))
            .filter(which)
            // Written out, because an index for this kind alone can't be chosen for a bound value.
            .filter(Expr::cust("kind = 'KEY_EXPIRING'"))
            .filter(Column::ReadTime.is_null());
        within(update.exec(&self.transaction)).await.map(drop)
    }
}

impl Bookkeeping {
    /// Stores notifications; answers how many weren't told before.
    pub async fn notify(&self, notifications: &[Notification]) -> Result<u64, StoreError> {
        insert(&self.transaction, notifications).await
    }

    /// Marks a notification as read, unless it is, and answers it. `None` when there is no such notification.
    pub async fn mark_read(&self, name: &NotificationName, now: Time) -> Result<Option<Notification>, StoreError> {
        let named =
            Condition::all().add(Column::TenantId.eq(name.tenant.as_str())).add(Column::Id.eq(name.id.to_string()));
        let update = Entity::update_many()
            .col_expr(Column::ReadTime, Expr::val(now))
            .filter(named.clone())
            .filter(Column::ReadTime.is_null());
        within(update.exec(&self.transaction)).await?;
        row::read_one(&self.transaction, Entity::find().filter(named)).await
    }
}

async fn insert(database: &impl ConnectionTrait, notifications: &[Notification]) -> Result<u64, StoreError> {
    let mut inserted = 0;
    for some in notifications.chunks(limits::ROWS_PER_STATEMENT) {
        let told = OnConflict::columns([Column::TenantId, Column::Once]).do_nothing().to_owned();
        let insert = Entity::insert_many(some.iter().map(columns)).on_conflict(told);
        inserted += within(insert.exec_without_returning(database)).await?;
    }
    Ok(inserted)
}

fn columns(notification: &Notification) -> ActiveModel {
    let subject = &notification.subject;
    let key = subject.key();
    let (days_left, successor) = match subject {
        Subject::KeyExpiring { days_left, .. } => (Some(*days_left), None),
        Subject::KeyRotated { successor, .. } => (None, Some(successor.to_string())),
        Subject::KeyExpired(_) | Subject::LastSubscriberGone => (None, None),
    };
    ActiveModel {
        id: Set(notification.id.to_string()),
        tenant_id: Set(notification.tenant.to_string()),
        kind: Set(subject.kind().word().to_owned()),
        once: Set(notification.once()),
        key_name: Set(key.map(|key| key.name.to_string())),
        key_display_name: Set(key.map(|key| key.display_name.as_str().to_owned())),
        expire_time: Set(key.map(|key| key.expire_time)),
        days_left: Set(days_left),
        superseded_by: Set(successor),
        create_time: Set(notification.create_time),
        read_time: Set(notification.read_time),
    }
}

impl Row for Model {
    type Value = Notification;
    const TABLE: &'static str = "notification";
    const NAMED_BY: &'static [&'static str] = &["id"];

    fn into_value(self) -> Result<Notification, String> {
        Ok(Notification {
            id: Uuid::parse_str(&self.id).map_err(|error| format!("id: {error}"))?,
            tenant: column("tenant_id", TenantId::parse(&self.tenant_id))?,
            subject: subject(&self)?,
            create_time: self.create_time,
            read_time: self.read_time,
        })
    }
}

fn subject(row: &Model) -> Result<Subject, String> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == row.kind).ok_or("kind: is unknown")?;
    Ok(match kind {
        Kind::KeyExpiring => {
            let day = row.once.rsplit('/').next().unwrap_or_default();
            let days_left = row.days_left.ok_or("days_left: is missing")?;
            Subject::KeyExpiring { key: key_facts(row)?, day: column("once", Day::parse(day))?, days_left }
        }
        Kind::KeyExpired => Subject::KeyExpired(key_facts(row)?),
        Kind::KeyRotated => {
            let successor = row.superseded_by.as_deref().and_then(KeyId::parse);
            Subject::KeyRotated { key: key_facts(row)?, successor: successor.ok_or("superseded_by: is not a key id")? }
        }
        Kind::LastSubscriberGone => Subject::LastSubscriberGone,
    })
}

fn key_facts(row: &Model) -> Result<KeyFacts, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok(KeyFacts {
        name: column("key_name", KeyName::parse(&text(&row.key_name)))?,
        display_name: column("key_display_name", DisplayName::parse(&text(&row.key_display_name)))?,
        expire_time: row.expire_time.ok_or("expire_time: is missing")?,
    })
}
