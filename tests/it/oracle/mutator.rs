//! Mutators: each changes the keys of its own service users, one change after the other, on any replica, and writes down
//! what each change may have done when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use claviger::proto::v1::{
    DisableServiceUserRequest, EnableServiceUserRequest, GetKeyRequest, GetServiceUserRequest, KeyState,
    ListKeysRequest, ServiceUserState,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::harness::Client;
use crate::rig::{Chance, Change, Changed};

use super::judge::{Flaw, Subject};
use super::load::{PATIENCE, SCOPES, reason_of};
use super::record::Record;

/// How long a change in doubt is looked into.
const CLEARED: Duration = Duration::from_secs(60);
/// Live keys of a service user; some room is left for rotations and creates in doubt.
pub const KEYS: usize = 8;

pub struct Owner {
    pub number: usize,
    pub name: String,
}

/// A live key.
pub struct Live {
    number: usize,
    name: String,
    owner: usize,
    disabled: bool,
    narrowed: bool,
}

pub struct Mutator {
    pub callers: Vec<Client>,
    /// The replica that is not asked; `usize::MAX` = none.
    pub avoided: Arc<AtomicUsize>,
    pub record: Arc<Record>,
    pub chance: Chance,
    pub owners: Vec<Owner>,
    pub keys: Vec<Live>,
    /// A key that nobody asks about: whoever changes it was in line behind all earlier changes.
    pub last_in_line: String,
    pub stop: CancellationToken,
}

/// What is changed about a live key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Change(Change),
    Scopes,
}

/// What tells whether a change was made.
enum Sign {
    None,
    /// It is disabled, or not.
    Owner(String, bool),
    /// Changed like this; it was narrowed before, or not.
    Key(String, Step, bool),
}

impl Sign {
    async fn is_there(&self, caller: &mut Client) -> Result<bool, Status> {
        match self {
            Self::None => Ok(false),
            Self::Owner(name, disable) => {
                let request = GetServiceUserRequest { name: name.clone() };
                let user = caller.service_users.get_service_user(request).await?.into_inner().service_user;
                Ok((user.expect("one").state() == ServiceUserState::Disabled) == *disable)
            }
            Self::Key(name, step, was_narrowed) => has_happened(caller, name, *step, *was_narrowed).await,
        }
    }
}

/// What became of a change.
enum Outcome<T> {
    Made(T),
    /// It was made, but its answer is lost.
    Found,
    Not,
}

impl Mutator {
    pub async fn work(mut self) -> Self {
        while !self.stop.is_cancelled() {
            let owner = self.chance.below(self.owners.len());
            match self.chance.below(12) {
                0..5 => self.fill(owner).await,
                5 => self.blink(owner).await,
                _ => self.change().await,
            }
            sleep(self.chance.milliseconds(5, 40)).await;
        }
        self
    }

    fn caller(&mut self) -> Client {
        let avoided = self.avoided.load(Ordering::SeqCst);
        let numbers: Vec<usize> = (0..self.callers.len()).filter(|number| *number != avoided).collect();
        self.callers[numbers[self.chance.below(numbers.len())]].clone()
    }

    /// Writes down what this change may do from now on, makes it, and clears it up when it is in doubt.
    async fn attempt<T>(
        &mut self,
        flaws: Vec<(Subject, Flaw, bool)>,
        call: impl Future<Output = Result<T, Status>>,
        sign: Sign,
    ) -> Outcome<T> {
        let begun = self.record.change(&flaws);
        let known = match timeout(PATIENCE, call).await {
            Ok(Ok(made)) => Some(Outcome::Made(made)),
            Ok(Err(status)) => self.read_refusal(&status, &flaws).then_some(Outcome::Not),
            Err(_) => None,
        };
        let outcome = match known {
            Some(known) => known,
            None => match self.clear(&sign).await {
                Some(true) => Outcome::Found,
                Some(false) => Outcome::Not,
                None => return Outcome::Not,
            },
        };
        match &outcome {
            Outcome::Not => self.record.not_made(&begun),
            Outcome::Made(_) | Outcome::Found => self.record.made(&begun),
        }
        self.record.outcome(match &outcome {
            Outcome::Made(_) => "made",
            Outcome::Found => "in doubt, was made",
            Outcome::Not => "not made",
        });
        outcome
    }

