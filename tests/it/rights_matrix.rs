//! Every RPC × {no caller, bad credential, wrong right, other tenant}: denied; × {right}: admitted. The RPCs come from the
//! descriptors, so a new one without a row fails.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use claviger::domain::rights::Right;
use claviger::proto::v1::{
    BatchVerifyResponse, Verdict, VerifyResponse, VerifyStreamResponse, batch_verify_result::Result as Item,
    verify_stream_response::Result as StreamItem,
};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Engine, TestApp, errors::reason};
use crate::raw;
use crate::rpcs::{ADMIN, Foreign, Place, RIGHTS, Row, TENANT_ADMIN, rows};

on_both_engines!(
    a_call_without_one_good_credential_is_unauthenticated,
    a_caller_without_an_admitted_right_is_denied,
    a_caller_with_an_admitted_right_is_answered,
    another_tenants_objects_look_missing_to_the_byte,
    another_tenants_keys_are_unknown,
);

#[test]
fn every_rpc_has_one_row_and_every_right_is_known() {
    let declared: Vec<String> = raw::rpcs().iter().map(raw::name).collect();
    let declared_once: BTreeSet<&str> = declared.iter().map(String::as_str).collect();
    let rows = rows();
    let listed: BTreeSet<&str> = rows.iter().map(|row| row.rpc).collect();
    assert_eq!(listed, declared_once, "an RPC without a row, or a row without an RPC");
    assert_eq!(rows.len(), declared.len(), "one row each");
    assert_eq!(RIGHTS.to_vec(), Right::ALL.map(Right::scope).to_vec(), "a right that this matrix doesn't know");
}

async fn a_call_without_one_good_credential_is_unauthenticated(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let good = format!("Bearer {}", app.root_secret);
    let flipped = good.replace("Bearer cvg_", "Bearer cvg-");
    let padded = format!("{good} x");
    let bare = app.root_secret.clone();
    let missing: [&[&str]; 6] =
        [&[], &[&good, &good], &[&good, "Bearer x"], &["Basic cm9vdDpyb290"], &["Bearer"], &[&bare]];
    let invalid: [&[&str]; 5] = [&["Bearer x"], &["Bearer "], &[&flipped], &[&padded], &["Bearer cvg_"]];
    for row in rows() {
        for (wrong, credentials) in [("CALLER_MISSING", &missing[..]), ("CALLER_INVALID", &invalid[..])] {
            for values in credentials {
                let metadata: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
                let refused = raw::call(&root.channel, row.rpc, &metadata, (row.request)(&place)).await;
                let status = refused.expect_err(row.rpc);
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::Unauthenticated, wrong),
                    "{} {values:?}",
                    row.rpc
                );
                assert!(!format!("{status:?}").contains(&bare[27..]), "{} quotes the credential", row.rpc);
            }
        }
    }
}

/// Scopes that look like rights and are none.
const NO_RIGHTS: [&[&str]; 4] =
    [&[], &["*"], &["claviger.admin", "claviger-admin", "admin"], &["clavige:*", "a:claviger:admin"]];

async fn a_caller_without_an_admitted_right_is_denied(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let single = RIGHTS.iter().filter(|&&right| right != ADMIN).map(std::slice::from_ref);
    for (number, scopes) in single.chain(NO_RIGHTS).enumerate() {
        let owner = root.create_service_user(&place.tenant, &format!("caller-{number}")).await;
        let (_, secret) = root.create_key(&owner, scopes).await;
        for row in rows().iter().filter(|row| !scopes.iter().any(|scope| row.rights.contains(scope))) {
            let refused = raw::call_as(&root.channel, &secret, row.rpc, (row.request)(&place)).await;
            let status = refused.expect_err(row.rpc);
            let told = (status.code(), reason(&status));
            assert_eq!(told, (Code::PermissionDenied, "RIGHT_MISSING".to_owned()), "{} with {scopes:?}", row.rpc);
            let info = status.get_details_error_info().expect("ErrorInfo");
            assert!(row.rights.contains(&info.metadata["right"].as_str()), "{} names another right", row.rpc);
        }
    }
    assert_eq!(root.verdict(&place.secret).await, Verdict::Valid, "nothing was changed");
}

async fn a_caller_with_an_admitted_right_is_answered(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    for (number, row) in rows().iter().enumerate() {
        for (kind, right) in row.rights.iter().enumerate() {
            // A place of its own for each: what one call does must not hinder the next.
            let place = Place::make(&mut root, &format!("acme-{number}-{kind}")).await;
            let secret = match *right {
                ADMIN => app.root_secret.clone(),
                right => root.create_key(&place.owner, &[right]).await.1,
            };
            let answered = raw::call_as(&root.channel, &secret, row.rpc, (row.request)(&place)).await;
            assert!(answered.is_ok(), "{} with {right}: {answered:?}", row.rpc);
        }
    }
}

