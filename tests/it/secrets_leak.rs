//! No secret leaves by a side door: searched for by somebody who knows them all.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use claviger::domain::seal::SealingKey;
use claviger::proto::v1::{self, Verdict};
use parking_lot::Mutex;
use sea_orm::ConnectionTrait;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::harness::{Client, Engine, Place, engine, process};
use crate::rig::{Change, database, eventually, pepper, select};
use crate::wire;

on_both_engines!(nothing_secret_is_logged_stored_or_answered_in_human_logs, nothing_secret_is_logged_in_json);

const PASSWORD: &str = "geheim-0-database-password";
/// Characters of the part of a secret that nobody can guess.
const RANDOM: std::ops::Range<usize> = 27..70;

async fn nothing_secret_is_logged_stored_or_answered_in_human_logs(engine: Engine) {
    nothing_leaks(engine, "human").await;
}

async fn nothing_secret_is_logged_in_json(engine: Engine) {
    nothing_leaks(engine, "json").await;
}

async fn nothing_leaks(engine: Engine, log_format: &str) {
    let Some(mut place) = engine.place().await else { return };
    place.database_url = place.database_url.map(|url| with_password(&url));
    let kept = tempfile::tempdir().expect("a folder");
    let (current, retired) = (pepper(), pepper());
    let pepper_file = kept.path().join("pepper");
    std::fs::write(&pepper_file, format!("{current}\n{retired}\n")).expect("written");
    let (kek, retired_kek) = (pepper(), pepper());
    let kek_file = kept.path().join("kek");
    std::fs::write(&kek_file, format!("{kek}\n{retired_kek}\n")).expect("written");
    let mut needles = Needles::default();
    [PASSWORD, &current, &retired, &kek, &retired_kek].into_iter().for_each(|text| needles.add("a setting", text));
    needles.add_bytes("the pepper's bytes", from_hex(&current));
    needles.add_bytes("the KEK's bytes", from_hex(&kek));

    let mut command = process::command(&place);
    command
        .env("CLAVIGER_PEPPER_FILE", &pepper_file)
        .env("CLAVIGER_KEK_FILE", &kek_file)
        .env("CLAVIGER_LOG", "trace")
        .env("CLAVIGER_LOG_FORMAT", log_format);
    let mut talker = Talker::start(command).await;
    let root_secret = process::root_secret(place.folder.path());
    needles.add_secret("the root key", &root_secret);
    let mut said = Vec::new();
    let root = Client::connect(talker.address, Some(&root_secret)).await;
    walk(root, &mut needles, &mut said).await;
    reveal(&talker, &root_secret, &mut needles, &mut said).await;
    wrong_doors(&talker, &root_secret, &mut needles, &mut said).await;
    eventually(Duration::from_secs(10), "the last call is logged", async || talker.said().contains("ListAuditEvents"))
        .await;
    talker.child.kill().await.expect("killed");
    add_data_keys(&place, &kek, &mut needles).await;

    let mut places = files(place.folder.path(), &["root.key"]);
    places.push(("the output".to_owned(), talker.said().into_bytes()));
    places.extend(said.into_iter().map(|status| ("an answer".to_owned(), status)));
    places.extend(dump(&place).await.map(|dump| ("the database".to_owned(), dump)));
    assert_eq!(needles.hits(&places), Vec::<String>::new());
    expect_planted_to_be_found(&place, &needles, &root_secret).await;
}

