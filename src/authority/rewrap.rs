//! After a new KEK: wraps the data keys that are under retired ones anew. Idempotent, in bounded steps: it may be stopped
//! at any moment, and run beside any number of replicas.

use crate::domain::kek::{KekId, Keks, Unopened};
use crate::random;
use crate::store::{Store, StoredSecret};

use super::AuthorityError;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// Data keys that were wrapped anew.
    pub done: u64,
    /// What is wrong with each of those that can't be.
    pub damaged: Vec<String>,
    /// Those that are still under others than the current KEK, by its id: it isn't in the file, they are damaged, or a
    /// replica whose current KEK is another one made them meanwhile.
    pub left: Vec<(KekId, u64)>,
}

/// Wraps every data key under the current KEK. `progress` hears after each step how many are done, of how many.
pub async fn rewrap(
    store: &Store,
    keks: &Keks,
    mut progress: impl FnMut(u64, u64),
) -> Result<Rewrapped, AuthorityError> {
    let retired: Vec<_> = others(store, keks).await?.into_iter().filter(|(kek, _)| keks.has(kek)).collect();
    let all = retired.iter().map(|(_, count)| count).sum();
    let mut so_far = Rewrapped { done: 0, damaged: Vec::new(), left: Vec::new() };
    for (kek, _) in &retired {
        let mut after = None;
        while let Some(last) = rewrap_some(store, keks, kek, after.as_deref(), &mut so_far).await? {
            progress(so_far.done, all);
            after = Some(last);
        }
    }
    Ok(Rewrapped { left: others(store, keks).await?, ..so_far })
}

/// How many are under each KEK but the current one.
async fn others(store: &Store, keks: &Keks) -> Result<Vec<(KekId, u64)>, AuthorityError> {
    let counts = store.sealed_counts().await?;
    Ok(counts.into_iter().filter(|(kek, _)| kek != keks.current()).collect())
}

/// One step: answers the last one that it looked at; `None` when none is left.
async fn rewrap_some(
    store: &Store,
    keks: &Keks,
    kek: &KekId,
    after: Option<&str>,
    so_far: &mut Rewrapped,
) -> Result<Option<String>, AuthorityError> {
    let bookkeeping = store.bookkeeping().await?;
    let page = bookkeeping.sealed_under(kek, after).await?;
    let Some(last) = page.last else { return Ok(None) };
    so_far.damaged.extend(page.damaged);
    let mut wrapped = Vec::new();
    for StoredSecret { tenant, key, sealed, .. } in &page.secrets {
        match keks.rewrap(tenant, *key, &sealed.data_key, random::bytes()?) {
            Ok(anew) => wrapped.push((*key, anew)),
            Err(why @ (Unopened::Damaged | Unopened::KekMissing(_))) => {
                so_far.damaged.push(format!("the data key of the key {key} can't be wrapped anew: {why}"));
            }
        }
    }
    let done = bookkeeping.rewrap(&wrapped).await?;
    bookkeeping.commit().await?;
    so_far.done += done;
    Ok(Some(last))
}
