//! Creates that wait for a turn have it together: one transaction for up to 32 of them, each a change of its own under a
//! revision of its own. One that is refused, or that the database can't take, spoils no other.
//!
//! What a create costs is its questions to the database, because every other writer waits for each of them. Asked for all at
//! once they cost hardly more than for one.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::domain::{
    Refusal, Time,
    caller::Credential,
    ids::{KeyGroupName, ServiceUserName},
    key::Key,
    limits,
    refusal::Resource,
};
use crate::store::{Grants, Replay, Room, StoreError, Write};

use super::{
    Authority, AuthorityError,
    call::Call,
    keys::{Created, load},
    line,
    new_keys::{self, NewKeyRows, take_slot},
    replays::{ReplayRequest, stored_name},
    require_same_grants,
};

/// A key to be made, about which everything is decided but what the store alone can say.
pub(super) struct Creation {
    call: Call,
    created: Created,
    replay: Option<ReplayRequest>,
    /// The request, if it has an id, as the store knows it.
    stored_name: Option<(String, String)>,
}

type Answer = Result<Created, AuthorityError>;
type Begun = line::Begun<Creation, Answer>;
type Leader = line::Leader<Creation, Answer>;

/// The creates that wait.
pub(super) type Line = line::Line<Creation, Answer>;

impl Creation {
    pub(super) fn new(call: Call, created: Created, replay: Option<ReplayRequest>) -> Self {
        let stored_name = replay.as_ref().map(|request| stored_name(&call, request));
        Self { call, created, replay, stored_name }
    }

    /// Whether the same request is among these. It must find what the other one is answered, and so waits for it.
    fn repeats(&self, begun: &[Begun]) -> bool {
        self.stored_name.is_some() && begun.iter().any(|other| other.request.stored_name == self.stored_name)
    }
}

impl Authority {
    /// Makes a key in a turn that it shares with others that wait. It waits as long as its caller does; once begun it is done
    /// whatever becomes of the caller.
    pub(super) async fn create_in_line(&self, creation: Creation) -> Answer {
        let (place, leader) = self.shared.creations.join(creation)?;
        self.send(leader);
        place.answer(limits::TURN_WAIT).await?
    }

    /// Sends a leader for a turn, in a task of its own, under no call's span: it goes for others too. Shutdown waits for what
    /// has begun, and not for a leader.
    fn send(&self, leader: Option<Leader>) {
        if let Some(leader) = leader {
            let authority = self.clone();
            tokio::spawn(async move { authority.lead(leader).await });
        }
    }

    async fn lead(&self, leader: Leader) {
        let sent = Instant::now();
        match self.store().write().await {
            Ok(write) => {
                let (begun, next) = leader.take(|begun, creation, _| !creation.repeats(begun));
                self.send(next);
                self.shared.changes.track_future(self.create_all(write, begun)).await;
            }
            Err(error) => {
                // Who came later may have more luck.
                let (begun, next) = leader.take(|_, _, since| since <= sent);
                self.send(next);
                answer_all(begun, &error);
            }
        }
    }

    async fn create_all(&self, write: Write, begun: Vec<Begun>) {
        let creations: Vec<&Creation> = begun.iter().map(|one| &one.request).collect();
        match self.create_together(write, &creations).await {
            Ok(answers) => begun.into_iter().zip(answers).for_each(|(one, answer)| one.answer(answer)),
            Err(error) if begun.len() > 1 && may_be_of_one_alone(&error) => {
                // Nothing was done, so who has given up meanwhile is left out.
                let alone = begun.into_iter().filter(Begun::is_waited_for).map(|one| async move {
                    let answer = self.create_alone(&one.request).await;
                    one.answer(answer);
                });
                join_all(alone).await;
            }
            Err(error) => answer_all(begun, &error),
        }
    }

    async fn create_alone(&self, creation: &Creation) -> Answer {
        let write = self.store().write().await?;
        let answer = self.create_together(write, &[creation]).await?.pop();
        answer.unwrap_or_else(|| Err(AuthorityError::Defect("a create has no answer".to_owned())))
    }