/// The search finds what is there: in a file, among bytes of PostgreSQL, in a log.
async fn expect_planted_to_be_found(place: &Place, needles: &Needles, secret: &str) {
    let database = database(place).await;
    for sql in [
        format!("UPDATE tenant SET display_name = 'x {} x' WHERE id = 'acme'", &secret[RANDOM]),
        match place.database_url {
            Some(_) => format!("UPDATE request_replay SET sealed = '{secret}'::bytea"),
            None => format!("UPDATE request_replay SET sealed = CAST('{secret}' AS BLOB)"),
        },
    ] {
        assert!(database.execute_unprepared(&sql).await.expect("planted").rows_affected() > 0, "{sql}");
    }
    database.close().await.expect("closed");
    let stored = match dump(place).await {
        Some(dump) => vec![("the database".to_owned(), dump)],
        None => files(place.folder.path(), &["root.key"]),
    };
    let hits = needles.hits(&stored);
    assert!(hits.iter().any(|hit| hit.contains("the random part of the root key")), "{hits:?}");
    assert!(hits.iter().any(|hit| hit.contains("the whole of the root key")), "{hits:?}");
    let log = vec![("a log".to_owned(), format!("… {PASSWORD} …").into_bytes())];
    assert_eq!(needles.hits(&log).len(), 1);
}

/// What is looked for, and what it is.
#[derive(Default)]
struct Needles(Vec<(String, Vec<u8>)>);

impl Needles {
    /// As it is, and as PostgreSQL prints bytes.
    fn add(&mut self, what: &str, text: &str) {
        self.add_bytes(what, text.as_bytes().to_vec());
    }

    fn add_bytes(&mut self, what: &str, bytes: Vec<u8>) {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.0.extend([(what.to_owned(), bytes), (format!("{what}, in hexadecimal"), hex.into_bytes())]);
    }

    fn add_secret(&mut self, what: &str, secret: &str) {
        self.add(&format!("the whole of {what}"), secret);
        self.add(&format!("the random part of {what}"), &secret[RANDOM]);
    }

    fn hits(&self, places: &[(String, Vec<u8>)]) -> Vec<String> {
        let mut hits = Vec::new();
        for (place, bytes) in places {
            for (what, needle) in &self.0 {
                if contains(bytes, needle) {
                    hits.push(format!("{what} is in {place}{}", around(bytes, needle)));
                }
            }
        }
        hits
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    position(bytes, needle).is_some()
}

fn position(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
    starts.map(|(start, _)| start).find(|start| bytes[*start..].starts_with(needle))
}

/// What stands before it, which tells where it came from.
fn around(bytes: &[u8], needle: &[u8]) -> String {
    let end = position(bytes, needle).unwrap_or_default();
    format!(", after {:?}", String::from_utf8_lossy(&bytes[end.saturating_sub(200)..end]))
}

/// The binary, and everything it says.
struct Talker {
    child: tokio::process::Child,
    address: std::net::SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Talker {
    async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(collect(child.stdout.take().expect("a pipe"), Arc::clone(&said)));
        tokio::spawn(collect(child.stderr.take().expect("a pipe"), Arc::clone(&said)));
        let mut talker = Self { child, address: ([0, 0, 0, 0], 0).into(), said };
        eventually(Duration::from_secs(60), "it serves", async || talker.said().contains("CreateTenant")).await;
        let said = talker.said();
        let start = said.find("Claviger serves gRPC on ").expect("an address") + 24;
        let line = said[start..].lines().next().expect("a line");
        talker.address = line.trim_end_matches('.').parse().expect("an address");
        talker
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock()).into_owned()
    }
}

async fn collect(mut from: impl AsyncRead + Unpin, into: Arc<Mutex<Vec<u8>>>) {
    let mut some = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut some).await {
        into.lock().extend_from_slice(&some[..count]);
    }
}

