//! Every refusal and failure as a gRPC status: the one exhaustive map (design, section 6).
//!
//! Always `google.rpc.ErrorInfo` with a reason of the contract and domain `claviger`, plus the detail that fits. Causes go to
//! the log, once, here; they never leave.

mod identities;
mod retrievable;

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation as FieldDetail, PreconditionViolation, QuotaViolation, StatusExt};

use crate::authority::AuthorityError;
use crate::domain::{
    Refusal, Revision, limits,
    policy::Rule,
    refusal::{DeadEnd, FieldViolation, Resource},
};
use crate::proto::v1::ErrorReason;
use crate::store::StoreError;
use crate::verify::NoVerdict;

use identities::identity_taken;
use retrievable::{kek_unavailable, not_retrievable, reveal_limit};

const DOMAIN: &str = "claviger";
const RETRY_SOON: Duration = Duration::from_millis(500);

/// A status under construction: code, reason, one sentence, and the variables in it.
struct Draft {
    code: Code,
    reason: ErrorReason,
    message: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
}

impl Draft {
    fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Self {
        let (metadata, details) = (HashMap::new(), ErrorDetails::new());
        Self { code, reason, message: message.into(), metadata, details }
    }

    fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    fn retry(mut self) -> Self {
        self.details.set_retry_info(Some(RETRY_SOON));
        self
    }

    fn resource(mut self, resource: &Resource) -> Self {
        self.details.set_resource_info(resource.kind, &resource.name, "", "");
        self
    }

    fn precondition(mut self, kind: &str, subject: &str) -> Self {
        let violation = PreconditionViolation::new(kind, subject, &self.message);
        self.details.set_precondition_failure(vec![violation]);
        self
    }

    fn finish(mut self) -> Status {
        self.details.set_error_info(name(self.reason), DOMAIN, self.metadata);
        Status::with_error_details(self.code, self.message, self.details)
    }
}

/// The reason as `ErrorInfo` carries it: without the enum's prefix.
#[must_use]
pub fn name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

/// The reason under which a refusal counts as a denial in the audit trail; `None` when it is no denial.
#[must_use]
pub fn denial(error: &AuthorityError) -> Option<ErrorReason> {
    let AuthorityError::Refused(refusal) = error else { return None };
    match refusal {
        Refusal::RightMissing(_) => Some(ErrorReason::RightMissing),
        Refusal::RightNotHeld(_) => Some(ErrorReason::RightNotHeld),
        Refusal::WiderThanCaller(_) => Some(ErrorReason::WiderThanCaller),
        Refusal::Foreign(_) => Some(ErrorReason::ResourceNotFound),
        Refusal::RevealLimit { .. } => Some(ErrorReason::RevealLimitReached),
        Refusal::Invalid(_)
        | Refusal::NotFound(_)
        | Refusal::IdTaken(_)
        | Refusal::CertificateIdentityTaken { .. }
        | Refusal::RequestIdReused
        | Refusal::KeyLimit { .. }
        | Refusal::UserGroupLimit(_)
        | Refusal::KeyGroupLimit(_)
        | Refusal::KeyState { .. }
        | Refusal::NotRetrievable(_)
        | Refusal::PolicyViolated { .. }
        | Refusal::LiveKeysExist(_)
        | Refusal::KeyGroupNotEmpty(_)
        | Refusal::Protected(_)
        | Refusal::RevisionMismatch { .. } => None,
    }
}

/// No credential, or not exactly one.
#[must_use]
pub fn caller_missing() -> Status {
    let message = "present a key as `authorization: Bearer cvg_…`, exactly once, or a client certificate";
    Draft::new(Code::Unauthenticated, ErrorReason::CallerMissing, message).finish()
}

/// A credential that doesn't verify, here and now. Doesn't say why: that is for the holder of `claviger:verify`.
#[must_use]
pub fn caller_invalid() -> Status {
    let message = "the presented key, or certificate, is not valid here and now; present another";
    Draft::new(Code::Unauthenticated, ErrorReason::CallerInvalid, message).finish()
}

/// The call took too long.
#[must_use]
pub fn deadline_exceeded() -> Status {
    let message = "the call took longer than its deadline; a change may still have been made: read before you retry";
    Draft::new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, message).finish()
}

