//! What is written for a new key, whether it was created or takes another one's place.

use crate::domain::{
    Refusal, Time,
    audit::AuditEvent,
    ids::{KeyName, ServiceUserName},
    kek::SealedSecret,
};
use crate::store::{NewKeyRow, Replay, Room, Slot, StoreError, Told, Write};

use super::{
    Authority, AuthorityError,
    call::Call,
    keys::Created,
    replays::{ReplayRequest, replay_of},
};

/// The rows of a new key.
pub(super) struct NewKeyRows {
    pub(super) key: NewKeyRow,
    pub(super) kept: Kept,
}

/// What is kept of its secret, sealed.
pub(super) struct Kept {
    /// To be revealed, when the key is retrievable.
    retrievable: Option<(KeyName, SealedSecret)>,
    /// To be answered again, when the request has an id.
    replay: Option<Replay>,
}

impl Authority {
    /// Seals what is kept.
    pub(super) fn keep(
        &self,
        call: &Call,
        created: &Created,
        request: Option<&ReplayRequest>,
    ) -> Result<Kept, AuthorityError> {
        let retrievable = created.key.retrievable.then(|| self.seal(created)).transpose()?;
        let sealed = |request| self.shared.replay_seal.seal(call, request, &created.secret);
        let replay = request.map(|request| Ok::<_, AuthorityError>(replay_of(call, request, sealed(request)?)));
        Ok(Kept {
            retrievable: retrievable.map(|sealed| (created.key.name.clone(), sealed)),
            replay: replay.transpose()?,
        })
    }

    /// The row of a new key, under the current pepper.
    pub(super) fn row_of(&self, created: &Created, slot: Slot, event: AuditEvent) -> NewKeyRow {
        let pepper = self.shared.peppers.current();
        let digest = pepper.digest(created.secret.presented());
        NewKeyRow { key: created.key.clone(), slot, digest, pepper: pepper.id().clone(), event }
    }
}

/// A free slot of the owner, which is given away by this: the write order makes the count exact, the schema makes it certain.
pub(super) async fn take_slot(
    write: &Write,
    owner: &ServiceUserName,
    room: &mut Room,
    rotating: bool,
    now: Time,
) -> Result<Slot, AuthorityError> {
    let slot = write.free_slot(owner, room, now).await?;
    Ok(slot.ok_or_else(|| Refusal::KeyLimit { owner: owner.clone(), rotating })?)
}

/// Writes them, of which there is at least one, and the events of the changes, each under a revision of its own. `now` is no
/// earlier than any of the calls.
pub(super) async fn insert(write: &Write, new: Vec<NewKeyRows>, now: Time) -> Result<Told, StoreError> {
    let (keys, kept): (Vec<_>, Vec<_>) = new.into_iter().map(|new| (new.key, new.kept)).unzip();
    let told = write.insert_keys(keys).await?;
    let (retrievable, replays): (Vec<_>, Vec<_>) = kept.into_iter().map(|kept| (kept.retrievable, kept.replay)).unzip();
    write.insert_sealed_secrets(&retrievable.into_iter().flatten().collect::<Vec<_>>()).await?;
    write.insert_replays(&replays.into_iter().flatten().collect::<Vec<_>>(), now).await?;
    Ok(told)
}