    /// Whether this says that nothing was changed.
    fn read_refusal(&self, status: &Status, flaws: &[(Subject, Flaw, bool)]) -> bool {
        match &*reason_of(status) {
            "STORE_UNAVAILABLE" | "OVERLOADED" | "STALE" => true,
            "OUTCOME_UNKNOWN" | "DEADLINE_EXCEEDED" => false,
            reason => {
                self.record.surprise(format!("{flaws:?}: {reason} {}", status.message()));
                false
            }
        }
    }

    /// Whether a change in doubt was made. Who changes something afterwards was in line behind it, so then it is decided.
    /// `None`: the database doesn't come back.
    async fn clear(&mut self, sign: &Sign) -> Option<bool> {
        let begun = Instant::now();
        let name = self.last_in_line.clone();
        while begun.elapsed() < CLEARED {
            let (mut caller, number) = (self.caller(), self.chance.below(1_000_000));
            if Change::Rename(number).make(&mut caller, "", &name).await.is_ok()
                && let Ok(answer) = sign.is_there(&mut caller).await
            {
                return Some(answer);
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.record.outcome("in doubt for ever");
        None
    }

    /// Makes a key, or room for one.
    async fn fill(&mut self, owner: usize) {
        let of_owner: Vec<usize> = (0..self.keys.len()).filter(|live| self.keys[*live].owner == owner).collect();
        if of_owner.len() < KEYS {
            self.create(owner).await;
        } else {
            let live = of_owner[self.chance.below(of_owner.len())];
            self.change_key(live, Step::Change(Change::Delete)).await;
        }
    }

    pub async fn create(&mut self, owner: usize) {
        let (number, name) = (self.record.new_key(self.owners[owner].number), self.owners[owner].name.clone());
        let mut caller = self.caller();
        let call = async {
            let made = caller.try_create_key(&name, &SCOPES).await;
            if made.as_ref().is_err_and(|status| reason_of(status) == "KEY_LIMIT_REACHED") {
                Ok(None)
            } else {
                made.map(Some)
            }
        };
        // Whether one in doubt was made doesn't matter: nobody knows its secret.
        match self.attempt(vec![(Subject::Key(number), Flaw::Absent, false)], call, Sign::None).await {
            Outcome::Made(Some((key, secret))) => {
                self.record.add(number, secret);
                self.keys.push(Live { number, name: key.name, owner, disabled: false, narrowed: false });
            }
            Outcome::Made(None) => self.delete_strangers(owner).await,
            Outcome::Found | Outcome::Not => {}
        }
    }

    /// Deletes keys whose create or rotation was in doubt.
    async fn delete_strangers(&mut self, owner: usize) {
        let (mut caller, parent) = (self.caller(), self.owners[owner].name.clone());
        let request = ListKeysRequest { parent, page_size: 100, ..Default::default() };
        let Ok(listed) = caller.keys.list_keys(request).await else { return };
        for key in listed.into_inner().keys {
            if !self.keys.iter().any(|live| live.name == key.name) {
                let _ = Change::Delete.make(&mut caller, "", &key.name).await;
            }
        }
    }

    /// Disables a service user for a while, ends one of its keys, and enables it again at once.
    async fn blink(&mut self, owner: usize) {
        if !self.set_owner(owner, true).await {
            return;
        }
        sleep(self.chance.milliseconds(1, 2_500)).await;
        if let Some(live) = self.keys.iter().position(|key| key.owner == owner) {
            self.change_key(live, Step::Change(Change::Revoke)).await;
        }
        while !self.set_owner(owner, false).await && !self.stop.is_cancelled() {
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn set_owner(&mut self, owner: usize, disable: bool) -> bool {
        let (number, name, expected_revision) = (self.owners[owner].number, self.owners[owner].name.clone(), 0);
        let (mut caller, asked) = (self.caller(), name.clone());
        let call = async move {
            let (users, name) = (&mut caller.service_users, name);
            if disable {
                users.disable_service_user(DisableServiceUserRequest { name, expected_revision }).await.map(drop)
            } else {
                users.enable_service_user(EnableServiceUserRequest { name, expected_revision }).await.map(drop)
            }
        };
        let outcome = self
            .attempt(vec![(Subject::Owner(number), Flaw::OwnerDisabled, disable)], call, Sign::Owner(asked, disable))
            .await;
        !matches!(outcome, Outcome::Not)
    }

    async fn change(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let live = self.chance.below(self.keys.len());
        let key = &self.keys[live];
        let step = match self.chance.below(8) {
            0..3 if key.disabled => Step::Change(Change::Enable),
            0..3 => Step::Change(Change::Disable),
            3 => Step::Change(Change::Revoke),
            4 if !key.disabled => Step::Change(Change::Rotate(0)),
            5 => Step::Change(Change::Delete),
            _ => Step::Scopes,
        };
        self.change_key(live, step).await;
    }

    async fn change_key(&mut self, live: usize, step: Step) {
        let Live { number, ref name, owner, narrowed, .. } = self.keys[live];
        let (name, asked) = (name.clone(), name.clone());
        let subject = Subject::Key(number);
        let mut flaws = vec![match step {
            Step::Change(Change::Enable) => (subject, Flaw::Disabled, false),
            Step::Change(Change::Disable) => (subject, Flaw::Disabled, true),
            Step::Change(Change::Delete) => (subject, Flaw::Absent, true),
            Step::Change(_) => (subject, Flaw::Revoked, true),
            Step::Scopes => (subject, Flaw::Narrowed, !narrowed),
        }];
        let successor =
            (step == Step::Change(Change::Rotate(0))).then(|| self.record.new_key(self.owners[owner].number));
        flaws.extend(successor.map(|number| (Subject::Key(number), Flaw::Absent, false)));
        let mut caller = self.caller();
        let call = async move {
            match step {
                Step::Change(change) => change.make(&mut caller, "", &name).await.map(Some),
                Step::Scopes => caller.set_scopes(&name, &SCOPES[usize::from(!narrowed)..]).await.map(|()| None),
            }
        };
        let outcome = self.attempt(flaws, call, Sign::Key(asked, step, narrowed)).await;
        if matches!(outcome, Outcome::Not) {
            return;
        }
        let key = &mut self.keys[live];
        match step {
            Step::Change(Change::Enable) => key.disabled = false,
            Step::Change(Change::Disable) => key.disabled = true,
            Step::Scopes => key.narrowed = !narrowed,
            Step::Change(_) => drop(self.keys.swap_remove(live)),
        }
        if let (Some(number), Outcome::Made(Some(Changed { key, secret: Some(secret), .. }))) = (successor, outcome) {
            self.record.add(number, secret);
            self.keys.push(Live { number, name: key.name, owner, disabled: false, narrowed });
            // The successor's flaws are the predecessor's.
            if narrowed {
                self.record.was_so(Subject::Key(number), Flaw::Narrowed);
            }
        }
    }
}

/// Whether the database has it.
async fn has_happened(caller: &mut Client, name: &str, step: Step, was_narrowed: bool) -> Result<bool, Status> {
    let read = caller.keys.get_key(GetKeyRequest { name: name.to_owned() }).await;
    let key = match read {
        Ok(read) => read.into_inner().key.expect("a key"),
        Err(status) if reason_of(&status) == "RESOURCE_NOT_FOUND" => return Ok(step == Step::Change(Change::Delete)),
        Err(status) => return Err(status),
    };
    Ok(match step {
        Step::Change(Change::Enable) => key.state() == KeyState::Enabled,
        Step::Change(Change::Disable) => key.state() == KeyState::Disabled,
        Step::Change(Change::Delete) => key.delete_time.is_some(),
        Step::Change(_) => key.state() == KeyState::Revoked,
        Step::Scopes => (key.scopes.len() == 1) != was_narrowed,
    })
}
