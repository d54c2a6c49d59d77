//! Who writes and reads at once: lanes of changes by RPC, committers that hold the revision row for long, and readers who
//! hold a replica to what it says that it knows.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use claviger::proto::v1::{self, Verdict};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tonic::Code;

use crate::harness::Client;
use crate::rig::{Chance, Change};

/// What everybody knows.
#[derive(Default)]
pub struct Board {
    /// Changes so far, and how many there are to be in this round.
    done: AtomicUsize,
    wanted: AtomicUsize,
    refused: AtomicUsize,
    unavailable: AtomicUsize,
    slow: AtomicUsize,
    asked: AtomicUsize,
    early: AtomicUsize,
    highest: AtomicI64,
    secrets: Mutex<Vec<String>>,
    /// Secrets of keys that ended for good, and since which revision.
    ended: Mutex<Vec<(String, i64)>>,
}

impl Board {
    pub fn run_until(&self, wanted: usize) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    pub fn secrets(&self) -> Vec<String> {
        self.secrets.lock().clone()
    }

    fn goes_on(&self) -> bool {
        self.done.load(Ordering::SeqCst) < self.wanted.load(Ordering::SeqCst)
    }

    fn count(&self) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    pub fn tell(&self) {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        println!(
            "{} changes up to revision {}, {} of them slow; {} refused, {} unavailable; {} secrets compared on each \
             replica; {} answers held to their revision, {} more were too early to tell",
            of(&self.done),
            self.highest.load(Ordering::SeqCst),
            of(&self.slow),
            of(&self.refused),
            of(&self.unavailable),
            self.secrets.lock().len(),
            of(&self.asked),
            of(&self.early)
        );
        assert!(of(&self.asked) > 50, "readers had something to read");
        assert!(of(&self.slow) * 20 > of(&self.done), "slow ones were among them");
    }
}

/// Changes keys of one service user, one after the other, through one replica.
pub struct Lane {
    caller: Client,
    owner: String,
    chance: Chance,
    /// Names and secrets.
    keys: Vec<(String, String)>,
}

impl Lane {
    pub async fn new(caller: &mut Client, tenant: &str, seed: u64, number: usize) -> Self {
        let owner = caller.create_service_user(tenant, &format!("lane-{number}")).await;
        Self { caller: caller.clone(), owner, chance: Chance::of(seed ^ (number as u64 + 1)), keys: Vec::new() }
    }

    pub async fn change_on(&mut self, board: &Board) {
        while board.goes_on() {
            match self.change(board).await {
                Ok(()) => board.count(),
                Err(status) => match status.code() {
                    Code::FailedPrecondition | Code::ResourceExhausted | Code::NotFound => {
                        board.refused.fetch_add(1, Ordering::SeqCst);
                    }
                    Code::Unavailable | Code::DeadlineExceeded => {
                        board.unavailable.fetch_add(1, Ordering::SeqCst);
                    }
                    _ => panic!("{status:?}"),
                },
            }
        }
    }

    async fn change(&mut self, board: &Board) -> Result<(), tonic::Status> {
        let change = match self.chance.below(16) {
            _ if self.keys.is_empty() => Change::Create,
            0..=3 => Change::Create,
            4 => Change::Rotate(0),
            5 => Change::Rotate(3_600),
            6 | 7 => Change::Disable,
            8 | 9 => Change::Enable,
            10 | 11 => Change::Revoke,
            12 => Change::Delete,
            13 => return self.switch_the_owner().await,
            _ => return self.edit_scopes().await,
        };
        let at = self.chance.below(self.keys.len().max(1));
        let (name, secret) = self.keys.get(at).cloned().unwrap_or_default();
        let changed = change.make(&mut self.caller, &self.owner, &name).await?;
        board.highest.fetch_max(changed.key.revision, Ordering::SeqCst);
        if let Some(secret) = changed.secret {
            board.secrets.lock().push(secret.clone());
            self.keys.push((changed.key.name, secret));
        }
        if matches!(change, Change::Revoke | Change::Delete | Change::Rotate(0)) {
            let revision = changed.predecessor.map_or(changed.key.revision, |key| key.revision);
            board.ended.lock().push((secret, revision));
            self.keys.swap_remove(at);
        }
        Ok(())
    }

    async fn edit_scopes(&mut self) -> Result<(), tonic::Status> {
        let name = self.keys[self.chance.below(self.keys.len())].0.clone();
        let scopes = [&["pay"][..], &["read"], &["pay", "read"]][self.chance.below(3)];
        self.caller.set_scopes(&name, scopes).await
    }

    async fn switch_the_owner(&mut self) -> Result<(), tonic::Status> {
        let (name, expected_revision) = (self.owner.clone(), 0);
        let users = &mut self.caller.service_users;
        if self.chance.below(2) == 0 {
            users.disable_service_user(v1::DisableServiceUserRequest { name, expected_revision }).await?;
        } else {
            users.enable_service_user(v1::EnableServiceUserRequest { name, expected_revision }).await?;
        }
        Ok(())
    }
}

/// A writer from outside that follows the rule, the revision row first, and takes its time between that and its commit.
pub struct SlowCommitter {
    database: DatabaseConnection,
    chance: Chance,
}

impl SlowCommitter {
    pub fn new(database: DatabaseConnection, seed: u64, number: u64) -> Self {
        Self { database, chance: Chance::of(seed.wrapping_add(1_000 + number)) }
    }

    pub async fn commit_on(&mut self, board: &Board) {
        while board.goes_on() {
            let held = self.chance.milliseconds(0, 31).as_secs_f64();
            let end = if self.chance.below(5) == 0 { "ROLLBACK" } else { "COMMIT" };
            let script = format!(
                "BEGIN;
                 UPDATE revision SET value = value + 1 WHERE id = 1;
                 UPDATE api_key SET revision = (SELECT value FROM revision),
                     state = CASE state WHEN 'ENABLED' THEN 'DISABLED' ELSE 'ENABLED' END
                 WHERE id IN (SELECT id FROM api_key WHERE tenant_id = 'acme' AND slot IS NOT NULL
                     ORDER BY id OFFSET {} LIMIT 2);
                 SELECT pg_sleep({held}); {end}",
                self.chance.below(30)
            );
            self.database.execute_unprepared(&script).await.expect("committed");
            if end == "COMMIT" {
                board.slow.fetch_add(1, Ordering::SeqCst);
                board.count();
            }
            tokio::time::sleep(self.chance.milliseconds(0, 60)).await;
        }
    }
}

/// Whoever says that it has a revision must know what ended by then.
pub async fn read_on(mut caller: Client, board: &Board, seed: u64) {
    let mut chance = Chance::of(seed);
    while board.goes_on() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let ended = {
            let ended = board.ended.lock();
            // Mostly one of the latest.
            let back = if chance.below(4) > 0 { ended.len().min(4) } else { ended.len() };
            if back == 0 { None } else { Some(ended[ended.len() - 1 - chance.below(back)].clone()) }
        };
        let Some((secret, revision)) = ended else { continue };
        let request = v1::VerifyRequest { secret, ..Default::default() };
        let Ok(answer) = caller.verification.verify(request).await else { continue };
        let answer = answer.into_inner();
        if answer.revision < revision {
            board.early.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        board.asked.fetch_add(1, Ordering::SeqCst);
        let gone = [Verdict::Revoked, Verdict::Unknown].contains(&answer.verdict());
        assert!(gone, "as of {} it says {:?} of what ended at {revision}", answer.revision, answer.verdict());
    }
}
