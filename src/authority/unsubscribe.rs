//! Use case of somebody who follows the link in a mail: no more mails of this tenant to this address.
//!
//! It has no caller: whoever holds the link may, and who asks has checked the link.

use crate::domain::{
    Time,
    audit::event_id,
    ids::{SubscriberId, UserGroupName},
};
use crate::random;
use crate::store::Write;

use super::{Authority, AuthorityError, Changed, call::own_event, user_groups::tell_if_last_gone};

impl Authority {
    /// Unsubscribes an address in every group of its tenant; `false` when there is no such subscriber. Nothing to do is
    /// no change.
    pub async fn unsubscribe(&self, subscriber: &SubscriberId) -> Result<bool, AuthorityError> {
        let (now, subscriber) = (self.shared.clock.now(), subscriber.clone());
        let random = Random { event: random::bytes()?, notification: random::bytes()? };
        let write = self.store().write().await?;
        self.finish(unsubscribe(write, subscriber, random, now)).await
    }
}

/// What makes the ids of the change.
struct Random {
    event: [u8; 10],
    notification: [u8; 10],
}

async fn unsubscribe(
    write: Write,
    subscriber: SubscriberId,
    random: Random,
    now: Time,
) -> Result<Changed<bool>, AuthorityError> {
    // Nobody waits for a change that isn't made.
    const NOTHING: i64 = 0;
    let Some(tenant) = write.tenant_of_subscriber(&subscriber).await? else { return Ok(Changed::at(NOTHING, false)) };
    let had_subscribers = write.has_subscribers(&tenant).await?;
    let groups = write.unsubscribe(&subscriber, now).await?;
    let Some(first) = groups.first() else { return Ok(Changed::at(NOTHING, true)) };
    tell_if_last_gone(&write, &tenant, had_subscribers, random.notification, now).await?;
    let event =
        |group: &UserGroupName, random| own_event(event_id(now, random), tenant.clone(), group.to_string(), now);
    let mut others = Vec::new();
    for group in &groups[1..] {
        others.push(event(group, random::bytes()?));
    }
    write.note(others).await?;
    Ok(Changed::at(write.commit(event(first, random.event)).await?, true))
}