/// What is usual: make, rotate, repeat, verify.
async fn walk(mut root: Client, needles: &mut Needles, said: &mut Vec<Vec<u8>>) {
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    for number in 0..3 {
        let key = v1::Key { display_name: "a key".to_owned(), scopes: vec!["pay".to_owned()], ..Default::default() };
        let request_id = format!("00000000-0000-4000-8000-{number:012}");
        let create = v1::CreateKeyRequest { parent: owner.clone(), key: Some(key), request_id, ..Default::default() };
        let made = root.keys.create_key(create.clone()).await.expect("a key").into_inner();
        let again = root.keys.create_key(create.clone()).await.expect("the same key").into_inner();
        assert_eq!(again.secret, made.secret);
        needles.add_secret("a key", &made.secret);
        let other = v1::CreateKeyRequest { key: None, ..create };
        said.push(told(&root.keys.create_key(other).await.expect_err("no key")));
        let name = made.key.expect("a key").name;
        let rotated = Change::Rotate(number * 60).make(&mut root, &owner, &name).await.expect("rotated");
        needles.add_secret("a successor", rotated.secret.as_deref().expect("a secret"));
        assert_eq!(root.verdict(rotated.secret.as_deref().expect("a secret")).await, Verdict::Valid);
        root.verdict(&made.secret).await;
        said.push(told(&Change::Rotate(0).make(&mut root, &owner, &name).await.expect_err("rotated before")));
        for spoilt in [spoil(&made.secret, 40), spoil(&made.secret, 75), made.secret.to_lowercase()] {
            assert_ne!(root.verdict(&spoilt).await, Verdict::Valid);
        }
    }
}

/// Retrievable keys: made, revealed as often as they may be and once more, rotated, ended.
async fn reveal(talker: &Talker, root_secret: &str, needles: &mut Needles, said: &mut Vec<Vec<u8>>) {
    let mut root = Client::connect(talker.address, Some(root_secret)).await;
    let policy = Some(v1::TenantPolicy { allow_retrievable: true, ..Default::default() });
    let tenant = Some(v1::Tenant { name: "tenants/acme".to_owned(), policy, ..Default::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["policy".to_owned()] });
    let allow = v1::UpdateTenantRequest { tenant, update_mask, expected_revision: 0 };
    root.tenants.update_tenant(allow).await.expect("allowed");
    let owner = root.create_service_user("tenants/acme", "portal").await;
    for ends in [false, true] {
        let key = v1::Key { display_name: "a key".to_owned(), retrievable: true, ..Default::default() };
        let create = v1::CreateKeyRequest { parent: owner.clone(), key: Some(key), ..Default::default() };
        let made = root.keys.create_key(create).await.expect("a key").into_inner();
        needles.add_secret("a retrievable key", &made.secret);
        let name = made.key.expect("a key").name;
        let ask = v1::RevealKeyRequest { name: name.clone() };
        for _ in 0..5 {
            let told = root.keys.reveal_key(ask.clone()).await.expect("revealed");
            said.push(format!("{:?} {:?}", told.metadata(), told.get_ref()).into_bytes());
            assert_eq!(told.into_inner().secret, made.secret);
        }
        said.push(told(&root.keys.reveal_key(ask.clone()).await.expect_err("the sixth")));
        let rotated = Change::Rotate(60).make(&mut root, &owner, &name).await.expect("rotated");
        needles.add_secret("a retrievable successor", rotated.secret.as_deref().expect("a secret"));
        if ends {
            Change::Revoke.make(&mut root, &owner, &name).await.expect("revoked");
            said.push(told(&root.keys.reveal_key(ask).await.expect_err("revoked")));
        }
    }
}

/// What only whoever has the KEK can know: the data keys, by the form in which they are stored.
async fn add_data_keys(place: &Place, kek: &str, needles: &mut Needles) {
    let database = database(place).await;
    let kek = SealingKey::new(from_hex(kek).as_slice().try_into().expect("32 bytes"));
    let ids: Vec<String> = select(&database, "SELECT key_id FROM sealed_secret ORDER BY key_id").await;
    let wrapped: Vec<Vec<u8>> = select(&database, "SELECT wrapped_key FROM sealed_secret ORDER BY key_id").await;
    assert_eq!((ids.len(), wrapped.len()), (3, 3), "one of four is revoked");
    for (id, wrapped) in ids.iter().zip(wrapped) {
        let data_key = kek.open(format!("claviger.data-key.v1\nacme\n{id}").as_bytes(), &wrapped).expect("wrapped so");
        assert_eq!(data_key.len(), 32);
        needles.add_bytes("a data key", data_key.to_vec());
    }
    database.close().await.expect("closed");
}