/// The server leaves, and the stream with it.
#[must_use]
pub fn leaving() -> Status {
    let message = "the server leaves; open the stream again, another replica will take it";
    Draft::new(Code::Unavailable, ErrorReason::Leaving, message).retry().finish()
}

/// The reader of a watch is too slow; `revision` is the last one that it was told.
#[must_use]
pub fn watch_lagged(revision: Revision) -> Status {
    let message = format!("the watch was read too slowly; watch again with min_revision {revision}");
    Draft::new(Code::Aborted, ErrorReason::WatchLagged, message).with("revision", revision).finish()
}

/// What happened since the revision that a watch is to start from isn't known.
#[must_use]
pub fn watch_too_old() -> Status {
    let message = "this replica doesn't know what happened since then; forget what you remember, and watch from 0";
    Draft::new(Code::OutOfRange, ErrorReason::WatchTooOld, message).finish()
}

/// One watch more than a process has room for.
#[must_use]
pub fn too_many_watches() -> Status {
    let message = format!("this replica has {} watches already; watch from another, or later", limits::WATCHES);
    Draft::new(Code::Unavailable, ErrorReason::Overloaded, message).retry().finish()
}

/// Whether this says that the mirror is too old.
#[must_use]
pub fn is_stale(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == name(ErrorReason::Stale))
}

/// The message is longer than allowed or not of the method's type.
#[must_use]
pub fn message_invalid() -> Status {
    let message = "the message is longer than this method takes, or not of its type; see the limits in the contract";
    Draft::new(Code::InvalidArgument, ErrorReason::MessageInvalid, message).finish()
}

/// No such method, or a compression that this server doesn't know.
#[must_use]
pub fn method_unknown() -> Status {
    let message =
        "no such method, or a compression that isn't offered; `grpcurl … list` and `describe` show what there is";
    Draft::new(Code::Unimplemented, ErrorReason::MethodUnknown, message).finish()
}

/// The handler panicked.
#[must_use]
pub fn panicked() -> Status {
    internal("a handler panicked")
}

/// A use case didn't do it.
#[must_use]
pub fn from_authority(error: &AuthorityError) -> Status {
    match error {
        AuthorityError::Refused(refusal) => from_refusal(refusal),
        AuthorityError::Store(error) => from_store(error),
        AuthorityError::CallerEnded => caller_invalid(),
        AuthorityError::KekUnavailable(kek) => kek_unavailable(kek.as_ref()),
        AuthorityError::Random(error) => internal(&error.to_string()),
        AuthorityError::Defect(cause) => internal(cause),
    }
}

/// No verdict was possible.
#[must_use]
pub fn from_no_verdict(error: NoVerdict) -> Status {
    match error {
        NoVerdict::Stale => {
            let message = "this replica has not seen the database for too long, or not yet as far as min_revision or \
                           max_staleness demand; retry, another may be fresher";
            Draft::new(Code::Unavailable, ErrorReason::Stale, message).retry().finish()
        }
        NoVerdict::StoreUnavailable => store_unavailable(),
        NoVerdict::Unreadable => internal("a stored key can't be understood"),
    }
}

