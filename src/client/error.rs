//! What can go wrong for whoever uses the client.

use std::sync::Arc;

use tonic::Status;

use crate::proto::v1::Verdict;

use super::{Identity, limits};

/// Why a [`Verifier`](super::Verifier) can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The caller's own secret isn't a secret.
    #[error("the caller's own secret has characters that no secret has: is the file's last line break cut off?")]
    SecretInvalid,
    /// The staleness bound is out of range.
    #[error("staleness_bound must be {:?} to {:?}", limits::STALENESS_BOUNDS.start(), limits::STALENESS_BOUNDS.end())]
    BoundOutOfRange,
    /// The capacity is out of range.
    #[error("capacity must be {} to {}", limits::CAPACITIES.start(), limits::CAPACITIES.end())]
    CapacityOutOfRange,
    /// The watch needs a runtime to run on.
    #[error("make the verifier inside a tokio runtime")]
    NoRuntime,
}

/// Why a secret was not found VALID. Treat both alike: don't serve the request.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The authority's answer is another verdict than VALID.
    #[error("the key is refused: {}", verdict.as_str_name())]
    Refused {
        /// The answer; never VALID.
        verdict: Verdict,
        /// Whose secret it is; `None` if it matches no key.
        identity: Option<Arc<Identity>>,
    },
    /// No answer: the authority can't be reached or can't tell, or our own key isn't good for asking. It says nothing about
    /// the secret.
    #[error("the authority gave no verdict: {0}")]
    NoVerdict(#[source] Status),
}