/// The secret with one other character.
fn spoil(secret: &str, position: usize) -> String {
    let other = if secret.as_bytes()[position] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &secret[..position], &secret[position + 1..])
}

/// A secret wherever it doesn't belong. Each is refused, and the refusal doesn't repeat it.
async fn wrong_doors(talker: &Talker, root_secret: &str, needles: &mut Needles, said: &mut Vec<Vec<u8>>) {
    let mut root = Client::connect(talker.address, Some(root_secret)).await;
    let (_, secret) = root.create_key("tenants/acme/serviceUsers/billing", &[]).await;
    needles.add_secret("a misplaced key", &secret);
    for status in refused_by_fields(&mut root, &secret).await {
        said.push(told(&status));
    }
    let asked = v1::VerifyRequest { secret: secret.clone(), ..Default::default() };
    let mut bad = root.verification.verify(v1::VerifyRequest { tenant: secret.clone(), ..asked.clone() }).await;
    said.push(told(&bad.expect_err("a tenant")));
    bad = root.verification.verify(v1::VerifyRequest { client_ip: secret.clone(), ..asked.clone() }).await;
    said.push(told(&bad.expect_err("an address")));
    bad = root.verification.verify(v1::VerifyRequest { required_scopes: vec![secret.clone()], ..asked.clone() }).await;
    said.push(told(&bad.expect_err("a scope")));
    let mut stranger = Client::connect(talker.address, None).await;
    for value in [format!("Basic {secret}"), secret.clone(), format!("Bearer  {secret}"), format!("Bearer {}x", secret)]
    {
        let mut request = Request::new(asked.clone());
        request.metadata_mut().insert("authorization", value.parse().expect("a value"));
        said.push(told(&stranger.verification.verify(request).await.expect_err("no caller")));
    }
    for name in ["x-request-id", "traceparent", "tracestate", "user-agent", "x-forwarded-for", "grpc-timeout"] {
        let mut request =
            Request::new(v1::ListAuditEventsRequest { parent: "tenants/acme".to_owned(), ..Default::default() });
        request.metadata_mut().insert(name, secret.parse().expect("a value"));
        let answer = root.audit.list_audit_events(request).await.expect("events");
        said.push(format!("{:?}", answer.metadata()).into_bytes());
        said.push(format!("{:?}", answer.get_ref()).into_bytes());
    }
    let mut http = wire::Http2::connect(talker.address).await;
    for path in [format!("/claviger.v1.KeyService/{secret}"), format!("/v1/keys/{secret}"), format!("/{secret}/x")] {
        let answer = http.send(wire::create_tenant("POST", &path, root_secret, "odd")).await;
        said.push(format!("{:?}", answer.headers()).into_bytes());
    }
    root.audit
        .list_audit_events(v1::ListAuditEventsRequest { parent: "tenants/acme".to_owned(), ..Default::default() })
        .await
        .expect("events");
}

