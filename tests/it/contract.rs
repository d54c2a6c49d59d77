//! The contract keeps its own rules, in every service at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use prost_reflect::{DescriptorPool, EnumDescriptor, MethodDescriptor, ReflectMessage};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{engine::tool, process::run};

const LONGEST: Duration = Duration::from_secs(120);

fn pool() -> DescriptorPool {
    DescriptorPool::decode(claviger::proto::DESCRIPTORS).expect("descriptors")
}

fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    let ours = pool.services().filter(|service| service.package_name() == "claviger.v1");
    let methods: Vec<_> = ours.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    assert!(methods.len() >= 43, "the contract has lost methods: {}", methods.len());
    methods
}

fn enums(pool: &DescriptorPool) -> Vec<EnumDescriptor> {
    let ours: Vec<_> = pool.all_enums().filter(|found| found.package_name() == "claviger.v1").collect();
    assert!(!ours.is_empty());
    ours
}

#[test]
fn every_method_has_a_request_and_a_response_of_its_own() {
    for method in methods(&pool()) {
        assert_eq!(method.input().name(), format!("{}Request", method.name()), "{}", method.full_name());
        assert_eq!(method.output().name(), format!("{}Response", method.name()), "{}", method.full_name());
    }
}

/// A transcoder would send two methods of one pattern to the same handler.
#[test]
fn every_unary_method_has_an_http_pattern_that_no_other_has() {
    let pool = pool();
    let http = pool.get_extension_by_name("google.api.http").expect("the annotation");
    let mut patterns = BTreeMap::new();
    // HTTP has no form for a stream of questions, nor for an answer without an end.
    for method in methods(&pool).into_iter().filter(|method| !method.is_server_streaming()) {
        let options = method.options();
        assert!(options.has_extension(&http), "{} has no google.api.http", method.full_name());
        let rule = options.get_extension(&http).into_owned();
        let rule = rule.as_message().expect("a message");
        let pattern = rule.descriptor().oneofs().next().expect("pattern").fields().find(|field| rule.has_field(field));
        let pattern = pattern.unwrap_or_else(|| panic!("{} has no pattern", method.full_name()));
        let path = rule.get_field(&pattern).as_str().expect("a path").to_owned();
        assert!(path.starts_with("/v1"), "{}: {path}", method.full_name());
        if let Some(other) = patterns.insert((pattern.name().to_owned(), path), method.full_name().to_owned()) {
            panic!("{} and {other} have the same pattern", method.full_name());
        }
    }
}

#[test]
fn the_first_value_of_every_enum_says_nothing() {
    for found in enums(&pool()) {
        let zero = found.get_value(0).unwrap_or_else(|| panic!("{} has no 0", found.full_name()));
        assert!(zero.name().ends_with("_UNSPECIFIED"), "{}", zero.full_name());
        assert_eq!(found.default_value(), zero, "{}", found.full_name());
    }
}

/// google.rpc.ErrorInfo: at most 63 characters of `[A-Z][A-Z0-9_]+[A-Z0-9]`.
#[test]
fn every_error_reason_fits_into_error_info() {
    let reasons = pool().get_enum_by_name("claviger.v1.ErrorReason").expect("the reasons");
    for value in reasons.values() {
        let reason = value.name().strip_prefix("ERROR_REASON_").unwrap_or_else(|| panic!("{}", value.name()));
        assert!(value.name().len() <= 63, "{reason} is too long");
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        assert!(reason.bytes().all(plain) && !reason.ends_with('_') && !reason.starts_with('_'), "{reason}");
    }
}

/// AIP-158: adding pages later would break callers that read only one.
#[test]
fn every_list_is_paged() {
    let pool = pool();
    for method in methods(&pool).iter().filter(|method| method.name().starts_with("List")) {
        for field in ["page_size", "page_token"] {
            assert!(method.input().get_field_by_name(field).is_some(), "{} has no {field}", method.full_name());
        }
        assert!(method.output().get_field_by_name("next_page_token").is_some(), "{}", method.full_name());
    }
}

/// Secrets leave where they are made, by RevealKey, and nowhere else.
#[test]
fn only_new_keys_and_a_reveal_answer_with_a_secret() {
    let pool = pool();
    let with_secret = methods(&pool).into_iter().filter(|method| method.output().get_field_by_name("secret").is_some());
    let names: Vec<String> = with_secret.map(|method| method.name().to_owned()).collect();
    assert_eq!(names, ["CreateKey", "RotateKey", "RevealKey"]);
    assert!(pool.get_message_by_name("claviger.v1.Key").expect("Key").get_field_by_name("secret").is_none());
}

async fn buf(arguments: &[&str]) {
    let Some(program) = tool("buf") else { return };
    let mut buf = Command::new(program);
    buf.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    buf.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (code, out, err) = timeout(LONGEST, run(buf)).await.expect("it ends");
    assert_eq!(code, Some(0), "buf {arguments:?}\n{out}{err}");
}

#[tokio::test]
async fn the_protos_pass_buf_lint() {
    buf(&["lint"]).await;
}

#[tokio::test]
async fn the_protos_break_nobody_who_uses_the_baseline() {
    let baseline = "proto/baseline.binpb";
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(baseline).exists(), "{baseline} is not committed");
    buf(&["breaking", "--against", baseline]).await;
}
