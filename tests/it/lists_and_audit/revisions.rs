//! `expected_revision`: whoever lost a race is told, and changes nothing.

use prost::Message;
use prost_reflect::{DynamicMessage, Value};
use tonic::Code;

use super::*;
use crate::raw;
use crate::rpcs::rows;

on_both_engines!(a_change_that_lost_a_race_is_aborted);

/// The valid request with an `expected_revision`, for RPCs that take one.
fn expecting(rpc: &str, bytes: &[u8], revision: i64) -> Option<Vec<u8>> {
    let mut message = DynamicMessage::decode(raw::rpc(rpc).input(), bytes).expect("a request");
    message.try_set_field_by_name("expected_revision", Value::I64(revision)).ok()?;
    Some(message.encode_to_vec())
}

/// The revision of the resource that an RPC changes: of the place's key, service user, group or tenant, by the RPC's name.
async fn current(root: &mut Client, rpc: &str, at: &Place) -> i64 {
    if rpc.contains("KeyService") {
        let got = root.keys.get_key(v1::GetKeyRequest { name: at.key.clone() }).await.expect("a key");
        return got.into_inner().key.expect("a key").revision;
    }
    if rpc.contains("ServiceUserService") {
        let get = v1::GetServiceUserRequest { name: at.owner.clone() };
        let got = root.service_users.get_service_user(get).await.expect("a service user");
        return got.into_inner().service_user.expect("a service user").revision;
    }
    if rpc.contains("KeyGroupService") {
        let get = v1::GetKeyGroupRequest { name: at.key_group.clone() };
        let got = root.key_groups.get_key_group(get).await.expect("a key group");
        return got.into_inner().key_group.expect("a key group").revision;
    }
    if rpc.contains("UserGroupService") {
        let get = v1::GetUserGroupRequest { name: at.group.clone() };
        let got = root.user_groups.get_user_group(get).await.expect("a user group");
        return got.into_inner().user_group.expect("a user group").revision;
    }
    let got = root.tenants.get_tenant(v1::GetTenantRequest { name: at.tenant.clone() }).await.expect("a tenant");
    got.into_inner().tenant.expect("a tenant").revision
}

async fn a_change_that_lost_a_race_is_aborted(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let mut checked = 0;
    for (number, row) in rows().iter().enumerate() {
        let place = Place::make(&mut root, &format!("acme-{number}")).await;
        let request = (row.request)(&place);
        if expecting(row.rpc, &request, 1).is_none() {
            continue;
        }
        checked += 1;
        let revision = current(&mut root, row.rpc, &place).await;
        for wrong in [revision - 1, revision + 1, 1, i64::MAX] {
            let lost = expecting(row.rpc, &request, wrong).expect("a request");
            let status = raw::call_as(&root.channel, &app.root_secret, row.rpc, lost).await.expect_err(row.rpc);
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "REVISION_MISMATCH"), "{}", row.rpc);
        }
        assert_eq!(current(&mut root, row.rpc, &place).await, revision, "{} changed nothing", row.rpc);
        let won = expecting(row.rpc, &request, revision).expect("a request");
        let answered = raw::call_as(&root.channel, &app.root_secret, row.rpc, won).await;
        assert!(answered.is_ok(), "{}: {answered:?}", row.rpc);
    }
    assert_eq!(checked, 18, "every Update, Enable, Disable, Revoke, Rotate and Delete");
}
