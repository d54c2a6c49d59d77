//! Who would get what on which day, as keys and groups are now. Reads only.

use crate::domain::{Time, address::MailAddress, calendar::Day, limits, owner::Tenant};
use crate::store::{Due, WarnedKey};

use super::{Warnings, WarningsError};

/// What would be sent.
#[derive(Debug, Default)]
pub struct Preview {
    /// The days on which there is something to send.
    pub days: Vec<PreviewDay>,
    /// The first subscribers, by address.
    pub recipients: Vec<MailAddress>,
    /// How many subscribers there are.
    pub recipient_count: u64,
}

/// What would be sent on one day.
#[derive(Debug)]
pub struct PreviewDay {
    /// The tenant's local day.
    pub day: Day,
    /// The warning instant.
    pub time: Time,
    /// The keys that a mail would list.
    pub keys: Vec<WarnedKey>,
    /// How many keys there are.
    pub key_count: u64,
}

impl Warnings {
    /// Looks at the warning instants within `from ≤ s < to`, at most 31 days.
    pub async fn preview(&self, tenant: &Tenant, from: Time, to: Time) -> Result<Preview, WarningsError> {
        let store = &self.shared.store;
        let to = to.min(from + limits::PREVIEW);
        let mut preview = Preview::default();
        for (day, time) in tenant.calendar.between(from, to) {
            let due = Due { tenant: tenant.id.clone(), at: time, now: time };
            let (keys, _) = store.first_warned_keys(&due, limits::DIGEST_KEYS).await?;
            if !keys.is_empty() {
                let key_count = store.warned_key_count(&due).await?;
                preview.days.push(PreviewDay { day, time, keys, key_count });
            }
        }
        preview.recipients = store.subscribers(&tenant.id, None, limits::PREVIEW_RECIPIENTS).await?.addresses;
        preview.recipient_count = store.subscriber_count(&tenant.id).await?;
        Ok(preview)
    }
}
