//! Use cases of notifications and deliveries.

use crate::domain::{
    Refusal,
    address::MailAddress,
    delivery::Delivery,
    ids::NotificationName,
    notification::Notification,
    page::{Page, Paged},
    refusal::Resource,
    rights::Right,
};
use crate::store::{DeliveryFilter, NotificationFilter};

use super::{Authority, AuthorityError, call::Call};

impl Authority {
    /// Lists a tenant's notifications; with a `recipient`, what that subscriber gets: all of them, and nobody else any.
    /// Needs `keys.read` of the tenant.
    pub async fn list_notifications(
        &self,
        call: &Call,
        filter: &NotificationFilter,
        recipient: Option<&MailAddress>,
        page: &Page,
    ) -> Result<Paged<Notification>, AuthorityError> {
        self.tenant(call, &filter.tenant, Right::KeysRead).await?;
        if let Some(recipient) = recipient
            && !self.store().is_subscriber(&filter.tenant, recipient).await?
        {
            return Ok(Paged { entries: Vec::new(), next: None });
        }
        Ok(self.store().notifications(filter, page).await?)
    }

    /// Marks a notification as read; again, and the first time stays. Needs `keys.read` of the tenant.
    pub async fn mark_notification_read(
        &self,
        call: &Call,
        name: &NotificationName,
    ) -> Result<Notification, AuthorityError> {
        call.caller.require(Right::KeysRead)?;
        call.see(&name.tenant, || Resource::notification(name))?;
        let missing = || Refusal::NotFound(Resource::notification(name));
        self.store().tenant(&name.tenant).await?.ok_or_else(missing)?;
        let bookkeeping = self.store().bookkeeping().await?;
        let marked = bookkeeping.mark_read(name, call.now).await?;
        let marked = marked.ok_or_else(missing)?;
        bookkeeping.commit().await?;
        Ok(marked)
    }

    /// Lists a tenant's deliveries. Needs `keys.read` of the tenant.
    pub async fn list_deliveries(
        &self,
        call: &Call,
        filter: &DeliveryFilter,
        page: &Page,
    ) -> Result<Paged<Delivery>, AuthorityError> {
        self.tenant(call, &filter.tenant, Right::KeysRead).await?;
        Ok(self.store().deliveries(filter, page).await?)
    }
}
