//! Between the writers of this process and the one that follows the feed: "look", and "seen up to here".
//!
//! "Look" never says what changed, so losing one costs at most the follower's own interval.

use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::domain::Revision;

/// The two signals.
pub(super) struct Signal {
    look: Notify,
    seen: watch::Sender<Revision>,
}

impl Default for Signal {
    fn default() -> Self {
        Self { look: Notify::new(), seen: watch::Sender::new(0) }
    }
}

impl Signal {
    /// Says "look".
    pub(super) fn poke(&self) {
        self.look.notify_one();
    }

    /// Waits for a "look", one that nobody waited for included.
    pub(super) async fn poked(&self) {
        self.look.notified().await;
    }

    /// Says that every change up to `revision` was seen.
    pub(super) fn see(&self, revision: Revision) {
        self.seen.send_replace(revision);
    }

    /// The revision up to which every change was seen.
    pub(super) fn seen(&self) -> Revision {
        *self.seen.borrow()
    }

    /// Waits until every change up to `revision` was seen, `longest` at most; answers whether it was.
    pub(super) async fn followed(&self, revision: Revision, longest: Duration) -> bool {
        let mut seen = self.seen.subscribe();
        // Not seen in time: the change is committed all the same, and the follower's next look will meet it.
        timeout(longest, seen.wait_for(|seen| *seen >= revision)).await.is_ok()
    }
}
