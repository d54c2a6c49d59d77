//! Credential files: a secret as a file to hand on.

use std::collections::HashMap;

use claviger::proto::v1::{self, CredentialFileFormat};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Client, Engine, TestApp, errors::bad_fields};

on_both_engines!(a_file_holds_what_its_holder_needs, the_token_alone_is_a_credential);

async fn create(root: &mut Client, owner: &str, format: i32, scopes: &[&str]) -> v1::CreateKeyResponse {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    let key = v1::Key { display_name: "a key".to_owned(), scopes, ..Default::default() };
    let request = v1::CreateKeyRequest {
        parent: owner.to_owned(),
        key: Some(key),
        credential_file_format: format,
        ..Default::default()
    };
    root.keys.create_key(request).await.expect("a key").into_inner()
}

async fn rotate(root: &mut Client, name: &str, format: i32) -> v1::RotateKeyResponse {
    let request = v1::RotateKeyRequest { name: name.to_owned(), credential_file_format: format, ..Default::default() };
    root.keys.rotate_key(request).await.expect("rotated").into_inner()
}

/// Host, id, key and token of a file in CSV.
fn columns(content: &str) -> HashMap<&str, &str> {
    let lines: Vec<_> = content.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 2, "{content:?}");
    lines[0].split(',').zip(lines[1].split(',')).collect()
}

/// The file of this secret, whatever it came with.
fn check(file: Option<v1::CredentialFile>, format: CredentialFileFormat, host: &str, secret: &str) {
    let (id, key) = (&secret[4..26], &secret[27..]);
    assert_eq!((secret.split('_').nth(1), secret.split('_').nth(2)), (Some(id), Some(key)));
    let file = file.expect("a file");
    match format {
        CredentialFileFormat::Unspecified => unreachable!("no file is asked for"),
        CredentialFileFormat::Json => {
            assert_eq!((&*file.media_type, file.file_name), ("application/json", format!("claviger-{id}.json")));
            let content: Value = serde_json::from_str(&file.content).expect("JSON");
            assert_eq!(content, json!({"api_keys": {host: {"id": id, "key": key, "token": secret}}}));
        }
        CredentialFileFormat::Csv => {
            assert_eq!((&*file.media_type, file.file_name), ("text/csv", format!("claviger-{id}.csv")));
            let expected = HashMap::from([("host", host), ("id", id), ("key", key), ("token", secret)]);
            assert_eq!(columns(&file.content), expected);
        }
    }
}

async fn a_file_holds_what_its_holder_needs(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let host = app.address().to_string();
    for format in [CredentialFileFormat::Json, CredentialFileFormat::Csv] {
        let made = create(&mut root, &owner, format.into(), &[]).await;
        check(made.credential_file, format, &host, &made.secret);
        let rotated = rotate(&mut root, &made.key.expect("a key").name, format.into()).await;
        check(rotated.credential_file, format, &host, &rotated.secret);
    }
    let made = create(&mut root, &owner, 0, &[]).await;
    assert_eq!(made.credential_file, None);
    assert_eq!(rotate(&mut root, &made.key.expect("a key").name, 0).await.credential_file, None);
    let request = v1::CreateKeyRequest {
        parent: owner,
        key: Some(v1::Key { display_name: "a key".to_owned(), ..Default::default() }),
        credential_file_format: 3,
        ..Default::default()
    };
    let refused = root.keys.create_key(request).await.expect_err("no such format");
    let blamed = vec!["credential_file_format".to_owned()];
    assert_eq!((refused.code(), bad_fields(&refused)), (Code::InvalidArgument, blamed));
}

async fn the_token_alone_is_a_credential(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let made = create(&mut root, &owner, CredentialFileFormat::Csv.into(), &["claviger:keys.self"]).await;
    let content = made.credential_file.expect("a file").content;
    let columns = columns(&content);
    let name = made.key.expect("a key").name;
    for (column, admits) in [("token", true), ("id", false), ("key", false)] {
        let mut holder = root.with(Some(columns[column]));
        let answered = holder.keys.get_key(v1::GetKeyRequest { name: name.clone() }).await;
        assert_eq!(answered.is_ok(), admits, "{column}: {answered:?}");
        let verdict = if admits { v1::Verdict::Valid } else { v1::Verdict::Malformed };
        assert_eq!(root.verdict(columns[column]).await, verdict, "{column}");
    }
}