    /// An answer for each, in order. An error is everybody's: nothing was done, and what was found holds only together with
    /// the commit, a refusal too.
    async fn create_together(&self, write: Write, creations: &[&Creation]) -> Result<Vec<Answer>, StoreError> {
        let Some(now) = creations.iter().map(|creation| creation.call.now).max() else { return Ok(Vec::new()) };
        let mut facts = Facts::ask(&write, creations).await?;
        let (mut answers, mut new) = (Vec::new(), Vec::new());
        let mut revision = write.revision();
        for creation in creations {
            answers.push(match self.admit(&write, &mut facts, creation).await {
                Ok(Admitted::New(rows)) => {
                    let mut created = creation.created.clone();
                    created.key.revision = revision;
                    revision += 1;
                    new.push(*rows);
                    Ok(created)
                }
                Ok(Admitted::Before(created)) => Ok(*created),
                Err(AuthorityError::Store(error)) if !matches!(error, StoreError::Corrupt { .. }) => return Err(error),
                Err(refused) => Err(refused),
            });
        }
        if !new.is_empty() {
            let told = new_keys::insert(&write, new, now).await?;
            write.commit_told(told).await?;
        }
        Ok(answers)
    }

    async fn admit(&self, write: &Write, facts: &mut Facts, creation: &Creation) -> Result<Admitted, AuthorityError> {
        let Creation { call, created, replay, stored_name: _ } = creation;
        let Created { key, .. } = created;
        let owner = &key.name.owner;
        require_same_grants(facts.grants.get(&call.caller.credential), &call.caller)?;
        let room = facts.rooms.get_mut(owner).ok_or_else(|| Refusal::NotFound(Resource::service_user(owner)))?;
        if let Some(request) = replay
            && let Some(secret) = self.replayed(call, request, &facts.replays)?
        {
            let key = load(write, &owner.key(secret.key_id())).await?;
            return Ok(Admitted::Before(Box::new(Created { key, secret })));
        }
        room.policy()?.allow_new(key)?;
        require_one_of(&facts.key_groups, key)?;
        let kept = self.keep(call, created, replay.as_ref())?;
        // Last: a slot that a refused create took would be missing to the next one.
        let slot = take_slot(write, owner, room, false, call.now).await?;
        let event = call.event(&owner.tenant, key.name.to_string());
        Ok(Admitted::New(Box::new(NewKeyRows { key: self.row_of(created, slot, event), kept })))
    }
}

/// What becomes of a creation.
enum Admitted {
    /// It is to be written.
    New(Box<NewKeyRows>),
    /// The same request made it before.
    Before(Box<Created>),
}

/// What the store says about all creations of a turn. Nothing can overtake it until they are committed.
struct Facts {
    /// Of the callers' credentials that may be used.
    grants: HashMap<Credential, Grants>,
    rooms: HashMap<ServiceUserName, Room>,
    replays: Vec<Replay>,
    key_groups: Vec<KeyGroupName>,
}

impl Facts {
    /// One question for each caller, and one for all of everything else.
    async fn ask(write: &Write, creations: &[&Creation]) -> Result<Self, StoreError> {
        let mut callers: HashMap<&Credential, Time> = HashMap::new();
        for call in creations.iter().map(|creation| &creation.call) {
            let latest = callers.entry(&call.caller.credential).or_insert(call.now);
            *latest = call.now.max(*latest);
        }
        let mut grants = HashMap::new();
        for (credential, now) in callers {
            let found = write.grants(credential, now).await?;
            grants.extend(found.map(|found| (credential.clone(), found)));
        }
        let keys = || creations.iter().map(|creation| &creation.created.key);
        let owners: HashSet<_> = keys().map(|key| &key.name.owner).collect();
        let key_groups: HashSet<_> = keys().filter_map(Key::key_group_name).collect();
        let requests: Vec<_> = creations.iter().filter_map(|creation| creation.stored_name.clone()).collect();
        Ok(Self {
            grants,
            rooms: write.rooms(&owners.into_iter().collect::<Vec<_>>()).await?,
            replays: write.replays(&requests).await?,
            key_groups: write.key_groups(key_groups.into_iter().collect()).await?,
        })
    }
}

/// Refuses to put a key into a group that isn't one of these.
fn require_one_of(groups: &[KeyGroupName], key: &Key) -> Result<(), Refusal> {
    let missing = key.key_group_name().filter(|name| !groups.contains(name));
    missing.map_or(Ok(()), |name| Err(Refusal::NotFound(Resource::key_group(&name))))
}

fn answer_all(begun: Vec<Begun>, error: &StoreError) {
    for one in begun {
        one.answer(Err(error.clone().into()));
    }
}

/// Whether it may be because of a row that a single creation needs, or of what it writes: the others would do well without it.
fn may_be_of_one_alone(error: &StoreError) -> bool {
    match error {
        StoreError::Corrupt { .. } | StoreError::Bug(_) => true,
        StoreError::Unavailable(_)
        | StoreError::ReadOnly(_)
        | StoreError::OutcomeUnknown(_)
        | StoreError::Overloaded
        | StoreError::Schema(_)
        | StoreError::Address(_)
        | StoreError::Pooling(_) => false,
    }
}
