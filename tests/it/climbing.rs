//! Nobody climbs: no call gives anybody a right, a secret or a reach that the calling key hasn't got. Each way up has a row
//! that must fail, beside a row that must not, so that refusing everything is no way to pass.

mod callers;
mod own_keys;
mod protected;
mod rights;

use claviger::proto::v1;
use prost_types::{Duration, FieldMask, Timestamp};
use tonic::{Code, Status};

use crate::harness::{Client, Engine, TestApp, errors::reason};

/// A tenant `acme` with two service users.
struct Scene {
    app: TestApp,
    root: Client,
    tenant: String,
    /// Where callers' keys live.
    own: String,
    /// Another service user.
    other: String,
}

impl Scene {
    async fn set(engine: Engine) -> Option<Self> {
        let app = TestApp::start(engine).await?;
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        let own = root.create_service_user(&tenant, "own").await;
        let other = root.create_service_user(&tenant, "other").await;
        Some(Self { app, root, tenant, own, other })
    }

    /// A caller whose key belongs to `own` and carries these scopes.
    async fn caller(&mut self, scopes: &[&str]) -> Client {
        self.caller_like(key(scopes)).await.1
    }

    /// A caller with a key like this one.
    async fn caller_like(&mut self, like: v1::Key) -> (v1::Key, Client) {
        let (key, secret) = create(&mut self.root, &self.own.clone(), like).await.expect("a key");
        (key, self.root.with(Some(&secret)))
    }
}

/// A key to be made.
fn key(scopes: &[&str]) -> v1::Key {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    v1::Key { display_name: "a key".to_owned(), scopes, ..Default::default() }
}

fn in_networks(networks: &[&str], key: v1::Key) -> v1::Key {
    v1::Key { allowed_networks: networks.iter().map(ToString::to_string).collect(), ..key }
}

/// The key with an end that many seconds after the start of time.
fn until(seconds: i64, key: v1::Key) -> v1::Key {
    let start = crate::harness::app::start_of_time().timestamp();
    v1::Key { expire_time: Some(Timestamp { seconds: start + seconds, nanos: 0 }), ..key }
}

async fn create(caller: &mut Client, parent: &str, key: v1::Key) -> Result<(v1::Key, String), Status> {
    let request = v1::CreateKeyRequest { parent: parent.to_owned(), key: Some(key), ..Default::default() };
    let made = caller.keys.create_key(request).await?.into_inner();
    Ok((made.key.expect("a key"), made.secret))
}

/// Sets the fields that the mask names.
async fn update(caller: &mut Client, name: &str, to: v1::Key, mask: &[&str]) -> Result<v1::Key, Status> {
    let key = v1::Key { name: name.to_owned(), ..to };
    let update_mask = Some(FieldMask { paths: mask.iter().map(ToString::to_string).collect() });
    let request = v1::UpdateKeyRequest { key: Some(key), update_mask, expected_revision: 0 };
    Ok(caller.keys.update_key(request).await?.into_inner().key.expect("a key"))
}

async fn rotate(caller: &mut Client, name: &str, ttl: Option<i64>) -> Result<v1::RotateKeyResponse, Status> {
    let ttl = ttl.map(|seconds| Duration { seconds, nanos: 0 });
    let grace_period = Some(Duration { seconds: 0, nanos: 0 });
    let request = v1::RotateKeyRequest { name: name.to_owned(), ttl, grace_period, ..Default::default() };
    Ok(caller.keys.rotate_key(request).await?.into_inner())
}

async fn enable(caller: &mut Client, name: &str) -> Result<(), Status> {
    let request = v1::EnableKeyRequest { name: name.to_owned(), expected_revision: 0 };
    caller.keys.enable_key(request).await.map(drop)
}

async fn disable(caller: &mut Client, name: &str) -> Result<(), Status> {
    let request = v1::DisableKeyRequest { name: name.to_owned(), expected_revision: 0, wait_for_replicas: None };
    caller.keys.disable_key(request).await.map(drop)
}

async fn revoke(caller: &mut Client, name: &str) -> Result<(), Status> {
    let request = v1::RevokeKeyRequest {
        name: name.to_owned(),
        reason: String::new(),
        expected_revision: 0,
        wait_for_replicas: None,
    };
    caller.keys.revoke_key(request).await.map(drop)
}

async fn enable_user(caller: &mut Client, name: &str) -> Result<(), Status> {
    let request = v1::EnableServiceUserRequest { name: name.to_owned(), expected_revision: 0 };
    caller.service_users.enable_service_user(request).await.map(drop)
}

async fn disable_user(caller: &mut Client, name: &str) -> Result<(), Status> {
    let request = v1::DisableServiceUserRequest { name: name.to_owned(), expected_revision: 0 };
    caller.service_users.disable_service_user(request).await.map(drop)
}

/// How a call must be refused; `None` = it must succeed.
type Refused = Option<(Code, &'static str)>;

/// Whether a call was refused as it must be.
#[track_caller]
fn assert_outcome<T>(outcome: Result<T, Status>, refused: Refused, about: &str) {
    let told = outcome.err().map(|status| (status.code(), reason(&status)));
    assert_eq!(told, refused.map(|(code, reason)| (code, reason.to_owned())), "{about}");
}

const NOT_HELD: Refused = Some((Code::PermissionDenied, "RIGHT_NOT_HELD"));
const WIDER: Refused = Some((Code::PermissionDenied, "WIDER_THAN_CALLER"));
const RIGHT_MISSING: Refused = Some((Code::PermissionDenied, "RIGHT_MISSING"));
const INVALID: Refused = Some((Code::InvalidArgument, "FIELD_INVALID"));
const ALLOWED: Refused = None;