/// The rules say no.
#[must_use]
pub fn from_refusal(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Invalid(violations) => invalid(violations),
        Refusal::RightMissing(right) => {
            let message = format!("this needs {}; present a key that has it", right.scope());
            Draft::new(Code::PermissionDenied, ErrorReason::RightMissing, message).with("right", right.scope()).finish()
        }
        Refusal::RightNotHeld(right) => {
            let message = format!("the key carries {0}; only a caller that holds {0} may do this", right.scope());
            Draft::new(Code::PermissionDenied, ErrorReason::RightNotHeld, message).with("right", right.scope()).finish()
        }
        Refusal::WiderThanCaller(what) => {
            let message = format!("the caller may not reach beyond itself: {what}; use a key with claviger:keys.write");
            Draft::new(Code::PermissionDenied, ErrorReason::WiderThanCaller, message).with("what", what).finish()
        }
        // One arm for both, so that another tenant's object can't differ from a missing one by a byte.
        Refusal::NotFound(resource) | Refusal::Foreign(resource) => {
            let message = format!("{} does not exist; check the name, or list its parent", resource.name);
            Draft::new(Code::NotFound, ErrorReason::ResourceNotFound, message)
                .with("resource", &resource.name)
                .resource(resource)
                .finish()
        }
        Refusal::IdTaken(resource) => {
            let message = format!("{} exists, or is deleted and not purged yet; choose another id", resource.name);
            Draft::new(Code::AlreadyExists, ErrorReason::IdTaken, message)
                .with("resource", &resource.name)
                .resource(resource)
                .finish()
        }
        Refusal::CertificateIdentityTaken { name, owner } => identity_taken(name, owner),
        Refusal::RequestIdReused => {
            let message = "this request_id was used for a different request; use a new one for each request";
            Draft::new(Code::AlreadyExists, ErrorReason::RequestIdReused, message).finish()
        }
        Refusal::KeyLimit { owner, rotating } => key_limit(&owner.to_string(), *rotating),
        Refusal::UserGroupLimit(tenant) => {
            let message = format!("{refusal}; delete one, or add the members to one of them");
            quota(ErrorReason::UserGroupLimitReached, "tenant", &tenant.name(), limits::USER_GROUPS, message)
        }
        Refusal::KeyGroupLimit(tenant) => {
            let message = format!("{refusal}; delete one");
            quota(ErrorReason::KeyGroupLimitReached, "tenant", &tenant.name(), limits::KEY_GROUPS, message)
        }
        Refusal::KeyState { key, state } => key_state(&key.to_string(), *state),
        Refusal::NotRetrievable(key) => not_retrievable(&key.to_string()),
        Refusal::RevealLimit { key, wait } => reveal_limit(&key.to_string(), *wait),
        Refusal::PolicyViolated { tenant, rules } => policy_violated(&tenant.name(), rules),
        Refusal::LiveKeysExist(name) => {
            let message = format!("{name} still has live keys; revoke them, or set force to delete them with it");
            Draft::new(Code::FailedPrecondition, ErrorReason::LiveKeysExist, message)
                .with("resource", name)
                .precondition("LIVE_KEYS_EXIST", name)
                .finish()
        }
        Refusal::KeyGroupNotEmpty(name) => {
            let (name, message) = (name.to_string(), format!("{refusal}; move them, or set force to take them out"));
            Draft::new(Code::FailedPrecondition, ErrorReason::KeyGroupNotEmpty, message)
                .with("resource", &name)
                .precondition("KEY_GROUP_NOT_EMPTY", &name)
                .finish()
        }
        Refusal::Protected(name) => {
            let message = format!("{name} can't be disabled or deleted: without it nobody could put things right");
            Draft::new(Code::FailedPrecondition, ErrorReason::Protected, message)
                .with("resource", name)
                .precondition("PROTECTED", name)
                .finish()
        }
        Refusal::RevisionMismatch { name, expected, current } => {
            let message = format!("{name} is at revision {current}, not {expected}; read it again and decide anew");
            Draft::new(Code::Aborted, ErrorReason::RevisionMismatch, message)
                .with("resource", name)
                .with("expectedRevision", expected)
                .with("currentRevision", current)
                .finish()
        }
    }
}

/// Names every field, as far as clients can hear it: they take 8 KiB of trailers (gRPC's C core, so Python and C++ too), and
/// the details grow by a third on their way. So the explanations of a long list become short, and the end of a very long one
/// is only counted.
fn invalid(violations: &[FieldViolation]) -> Status {
    const EXPLANATIONS_BYTES: usize = 2 << 10;
    const DETAILS_BYTES: usize = 5 << 10;
    // Tags and lengths of one entry.
    const ENTRY_BYTES: usize = 7;
    let (mut explanations, mut all) = (0, 0);
    let explain = |bad: &FieldViolation| {
        explanations += bad.description.len();
        let why = if explanations <= EXPLANATIONS_BYTES { &bad.description } else { "wrong too" };
        all += ENTRY_BYTES + bad.field.len() + why.len();
        (all <= DETAILS_BYTES).then(|| FieldDetail::new(&bad.field, why))
    };
    let list: Vec<_> = violations.iter().map_while(explain).collect();
    let message = match violations {
        [only] => format!("{}: {}", only.field, only.description),
        _ if list.len() < violations.len() => {
            format!("{} fields are wrong; the first {} are named in the details", violations.len(), list.len())
        }
        _ => format!("{} fields are wrong; each is named in the details", violations.len()),
    };
    let mut draft = Draft::new(Code::InvalidArgument, ErrorReason::FieldInvalid, message);
    draft.details.set_bad_request(list);
    draft.finish()
}

