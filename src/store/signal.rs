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

    /// Waits until every change up to `revision` was seen, `longest` at most.
    pub(super) async fn followed(&self, revision: Revision, longest: Duration) {
        let mut seen = self.seen.subscribe();
        // Not seen in time: the change is committed all the same, and the follower's next look will meet it.
        let _ = timeout(longest, seen.wait_for(|seen| *seen >= revision)).await;
    }
}
