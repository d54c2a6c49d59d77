//! Bad input: INVALID_ARGUMENT names every bad field, quotes little, and never a secret. The table of fields is held
//! against the descriptors, so a new field without bad values fails.

mod certificates;
mod dynamic;
mod kinds;
mod metadata;
mod names;
mod people;
mod permissions;
mod presented;
mod secrets;
mod sizes;
mod table;
mod together;
mod tokens;

use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Engine, TestApp, errors::bad_fields, errors::reason};
use crate::raw;
use crate::rpcs::Place;
use dynamic::{Input, put, request};
use kinds::{INVISIBLE, bad, good};
pub use people::bad_addresses;
use table::{Field, Why, editable, exemption, fields};

on_both_engines!(
    a_bad_value_is_refused_and_named,
    a_value_at_its_limit_is_accepted,
    output_fields_of_a_request_are_ignored
);

#[test]
fn every_field_of_every_rpc_has_bad_values_or_a_reason() {
    let checked: Vec<(String, &str)> = fields().into_iter().map(|field| (field.rpc, field.path)).collect();
    for rpc in raw::rpcs() {
        let name = raw::name(&rpc);
        for path in dynamic::paths(&rpc.input()) {
            let has_row = checked.contains(&(name.clone(), path.as_str()));
            let exempt = exemption(&name, &path).is_some();
            assert!(has_row != exempt, "{name} {path}: either bad values or an exemption with a reason");
        }
    }
    for (rpc, path) in checked {
        let known = dynamic::paths(&raw::rpc(&rpc).input());
        assert!(known.iter().any(|field| field == path), "{rpc} has no {path}");
    }
}

/// The RPC's valid request; an update names every field it can change.
fn base(rpc: &str, place: &Place) -> DynamicMessage {
    let mut message = request(rpc, place);
    if let Some(editable) = editable(rpc) {
        put(&mut message, "update_mask", &Input::Paths(editable.iter().map(ToString::to_string).collect()));
    }
    message
}

/// What the root key gets for this request.
async fn call(root: &Client, secret: &str, rpc: &str, message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    raw::call_as(&root.channel, secret, rpc, message.encode_to_vec()).await
}

/// Everything an error says to a person.
fn words(status: &Status) -> String {
    let details = status.get_details_bad_request().map_or_else(Vec::new, |bad| bad.field_violations);
    let said = details.into_iter().flat_map(|violation| [violation.field, violation.description]);
    std::iter::once(status.message().to_owned()).chain(said).collect::<Vec<_>>().join("\n")
}

/// At most 64 characters of the input, nothing invisible, no text that isn't text.
fn assert_discreet(status: &Status, input: &Input, about: &str) {
    let words = words(status);
    let invisible = words.chars().find(|c| INVISIBLE.contains(c));
    assert_eq!(invisible, None, "{about}: invisible characters in {words:?}");
    for text in dynamic::texts(input) {
        let characters: Vec<char> = text.chars().collect();
        let quoted = characters.windows(65).find(|some| words.contains(&some.iter().collect::<String>()));
        assert_eq!(quoted, None, "{about}: quotes more than 64 characters");
    }
}

async fn a_bad_value_is_refused_and_named(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let mut wrong = Vec::new();
    for field in fields() {
        for (input, below) in bad(field.kind) {
            let mut message = base(&field.rpc, &place);
            put(&mut message, field.path, &input);
            let about = format!("{} {} = {:.200}", field.rpc, field.path, format!("{input:?}"));
            let Err(status) = call(&root, &app.root_secret, &field.rpc, &message).await else {
                wrong.push(format!("accepted: {about}"));
                continue;
            };
            assert_discreet(&status, &input, &about);
            let told = (status.code() == Code::InvalidArgument).then(|| (reason(&status), bad_fields(&status)));
            let expected = Some(("FIELD_INVALID".to_owned(), vec![format!("{}{below}", field.path)]));
            if told != expected {
                wrong.push(format!("{:?} {told:?}: {about}", status.code()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} bad values:\n{}", wrong.len(), wrong.join("\n"));
}

async fn a_value_at_its_limit_is_accepted(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let mut tenant = root.create_tenant("acme").await;
    let mut number = 0;
    for field in fields() {
        for (input, expected) in good(field.kind) {
            number += 1;
            // Each place has a user group, and a tenant has at most 100.
            if number % 50 == 0 {
                tenant = root.create_tenant(&format!("acme-since-{number}")).await;
            }
            let place = place_for(&mut root, &field, &tenant, number).await;
            let mut message = base(&field.rpc, &place);
            put(&mut message, field.path, &numbered(input.clone(), number));
            let answered = call(&root, &app.root_secret, &field.rpc, &message).await;
            let code = answered.as_ref().map_or_else(Status::code, |_| Code::Ok);
            assert_eq!(code, expected, "{} {} = {input:?}: {answered:?}", field.rpc, field.path);
        }
    }
}

/// A request id is good once only, and so is a name in a certificate.
fn numbered(input: Input, number: usize) -> Input {
    match input {
        Input::Text(text) => Input::Text(text.replace(kinds::LAST_OF_UUID, &format!("{number:04x}"))),
        Input::Entries(entries) => {
            let fields =
                |fields: Vec<_>| fields.into_iter().map(|(name, input)| (name, numbered(input, number))).collect();
            Input::Entries(entries.into_iter().map(fields).collect())
        }
        other => other,
    }
}

/// A place that this call may change as it likes: what one good call does must not hinder the next.
async fn place_for(root: &mut Client, field: &Field, tenant: &str, number: usize) -> Place {
    let own_tenant = ["CreateTenant", "UpdateTenant", "DisableTenant", "DeleteTenant"]
        .iter()
        .any(|method| field.rpc.ends_with(method));
    let tenant = if own_tenant { root.create_tenant(&format!("acme-{number}")).await } else { tenant.to_owned() };
    Place::inside(root, &tenant, &format!("user-{number}")).await
}

async fn output_fields_of_a_request_are_ignored(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    for (number, rpc) in raw::rpcs().iter().enumerate() {
        let name = raw::name(rpc);
        let place = Place::make(&mut root, &format!("acme-{number}")).await;
        let mut message = base(&name, &place);
        for path in dynamic::paths(&rpc.input()) {
            if exemption(&name, &path) == Some(Why::Ignored) {
                put(&mut message, &path, &nonsense(&path));
            }
        }
        let answered = call(&root, &app.root_secret, &name, &message).await;
        assert!(answered.is_ok(), "{name}: {answered:?}");
    }
}

fn nonsense(path: &str) -> Input {
    match path.rsplit_once('.').map(|(_, last)| last) {
        Some("state") => Input::Number(99),
        Some("revision") => Input::Number(i64::MIN),
        Some("retrievable") => Input::Flag(true),
        Some(last) if last.ends_with("_time") => Input::Span(i64::MAX, -1),
        _ => Input::Text("\u{202e} nonsense".to_owned()),
    }
}
