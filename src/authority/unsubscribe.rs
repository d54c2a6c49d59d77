//! Use case of somebody who follows the link in a mail: no more mails of this tenant to this address.
//!
//! It has no caller: whoever holds the link may, and who asks has checked the link.

use crate::domain::{Time, audit::event_id, ids::SubscriberId};
use crate::random;
use crate::store::Write;

use super::{Authority, AuthorityError, Changed, call::own_event, user_groups::tell_if_last_gone};

impl Authority {
    /// Unsubscribes an address in every group of its tenant; `false` when there is no such subscriber. Nothing to do is
    /// no change.
    pub async fn unsubscribe(&self, subscriber: &SubscriberId) -> Result<bool, AuthorityError> {
        let write = self.store().write().await?;
        self.finish(unsubscribe(write, subscriber.clone(), self.shared.clock.now())).await
    }
}

async fn unsubscribe(write: Write, subscriber: SubscriberId, now: Time) -> Result<Changed<bool>, AuthorityError> {
    // Nobody waits for a change that isn't made.
    const NOTHING: i64 = 0;
    let Some(tenant) = write.tenant_of_subscriber(&subscriber).await? else { return Ok(Changed::at(NOTHING, false)) };
    let had_subscribers = write.has_subscribers(&tenant).await?;
    let groups = write.unsubscribe(&subscriber, now).await?;
    tell_if_last_gone(&write, &tenant, had_subscribers, random::bytes()?, now).await?;
    let mut events = Vec::new();
    for group in groups {
        events.push(own_event(event_id(now, random::bytes()?), tenant.clone(), group.to_string(), now));
    }
    let Some(last) = events.pop() else { return Ok(Changed::at(NOTHING, true)) };
    write.note(events).await?;
    Ok(Changed::at(write.commit(last).await?, true))
}
