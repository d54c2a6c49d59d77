//! Whose turn it is to write: first come, first served, inside this process.
//!
//! Few writers reach the database. On SQLite it is one, so nobody ever finds it locked; on PostgreSQL a few, which queue
//! there for the revision row together with those of other replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::limits;

use super::StoreError;

/// The queue of writers.
pub(super) struct Queue {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The right to write; given back when dropped.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Queue {
    pub(super) fn new(concurrent: u32) -> Self {
        let permits = usize::try_from(concurrent).unwrap_or(1);
        Self { turns: Arc::new(Semaphore::new(permits)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn. `Overloaded` when too many wait already, or for too long.
    pub(super) async fn turn(&self) -> Result<Turn, StoreError> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(Turn { _permit: permit });
        }
        let place = Place::take(&self.waiting).ok_or(StoreError::Overloaded)?;
        let permit = timeout(limits::TURN_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        drop(place);
        match permit {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit }),
            Ok(Err(closed)) => Err(StoreError::Bug(closed.to_string())),
            Err(_) => Err(StoreError::Overloaded),
        }
    }
}

/// One place among those that wait; left when dropped, also by a caller that gives up.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        (before < limits::WAITING_WRITERS).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_too_many_is_turned_away_and_who_waits_is_served_in_order() {
        let queue = Arc::new(Queue::new(1));
        let turn = queue.turn().await.expect("the first one");
        let served = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..limits::WAITING_WRITERS)
            .map(|place| {
                let (queue, served) = (Arc::clone(&queue), Arc::clone(&served));
                tokio::spawn(async move {
                    let _turn = queue.turn().await.expect("a turn");
                    assert_eq!(served.fetch_add(1, Ordering::Relaxed), place);
                })
            })
            .collect();
        while queue.waiting.load(Ordering::Relaxed) < limits::WAITING_WRITERS {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.turn().await.err(), Some(StoreError::Overloaded));
        drop(turn);
        for waiter in waiters {
            waiter.await.expect("in order");
        }
        assert!(queue.turn().await.is_ok());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_no_trace() {
        let queue = Queue::new(1);
        let turn = queue.turn().await.expect("the first one");
        assert!(timeout(std::time::Duration::from_millis(1), queue.turn()).await.is_err());
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
        drop(turn);
        assert!(queue.turn().await.is_ok());
    }
}
