//! Page tokens: good for the same caller, list and filter, and for nothing else.

use prost_reflect::DynamicMessage;

use super::call;
use super::dynamic::{Input, put, request};
use crate::harness::{Client, Engine, TestApp, errors::bad_fields};
use crate::raw;
use crate::rpcs::{ADMIN, Place};

on_both_engines!(a_page_token_fits_only_its_caller_list_and_filter, a_changed_page_token_is_refused);

/// Each list, and a change of each field that filters it.
fn lists(place: &Place, other: &Place) -> Vec<(&'static str, Vec<(&'static str, Input)>)> {
    let text = |text: &str| Input::Text(text.to_owned());
    let flag = ("show_deleted", Input::Flag(true));
    let times = ["expiring_before", "unused_since"].into_iter().flat_map(|path| [0, 1].map(|nanos| (path, nanos)));
    let times = times.map(|(path, nanos)| (path, Input::Span(2_000_000_000, nanos)));
    let keys = [("parent", text(&other.owner)), ("state", Input::Number(1)), ("key_group", text(&place.key_group))];
    let keys = keys.into_iter().chain([flag.clone()]).chain(times);
    vec![
        ("claviger.v1.KeyService/ListKeys", keys.collect()),
        ("claviger.v1.ServiceUserService/ListServiceUsers", vec![("parent", text(&other.tenant)), flag.clone()]),
        ("claviger.v1.KeyGroupService/ListKeyGroups", vec![("parent", text(&other.tenant))]),
        ("claviger.v1.TenantService/ListTenants", vec![flag]),
        (
            "claviger.v1.AuditService/ListAuditEvents",
            vec![("parent", text(&other.tenant)), ("target", text(&other.owner))],
        ),
    ]
}

/// Two places with at least two entries in every list.
async fn places(root: &mut Client) -> [Place; 2] {
    let mut places = Vec::new();
    for id in ["acme", "bolt"] {
        let place = Place::make(root, id).await;
        root.create_service_user(&place.tenant, "second").await;
        root.create_key(&place.owner, &[]).await;
        root.create_key_group(&place.tenant, "second").await;
        places.push(place);
    }
    places.try_into().unwrap_or_else(|_| unreachable!("two places"))
}

/// The first page's token of a list, and the request that gave it.
async fn first_token(root: &Client, secret: &str, rpc: &str, place: &Place) -> (DynamicMessage, String) {
    let mut message = request(rpc, place);
    put(&mut message, "page_size", &Input::Number(1));
    let answer = call(root, secret, rpc, &message).await.expect("a page");
    let answer = DynamicMessage::decode(raw::rpc(rpc).output(), &answer[..]).expect("a page");
    let token = answer.get_field_by_name("next_page_token").expect("a token");
    let token = token.as_str().expect("a text").to_owned();
    assert!(!token.is_empty(), "{rpc} has a second page");
    (message, token)
}

fn at(message: &DynamicMessage, token: &str) -> DynamicMessage {
    let mut next = message.clone();
    put(&mut next, "page_token", &Input::Text(token.to_owned()));
    next
}

async fn assert_refused(root: &Client, secret: &str, rpc: &str, message: &DynamicMessage, about: &str) {
    let status = call(root, secret, rpc, message).await.err().unwrap_or_else(|| panic!("{rpc} accepts {about}"));
    assert_eq!(bad_fields(&status), ["page_token"], "{rpc}: {about}");
}

async fn a_page_token_fits_only_its_caller_list_and_filter(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let [place, other] = places(&mut root).await;
    let second_admin = root.create_key("tenants/system/serviceUsers/root", &[ADMIN]).await.1;
    let mut tokens = Vec::new();
    for (rpc, changes) in lists(&place, &other) {
        let (message, token) = first_token(&root, &app.root_secret, rpc, &place).await;
        let mut next = at(&message, &token);
        assert_refused(&root, &second_admin, rpc, &next, "another caller").await;
        for (path, input) in changes {
            let mut filtered = next.clone();
            put(&mut filtered, path, &input);
            assert_refused(&root, &app.root_secret, rpc, &filtered, &format!("another {path}")).await;
        }
        put(&mut next, "page_size", &Input::Number(500));
        call(&root, &app.root_secret, rpc, &next).await.expect("the size of a page may change");
        tokens.push((rpc, message, token));
    }
    for (rpc, message, _) in &tokens {
        for (foreign, _, token) in tokens.iter().filter(|(foreign, ..)| foreign != rpc) {
            assert_refused(&root, &app.root_secret, rpc, &at(message, token), &format!("a token of {foreign}")).await;
        }
    }
}

async fn a_changed_page_token_is_refused(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let [place, other] = places(&mut root).await;
    for (rpc, _) in lists(&place, &other) {
        let (message, token) = first_token(&root, &app.root_secret, rpc, &place).await;
        for position in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_refused(&root, &app.root_secret, rpc, &at(&message, &changed), &format!("byte {position}")).await;
        }
        for changed in
            [&token[1..], &token[..token.len() - 1], &format!("{token}A"), &format!("{token}="), &token.repeat(2)]
        {
            assert_refused(&root, &app.root_secret, rpc, &at(&message, changed), "another length").await;
        }
    }
}
