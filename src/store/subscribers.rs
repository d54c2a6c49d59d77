//! Subscribers: whoever is in a user group with account alerts and hasn't unsubscribed, each address once.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Statement,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};

use crate::domain::{
    Time,
    address::MailAddress,
    ids::{SubscriberId, TenantId},
    limits,
};

use super::{
    Bookkeeping, Store, StoreError,
    entity::subscriber::{ActiveModel, Column, Entity},
    error::within,
};

/// A page of subscribers, ordered by folded address.
#[derive(Debug, Default)]
pub struct SubscriberPage {
    /// The addresses; rows that can't be understood are left out, and logged.
    pub addresses: Vec<MailAddress>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<String>,
}

/// Members of subscribed groups, without those who unsubscribed and those whose mail server refused them too often.
const SUBSCRIBED: &str = "FROM user_group_member AS member
    JOIN user_group ON user_group.tenant_id = member.tenant_id AND user_group.id = member.user_group_id
    LEFT JOIN subscriber ON subscriber.tenant_id = member.tenant_id AND subscriber.folded = member.folded
    WHERE member.tenant_id = $1 AND user_group.account_alerts = 1 AND member.unsubscribe_time IS NULL
    AND COALESCE(subscriber.refusals, 0) < $2";

impl Store {
    /// A page of a tenant's subscribers after the folded address `after`.
    pub async fn subscribers(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: u64,
    ) -> Result<SubscriberPage, StoreError> {
        let sql = format!(
            "SELECT member.folded AS folded, MIN(member.email) AS email {SUBSCRIBED} AND member.folded > $3 \
             GROUP BY member.folded ORDER BY member.folded LIMIT $4"
        );
        let limited = i64::try_from(limit).unwrap_or(i64::MAX);
        let values =
            [tenant.as_str().into(), limits::REFUSALS.into(), after.unwrap_or_default().into(), limited.into()];
        let statement = Statement::from_sql_and_values(self.readers.get_database_backend(), sql, values);
        let rows = within(self.readers.query_all_raw(statement)).await?;
        let texts = |column| rows.iter().map(|row| row.try_get("", column)).collect::<Result<Vec<String>, _>>();
        let full = u64::try_from(rows.len()).is_ok_and(|count| count == limit);
        let next = texts("folded")?.pop().filter(|_| full);
        let addresses = texts("email")?.iter().filter_map(|text| understood(tenant, text)).collect();
        Ok(SubscriberPage { addresses, next })
    }

    /// How many subscribers a tenant has.
    pub async fn subscriber_count(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let sql = format!("SELECT COUNT(DISTINCT member.folded) AS count {SUBSCRIBED}");
        let values = [tenant.as_str().into(), limits::REFUSALS.into()];
        let statement = Statement::from_sql_and_values(self.readers.get_database_backend(), sql, values);
        let row = within(self.readers.query_one_raw(statement)).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "count"))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Whether somebody is a subscriber.
    pub async fn is_subscriber(&self, tenant: &TenantId, address: &MailAddress) -> Result<bool, StoreError> {
        is_subscriber(&self.readers, tenant, address).await
    }
}

impl Bookkeeping {
    /// The ids that stand for these addresses. Whoever has none yet gets one of `ids`, which must be as many. Rows that can't
    /// be understood are left out, and logged.
    pub async fn subscriber_ids(
        &self,
        tenant: &TenantId,
        addresses: &[MailAddress],
        ids: Vec<SubscriberId>,
        now: Time,
    ) -> Result<Vec<(SubscriberId, MailAddress)>, StoreError> {
        let known = OnConflict::columns([Column::TenantId, Column::Folded]).do_nothing().to_owned();
        let rows = addresses.iter().zip(ids).map(|(address, id)| ActiveModel {
            id: Set(id.as_str().to_owned()),
            tenant_id: Set(tenant.to_string()),
            folded: Set(address.folded().to_owned()),
            email: Set(address.as_str().to_owned()),
            refusals: Set(0),
            refusal: Set(String::new()),
            refuse_time: Set(None),
            create_time: Set(now),
        });
        within(Entity::insert_many(rows).on_conflict(known).exec_without_returning(&self.transaction)).await?;
        let query = Entity::find()
            .filter(Column::TenantId.eq(tenant.as_str()))
            .filter(Column::Folded.is_in(addresses.iter().map(MailAddress::folded)));
        let found = within(query.all(&self.transaction)).await?;
        let by_address: HashMap<&str, &str> = found.iter().map(|row| (row.folded.as_str(), row.id.as_str())).collect();
        let with_id = |address: &MailAddress| {
            let id = by_address.get(address.folded()).and_then(|id| SubscriberId::parse(id));
            if id.is_none() {
                tracing::error!(%tenant, "a subscriber can't be understood and gets no mail");
            }
            Some((id?, address.clone()))
        };
        Ok(addresses.iter().filter_map(with_id).collect())
    }

    /// Notes that the mail server refused this subscriber's mail for good, with its words; or, with none, that it took it.
    pub async fn note_refusal(&self, id: &SubscriberId, refusal: Option<&str>, now: Time) -> Result<(), StoreError> {
        let update = match refusal {
            Some(answer) => Entity::update_many()
                .col_expr(Column::Refusals, Expr::col(Column::Refusals).add(1))
                .col_expr(Column::Refusal, Expr::val(answer))
                .col_expr(Column::RefuseTime, Expr::val(now)),
            None => Entity::update_many()
                .col_expr(Column::Refusals, Expr::val(0))
                .col_expr(Column::Refusal, Expr::val(""))
                .col_expr(Column::RefuseTime, Expr::val(None::<Time>)),
        };
        within(update.filter(Column::Id.eq(id.as_str())).exec(&self.transaction)).await.map(drop)
    }

    /// Whether a tenant has any subscriber.
    pub async fn has_subscribers(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        has_subscribers(&self.transaction, tenant).await
    }
}

/// Whether a tenant has any subscriber.
pub(super) async fn has_subscribers(database: &impl ConnectionTrait, tenant: &TenantId) -> Result<bool, StoreError> {
    let sql = format!("SELECT 1 AS found {SUBSCRIBED} LIMIT 1");
    let values = [tenant.as_str().into(), limits::REFUSALS.into()];
    let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
    Ok(within(database.query_one_raw(statement)).await?.is_some())
}

pub(super) async fn is_subscriber(
    database: &impl ConnectionTrait,
    tenant: &TenantId,
    address: &MailAddress,
) -> Result<bool, StoreError> {
    let sql = format!("SELECT 1 AS found {SUBSCRIBED} AND member.folded = $3 LIMIT 1");
    let values = [tenant.as_str().into(), limits::REFUSALS.into(), address.folded().into()];
    let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
    Ok(within(database.query_one_raw(statement)).await?.is_some())
}

fn understood(tenant: &TenantId, text: &str) -> Option<MailAddress> {
    let parsed = MailAddress::parse(text);
    if parsed.is_err() {
        tracing::error!(%tenant, "an address of a user group can't be understood; it gets no mail");
    }
    parsed.ok()
}
