//! An installation: its data folder, its database and its peppers, opened or made; and what is done to one that doesn't run.

use std::path::PathBuf;

use crate::authority::{
    first_start::{CheckError, FirstStart, check_peppers, first_start, register_current_pepper},
    keys::Created,
    rewrap::{self, Rewrapped},
    root_key,
};
use crate::clock::Clock;
use crate::config::Settings;
use crate::data_folder::{DataFolder, kept_secret, read_peppers, read_secret};
use crate::domain::{
    ids::{KeyId, ServiceUserName},
    pepper::Peppers,
    secret::Secret,
};
use crate::store::{Store, Target};

use super::AppError;

const APPLICATION_NAME: &str = "claviger";

/// An open installation: data folder, database, peppers.
pub(super) struct Installation {
    pub(super) folder: DataFolder,
    pub(super) store: Store,
    pub(super) peppers: Peppers,
    pub(super) first_start: FirstStart,
    /// The file that holds the secret of a root key, if one is known here.
    pub(super) root_key_file: Option<PathBuf>,
}

/// Where the database is.
#[must_use]
pub fn target(settings: &Settings, folder: &DataFolder) -> Target {
    match settings.database.clone() {
        Some(database) => Target::Postgres(database),
        None => Target::Sqlite { file: folder.sqlite_file() },
    }
}

/// `claviger migrate`.
pub async fn migrate(settings: &Settings) -> Result<u32, AppError> {
    let Some(database) = settings.database.clone() else {
        let folder = DataFolder::open(&settings.data, true)?;
        return Ok(Store::migrate(&target(settings, &folder)).await?);
    };
    Ok(Store::migrate(&Target::Postgres(database)).await?)
}

/// `claviger root-key`.
pub async fn add_root_key(settings: &Settings, clock: &Clock) -> Result<Created, AppError> {
    let installation = open(settings, clock).await?;
    let created = root_key::add(&installation.store, installation.peppers.current(), clock.now()).await?;
    installation.store.close().await;
    Ok(created)
}

/// `claviger root-key --kept`. Nothing is locked or changed: a service may run on the folder.
pub fn kept_root_key(settings: &Settings) -> Result<Secret, AppError> {
    Ok(kept_secret(&settings.data)?)
}

/// `claviger rewrap`. `progress` hears how many data keys are done, of how many.
pub async fn rewrap(settings: &Settings, progress: impl FnMut(u64, u64)) -> Result<Rewrapped, AppError> {
    let keks = settings.keks.as_ref().ok_or(AppError::NoKek)?;
    let folder = DataFolder::open(&settings.data, settings.database.is_none())?;
    let target = target(settings, &folder);
    Store::prepare_schema(&target).await?;
    let store = Store::connect(&target, APPLICATION_NAME).await?;
    if store.pepper_registrations().await?.is_empty() {
        return Err(AppError::NothingHere);
    }
    let rewrapped = rewrap::rewrap(&store, keks, progress).await;
    store.close().await;
    Ok(rewrapped?)
}

/// Opens it; the first start makes it.
pub(super) async fn open(settings: &Settings, clock: &Clock) -> Result<Installation, AppError> {
    let folder = DataFolder::open(&settings.data, settings.database.is_none())?;
    let target = target(settings, &folder);
    Store::prepare_schema(&target).await?;
    let store = Store::connect(&target, APPLICATION_NAME).await?;
    if let Some(time) = store.feed().look(None).await?.database_time {
        clock.follow(time);
    }
    let peppers = peppers(settings, &folder, &store).await?;
    let prepared = settings.root_key_file.as_deref().map(read_secret).transpose()?;
    // One that was given is kept where it was given.
    let given = prepared.as_ref().map(Secret::key_id);
    let keep = |secret: &Secret| match given {
        Some(_) => Ok(()),
        None => folder.keep_root_key(secret).map_err(|error| error.to_string()),
    };
    let first_start = first_start(&store, peppers.current(), prepared, clock.now(), keep).await;
    settle_root_keys(&folder, &store, first_start.is_ok()).await?;
    let first_start = first_start?;
    check_peppers(&store, &peppers, clock.now()).await.map_err(|error| match error {
        CheckError::Pepper(error) => AppError::Pepper(error),
        CheckError::Store(error) => AppError::Store(error),
    })?;
    register_current_pepper(&store, &peppers, clock.now()).await?;
    let root_key_file = root_key_file(settings, given, &folder, &store).await?;
    Ok(Installation { folder, store, peppers, first_start, root_key_file })
}

/// The folder's, or the given one if its key is there: it may have come too late for the first start.
async fn root_key_file(
    settings: &Settings,
    given: Option<KeyId>,
    folder: &DataFolder,
    store: &Store,
) -> Result<Option<PathBuf>, AppError> {
    let kept = folder.kept_root_key_file();
    let (None, Some(id)) = (&kept, given) else { return Ok(kept) };
    let is_there = store.key(&ServiceUserName::root().key(id)).await?.is_some();
    Ok(settings.root_key_file.clone().filter(|_| is_there))
}

/// A pepper is generated only while the database knows none: later a missing one is a mistake, not a first start.
async fn peppers(settings: &Settings, folder: &DataFolder, store: &Store) -> Result<Peppers, AppError> {
    let file = settings.pepper_file.clone().unwrap_or_else(|| folder.pepper_file());
    if settings.pepper_file.is_none() && !file.exists() {
        if let Some((id, _)) = store.pepper_registrations().await?.pop() {
            return Err(AppError::NoPepper { file, id: id.as_str().to_owned() });
        }
        folder.generate_pepper()?;
    }
    Ok(read_peppers(&file)?)
}

/// Secrets that were kept aside, by this start or one that died: those that were committed become `root.key`. The others
/// are thrown away only when it is `certain` that nobody's first start is still under way.
async fn settle_root_keys(folder: &DataFolder, store: &Store, certain: bool) -> Result<(), AppError> {
    for secret in folder.pending_root_keys()? {
        match store.key(&ServiceUserName::root().key(secret.key_id())).await? {
            Some(_) => folder.confirm_root_key(&secret)?,
            None if certain => folder.discard_root_key(&secret)?,
            None => {}
        }
    }
    Ok(())
}
