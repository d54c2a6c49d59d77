//! What a refusal says.

use tonic::Status;
use tonic_types::StatusExt;

/// The reason in ErrorInfo; every status of ours has one, of domain `claviger`.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "claviger");
    info.reason
}

/// The fields that BadRequest names, in order.
pub fn bad_fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}
