//! Lists visit every entry once; every change leaves one audit event and every refusal is counted; a lost race is ABORTED
//! and a repeated request answers the same.

mod audit;
mod lists;
mod replays;
mod revisions;

use claviger::proto::v1;
use tonic::Status;

use crate::harness::{Client, Engine, TestApp, errors::reason};
use crate::rpcs::Place;

/// Every event of a tenant, the newest first.
async fn events(root: &mut Client, tenant: &str, target: &str) -> Vec<v1::AuditEvent> {
    let mut request =
        v1::ListAuditEventsRequest { parent: tenant.to_owned(), target: target.to_owned(), ..Default::default() };
    let mut events = Vec::new();
    for _ in 0..1_000 {
        let page = root.audit.list_audit_events(request.clone()).await.expect("events").into_inner();
        events.extend(page.audit_events);
        if page.next_page_token.is_empty() {
            return events;
        }
        request.page_token = page.next_page_token;
    }
    panic!("the list of events has no end");
}

async fn delete_key(root: &mut Client, name: &str) -> v1::Key {
    let request = v1::DeleteKeyRequest { name: name.to_owned(), expected_revision: 0 };
    root.keys.delete_key(request).await.expect("deleted").into_inner().key.expect("a key")
}

async fn disable_key(root: &mut Client, name: &str) -> v1::Key {
    let request = v1::DisableKeyRequest { name: name.to_owned(), expected_revision: 0, wait_for_replicas: None };
    root.keys.disable_key(request).await.expect("disabled").into_inner().key.expect("a key")
}

async fn revoke_key(root: &mut Client, name: &str) -> v1::Key {
    let request = v1::RevokeKeyRequest { name: name.to_owned(), ..Default::default() };
    root.keys.revoke_key(request).await.expect("revoked").into_inner().key.expect("a key")
}

/// A new key of this owner that lives that many seconds.
async fn key_for(root: &mut Client, parent: &str, seconds: i64) -> v1::Key {
    let key = v1::Key { display_name: "a key".to_owned(), ..Default::default() };
    let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = v1::CreateKeyRequest { parent: parent.to_owned(), key: Some(key), ttl, ..Default::default() };
    root.keys.create_key(request).await.expect("a key").into_inner().key.expect("a key")
}