fn key_limit(owner: &str, rotating: bool) -> Status {
    let way_out = if rotating { "revoke one, or rotate with grace_period 0" } else { "revoke or delete one" };
    let message = format!("{owner} has {} live keys, the most it may have; {way_out}", limits::LIVE_KEYS);
    quota(ErrorReason::KeyLimitReached, "serviceUser", owner, limits::LIVE_KEYS as u64, message)
}

fn quota(reason: ErrorReason, kind: &str, subject: &str, limit: u64, message: String) -> Status {
    let mut draft = Draft::new(Code::ResourceExhausted, reason, message).with(kind, subject).with("limit", limit);
    let violation = QuotaViolation::new(subject, &draft.message);
    draft.details.set_quota_failure(vec![violation]);
    draft.finish()
}

fn policy_violated(tenant: &str, rules: &[Rule]) -> Status {
    let broken = rules.iter().map(|rule| rule.field()).collect::<Vec<_>>().join(", ");
    let message = format!("the policy of {tenant} doesn't allow such a key: it breaks {broken}; see each violation");
    let violations = rules.iter().map(|rule| PreconditionViolation::new(rule.field(), tenant, rule.remedy()));
    let mut draft = Draft::new(Code::FailedPrecondition, ErrorReason::PolicyViolated, message)
        .with("tenant", tenant)
        .with("rules", &broken);
    draft.details.set_precondition_failure(violations.collect::<Vec<_>>());
    draft.finish()
}

fn key_state(key: &str, state: DeadEnd) -> Status {
    let (reason, what_next) = match state {
        DeadEnd::Disabled => (ErrorReason::KeyDisabled, "enable it first"),
        DeadEnd::Revoked => (ErrorReason::KeyRevoked, "that is final; create another"),
        DeadEnd::Expired => (ErrorReason::KeyExpired, "that is final; create another"),
        DeadEnd::Superseded => (ErrorReason::KeySuperseded, "act on its successor, named by superseded_by"),
    };
    let message = format!("{key} is {}; {what_next}", state.word());
    Draft::new(Code::FailedPrecondition, reason, message)
        .with("key", key)
        .with("state", state.word())
        .precondition(name(reason), key)
        .finish()
}

fn from_store(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable(cause) | StoreError::ReadOnly(cause) => {
            tracing::warn!(%cause, "the database didn't do it");
            store_unavailable()
        }
        StoreError::OutcomeUnknown(cause) => {
            tracing::warn!(%cause, "the database was lost while committing");
            let message =
                "the database was lost while committing; read before you retry, or retry with the same request_id";
            Draft::new(Code::Unavailable, ErrorReason::OutcomeUnknown, message).retry().finish()
        }
        StoreError::Overloaded => {
            let message = "too many changes are waiting; nothing was changed; retry after the given delay";
            Draft::new(Code::Unavailable, ErrorReason::Overloaded, message).retry().finish()
        }
        StoreError::Corrupt { .. }
        | StoreError::Schema(_)
        | StoreError::Pooling(_)
        | StoreError::Address(_)
        | StoreError::Bug(_) => internal(&error.to_string()),
    }
}

fn store_unavailable() -> Status {
    let message = "the database didn't answer; nothing was changed; retry after the given delay";
    Draft::new(Code::Unavailable, ErrorReason::StoreUnavailable, message).retry().finish()
}

fn internal(cause: &str) -> Status {
    tracing::error!(%cause, "internal error");
    let message = "a defect of the service; report it with the x-request-id of this answer";
    Draft::new(Code::Internal, ErrorReason::Internal, message).finish()
}
