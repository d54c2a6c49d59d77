//! How far a change has got: waits until every live replica has it.
//!
//! The change is committed before the wait begins, and nothing here can undo it: so there is no error. When the database
//! goes away meanwhile, the replicas that this process saw last count as unconfirmed unless they had said that they know the
//! change, and this process is confirmed only by its own mirror.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::domain::{
    Revision, limits,
    replica::{Reach, ReplicaId},
};
use crate::store::{LiveReplica, Replicas};

use super::Authority;

impl Authority {
    /// Waits until every replica that may answer Verify knows the change at `revision`, `longest` at most.
    pub async fn reach(&self, revision: Revision, longest: Duration) -> Reach {
        let (store, own) = (self.store(), &self.shared.replica);
        match store.replicas() {
            Some(replicas) => self.reach_of(replicas, revision, Instant::now() + longest).await,
            None => judge(own, store.followed(revision, longest).await, &[], revision),
        }
    }

    async fn reach_of(&self, replicas: &Replicas, revision: Revision, deadline: Instant) -> Reach {
        // Not heard by one that just listens anew, or not sent at all: then its next heartbeat tells.
        let _ = timeout_at(deadline, replicas.call()).await;
        let mut pause = limits::REPLICA_LOOK_FIRST;
        loop {
            let read = timeout_at(deadline, replicas.live()).await;
            let (live, is_current) = match read {
                Ok(Ok(live)) => (live, true),
                Ok(Err(_)) | Err(_) => (replicas.known(), false),
            };
            let own_knows = self.store().followed(revision, Duration::ZERO).await;
            let reach = judge(&self.shared.replica, own_knows, &live, revision);
            if (is_current && reach.unconfirmed.is_empty()) || Instant::now() >= deadline {
                return reach;
            }
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 3 / 2).min(limits::REPLICA_LOOK_LONGEST);
        }
    }
}

fn judge(own: &ReplicaId, own_knows: bool, live: &[LiveReplica], revision: Revision) -> Reach {
    let others = live.iter().filter(|replica| replica.id != own.as_str());
    let others = others.map(|replica| (replica.id.clone(), replica.applied >= revision));
    let mut all: Vec<(String, bool)> = others.chain([(own.to_string(), own_knows)]).collect();
    all.sort();
    let (confirmed, unconfirmed): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, knows)| *knows);
    let ids = |replicas: Vec<(String, bool)>| replicas.into_iter().map(|(id, _)| id).collect();
    Reach { confirmed: ids(confirmed), unconfirmed: ids(unconfirmed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_once_in_order_and_oneself_by_ones_own_mirror() {
        let own = ReplicaId::new("m", [0; 6]);
        let live = |id: &str, applied| LiveReplica { id: id.to_owned(), applied };
        let live = [live("z", 7), live(own.as_str(), 9), live("b", 6), live("a", 8)];
        let reach = judge(&own, false, &live, 7);
        assert_eq!(reach.confirmed, ["a", "z"]);
        assert_eq!(reach.unconfirmed, ["b", own.as_str()]);
        assert_eq!(judge(&own, true, &[], 7).confirmed, [own.as_str()]);
    }
}
