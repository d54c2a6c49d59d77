//! The life of one key as a table: what was done, what Verify says then, and when.

use chrono::TimeDelta;
use claviger::proto::v1::{self, KeyState, Verdict};

use crate::harness::{Client, Engine, TestApp, errors::reason};
use crate::rig::but_for_use;

on_both_engines!(a_key_lives_and_dies_as_the_table_says, grace_ends_and_lifetime_starts_anew);

struct Life {
    app: TestApp,
    root: Client,
    name: String,
    secret: String,
}

impl Life {
    async fn begin(engine: Engine, days: i64) -> Option<Self> {
        let app = TestApp::start(engine).await?;
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let key = v1::Key { display_name: "a key".to_owned(), scopes: vec!["pay".to_owned()], ..Default::default() };
        let ttl = prost_types::Duration { seconds: days * 86_400, nanos: 0 };
        let request = v1::CreateKeyRequest { parent: owner, key: Some(key), ttl: Some(ttl), ..Default::default() };
        let made = root.keys.create_key(request).await.expect("a key").into_inner();
        let name = made.key.expect("a key").name;
        Some(Self { app, root, name, secret: made.secret })
    }

    async fn expect(&mut self, verdict: Verdict, after: &str) {
        assert_eq!(self.root.verdict(&self.secret).await, verdict, "after {after}");
    }

    async fn enable(&mut self) -> Result<v1::Key, tonic::Status> {
        let request = v1::EnableKeyRequest { name: self.name.clone(), expected_revision: 0 };
        Ok(self.root.keys.enable_key(request).await?.into_inner().key.expect("a key"))
    }

    async fn disable(&mut self) -> Result<v1::Key, tonic::Status> {
        let request = v1::DisableKeyRequest { name: self.name.clone(), expected_revision: 0, wait_for_replicas: None };
        Ok(self.root.keys.disable_key(request).await?.into_inner().key.expect("a key"))
    }

    async fn revoke(&mut self) -> Result<v1::Key, tonic::Status> {
        let request = v1::RevokeKeyRequest {
            name: self.name.clone(),
            reason: "no longer used".to_owned(),
            expected_revision: 0,
            wait_for_replicas: None,
        };
        Ok(self.root.keys.revoke_key(request).await?.into_inner().key.expect("a key"))
    }

    async fn delete(&mut self) -> Result<v1::Key, tonic::Status> {
        let request = v1::DeleteKeyRequest { name: self.name.clone(), expected_revision: 0 };
        Ok(self.root.keys.delete_key(request).await?.into_inner().key.expect("a key"))
    }

    async fn rotate(&mut self, grace_seconds: Option<i64>) -> Result<v1::RotateKeyResponse, tonic::Status> {
        let grace_period = grace_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let request = v1::RotateKeyRequest { name: self.name.clone(), grace_period, ..Default::default() };
        Ok(self.root.keys.rotate_key(request).await?.into_inner())
    }

    async fn rename(&mut self, display_name: &str) -> Result<v1::Key, tonic::Status> {
        let key = v1::Key { name: self.name.clone(), display_name: display_name.to_owned(), ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] });
        let request = v1::UpdateKeyRequest { key: Some(key), update_mask, expected_revision: 0 };
        Ok(self.root.keys.update_key(request).await?.into_inner().key.expect("a key"))
    }
}

