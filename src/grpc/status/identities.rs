//! What names in client certificates are refused for.

use tonic::{Code, Status};

use crate::domain::{ids::ServiceUserName, peer_name::PeerName, text::quote};
use crate::proto::v1::ErrorReason;

use super::Draft;

/// The name is whole only once, or a long one wouldn't fit into what clients take of an error.
pub(super) fn identity_taken(name: &PeerName, owner: &ServiceUserName) -> Status {
    let message = format!("{} is mapped to {owner} already; take it away there first", quote(name.as_str()));
    Draft::new(Code::AlreadyExists, ErrorReason::CertificateIdentityTaken, message)
        .with("subjectAlternativeName", name.as_str())
        .with("serviceUser", owner)
        .finish()
}
