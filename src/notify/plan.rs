//! What is due today, and for whom. Every look leaves a mark: a notification, a delivery, or the time of the next look.

use std::collections::BTreeMap;

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{
    Span, Time,
    address::MailAddress,
    audit::event_id,
    calendar::Day,
    delivery::{Delivery, DeliveryState},
    ids::SubscriberId,
    limits,
    notification::Notification,
    owner::{OwnerState, Tenant},
};
use crate::random;
use crate::store::{Due, DueTenant, WarnedKey};

use super::{Report, Warnings, WarningsError};

/// How long a tenant that can't be understood is left alone.
const PUT_OFF: Span = Span::hours(1);

/// A tenant's day, as of an instant: the warning instant, or an earlier one when somebody doesn't wait for it.
#[derive(Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) day: Day,
    pub(super) at: Time,
}

impl Warnings {
    /// Plans every tenant whose time has come. What goes wrong with one keeps no other from being planned: the first error
    /// is answered at the end.
    pub(super) async fn plan_due_tenants(&self, report: &mut Report) -> Result<(), WarningsError> {
        let deadline = Instant::now() + limits::RUN;
        let mut outcome = Ok(());
        for _ in 0..limits::PLAN_TENANT_PAGES {
            let due = self.shared.store.due_tenants(self.shared.clock.now(), limits::PLAN_PAGE).await?;
            let last_page = u64::try_from(due.len()).is_ok_and(|count| count < limits::PLAN_PAGE);
            let mut idle: BTreeMap<Time, Vec<Tenant>> = BTreeMap::new();
            for tenant in due {
                if Instant::now() > deadline || self.shared.stop.is_cancelled() {
                    break;
                }
                match self.look_at(tenant, report).await {
                    Ok(Some((next, tenant))) => idle.entry(next).or_default().push(tenant),
                    Ok(None) => {}
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
            self.mark_looked_at(&idle).await?;
            if last_page || Instant::now() > deadline {
                break;
            }
        }
        outcome
    }

    /// Plans a tenant; one that has nothing to plan is answered, with the time of its next look.
    async fn look_at(&self, due: DueTenant, report: &mut Report) -> Result<Option<(Time, Tenant)>, WarningsError> {
        let now = self.shared.clock.now();
        let tenant = match due.content {
            Ok(tenant) => tenant,
            Err(error) => {
                tracing::error!(%error, "a tenant can't be understood; its people aren't warned");
                let bookkeeping = self.shared.store.bookkeeping().await?;
                bookkeeping.put_off(&due.id, now + PUT_OFF).await?;
                return Ok(bookkeeping.commit().await.map(|()| None)?);
            }
        };
        let next = tenant.calendar.next(now);
        let today = tenant.calendar.passed_today(now).filter(|_| tenant.state == OwnerState::Enabled);
        let Some((day, at)) = today else { return Ok(Some((next, tenant))) };
        let question = Due { tenant: tenant.id.clone(), at, now };
        if self.shared.store.warned_keys(&question, None, 1).await?.is_empty() {
            self.shared.metrics.subscribers(&tenant.id, true, now);
            return Ok(Some((next, tenant)));
        }
        if self.claim(&tenant, now).await? {
            self.plan(Occasion { tenant: &tenant, day, at }, report).await?;
            // At once, because the others wait for no longer than the lease.
            self.mark_looked_at(&BTreeMap::from([(next, vec![tenant])])).await?;
        }
        Ok(None)
    }

    /// `false` when another replica plans it already.
    async fn claim(&self, tenant: &Tenant, now: Time) -> Result<bool, WarningsError> {
        let bookkeeping = self.shared.store.bookkeeping().await?;
        let ours = bookkeeping.claim_tenant(tenant, now, now + limits::PLAN_LEASE).await?;
        bookkeeping.commit().await?;
        Ok(ours)
    }

    async fn mark_looked_at(&self, tenants: &BTreeMap<Time, Vec<Tenant>>) -> Result<(), WarningsError> {
        if tenants.is_empty() {
            return Ok(());
        }
        let bookkeeping = self.shared.store.bookkeeping().await?;
        for (next, tenants) in tenants {
            bookkeeping.looked_at(tenants, *next).await?;
        }
        Ok(bookkeeping.commit().await?)
    }

    /// Plans a tenant's day: its notifications, and a delivery for each subscriber.
    pub(super) async fn plan(&self, occasion: Occasion<'_>, report: &mut Report) -> Result<(), WarningsError> {
        let tenant = occasion.tenant;
        if tenant.state == OwnerState::Disabled || !self.plan_notifications(occasion, report).await? {
            return Ok(());
        }
        let told = self.plan_deliveries(occasion).await?;
        self.shared.metrics.subscribers(&tenant.id, told, self.shared.clock.now());
        if !told {
            tracing::warn!(tenant = %tenant.id, "keys are about to expire and nobody is told: the tenant has no subscriber");
            report.without_subscribers += 1;
        }
        Ok(())
    }

    /// Answers whether there is anything to warn about.
    async fn plan_notifications(&self, occasion: Occasion<'_>, report: &mut Report) -> Result<bool, WarningsError> {
        let Occasion { tenant, day, at } = occasion;
        let now = self.shared.clock.now();
        let due = Due { tenant: tenant.id.clone(), at, now };
        let (mut after, mut any) = (None, false);
        loop {
            let page = self.shared.store.warned_keys(&due, after.as_ref(), limits::PLAN_PAGE).await?;
            let zone = tenant.calendar.zone;
            let warn = |warned: &WarnedKey| Notification::expiring(&warned.key, warned.expire_time, zone, day, now);
            let notifications: Vec<Notification> = page.keys.iter().map(warn).collect();
            if !notifications.is_empty() {
                any = true;
                let bookkeeping = self.shared.store.bookkeeping().await?;
                let new = bookkeeping.notify(&notifications).await?;
                bookkeeping.commit().await?;
                self.shared.metrics.planned(new);
                report.planned += new;
            }
            after = page.next;
            if after.is_none() {
                return Ok(any);
            }
        }
    }

    /// Answers whether there is anybody to tell.
    async fn plan_deliveries(&self, occasion: Occasion<'_>) -> Result<bool, WarningsError> {
        let (store, tenant) = (&self.shared.store, &occasion.tenant.id);
        if self.shared.post.is_none() {
            return Ok(!store.subscribers(tenant, None, 1).await?.addresses.is_empty());
        }
        let (mut after, mut any): (Option<String>, bool) = (None, false);
        loop {
            let page = store.subscribers(tenant, after.as_deref(), limits::PLAN_PAGE).await?;
            if !page.addresses.is_empty() {
                any = true;
                self.plan_page(occasion, page.addresses).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(any);
            }
        }
    }

    async fn plan_page(&self, occasion: Occasion<'_>, addresses: Vec<MailAddress>) -> Result<(), WarningsError> {
        let now = self.shared.clock.now();
        let new = addresses.iter().map(|_| random::bytes().map(SubscriberId::from_random));
        let new = new.collect::<Result<Vec<_>, _>>()?;
        let bookkeeping = self.shared.store.bookkeeping().await?;
        let ids = bookkeeping.subscriber_ids(&occasion.tenant.id, &addresses, new, now).await?;
        let mut deliveries = Vec::with_capacity(ids.len());
        for (subscriber, recipient) in ids {
            let id = event_id(now, random::bytes()?);
            deliveries.push(planned(id, occasion, subscriber, recipient, now));
        }
        bookkeeping.plan_deliveries(&deliveries).await?;
        Ok(bookkeeping.commit().await?)
    }
}

fn planned(
    id: Uuid,
    Occasion { tenant, day, at }: Occasion<'_>,
    subscriber: SubscriberId,
    recipient: MailAddress,
    now: Time,
) -> Delivery {
    Delivery {
        id,
        tenant: tenant.id.clone(),
        subscriber,
        recipient,
        day,
        due_time: at,
        end_time: tenant.calendar.end(day),
        state: DeliveryState::Pending,
        attempts: 0,
        next_attempt_time: now,
        answer: String::new(),
        message_id: String::new(),
        key_count: 0,
        create_time: now,
        update_time: now,
    }
}
