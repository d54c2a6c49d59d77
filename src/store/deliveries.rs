//! Deliveries: one mail for each subscriber and day, from plan to settlement. Bookkeeping, without revisions.
//!
//! `attempts` is the fence: whoever claims a delivery raises it, and settles only while it is what the claim made it. A
//! claim that isn't settled lapses, and somebody else may claim the delivery again.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, Select, Statement,
    sea_query::{Expr, OnConflict, Query},
};
use uuid::Uuid;

use crate::domain::{
    Time,
    address::MailAddress,
    calendar::Day,
    delivery::{Delivery, DeliveryState},
    ids::{SubscriberId, TenantId},
    limits,
    page::{Page, Paged},
};

use super::{
    Bookkeeping, Store, StoreError,
    entity::{
        delivery::{ActiveModel, Column, Entity, Model},
        subscriber,
    },
    error::within,
    row::{self, Row, column},
    subscribers::is_subscriber,
};

/// Which deliveries to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Of which tenant.
    pub tenant: TenantId,
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Only to this address.
    pub recipient: Option<MailAddress>,
}

/// A delivery that belongs to us now.
#[derive(Debug)]
pub struct Claimed {
    /// Its id, as it is stored.
    pub id: String,
    /// The fence.
    pub attempts: i16,
    /// On how many days in a row the address was refused for good.
    pub refusals: i16,
    /// What is to be sent, or a [`StoreError::Corrupt`].
    pub content: Result<Delivery, StoreError>,
}

/// Whether a claimed delivery is still to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is.
    Yes,
    /// Somebody else has claimed it since, or may before an attempt would end.
    NotOurs,
    /// The address isn't a subscriber any more.
    NotSubscribed,
}

/// What becomes of a claimed delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Any state but SENDING.
    pub state: DeliveryState,
    /// When it is tried again, if PENDING.
    pub next_attempt_time: Time,
    /// The mail server's answer.
    pub answer: String,
    /// The mail, if there was one; what is known of an earlier one stays.
    pub mail: Option<SentMail>,
}

/// What is kept of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMail {
    /// Its Message-ID.
    pub message_id: String,
    /// How many keys it warned about.
    pub key_count: i64,
}

impl Store {
    /// Lists a tenant's deliveries, the newest first. The page's cursor is the delivery's id.
    pub async fn deliveries(&self, filter: &DeliveryFilter, page: &Page) -> Result<Paged<Delivery>, StoreError> {
        let mut query = with_address(Entity::find().filter(Column::TenantId.eq(filter.tenant.as_str())));
        if let Some(state) = filter.state {
            query = query.filter(Column::State.eq(state.word()));
        }
        if let Some(recipient) = &filter.recipient {
            query = query.filter(Column::SubscriberId.in_subquery(subscriber_of(&filter.tenant, recipient)));
        }
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.lt(after));
        }
        let query = query.order_by_desc(Column::Id).limit(page.size + 1);
        let rows = row::fetch(&self.readers, query).await?;
        let deliveries = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Paged::cut(deliveries, page.size, |delivery: &Delivery| delivery.id.to_string()))
    }

    /// Whether some delivery is to be claimed, or given up.
    pub async fn has_due_deliveries(&self, now: Time) -> Result<bool, StoreError> {
        let query = Entity::find().filter(open(None)).filter(due(now)).limit(1);
        Ok(!row::fetch(&self.readers, query).await?.is_empty())
    }

    /// How many deliveries of a tenant, or of all, are still to be sent.
    pub async fn open_deliveries(&self, tenant: Option<&TenantId>, now: Time) -> Result<u64, StoreError> {
        row::count(&self.readers, Entity::find().filter(open(tenant)).filter(Column::EndTime.gt(now))).await
    }

    /// Looks once more, right before sending.
    pub async fn still_wanted(&self, delivery: &Delivery, now: Time) -> Result<Wanted, StoreError> {
        let ours = Entity::find_by_id(delivery.id.to_string())
            .filter(Column::State.eq(DeliveryState::Sending.word()))
            .filter(Column::Attempts.eq(delivery.attempts))
            .filter(Column::NextAttemptTime.gte(now + limits::SEND_TIMEOUT));
        if row::fetch(&self.readers, ours).await?.is_empty() {
            return Ok(Wanted::NotOurs);
        }
        let subscribed = is_subscriber(&self.readers, &delivery.tenant, &delivery.recipient).await?;
        Ok(if subscribed { Wanted::Yes } else { Wanted::NotSubscribed })
    }
}

