//! Use case of the audit trail, and the task that writes counted refusals down.

use tokio::time::{MissedTickBehavior, interval};

use crate::domain::{
    Refusal,
    audit::AuditEvent,
    ids::TenantId,
    limits,
    page::{Page, Paged},
    refusal::Resource,
    rights::Right,
};
use crate::store::StoreError;

use super::{Authority, AuthorityError, call::Call};

impl Authority {
    /// Lists a tenant's events, newest first; of a deleted one until it is purged. Needs `audit.read` of it.
    pub async fn list_audit_events(
        &self,
        call: &Call,
        tenant: &TenantId,
        target: Option<&str>,
        page: &Page,
    ) -> Result<Paged<AuditEvent>, AuthorityError> {
        call.caller.require(Right::AuditRead)?;
        call.see(tenant, || Resource::tenant(tenant))?;
        let found = self.store().tenant_or_deleted(tenant).await?;
        let found = found.ok_or_else(|| Refusal::NotFound(Resource::tenant(tenant)))?;
        // Events outlive a purged tenant; whoever gets its id next must not see them.
        Ok(self.store().audit_events(tenant, found.create_time, target, page).await?)
    }

    /// Writes counted refusals down once a minute, for ever.
    pub async fn write_denials(&self) {
        let mut minute = interval(limits::DENIALS_INTERVAL);
        minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            minute.tick().await;
            self.write_denials_now().await;
        }
    }

    /// Writes counted refusals down. While the store is away they stay counted in memory.
    pub async fn write_denials_now(&self) {
        let events = self.denials().take();
        if events.is_empty() {
            return;
        }
        match self.try_write_denials(&events).await {
            Ok(()) => {}
            // Perhaps they are there; to count some refusals never is better than twice, and their ids must not come again.
            Err(error @ StoreError::OutcomeUnknown(_)) => {
                tracing::warn!(%error, "refusals may be missing in the audit trail")
            }
            Err(error) => {
                tracing::warn!(%error, "refusals could not be written to the audit trail; they stay counted");
                self.denials().put_back(events);
            }
        }
    }

    async fn try_write_denials(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        let bookkeeping = self.store().bookkeeping().await?;
        bookkeeping.insert_audit_events(events).await?;
        bookkeeping.commit().await
    }
}
