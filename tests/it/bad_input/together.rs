//! One answer names everything that is wrong with a request.

use super::dynamic::{Input, put};
use super::kinds::{Kind, bad};
use super::table::{Field, editable, fields};
use super::{base, call};
use crate::harness::{Engine, TestApp, app::start_of_time, errors::bad_fields};
use crate::raw;
use crate::rpcs::Place;

on_both_engines!(
    every_bad_field_of_a_request_is_named_at_once,
    a_wrong_mask_path_hides_no_other_bad_field,
    ttl_and_expire_time_together_are_refused,
    what_depends_on_clock_or_tenant_is_named_with_the_rest,
);

/// Of each pair of fields that exclude each other, the one that a round leaves out.
const EXCLUSIVE: [&str; 2] = ["ttl", "expire_time"];
const ROUNDS: usize = 6;

async fn every_bad_field_of_a_request_is_named_at_once(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    for rpc in raw::rpcs().iter().map(raw::name) {
        for round in 0..ROUNDS {
            let left_out = EXCLUSIVE[round % 2];
            let chosen =
                |field: &Field| field.rpc == rpc && field.kind != Kind::Mask && !field.path.ends_with(left_out);
            let mut message = base(&rpc, &place);
            let mut expected = Vec::new();
            for field in fields().into_iter().filter(chosen) {
                let values = checked_at_once(field.kind);
                let (input, below) = &values[(round * 7) % values.len()];
                put(&mut message, field.path, input);
                expected.push(format!("{}{below}", field.path));
            }
            if expected.is_empty() {
                continue;
            }
            let status = call(&root, &app.root_secret, &rpc, &message).await.expect_err(&rpc);
            assert_eq!(sorted(bad_fields(&status)), sorted(expected), "{rpc}, round {round}");
        }
    }
}

/// Bad values that are bad by themselves; those that the clock or another field decides have tests of
/// their own.
fn checked_at_once(kind: Kind) -> Vec<super::kinds::Bad> {
    let mut values = bad(kind);
    if matches!(kind, Kind::ExpireTime | Kind::PreviewTo) {
        values.truncate(6);
    }
    values
}

fn sorted(mut fields: Vec<String>) -> Vec<String> {
    fields.sort();
    fields
}

async fn a_wrong_mask_path_hides_no_other_bad_field(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let resources = [
        ("Key", "key"),
        ("ServiceUser", "service_user"),
        ("Tenant", "tenant"),
        ("KeyGroup", "key_group"),
        ("UserGroup", "user_group"),
    ];
    for (service, resource) in resources {
        let rpc = format!("claviger.v1.{service}Service/Update{service}");
        assert!(editable(&rpc).is_some_and(|paths| paths.contains(&"display_name")));
        let mut message = base(&rpc, &place);
        put(&mut message, "update_mask", &Input::Paths(vec!["display_name".to_owned(), "nothing".to_owned()]));
        put(&mut message, &format!("{resource}.display_name"), &Input::Text("two\nlines".to_owned()));
        put(&mut message, &format!("{resource}.name"), &Input::Text("Tenants/acme".to_owned()));
        put(&mut message, "expected_revision", &Input::Number(-1));
        let status = call(&root, &app.root_secret, &rpc, &message).await.expect_err(&rpc);
        let resource_fields = [format!("{resource}.display_name"), format!("{resource}.name")];
        let others = ["expected_revision".to_owned(), "update_mask.paths[1]".to_owned()];
        assert_eq!(sorted(bad_fields(&status)), sorted([resource_fields, others].concat()), "{rpc}");
    }
}

async fn ttl_and_expire_time_together_are_refused(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    for (rpc, path) in [("CreateKey", "key.expire_time"), ("RotateKey", "expire_time")] {
        let rpc = format!("claviger.v1.KeyService/{rpc}");
        let mut message = base(&rpc, &place);
        put(&mut message, "ttl", &Input::Span(3_600, 0));
        put(&mut message, path, &Input::Span(start_of_time().timestamp() + 3_600, 0));
        let status = call(&root, &app.root_secret, &rpc, &message).await.expect_err(&rpc);
        assert_eq!(bad_fields(&status), ["ttl"], "{rpc}");
    }
}

/// `expire_time` in the past and `claviger:admin` outside tenant `system` are found later than the rest, but told with it.
async fn what_depends_on_clock_or_tenant_is_named_with_the_rest(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    for rpc in ["CreateKey", "UpdateKey"].map(|method| format!("claviger.v1.KeyService/{method}")) {
        let mut message = base(&rpc, &place);
        put(&mut message, "key.display_name", &Input::Text("two\nlines".to_owned()));
        put(&mut message, "key.scopes", &Input::Texts(vec!["pay".to_owned(), "claviger:admin".to_owned()]));
        put(&mut message, "key.expire_time", &Input::Span(start_of_time().timestamp() - 1, 0));
        let status = call(&root, &app.root_secret, &rpc, &message).await.expect_err(&rpc);
        let expected = ["key.display_name", "key.expire_time", "key.scopes[1]"].map(String::from);
        assert_eq!(sorted(bad_fields(&status)), expected, "{rpc}");
    }
}
