//! What a refusal says.

use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The reason in ErrorInfo; every status of ours has one, of domain `claviger`.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "claviger");
    info.reason
}

/// The status of one question of a batch, of a stream, or of Envoy's, which an answer has inside.
pub fn status_in(inside: &tonic_types::Status) -> Status {
    Status::with_details(Code::from_i32(inside.code), inside.message.clone(), inside.encode_to_vec().into())
}

/// The fields that BadRequest names, in order.
pub fn bad_fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}
