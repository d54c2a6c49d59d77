//! Root keys: keys of `tenants/system/serviceUsers/root` that carry `claviger:admin`.

use crate::domain::{
    Time,
    attributes::Attributes,
    audit::event_id,
    ids::{KeyId, KeyName, ServiceUserName, TenantId},
    key::{Key, NewKey, Transition},
    pepper::Pepper,
    rights::Right,
    scope::Scope,
    secret::Secret,
    text::{Description, DisplayName, RevokeReason},
};
use crate::random;
use crate::store::{NewKeyRow, Store, Told, Write};

use super::{
    AuthorityError,
    call::own_event,
    keys::{Created, room},
    new_keys::take_slot,
};

/// Makes the secret of a root key.
pub fn generate() -> Result<Secret, AuthorityError> {
    Ok(Secret::generate(KeyId::from_random(random::bytes()?), random::fill)?)
}

/// Makes another root key; at 10 the oldest is revoked.
pub async fn add(store: &Store, pepper: &Pepper, now: Time) -> Result<Created, AuthorityError> {
    let root = ServiceUserName::root();
    let write = store.write().await?;
    // A room of its own: the slot is only looked for here.
    let mut room = room(&write, &root).await?;
    if write.free_slot(&root, &mut room, now).await?.is_none() {
        revoke_oldest(&write, &root, now).await?;
    }
    let (mut created, told) = insert(&write, pepper, generate()?, now).await?;
    created.key.revision = write.commit_told(told).await?;
    Ok(created)
}

/// Inserts the root key of this secret and the event of it, in the caller's transaction.
pub(super) async fn insert(
    write: &Write,
    pepper: &Pepper,
    secret: Secret,
    now: Time,
) -> Result<(Created, Told), AuthorityError> {
    let owner = ServiceUserName::root();
    let name = KeyName { owner: owner.clone(), id: secret.key_id() };
    let key = Key::create(name, new_root_key()?, None, now)?;
    let mut room = room(write, &owner).await?;
    let slot = take_slot(write, &owner, &mut room, false, now).await?;
    let event = own_event(event_id(now, random::bytes()?), TenantId::system(), key.name.to_string(), now);
    let digest = pepper.digest(secret.presented());
    let row = NewKeyRow { key: key.clone(), slot, digest, pepper: pepper.id().clone(), event };
    let told = write.insert_keys(vec![row]).await?;
    Ok((Created { key, secret }, told))
}

async fn revoke_oldest(write: &Write, root: &ServiceUserName, now: Time) -> Result<(), AuthorityError> {
    let Some(oldest) = write.live_keys(root, now).await?.into_iter().next() else { return Ok(()) };
    match oldest.revoke(RevokeReason::replaced_by_new_root_key(), now)? {
        Transition::Changed(revoked) => {
            write.update_key(&revoked).await?;
            let event = event_id(now, random::bytes()?);
            write.note(vec![own_event(event, TenantId::system(), revoked.name.to_string(), now)]).await?;
        }
        Transition::Unchanged(_) => {}
    }
    Ok(())
}

fn new_root_key() -> Result<NewKey, AuthorityError> {
    Ok(NewKey {
        display_name: DisplayName::parse("root key").map_err(AuthorityError::Defect)?,
        description: Description::default(),
        scopes: vec![Scope::parse(Right::Admin.scope()).map_err(AuthorityError::Defect)?],
        attributes: Attributes::default(),
        key_group: None,
        networks: Vec::new(),
        expire_time: None,
        disabled: false,
        retrievable: false,
    })
}
