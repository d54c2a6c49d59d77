//! Audit events: written with the change they tell of, or as counted refusals; read newest first.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::InsertStatement,
};
use uuid::Uuid;

use crate::domain::{
    Time,
    audit::{AuditEvent, Outcome},
    ids::TenantId,
    limits,
    page::{Page, Paged},
};

use super::{
    Bookkeeping, Store, StoreError,
    entity::audit_event::{ActiveModel, Column, Entity, Model},
    error::within,
    row::{self, Row, column},
};

impl Store {
    /// Lists a tenant's events from `since` on, the newest first; of one `target` only, if given. The page's cursor is the
    /// event's id.
    pub async fn audit_events(
        &self,
        tenant: &TenantId,
        since: Time,
        target: Option<&str>,
        page: &Page,
    ) -> Result<Paged<AuditEvent>, StoreError> {
        let mut query = Entity::find().filter(Column::TenantId.eq(tenant.as_str())).filter(Column::Time.gte(since));
        if let Some(target) = target {
            query = query.filter(Column::Target.eq(target));
        }
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.lt(after));
        }
        let query = query.order_by_desc(Column::Id).limit(page.size + 1);
        let events = row::read_all(&self.readers, query).await?;
        Ok(Paged::cut(events, page.size, |event| event.id.to_string()))
    }
}

impl Bookkeeping {
    /// Writes counted refusals, as many as there are.
    pub async fn insert_audit_events(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        insert(&self.transaction, events).await
    }
}

pub(super) async fn insert(database: &impl ConnectionTrait, events: &[AuditEvent]) -> Result<(), StoreError> {
    for some in events.chunks(limits::ROWS_PER_STATEMENT) {
        within(database.execute(&statement(some))).await?;
    }
    Ok(())
}

/// Writes these, of which there is at least one.
pub(super) fn statement(events: &[AuditEvent]) -> InsertStatement {
    Entity::insert_many(events.iter().map(columns)).into_query()
}

fn columns(event: &AuditEvent) -> ActiveModel {
    let (outcome, reason) = match &event.outcome {
        Outcome::Done => ("DONE", ""),
        Outcome::Denied(reason) => ("DENIED", reason.as_str()),
    };
    ActiveModel {
        id: Set(event.id.to_string()),
        tenant_id: Set(event.tenant.to_string()),
        time: Set(event.time),
        caller: Set(event.caller.clone()),
        method: Set(event.method.clone()),
        target: Set(event.target.clone()),
        outcome: Set(outcome.to_owned()),
        reason: Set(reason.to_owned()),
        request_id: Set(event.request_id.clone()),
        revision: Set(event.revision),
        address: Set(event.address.clone()),
        count: Set(event.count),
    }
}

impl Row for Model {
    type Value = AuditEvent;
    const TABLE: &'static str = "audit_event";
    const NAMED_BY: &'static [&'static str] = &["id"];

    fn into_value(self) -> Result<AuditEvent, String> {
        let outcome = match self.outcome.as_str() {
            "DONE" => Outcome::Done,
            "DENIED" => Outcome::Denied(self.reason),
            _ => return Err("outcome: is neither DONE nor DENIED".to_owned()),
        };
        Ok(AuditEvent {
            id: Uuid::parse_str(&self.id).map_err(|error| format!("id: {error}"))?,
            tenant: column("tenant_id", TenantId::parse(&self.tenant_id))?,
            time: self.time,
            caller: self.caller,
            method: self.method,
            target: self.target,
            outcome,
            request_id: self.request_id,
            revision: self.revision,
            address: self.address,
            count: self.count,
        })
    }
}
