//! Values of the fields that name a resource, or a request.

use super::kinds::{UUID, id, with};

pub const KEY: &str = "tenants/acme/serviceUsers/billing/keys/";

/// The id of a key that isn't there.
pub fn key_id() -> String {
    claviger::domain::ids::KeyId::from_random([7; 16]).to_string()
}

/// What is no name of anything in this collection of a tenant.
pub fn names_in(collection: &str) -> Vec<String> {
    names(&format!("tenants/acme/{collection}/billing")).into_iter().chain(other_names(collection)).collect()
}

pub fn names(good: &str) -> Vec<String> {
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

/// Names of nothing in this collection of a tenant.
fn other_names(own: &str) -> Vec<String> {
    let parents = ["serviceUsers", "userGroups", "keyGroups"].map(|list| (list, format!("tenants/acme/{list}")));
    let wrong = parents.iter().flat_map(|(list, parent)| {
        [format!("{parent}/-"), format!("tenants/-/{list}/ops"), format!("{}/ops", parent.to_lowercase())]
    });
    let others = parents.iter().filter(|(list, _)| *list != own).map(|(_, parent)| format!("{parent}/ops"));
    wrong.chain(others).chain(["tenants/acme".to_owned(), format!("{KEY}{}", key_id())]).collect()
}

/// Spellings of a UUID that a list never answers.
pub fn bad_uuids() -> Vec<String> {
    let wrong = [&UUID[1..], "-", "", "x"].map(str::to_owned);
    let other = [UUID.to_uppercase(), UUID.replace('-', ""), format!("{{{UUID}}}"), format!("urn:uuid:{UUID}")];
    wrong.into_iter().chain(other).map(|id| format!("tenants/acme/notifications/{id}")).collect()
}

/// What is no `request_id`.
pub fn bad_request_ids() -> Vec<String> {
    let (bare, braced, urn) = (UUID.replace('-', ""), format!("{{{UUID}}}"), format!("urn:uuid:{UUID}"));
    with(UUID, &["1", &bare, &braced, &urn, &UUID.replace('4', "g"), &UUID[1..], &format!("{UUID}0")])
}

pub fn bad_key_ids() -> Vec<String> {
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

/// What is no role and no integration type.
pub fn bad_labels() -> Vec<String> {
    with("member", &["", "a b", "a:b", "a/b", "*", "é", &id(65)])
}