async fn a_key_lives_and_dies_as_the_table_says(engine: Engine) {
    let Some(mut life) = Life::begin(engine, 90).await else { return };
    life.expect(Verdict::Valid, "create").await;

    let disabled = life.disable().await.expect("disabled");
    life.expect(Verdict::Disabled, "disable").await;
    let again = life.disable().await.expect("a no-op");
    assert_eq!(but_for_use(again), but_for_use(disabled.clone()), "disabling twice answers the same");
    assert_eq!(reason(&life.rotate(None).await.expect_err("a disabled key")), "KEY_DISABLED");

    life.enable().await.expect("enabled");
    life.expect(Verdict::Valid, "enable").await;

    let renamed = life.rename("another name").await.expect("renamed");
    assert!(renamed.revision > disabled.revision);
    life.expect(Verdict::Valid, "edit").await;

    let predecessor = (life.name.clone(), life.secret.clone());
    let rotated = life.rotate(Some(3_600)).await.expect("rotated");
    (life.name, life.secret) = (rotated.key.expect("a key").name, rotated.secret);
    life.expect(Verdict::Valid, "rotate: the successor").await;
    assert_eq!(life.root.verdict(&predecessor.1).await, Verdict::Valid, "in its grace period");
    life.app.advance(TimeDelta::seconds(3_600));
    assert_eq!(life.root.verdict(&predecessor.1).await, Verdict::Expired, "at the instant its grace ends");
    life.expect(Verdict::Valid, "the predecessor's end").await;

    let revoked = life.revoke().await.expect("revoked");
    assert_eq!((revoked.state(), revoked.revoke_reason.as_str()), (KeyState::Revoked, "no longer used"));
    life.expect(Verdict::Revoked, "revoke").await;
    assert_eq!(but_for_use(life.revoke().await.expect("a no-op")), but_for_use(revoked));
    for refused in [life.enable().await, life.disable().await, life.rename("x").await] {
        assert_eq!(reason(&refused.expect_err("revoked is final")), "KEY_REVOKED");
    }
    assert_eq!(reason(&life.rotate(None).await.expect_err("revoked is final")), "KEY_REVOKED");

    life.app.advance(TimeDelta::days(29));
    life.expect(Verdict::Revoked, "29 days").await;
    life.app.advance(TimeDelta::days(1));
    life.expect(Verdict::Unknown, "30 days: forgotten").await;

    (life.name, life.secret) = predecessor;
    for refused in [life.enable().await, life.disable().await, life.revoke().await, life.rename("x").await] {
        assert_eq!(reason(&refused.expect_err("expired is final")), "KEY_EXPIRED");
    }
    assert_eq!(reason(&life.rotate(None).await.expect_err("expired is final")), "KEY_EXPIRED");
    let deleted = life.delete().await.expect("deleted");
    assert_eq!(life.delete().await.expect("a no-op"), deleted);
    life.expect(Verdict::Unknown, "delete").await;
    assert_eq!(reason(&life.enable().await.expect_err("gone")), "RESOURCE_NOT_FOUND");
}

async fn grace_ends_and_lifetime_starts_anew(engine: Engine) {
    let Some(mut life) = Life::begin(engine, 10).await else { return };
    life.app.advance(TimeDelta::days(9) + TimeDelta::hours(12));
    let rotated = life.rotate(None).await.expect("rotated");
    let (key, predecessor) = (rotated.key.expect("a key"), rotated.predecessor.expect("a key"));
    let seconds = |time: Option<prost_types::Timestamp>| time.expect("a time").seconds;
    assert_eq!(seconds(key.expire_time) - seconds(key.create_time), 10 * 86_400, "the original lifetime, from now");
    assert_eq!(seconds(predecessor.expire_time) - seconds(key.create_time), 12 * 3_600, "never beyond its own end");
    assert_eq!((key.supersedes, predecessor.superseded_by), (predecessor.name, key.name));
    assert_eq!(reason(&life.rotate(None).await.expect_err("rotated before")), "KEY_SUPERSEDED");

    life.app.advance(TimeDelta::hours(12));
    life.expect(Verdict::Expired, "its own end").await;
    life.secret = rotated.secret;
    life.app.advance(TimeDelta::days(9) + TimeDelta::hours(12) - TimeDelta::microseconds(1));
    life.expect(Verdict::Valid, "all but a microsecond").await;
    life.app.advance(TimeDelta::microseconds(1));
    life.expect(Verdict::Expired, "the instant itself").await;
}
