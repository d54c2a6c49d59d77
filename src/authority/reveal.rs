//! Use case: reveal the secret of a retrievable key; and the sealing of one that is made.

use zeroize::Zeroizing;

use crate::domain::{
    Refusal,
    ids::KeyName,
    kek::{KekId, SealedSecret, SealingChance, Unopened},
    refusal::Resource,
    rights::Right,
    secret::Secret,
};
use crate::random;
use crate::store::Write;

use super::{
    Authority, AuthorityError, Changed,
    call::Call,
    keys::{Created, load},
};

impl Authority {
    /// Reveals the secret of a live retrievable key. Needs `keys.reveal` of the tenant, and every right that the key carries.
    ///
    /// The audit event is committed before this answers; whoever can't be answered leaves none, and doesn't count.
    pub async fn reveal_key(&self, call: Call, name: KeyName) -> Result<Secret, AuthorityError> {
        call.caller.require(Right::KeysReveal)?;
        call.see(&name.owner.tenant, || Resource::key(&name))?;
        let authority = self.clone();
        self.change(call, move |write, call| async move { authority.reveal(write, call, name).await }).await
    }

    async fn reveal(&self, write: Write, call: Call, name: KeyName) -> Result<Changed<Secret>, AuthorityError> {
        let key = load(&write, &name).await?;
        call.caller.require_held(&key.scopes)?;
        key.require_revealable(call.now)?;
        let stored = write.sealed_secret(name.id).await?;
        let stored = stored.ok_or_else(|| AuthorityError::Defect(format!("no sealed secret is kept for {name}")))?;
        let limit = |wait| Refusal::RevealLimit { key: name.clone(), wait };
        let reveals = stored.reveals.and_one(call.now).map_err(limit)?;
        let secret = self.open(&name, &stored.sealed)?;
        write.note_reveals(name.id, &reveals).await?;
        let revision = write.commit(call.event(&name.owner.tenant, name.to_string())).await?;
        Ok(Changed::at(revision, secret))
    }

    fn open(&self, name: &KeyName, sealed: &SealedSecret) -> Result<Secret, AuthorityError> {
        let missing = |kek: &KekId| AuthorityError::KekUnavailable(Some(kek.clone()));
        let keks = self.shared.keks.as_ref().ok_or_else(|| missing(&sealed.data_key.kek))?;
        keks.open(name, sealed).map_err(|why| match why {
            Unopened::KekMissing(kek) => missing(&kek),
            Unopened::Damaged => AuthorityError::Defect(format!("the sealed secret of {name} can't be opened: {why}")),
        })
    }

    /// Seals the secret of a new key.
    pub(super) fn seal(&self, created: &Created) -> Result<SealedSecret, AuthorityError> {
        let keks = self.shared.keks.as_ref().ok_or(AuthorityError::KekUnavailable(None))?;
        let chance = SealingChance {
            data_key: Zeroizing::new(random::bytes()?),
            key_nonce: random::bytes()?,
            secret_nonce: random::bytes()?,
        };
        let sealed = keks.seal(&created.key.name, &created.secret, &chance);
        sealed.ok_or_else(|| AuthorityError::Defect("a secret could not be sealed".to_owned()))
    }

    /// Says once which KEKs this process lacks: the keys that are sealed under them can't be revealed here.
    pub async fn tell_of_missing_keks(&self) {
        let counts = match self.store().sealed_counts().await {
            Ok(counts) => counts,
            Err(error) => {
                tracing::warn!(%error, "it could not be checked whether every retrievable key can be revealed");
                return;
            }
        };
        let has = |kek: &KekId| self.shared.keks.as_ref().is_some_and(|keks| keks.has(kek));
        let lacking: Vec<_> = counts.into_iter().filter(|(kek, _)| !has(kek)).collect();
        if lacking.is_empty() {
            return;
        }
        let keys: u64 = lacking.iter().map(|(_, count)| count).sum();
        let keks = lacking.iter().map(|(kek, _)| kek.as_str()).collect::<Vec<_>>().join(", ");
        tracing::warn!(
            %keks,
            keys,
            "retrievable keys are sealed under KEKs that CLAVIGER_KEK_FILE doesn't hold; they verify, and can't be revealed here"
        );
    }
}