impl Bookkeeping {
    /// Stores deliveries; whoever has one of that day keeps that. Answers how many are new.
    pub async fn plan_deliveries(&self, deliveries: &[Delivery]) -> Result<u64, StoreError> {
        let planned =
            OnConflict::columns([Column::TenantId, Column::SubscriberId, Column::Day]).do_nothing().to_owned();
        let mut inserted = 0;
        for some in deliveries.chunks(limits::ROWS_PER_STATEMENT) {
            let insert = Entity::insert_many(some.iter().map(columns)).on_conflict(planned.clone());
            inserted += within(insert.exec_without_returning(&self.transaction)).await?;
        }
        Ok(inserted)
    }

    /// Claims one delivery of a tenant, or of any, that is to be sent now; until `until` it is ours.
    pub async fn claim_delivery(
        &self,
        tenant: Option<&TenantId>,
        now: Time,
        until: Time,
    ) -> Result<Option<Claimed>, StoreError> {
        let query = with_address(Entity::find().filter(open(tenant)))
            .expr_as(Expr::cust(REFUSALS), "refusals")
            .filter(due(now))
            .filter(Column::EndTime.gt(now))
            .order_by_asc(Column::NextAttemptTime)
            .order_by_asc(Column::Id)
            .limit(1);
        let rows = row::fetch(&self.transaction, query).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (id, attempts): (String, i16) = (row.try_get("", "id")?, row.try_get("", "attempts")?);
        let refusals: i16 = row.try_get("", "refusals")?;
        let attempts = attempts.saturating_add(1);
        let update = Entity::update_many()
            .col_expr(Column::State, Expr::val(DeliveryState::Sending.word()))
            .col_expr(Column::Attempts, Expr::val(attempts))
            .col_expr(Column::NextAttemptTime, Expr::val(until))
            .col_expr(Column::UpdateTime, Expr::val(now))
            .filter(Column::Id.eq(&id));
        within(update.exec(&self.transaction)).await?;
        let content = read(row).map(|delivery| Delivery {
            state: DeliveryState::Sending,
            attempts,
            next_attempt_time: until,
            update_time: now,
            ..delivery
        });
        Ok(Some(Claimed { id, attempts, refusals, content }))
    }

    /// Settles a claimed delivery; `false` when it isn't ours any more.
    pub async fn settle_delivery(
        &self,
        claimed: &Claimed,
        settlement: &Settlement,
        now: Time,
    ) -> Result<bool, StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::State, Expr::val(settlement.state.word()))
            .col_expr(Column::NextAttemptTime, Expr::val(settlement.next_attempt_time))
            .col_expr(Column::Answer, Expr::val(settlement.answer.as_str()))
            .col_expr(Column::UpdateTime, Expr::val(now))
            .filter(Column::Id.eq(&claimed.id))
            .filter(Column::Attempts.eq(claimed.attempts))
            .filter(Column::State.eq(DeliveryState::Sending.word()));
        let update = match &settlement.mail {
            Some(mail) => update
                .col_expr(Column::MessageId, Expr::val(mail.message_id.as_str()))
                .col_expr(Column::KeyCount, Expr::val(mail.key_count)),
            None => update,
        };
        Ok(within(update.exec(&self.transaction)).await?.rows_affected > 0)
    }

    /// Gives up deliveries whose day is over, at most 500; answers how many.
    pub async fn give_up_deliveries(&self, now: Time) -> Result<u64, StoreError> {
        let batch = i64::try_from(limits::PLAN_PAGE).unwrap_or(i64::MAX);
        let values = [now.into(), batch.into(), (now + limits::FURTHEST_ATTEMPT).into()];
        let statement = Statement::from_sql_and_values(self.transaction.get_database_backend(), GIVE_UP, values);
        Ok(within(self.transaction.execute_raw(statement)).await?.rows_affected())
    }
}