async fn refused_by_fields(root: &mut Client, secret: &str) -> Vec<Status> {
    let text = || secret.to_owned();
    let owner = || "tenants/acme/serviceUsers/billing".to_owned();
    let key = v1::Key { display_name: "a key".to_owned(), ..Default::default() };
    let create = v1::CreateKeyRequest { parent: owner(), key: Some(key.clone()), ..Default::default() };
    let mut refused = Vec::new();
    for wrong in [
        v1::Key { display_name: text(), ..key.clone() },
        v1::Key { description: format!("its secret is {secret}."), ..key.clone() },
        v1::Key { scopes: vec![text()], ..key.clone() },
        v1::Key { allowed_networks: vec![text()], ..key.clone() },
    ] {
        refused.push(
            root.keys.create_key(v1::CreateKeyRequest { key: Some(wrong), ..create.clone() }).await.expect_err("a key"),
        );
    }
    let create = [
        v1::CreateKeyRequest { request_id: text(), ..create.clone() },
        v1::CreateKeyRequest { parent: text(), ..create.clone() },
        v1::CreateKeyRequest { parent: format!("tenants/acme/serviceUsers/{secret}"), ..create },
    ];
    for wrong in create {
        refused.push(root.keys.create_key(wrong).await.expect_err("a request"));
    }
    for name in [text(), format!("{}/keys/{secret}", owner()), format!("{}/keys/{}", owner(), &secret[4..26])] {
        let get = root.keys.get_key(v1::GetKeyRequest { name: name.clone() }).await;
        refused.extend(get.err());
        let mask = prost_types::FieldMask { paths: vec![text()] };
        let edited = v1::Key { name: name.clone(), ..key.clone() };
        let update = v1::UpdateKeyRequest { key: Some(edited), update_mask: Some(mask), expected_revision: 0 };
        refused.push(root.keys.update_key(update).await.expect_err("a mask"));
        let revoke = v1::RevokeKeyRequest { name, reason: text(), expected_revision: 0, wait_for_replicas: None };
        refused.push(root.keys.revoke_key(revoke).await.expect_err("a reason"));
    }
    refused.extend(refused_by_others(root, secret).await);
    refused
}

async fn refused_by_others(root: &mut Client, secret: &str) -> Vec<Status> {
    let (text, acme) = (|| secret.to_owned(), || "tenants/acme".to_owned());
    let parent = "tenants/acme/serviceUsers/billing".to_owned();
    let list = v1::ListKeysRequest { parent, page_token: text(), ..Default::default() };
    let mut refused = vec![root.keys.list_keys(list).await.expect_err("a page token")];
    let tenant = v1::Tenant { display_name: text(), ..Default::default() };
    let create = v1::CreateTenantRequest { tenant_id: text(), tenant: Some(tenant) };
    refused.push(root.tenants.create_tenant(create).await.expect_err("a tenant"));
    let user = v1::ServiceUser { display_name: text(), description: text(), ..Default::default() };
    let create = v1::CreateServiceUserRequest { parent: acme(), service_user_id: text(), service_user: Some(user) };
    refused.push(root.service_users.create_service_user(create).await.expect_err("a service user"));
    let events = v1::ListAuditEventsRequest { parent: acme(), target: text(), ..Default::default() };
    refused.extend(root.audit.list_audit_events(events).await.err());
    refused
}

/// Everything a refusal tells.
fn told(status: &Status) -> Vec<u8> {
    let metadata: &MetadataMap = status.metadata();
    let text = format!("{} {metadata:?} ", status.message());
    [text.as_bytes(), status.details()].concat()
}

/// Every file below the folder, but those that are meant to hold a secret.
fn files(folder: &Path, but: &[&str]) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let wanted = |path: &PathBuf| !but.iter().any(|name| path.ends_with(name));
    entries.filter(wanted).map(|path| (path.display().to_string(), std::fs::read(&path).expect("readable"))).collect()
}

/// All of PostgreSQL's database as text; `None` on SQLite, whose file is among the others.
async fn dump(place: &Place) -> Option<Vec<u8>> {
    let url = place.database_url.as_deref()?;
    let own = PathBuf::from("/usr/lib/postgresql/15/bin/pg_dump");
    let program = if own.exists() { own } else { PathBuf::from("pg_dump") };
    let Ok(output) = Command::new(program).args(["--inserts", "--no-owner", url]).output().await else {
        engine::skip("no pg_dump: the tables of PostgreSQL aren't searched");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(contains(&output.stdout, b"api_key"));
    Some(output.stdout)
}

fn with_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (user, host) = rest.split_once('@').expect("a user");
    let name = user.split_once(':').map_or(user, |(name, _)| name);
    // The throw-away cluster trusts everybody on loopback, whatever the password.
    format!("{scheme}://{name}:{PASSWORD}@{host}")
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}
