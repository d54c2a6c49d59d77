//! Create and Rotate with a `request_id`: a caller whose connection broke after the commit would have lost a secret that is
//! shown once (reliability.md D11). For 10 minutes the same request answers the same secret, kept sealed under a key that
//! is derived from the pepper and isn't in the database.

use crate::domain::{
    Refusal, limits,
    pepper::{Pepper, Peppers},
    seal::SealingKey,
    secret::Secret,
};
use crate::random;
use crate::store::{Replay, Write};

use super::{Authority, AuthorityError, call::Call};

const LABEL: &str = "claviger.request-replay.v1";

/// A `request_id`, and what was asked under it.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// The caller's UUID.
    pub id: uuid::Uuid,
    /// SHA-256 of method and request.
    pub fingerprint: [u8; 32],
}

/// Seals secrets for the replay window: under the current pepper, and opens under every one, because replicas change over
/// one after the other.
pub struct ReplaySeal {
    current: SealingKey,
    all: Vec<SealingKey>,
}

impl ReplaySeal {
    /// A seal under keys derived from `peppers`, so that every replica opens it.
    #[must_use]
    pub fn new(peppers: &Peppers) -> Self {
        let key = |pepper: &Pepper| SealingKey::new(&pepper.derive(LABEL));
        Self { current: key(peppers.current()), all: peppers.all().map(key).collect() }
    }

    pub(super) fn seal(
        &self,
        call: &Call,
        request: &ReplayRequest,
        secret: &Secret,
    ) -> Result<Vec<u8>, AuthorityError> {
        let sealed = self.current.seal(random::bytes()?, &bound_to(call, request), secret.reveal().as_bytes());
        sealed.ok_or_else(|| AuthorityError::Defect("a secret could not be sealed".to_owned()))
    }

    fn open(&self, call: &Call, request: &ReplayRequest, sealed: &[u8]) -> Option<Secret> {
        let bound = bound_to(call, request);
        let opened = self.all.iter().find_map(|key| key.open(&bound, sealed))?;
        Secret::parse(std::str::from_utf8(&opened).ok()?)
    }
}

impl Authority {
    /// The secret that this request was answered with before, if it was.
    pub(super) async fn replay(
        &self,
        write: &Write,
        call: &Call,
        request: Option<&ReplayRequest>,
    ) -> Result<Option<Secret>, AuthorityError> {
        let Some(request) = request else { return Ok(None) };
        let known = write.replays(&[stored_name(call, request)]).await?;
        self.replayed(call, request, &known)
    }

    /// The same, when it is known what these requests were answered.
    pub(super) fn replayed(
        &self,
        call: &Call,
        request: &ReplayRequest,
        known: &[Replay],
    ) -> Result<Option<Secret>, AuthorityError> {
        let (caller, id) = stored_name(call, request);
        let found = known.iter().find(|replay| replay.caller == caller && replay.request_id == id);
        let Some(replay) = found.filter(|replay| replay.expire_time > call.now) else { return Ok(None) };
        if replay.fingerprint != request.fingerprint {
            return Err(Refusal::RequestIdReused.into());
        }
        let opened = self.shared.replay_seal.open(call, request, &replay.sealed);
        let secret = opened.ok_or_else(|| AuthorityError::Defect("a sealed secret can't be opened".to_owned()))?;
        Ok(Some(secret))
    }
}

/// What a request is stored by: its caller and the id that the caller gave it.
pub(super) fn stored_name(call: &Call, request: &ReplayRequest) -> (String, String) {
    (call.caller.credential.to_string(), request.id.to_string())
}

/// The row that answers this request again.
pub(super) fn replay_of(call: &Call, request: &ReplayRequest, sealed: Vec<u8>) -> Replay {
    let (caller, request_id) = stored_name(call, request);
    Replay {
        caller,
        request_id,
        fingerprint: request.fingerprint,
        sealed,
        expire_time: call.now + limits::REPLAY_WINDOW,
    }
}

/// A sealed secret opens only for the caller and the request it was made for. Neither part has a line feed, so their
/// concatenation is unambiguous.
fn bound_to(call: &Call, request: &ReplayRequest) -> Vec<u8> {
    format!("{}\n{}", call.caller.credential, request.id).into_bytes()
}
