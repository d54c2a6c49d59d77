//! What retrievable keys are refused for.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::QuotaViolation;

use crate::domain::{Span, kek::KekId, limits};
use crate::proto::v1::ErrorReason;

use super::{Draft, name};

pub(super) fn not_retrievable(key: &str) -> Status {
    let message = format!("{key} is not retrievable: its secret was shown once; rotate it to get another");
    let reason = ErrorReason::KeyNotRetrievable;
    Draft::new(Code::FailedPrecondition, reason, message).with("key", key).precondition(name(reason), key).finish()
}

pub(super) fn reveal_limit(key: &str, wait: Span) -> Status {
    let (limit, reason) = (limits::REVEALS, ErrorReason::RevealLimitReached);
    let message =
        format!("{key} was revealed {limit} times within an hour, the most it may be; wait for the given delay");
    let mut draft = Draft::new(Code::ResourceExhausted, reason, message).with("key", key).with("limit", limit);
    let violation = QuotaViolation::new(key, &draft.message);
    draft.details.set_quota_failure(vec![violation]);
    draft.details.set_retry_info(Some(wait.to_std().unwrap_or(Duration::ZERO)));
    draft.finish()
}

pub(super) fn kek_unavailable(kek: Option<&KekId>) -> Status {
    let message = match kek {
        Some(kek) => format!(
            "the secret is sealed under the KEK {}, which this replica hasn't got; have it added to CLAVIGER_KEK_FILE",
            kek.as_str()
        ),
        None => {
            "this replica has no KEK to seal the secret under; have CLAVIGER_KEK_FILE set, or leave out retrievable"
                .to_owned()
        }
    };
    let draft = Draft::new(Code::Unavailable, ErrorReason::KekUnavailable, message).retry();
    match kek {
        Some(kek) => draft.with("kek", kek.as_str()),
        None => draft,
    }
    .finish()
}
