//! From the feed into a mirror: owners before keys, page by page.

use futures_util::{
    FutureExt,
    future::{BoxFuture, try_join},
};
use tokio::task::yield_now;

use crate::domain::{
    Revision, Span,
    ids::{KeyId, ServiceUserName, TenantId},
    owner::{ServiceUser, VerifiableTenant},
    verifiable_key::VerifiableKey,
};
use crate::store::{Cursor, Feed, FeedRow, Page, StoreError};

use super::history::Seen;
use super::mirror::Mirror;
use super::revocation::Revocation;

/// Asks for the rows of one kind that follow.
type NextPage<T> = for<'a> fn(&'a Feed, &'a Cursor) -> BoxFuture<'a, Result<Page<T>, StoreError>>;

/// Rows that are taken in before others on this thread have their turn.
const ROWS_AT_ONCE: usize = 128;

/// Takes rows of the feed into a mirror.
pub(super) struct Intake<'a> {
    pub(super) feed: &'a Feed,
    pub(super) mirror: &'a Mirror,
    /// What the database must still have when a page was read, before its rows go in; so no row of another history takes the
    /// place of one that is remembered. `None` for a mirror that nobody asks yet.
    pub(super) seen: Option<&'a mut Seen>,
    /// Where to note what an earlier VALID may be wrong for. `None` for a mirror that nobody asked yet: it has nothing to
    /// compare with.
    pub(super) found: Option<&'a mut Vec<Revocation>>,
    /// The highest revision of a row that was read.
    pub(super) highest: Revision,
}

impl Intake<'_> {
    /// Owners before keys, but an owner comes back only after the keys: one of them may have been ended meanwhile, and at no
    /// moment was it good. No upper bound: a row that changes again meanwhile moves to the end and is met there, or by the
    /// next look. `owners`: the revision of their last change; keys change far more often, and each page is a round trip.
    pub(super) async fn follow(&mut self, position: Revision, owners: Revision) -> Result<(), StoreError> {
        let (mut tenants, mut service_users) = (Vec::new(), Vec::new());
        if owners > position {
            let take = |intake: &mut Self, row: FeedRow<VerifiableTenant>| {
                let comes_back = row.content.as_ref().is_ok_and(|tenant| intake.mirror.brings_tenant_back(tenant));
                if comes_back { tenants.push(row) } else { intake.put_tenant(row) }
            };
            self.follow_pages(position, |feed, after| feed.tenants(after).boxed(), take).await?;
            let take = |intake: &mut Self, row: FeedRow<ServiceUser>| {
                let comes_back = row.content.as_ref().is_ok_and(|user| intake.mirror.brings_service_user_back(user));
                if comes_back { service_users.push(row) } else { intake.put_service_user(row) }
            };
            self.follow_pages(position, |feed, after| feed.service_users(after).boxed(), take).await?;
        }
        self.follow_pages(position, |feed, after| feed.keys(after).boxed(), Self::put_key).await?;
        tenants.into_iter().for_each(|row| self.put_tenant(row));
        service_users.into_iter().for_each(|row| self.put_service_user(row));
        Ok(())
    }

    async fn follow_pages<T>(
        &mut self,
        position: Revision,
        ask: NextPage<T>,
        mut take: impl FnMut(&mut Self, FeedRow<T>),
    ) -> Result<(), StoreError> {
        let mut next = Some(ask(self.feed, &Cursor::start_after(position)).await?);
        while let Some(page) = next.take().filter(|page| !page.is_empty()) {
            self.check().await?;
            let (feed, after) = (self.feed, page.next().cloned());
            // The next page comes while this one is taken in: with a million keys each of the two takes seconds.
            let asked = async {
                match &after {
                    Some(after) => ask(feed, after).await.map(Some),
                    None => Ok(None),
                }
            };
            let taken = async {
                for (number, row) in page.rows().enumerate() {
                    take(self, row?);
                    if (number + 1) % ROWS_AT_ONCE == 0 {
                        yield_now().await;
                    }
                }
                Ok(())
            };
            (next, ()) = try_join(asked, taken).await?;
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        let Some(seen) = self.seen.as_deref_mut() else { return Ok(()) };
        let look = self.feed.look(Some(seen.revision)).await?;
        if seen.was_lost(&look, Span::zero()) {
            return Err(lost_writes());
        }
        *seen = Seen::of(&look);
        Ok(())
    }

    fn put_tenant(&mut self, row: FeedRow<VerifiableTenant>) {
        let found = match row.content {
            Ok(tenant) => self.mirror.put_tenant(&tenant),
            Err(error) => {
                let id = alarm(&error);
                TenantId::parse(id).ok().and_then(|id| self.mirror.spoil_tenant(&id, row.revision))
            }
        };
        self.note(row.revision, found);
    }

    fn put_service_user(&mut self, row: FeedRow<ServiceUser>) {
        let found = match row.content {
            Ok(service_user) => self.mirror.put_service_user(&service_user),
            Err(error) => {
                let name = ServiceUserName::parse(alarm(&error)).ok();
                name.and_then(|name| self.mirror.spoil_service_user(&name, row.revision))
            }
        };
        self.note(row.revision, found);
    }

    fn put_key(&mut self, row: FeedRow<VerifiableKey>) {
        let found = match row.content {
            Ok(key) => self.mirror.put_key(&key),
            Err(error) => KeyId::parse(alarm(&error)).and_then(|id| self.mirror.spoil_key(id, row.revision)),
        };
        self.note(row.revision, found);
    }

    fn note(&mut self, revision: Revision, found: Option<Revocation>) {
        self.highest = self.highest.max(revision);
        if let Some(all) = &mut self.found {
            all.extend(found);
        }
    }
}

/// One unreadable row is put aside; it never stops the others (reliability.md R25). Answers which it is.
fn alarm(error: &StoreError) -> &str {
    tracing::error!(%error, "a stored row can't be understood; its keys can't be verified until a change repairs it");
    if let StoreError::Corrupt { id, .. } = error { id } else { "" }
}

/// In the middle of a look; the next one finds it out again, and puts it right.
pub(super) fn lost_writes() -> StoreError {
    StoreError::Unavailable("it lost writes".to_owned())
}