const GIVE_UP: &str = "UPDATE delivery SET state = 'GIVEN_UP', update_time = $1 WHERE id IN
    (SELECT id FROM delivery WHERE state IN ('PENDING', 'SENDING') AND end_time <= $1
     AND (next_attempt_time <= $1 OR next_attempt_time > $3)
     ORDER BY next_attempt_time, id LIMIT $2)";

/// To be sent, by somebody. Written out, because an index for these states alone can't be chosen for bound values.
fn open(tenant: Option<&TenantId>) -> Condition {
    Condition::all()
        .add(Expr::cust("state IN ('PENDING', 'SENDING')"))
        .add_option(tenant.map(|tenant| Column::TenantId.eq(tenant.as_str())))
}

/// Its time has come; or lies so far ahead that a wrong clock has set it.
fn due(now: Time) -> Condition {
    Condition::any()
        .add(Column::NextAttemptTime.lte(now))
        .add(Column::NextAttemptTime.gt(now + limits::FURTHEST_ATTEMPT))
}

const REFUSALS: &str = "(SELECT refusals FROM subscriber WHERE subscriber.id = delivery.subscriber_id)";

const ADDRESS: &str = "(SELECT email FROM subscriber WHERE subscriber.id = delivery.subscriber_id)";

fn with_address(query: Select<Entity>) -> Select<Entity> {
    query.expr_as(Expr::cust(ADDRESS), "email")
}

fn subscriber_of(tenant: &TenantId, address: &MailAddress) -> sea_orm::sea_query::SelectStatement {
    Query::select()
        .column(subscriber::Column::Id)
        .from(subscriber::Entity)
        .and_where(subscriber::Column::TenantId.eq(tenant.as_str()))
        .and_where(subscriber::Column::Folded.eq(address.folded()))
        .to_owned()
}

fn read(row: &QueryResult) -> Result<Delivery, StoreError> {
    row::read::<Addressed>(row)
}

/// A row with the address that its subscriber stands for.
struct Addressed {
    model: Model,
    email: String,
}

impl FromQueryResult for Addressed {
    fn from_query_result(row: &QueryResult, prefix: &str) -> Result<Self, DbErr> {
        Ok(Self { model: Model::from_query_result(row, prefix)?, email: row.try_get(prefix, "email")? })
    }
}

impl Row for Addressed {
    type Value = Delivery;
    const TABLE: &'static str = "delivery";
    const NAMED_BY: &'static [&'static str] = &["id"];

    fn into_value(self) -> Result<Delivery, String> {
        let Self { model, email } = self;
        let state = DeliveryState::ALL.into_iter().find(|state| state.word() == model.state);
        Ok(Delivery {
            id: Uuid::parse_str(&model.id).map_err(|error| format!("id: {error}"))?,
            tenant: column("tenant_id", TenantId::parse(&model.tenant_id))?,
            subscriber: SubscriberId::parse(&model.subscriber_id).ok_or("subscriber_id: is not an id")?,
            recipient: column("email", MailAddress::parse(&email))?,
            day: column("day", Day::parse(&model.day))?,
            due_time: model.due_time,
            end_time: model.end_time,
            state: state.ok_or("state: is unknown")?,
            attempts: model.attempts,
            next_attempt_time: model.next_attempt_time,
            answer: model.answer,
            message_id: model.message_id,
            key_count: model.key_count,
            create_time: model.create_time,
            update_time: model.update_time,
        })
    }
}

fn columns(delivery: &Delivery) -> ActiveModel {
    ActiveModel {
        id: Set(delivery.id.to_string()),
        tenant_id: Set(delivery.tenant.to_string()),
        subscriber_id: Set(delivery.subscriber.as_str().to_owned()),
        day: Set(delivery.day.to_string()),
        due_time: Set(delivery.due_time),
        end_time: Set(delivery.end_time),
        state: Set(delivery.state.word().to_owned()),
        attempts: Set(delivery.attempts),
        next_attempt_time: Set(delivery.next_attempt_time),
        answer: Set(delivery.answer.clone()),
        message_id: Set(delivery.message_id.clone()),
        key_count: Set(delivery.key_count),
        create_time: Set(delivery.create_time),
        update_time: Set(delivery.update_time),
    }
}
