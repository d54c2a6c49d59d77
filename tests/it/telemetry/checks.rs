//! The trace of a request that Envoy asks about: by the request's own headers, since Envoy doesn't trace.

use std::process::Stdio;

use claviger::proto::envoy::service::auth::v3::CheckResponse;
use prost::Message;
use tokio::process::Command;
use tokio::time::timeout;

use super::{LONGEST, PARENT, TRACE, attribute, hex, root, spans_by_now, traced};
use crate::envoy::decisions::{asked, joined};
use crate::harness::{Client, Envoy, engine::tool, process::root_secret, process::run};
use crate::raw;

const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_grpcurl_through_envoy_to_the_span_of_the_check() {
    let Some(grpcurl) = tool("grpcurl") else { return };
    let (mut collector, service, place) = traced("0").await;
    let mut client = root(&service, &place).await;
    let tenant = client.create_tenant("acme").await;
    let owner = client.create_service_user(&tenant, "billing").await;
    let (_, secret) = client.create_key(&owner, &[]).await;
    let gateway = client.create_service_user("tenants/system", "envoy").await;
    let (_, key) = client.create_key(&gateway, &["claviger:verify"]).await;
    let Some(envoy) = Envoy::start(service.address, &key).await else { return };
    let descriptors = place.folder.path().join("claviger.binpb");
    std::fs::write(&descriptors, claviger::proto::DESCRIPTORS).expect("written");

    // The guarded backend is no gRPC server: what it answers is grpcurl's problem, after Envoy has asked.
    let call = async |flags: &str| {
        let mut command = Command::new(&grpcurl);
        command.args(["-plaintext", "-max-time", "20", "-protoset"]).arg(&descriptors);
        command.args([
            "-H",
            &format!("x-api-key: {secret}"),
            "-H",
            &format!("traceparent: 00-{TRACE}-{PARENT}-{flags}"),
        ]);
        command.args(["-H", "tracestate: vendor=abc"]);
        command.args([&envoy.guarded.to_string(), "claviger.v1.VerificationService/Verify"]);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        timeout(LONGEST, run(command)).await.expect("it ends")
    };
    let (_, out, err) = call("01").await;
    assert!(!format!("{out}{err}").contains("PermissionDenied"), "Envoy let it through: {out}{err}");
    let (_, span) = collector.span(CHECK).await;
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(span.trace_state, "vendor=abc");
    assert_eq!(attribute(&span, "rpc.method"), CHECK);
    assert_eq!(attribute(&span, "rpc.response.status_code"), "OK");
    assert!(!format!("{span:?}").contains(&secret[27..]), "the span holds the secret");

    // Not recorded by the caller: no span of ours either.
    call("00").await;
    let checks = spans_by_now(&mut collector, &mut client, &[CHECK]).await;
    assert!(checks.is_empty(), "{checks:?}");
}

async fn check(client: &Client, secret: &str, headers: &[(&str, &str)]) {
    let answer = raw::call_as(&client.channel, secret, CHECK, asked(joined(headers), &[]).encode_to_vec()).await;
    CheckResponse::decode(&answer.expect("a decision")[..]).expect("a decision");
}

/// The ratio is for calls that say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_is_traced_by_ratio_and_whoever_says_no_is_not() {
    let (mut collector, service, place) = traced("1").await;
    let mut client = root(&service, &place).await;
    let secret = root_secret(place.folder.path());
    let unrecorded = format!("00-{TRACE}-{PARENT}-00");
    check(&client, &secret, &[("x-api-key", "x"), ("traceparent", &unrecorded)]).await;
    check(&client, &secret, &[("x-api-key", "x")]).await;
    let checks = spans_by_now(&mut collector, &mut client, &[CHECK]).await;
    let [span] = &checks[..] else { panic!("not one: {checks:?}") };
    assert_ne!(hex(&span.trace_id), TRACE, "the one that said nothing");
    assert_eq!(hex(&span.parent_span_id), "");
}
