//! A secret that was put where it doesn't belong: refused, and never said again.

use tonic::Code;

use super::dynamic::{Input, put};
use super::kinds::bad;
use super::table::fields;
use super::{base, call, words};
use crate::harness::{Engine, TestApp};
use crate::raw;
use crate::rpcs::Place;

on_both_engines!(a_text_with_a_secret_is_refused_and_not_quoted, a_secret_as_request_id_is_replaced);

/// Characters in a row that tell a secret: less than a third of its random part.
const TELLING: usize = 14;

fn assert_untold(words: &str, secret: &str, about: &str) {
    let random: Vec<char> = secret[27..].chars().collect();
    let told = random.windows(TELLING).map(|some| some.iter().collect::<String>()).find(|some| words.contains(some));
    assert_eq!(told, None, "{about} tells a part of the secret");
}

/// The input of a field's first bad value with `text` in its place; `None` for fields that hold no text.
fn with_text(input: &Input, text: &str) -> Option<Input> {
    match input {
        Input::Text(_) => Some(Input::Text(text.to_owned())),
        Input::Texts(_) => Some(Input::Texts(vec![text.to_owned()])),
        Input::Paths(_) => Some(Input::Paths(vec![text.to_owned()])),
        Input::Entries(entries) => {
            let entry = |fields: &Vec<(&'static str, Input)>| {
                fields.iter().filter_map(|(name, input)| Some((*name, with_text(input, text)?))).collect()
            };
            Some(Input::Entries(entries.iter().map(entry).collect()))
        }
        Input::Number(_) | Input::Span(..) | Input::Flag(_) | Input::Messages(_) | Input::Absent => None,
    }
}

async fn a_text_with_a_secret_is_refused_and_not_quoted(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let secret = place.secret.clone();
    let mistyped = format!("{}0", &secret[..75]);
    let texts = [
        secret.clone(),
        format!("see {secret} here"),
        format!("{secret}{secret}"),
        format!("tenants/{secret}"),
        mistyped,
    ];
    for field in fields() {
        let first = &bad(field.kind)[0].0;
        for text in &texts {
            let Some(input) = with_text(first, text) else { continue };
            let mut message = base(&field.rpc, &place);
            put(&mut message, field.path, &input);
            let about = format!("{} {}", field.rpc, field.path);
            let status = call(&root, &app.root_secret, &field.rpc, &message).await.expect_err(&about);
            assert_eq!(status.code(), Code::InvalidArgument, "{about}");
            assert_untold(&words(&status), &secret, &about);
            assert_untold(&String::from_utf8_lossy(status.details()), &secret, &about);
        }
    }
}

async fn a_secret_as_request_id_is_replaced(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let bearer = format!("Bearer {}", app.root_secret);
    let inside = format!("see-{}", &place.secret[..60]);
    for id in [place.secret.as_str(), inside.as_str()] {
        let metadata = [("authorization", bearer.as_str()), ("x-request-id", id)];
        let rpc = crate::rpcs::row("claviger.v1.KeyService/DisableKey");
        let answer = raw::answer(&root.channel, rpc.rpc, &metadata, (rpc.request)(&place)).await.expect("an answer");
        let told = answer.metadata().get("x-request-id").expect("a request id").to_str().expect("ASCII");
        assert_untold(told, &place.secret, "x-request-id");
    }
}
