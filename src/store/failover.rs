//! Notices that the database may have moved to another server, and which connections are too old to be trusted then.
//!
//! PostgreSQL fails over behind one name: a standby is promoted, and the name leads to it. Connections to the old primary
//! may live on, and it may still answer. So as soon as a server says that it takes no changes, every connection made before
//! is thrown away the next time that it is taken from or given back to its pool, and new ones go where the name leads now.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::limits;

/// When that was noticed last. Cheap to clone; the clones are one watch. On SQLite nothing ever happens.
#[derive(Clone, Default)]
pub(super) struct FailoverWatch {
    noticed: Arc<Mutex<Option<Instant>>>,
}

impl FailoverWatch {
    /// Distrusts every connection made before now. At most once a second: when the name still leads to a server that takes
    /// no changes, it isn't asked for new connections all the time.
    pub(super) fn notice(&self, why: &str) {
        if self.notice_at(Instant::now()) {
            tracing::warn!(why, "the database may have moved; connections to it are made anew");
        }
    }

    /// The same for whoever has tried since `begun`. Answers whether connections of that time are distrusted now, so that
    /// trying again at once leads to another one.
    pub(super) fn notice_since(&self, why: &str, begun: Instant) -> bool {
        self.notice(why);
        self.noticed.lock().is_some_and(|noticed| noticed >= begun)
    }

    /// Whether a connection that is `age` old was made before that.
    pub(super) fn distrusts(&self, age: Duration) -> bool {
        self.distrusts_at(Instant::now(), age)
    }

    fn notice_at(&self, now: Instant) -> bool {
        let mut noticed = self.noticed.lock();
        let is_news = noticed.is_none_or(|last| now - last >= limits::FAILOVER_SPACING);
        if is_news {
            *noticed = Some(now);
        }
        is_news
    }

    fn distrusts_at(&self, now: Instant, age: Duration) -> bool {
        self.noticed.lock().is_some_and(|noticed| age >= now - noticed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_distrusted_and_nothing_newer() {
        let watch = FailoverWatch::default();
        let (begin, seconds) = (Instant::now(), Duration::from_secs);
        assert!(!watch.distrusts_at(begin, seconds(3_600)));
        assert!(watch.notice_at(begin));
        assert!(watch.distrusts_at(begin + seconds(10), seconds(11)));
        assert!(!watch.distrusts_at(begin + seconds(10), seconds(9)));
        let soon = begin + limits::FAILOVER_SPACING / 2;
        assert!(!watch.notice_at(soon), "noticed twice at once");
        assert!(!watch.distrusts_at(soon, limits::FAILOVER_SPACING / 4));
        assert!(watch.notice_at(begin + seconds(10)));
        assert!(watch.distrusts_at(begin + seconds(11), seconds(2)));
    }
}
