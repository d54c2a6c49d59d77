//! What comes beside the message.

use crate::harness::{Engine, TestApp};
use crate::raw;
use crate::rpcs::{Place, row};

on_both_engines!(metadata_given_twice_is_harmless, an_odd_request_id_is_replaced_by_one_of_ours);

const RPC: &str = "claviger.v1.KeyService/GetKey";

async fn metadata_given_twice_is_harmless(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let bearer = format!("Bearer {}", app.root_secret);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for twice in [["x-request-id"; 2], ["traceparent"; 2], ["tracestate"; 2], ["x-unknown"; 2], ["grpc-timeout"; 2]] {
        let values = if twice[0] == "grpc-timeout" { ["9S", "8S"] } else { ["one", trace] };
        let metadata = [("authorization", bearer.as_str()), (twice[0], values[0]), (twice[1], values[1])];
        let answer = raw::answer(&root.channel, RPC, &metadata, (row(RPC).request)(&place)).await;
        let answer = answer.unwrap_or_else(|status| panic!("{twice:?}: {status:?}"));
        assert_eq!(answer.metadata().get_all("x-request-id").iter().count(), 1, "{twice:?}");
    }
}

async fn an_odd_request_id_is_replaced_by_one_of_ours(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let bearer = format!("Bearer {}", app.root_secret);
    let longest = "a".repeat(64);
    let given = [("an.id_of-mine", true), (&longest, true), (&longest[1..], true), ("", false), ("two words", false)];
    let odd = [(" spaced", false), ("a/b", false), ("a\"b", false), (&*format!("{longest}a"), false)];
    for (id, kept) in given.into_iter().chain(odd) {
        let metadata = [("authorization", bearer.as_str()), ("x-request-id", id)];
        let answer = raw::answer(&root.channel, RPC, &metadata, (row(RPC).request)(&place)).await.expect("an answer");
        let told = answer.metadata().get("x-request-id").expect("a request id").to_str().expect("ASCII");
        assert_eq!(told == id.trim(), kept, "{id:?} became {told:?}");
        assert!((1..=64).contains(&told.len()), "{told:?}");
    }
}
