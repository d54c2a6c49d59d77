//! The first start: one transaction that makes tenant `system`, service user `root`, its `claviger:admin` key, and registers
//! the pepper. However many processes start at once, the revision row lets exactly one of them do it.

use crate::domain::{
    Time,
    audit::event_id,
    calendar::Calendar,
    ids::{ServiceUserName, TenantId},
    owner::{ServiceUser, Tenant},
    pepper::{Pepper, PepperId, Peppers},
    policy::TenantPolicy,
    secret::Secret,
    text::{Description, DisplayName},
};
use crate::random;
use crate::store::{Store, StoreError};

use super::{AuthorityError, call::own_event, keys::Created, root_key};

/// What the first start found.
#[derive(Debug)]
pub enum FirstStart {
    /// This process made the root key.
    Won(Box<Created>),
    /// It was done before, or by another process.
    AlreadyDone,
}

/// A pepper that the store knows can't be used by this process.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// It isn't among those this process was given.
    #[error("keys are stored under the pepper {}, which this process hasn't got", .0.as_str())]
    Missing(PepperId),
    /// One of the same id is, but it is another one.
    #[error("the pepper {} is not the one the database was made with", .0.as_str())]
    Differs(PepperId),
}

/// The peppers can't be used, or couldn't be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// They can't be used.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Does what a first start does, unless it is done. `keep` is given the root key's secret before the commit, so that a
/// crash can't lose it; what was kept by a process that didn't win must be thrown away.
pub async fn first_start(
    store: &Store,
    pepper: &Pepper,
    prepared: Option<Secret>,
    now: Time,
    keep: impl FnOnce(&Secret) -> Result<(), String>,
) -> Result<FirstStart, AuthorityError> {
    let system = TenantId::system();
    if store.tenant(&system).await?.is_some() {
        return Ok(FirstStart::AlreadyDone);
    }
    let secret = prepared.map_or_else(root_key::generate, Ok)?;
    let write = store.write().await?;
    if write.tenant(&system).await?.is_some() {
        return Ok(FirstStart::AlreadyDone);
    }
    let name = |text| DisplayName::parse(text).map_err(AuthorityError::Defect);
    let (called, policy) = (name("Claviger itself")?, TenantPolicy::default());
    write.insert_tenant(&Tenant::create(system, called, Calendar::DEFAULT, policy, now)).await?;
    let root = ServiceUser::create(ServiceUserName::root(), name("Root keys")?, Description::default(), now);
    write.insert_service_user(&root).await?;
    write.register_pepper(pepper, now).await?;
    let (mut created, told) = root_key::insert(&write, pepper, secret, now).await?;
    keep(&created.secret).map_err(AuthorityError::Defect)?;
    created.key.revision = write.commit_told(told).await?;
    Ok(FirstStart::Won(Box::new(created)))
}

/// Registers a new current pepper. Does nothing when it is registered.
pub async fn register_current_pepper(store: &Store, peppers: &Peppers, now: Time) -> Result<(), AuthorityError> {
    let current = peppers.current();
    if store.pepper_registrations().await?.iter().any(|(id, _)| id == current.id()) {
        return Ok(());
    }
    let write = store.write().await?;
    if write.pepper_registrations().await?.iter().any(|(id, _)| id == current.id()) {
        return Ok(());
    }
    write.register_pepper(current, now).await?;
    let target = format!("peppers/{}", current.id().as_str());
    write.commit(own_event(event_id(now, random::bytes()?), TenantId::system(), target, now)).await?;
    Ok(())
}

/// Refuses peppers that lack one under which keys are stored, or that have another one under the id of a registered one.
/// A retired pepper that no key needs any more may be missing.
pub async fn check_peppers(store: &Store, peppers: &Peppers, now: Time) -> Result<(), CheckError> {
    let registered = store.pepper_registrations().await?;
    let is_missing = |id: &PepperId| peppers.get(id).is_none();
    // Each key's pepper is a registered one, so it is mostly known that none is missing without asking about all keys.
    if registered.iter().any(|(id, _)| is_missing(id))
        && let Some(id) = store.peppers_in_use(now).await?.into_iter().find(is_missing)
    {
        return Err(PepperError::Missing(id).into());
    }
    for (id, check_value) in registered {
        if peppers.get(&id).is_some_and(|pepper| pepper.check_value() != check_value) {
            return Err(PepperError::Differs(id).into());
        }
    }
    Ok(())
}