/// Everything of a status that a caller can see.
fn bytes_of(status: &Status) -> (Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

/// A caller for each right but `admin`, in a tenant of its own.
async fn strangers(root: &mut Client) -> Vec<(&'static str, String)> {
    let tenant = root.create_tenant("strangers").await;
    let owner = root.create_service_user(&tenant, "stranger").await;
    let mut callers = Vec::new();
    for right in RIGHTS.into_iter().filter(|&right| right != ADMIN) {
        callers.push((right, root.create_key(&owner, &[right]).await.1));
    }
    callers
}

/// What each stranger gets from each RPC that would admit it at home.
async fn refusals(root: &Client, strangers: &[(&str, String)], place: &Place) -> Vec<(String, Status)> {
    let mut refusals = Vec::new();
    for row in rows().iter().filter(|row| row.foreign == Foreign::NotFound) {
        for (right, secret) in strangers.iter().filter(|(right, _)| row.rights.contains(right)) {
            let refused = raw::call_as(&root.channel, secret, row.rpc, (row.request)(place)).await;
            refusals.push((format!("{} with {right}", row.rpc), refused.expect_err(row.rpc)));
        }
    }
    refusals
}

async fn another_tenants_objects_look_missing_to_the_byte(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let strangers = strangers(&mut root).await;
    let foreign = refusals(&root, &strangers, &place).await;
    for (what, status) in &foreign {
        assert_eq!((status.code(), reason(status).as_str()), (Code::NotFound, "RESOURCE_NOT_FOUND"), "{what}");
    }
    assert_eq!(root.verdict(&place.secret).await, Verdict::Valid, "nothing was changed");

    purge(&app, &mut root, &place).await;
    let missing = refusals(&root, &strangers, &place).await;
    for ((what, foreign), (_, missing)) in foreign.iter().zip(&missing) {
        assert_eq!(bytes_of(foreign), bytes_of(missing), "{what}");
    }
    for row in rows().iter().filter(|row| row.foreign == Foreign::NotFound) {
        let refused = raw::call_as(&root.channel, &app.root_secret, row.rpc, (row.request)(&place)).await;
        let missing = bytes_of(&refused.expect_err("it is gone"));
        for (what, foreign) in foreign.iter().filter(|(what, _)| what.starts_with(row.rpc)) {
            assert_eq!(bytes_of(foreign), missing, "{what}, against what is missing for everybody");
        }
    }
}

/// Makes as if the place had never been.
async fn purge(app: &TestApp, root: &mut Client, place: &Place) {
    let delete = (row_named("DeleteTenant").request)(place);
    let deleted = raw::call_as(&root.channel, &app.root_secret, row_named("DeleteTenant").rpc, delete).await;
    deleted.expect("deleted");
    app.advance(TimeDelta::days(31));
    let purged = app.running.authority().housekeep().await.expect("purged");
    assert_eq!((purged.tenants, purged.service_users, purged.keys), (1, 1, 1));
}

fn row_named(last: &str) -> Row {
    rows().into_iter().find(|row| row.rpc.ends_with(last)).expect("a row")
}

/// The first answer about a secret in this RPC's message.
fn verified(rpc: &str, message: &[u8]) -> VerifyResponse {
    if rpc.ends_with("/BatchVerify") {
        let mut results = BatchVerifyResponse::decode(message).expect("answers").results;
        let Some(Item::Response(told)) = results.remove(0).result else { panic!("no answer") };
        return told;
    }
    if rpc.ends_with("/VerifyStream") {
        let result = VerifyStreamResponse::decode(message).expect("an answer").result;
        let Some(StreamItem::Response(told)) = result else { panic!("no answer") };
        return told;
    }
    VerifyResponse::decode(message).expect("an answer")
}

async fn another_tenants_keys_are_unknown(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    for (right, secret) in strangers(&mut root).await {
        for row in rows().iter().filter(|row| row.foreign == Foreign::Unknown && row.rights.contains(&right)) {
            let answer = raw::call_as(&root.channel, &secret, row.rpc, (row.request)(&place)).await.expect("a verdict");
            let told = verified(row.rpc, &answer);
            let nothing_else = VerifyResponse { revision: told.revision, as_of: told.as_of, ..Default::default() };
            assert_eq!(
                told,
                VerifyResponse { verdict: Verdict::Unknown.into(), ..nothing_else },
                "{} with {right}",
                row.rpc
            );
        }
    }
    let admin_at_home = root.create_key(&place.owner, &[TENANT_ADMIN]).await.1;
    let at_home =
        raw::call_as(&root.channel, &admin_at_home, row_named("/Verify").rpc, (row_named("/Verify").request)(&place));
    let told = VerifyResponse::decode(&at_home.await.expect("a verdict")[..]).expect("an answer");
    assert_eq!((told.verdict(), told.key), (Verdict::Valid, place.key), "at home it is known");
}
