//! Names and labels that are none.

use super::kinds::{KEY, UUID, id, key_id, with};

pub(super) fn names(good: &str) -> Vec<String> {
    let deeper = [
        format!("{good}/"),
        format!("/{good}"),
        format!("{good}/x/y"),
        good.replace('/', "//"),
        good.replace("acme", ""),
    ];
    let cased = [good.replace("tenants", "Tenants"), good.replace("acme", "Acme"), good.replace("acme", "1acme")];
    let longer = [good.replace("acme", &id(64)), good.replace("acme", "a_b"), good.replace("acme", "äcme")];
    let shorter = ["tenants".to_owned(), String::new()];
    with(good, &[]).into_iter().chain(deeper).chain(cased).chain(longer).chain(shorter).collect()
}

/// Names that are neither a service user's nor a user group's.
pub(super) fn other_names() -> Vec<String> {
    let parents = ["serviceUsers", "userGroups"].map(|list| (list, format!("tenants/acme/{list}")));
    let wrong = parents.iter().flat_map(|(list, parent)| {
        [format!("{parent}/-"), format!("tenants/-/{list}/ops"), format!("{}/ops", parent.to_lowercase())]
    });
    let others = ["tenants/acme".to_owned(), "tenants/acme/keyGroups/ops".to_owned(), format!("{KEY}{}", key_id())];
    wrong.chain(others).collect()
}

/// Spellings of a UUID that a list never answers.
pub(super) fn bad_uuids() -> Vec<String> {
    let wrong = [&UUID[1..], "-", "", "x"].map(str::to_owned);
    let other = [UUID.to_uppercase(), UUID.replace('-', ""), format!("{{{UUID}}}"), format!("urn:uuid:{UUID}")];
    wrong.into_iter().chain(other).map(|id| format!("tenants/acme/notifications/{id}")).collect()
}

pub(super) fn bad_key_ids() -> Vec<String> {
    let good = key_id();
    let ids = [
        String::new(),
        good[1..].to_owned(),
        format!("{good}0"),
        "0".repeat(22),
        "z".repeat(22),
        "-".to_owned(),
        format!("{}!", &good[1..]),
    ];
    ids.into_iter().map(|id| format!("{KEY}{id}")).collect()
}

pub(super) fn bad_labels() -> Vec<String> {
    with("member", &["", "a b", "a:b", "a/b", "*", "é", &id(65)])
}

/// Other spellings of a UUID, and what is none.
pub(super) fn bad_request_ids() -> Vec<String> {
    with(
        UUID,
        &[
            "1",
            &UUID.replace('-', ""),
            &format!("{{{UUID}}}"),
            &format!("urn:uuid:{UUID}"),
            &UUID.replace('4', "g"),
            &UUID[1..],
            &format!("{UUID}0"),
        ],
    )
}
