//! What the tables say about each key, for tests that compare replicas with the database.

use std::collections::BTreeMap;

use claviger::proto::v1::Verdict;

/// Of each key its id, a space and the verdict about it now.
pub const VERDICT_OF_EACH: &str = "SELECT api_key.id || ' ' || CASE
    WHEN api_key.delete_time IS NOT NULL OR service_user.delete_time IS NOT NULL OR tenant.delete_time IS NOT NULL
        THEN 'UNKNOWN'
    WHEN api_key.state = 'REVOKED' THEN 'REVOKED'
    WHEN api_key.state = 'EXPIRED' OR api_key.expire_time <= clock_timestamp() THEN 'EXPIRED'
    WHEN service_user.state <> 'ENABLED' OR tenant.state <> 'ENABLED' THEN 'OWNER_DISABLED'
    WHEN api_key.state = 'DISABLED' THEN 'DISABLED'
    ELSE 'VALID' END
    FROM api_key
    JOIN service_user ON service_user.tenant_id = api_key.tenant_id AND service_user.id = api_key.service_user_id
    JOIN tenant ON tenant.id = api_key.tenant_id";

/// Verdicts by the id of their key, from what [`VERDICT_OF_EACH`] answered.
pub fn by_id<'a>(rows: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Verdict> {
    let read = |row: &str| {
        let (id, verdict) = row.split_once(' ').expect("two words");
        let verdict = Verdict::from_str_name(&format!("VERDICT_{verdict}")).expect("a verdict");
        (id.to_owned(), verdict)
    };
    rows.into_iter().map(read).collect()
}

/// The verdict about this secret: a key that has no row was lost, or never was.
pub fn about(verdicts: &BTreeMap<String, Verdict>, secret: &str) -> Verdict {
    verdicts.get(&secret[4..26]).copied().unwrap_or(Verdict::Unknown)
}
