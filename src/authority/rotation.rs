//! Use case: rotate a key.

use crate::domain::{
    Revision,
    ids::{KeyId, KeyName},
    key::Key,
    notification::Notification,
    refusal::{Resource, require_revision},
    rights::Right,
    rotation::{Rotated, Rotation},
    secret::Secret,
};
use crate::random;
use crate::store::Write;

use super::{
    Authority, AuthorityError, Changed,
    call::Call,
    keys::{Created, load, room},
    new_keys::{self, NewKeyRows, take_slot},
    replays::ReplayRequest,
};

/// What a caller asks of a rotation.
#[derive(Debug, Clone)]
pub struct RotationRequest {
    /// Which key.
    pub name: KeyName,
    /// How.
    pub rotation: Rotation,
    /// The revision the caller saw, or 0.
    pub expected: Revision,
    /// The `request_id`.
    pub replay: Option<ReplayRequest>,
}

/// Both keys after a rotation, and the new one's secret.
#[derive(Debug, Clone)]
pub struct RotatedKey {
    /// The successor with its secret, to be shown once.
    pub created: Created,
    /// The key that was replaced.
    pub predecessor: Key,
}

impl Authority {
    /// Rotates a key. Needs `keys.write` of the tenant and every right that the key carries, or `keys.self` for an own key
    /// no wider than the calling one: the caller learns a secret with the key's whole reach.
    pub async fn rotate_key(&self, call: Call, wanted: RotationRequest) -> Result<RotatedKey, AuthorityError> {
        call.see(&wanted.name.owner.tenant, || Resource::key(&wanted.name))?;
        call.caller.require_owner(&wanted.name.owner, Right::KeysWrite)?;
        let secret = Secret::generate(KeyId::from_random(random::bytes()?), random::fill)?;
        let authority = self.clone();
        self.change(call, move |write, call| async move { authority.rotate(write, call, wanted, secret).await }).await
    }

    async fn rotate(
        &self,
        write: Write,
        call: Call,
        wanted: RotationRequest,
        secret: Secret,
    ) -> Result<Changed<RotatedKey>, AuthorityError> {
        let RotationRequest { name, rotation, expected, replay } = wanted;
        let key = load(&write, &name).await?;
        if let Some(replayed) = self.replay(&write, &call, replay.as_ref()).await? {
            let successor = load(&write, &name.sibling(replayed.key_id())).await?;
            let created = Created { key: successor, secret: replayed };
            return Ok(Changed::at(created.key.revision, RotatedKey { created, predecessor: key }));
        }
        require_revision(&name, expected, key.revision)?;
        call.caller.require_held(&key.scopes)?;
        let Rotated { successor, mut predecessor } =
            rotation.apply(key, secret.key_id(), call.caller.credential.actor(), call.now)?;
        call.caller.require_no_wider(&successor)?;
        // The predecessor first: without grace it leaves the very slot that the successor takes.
        write.update_key(&predecessor).await?;
        write.settle_warnings([&name], call.now).await?;
        write.notify(&[Notification::rotated(&predecessor, secret.key_id(), call.now)]).await?;
        let mut created = Created { key: successor, secret };
        let mut room = room(&write, &name.owner).await?;
        room.policy()?.allow_successor(&created.key)?;
        let slot = take_slot(&write, &name.owner, &mut room, true, call.now).await?;
        let event = call.event(&name.owner.tenant, name.to_string());
        let kept = self.keep(&call, &created, replay.as_ref())?;
        let rows = NewKeyRows { key: self.row_of(&created, slot, event), kept };
        let told = new_keys::insert(&write, vec![rows], call.now).await?;
        let revision = write.commit_told(told).await?;
        predecessor.revision = revision;
        created.key.revision = revision;
        Ok(Changed::at(revision, RotatedKey { created, predecessor }))
    }
}
