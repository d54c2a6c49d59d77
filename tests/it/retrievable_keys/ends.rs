//! With the key its sealed secret ends, in the very same change.

use claviger::domain::{
    ends::{KeyEnd, RememberedEnds},
    ids::KeyName,
};
use prost_types::Duration;

use super::*;

on_both_engines!(
    whatever_ends_a_key_erases_its_secret,
    an_expired_key_is_refused_at_once_and_erased_when_that_is_recorded,
    what_the_version_before_ends_is_erased_too,
);

/// A way to end a key; answers what Reveal says then.
#[derive(Debug, Clone, Copy)]
enum End {
    Revoke,
    RotateWithoutGrace,
    Delete,
    DeleteServiceUser,
    DeleteTenant,
    /// As after a failover that lost writes.
    LostWrites,
}

impl End {
    async fn make(self, scene: &mut Scene, name: &str) -> Option<&'static str> {
        let (root, owner) = (&mut scene.root, scene.owner.clone());
        match self {
            Self::Revoke => {
                Change::Revoke.make(root, &owner, name).await.expect("revoked");
                Some("KEY_REVOKED")
            }
            Self::RotateWithoutGrace => {
                let made = Change::Rotate(0).make(root, &owner, name).await.expect("rotated");
                Change::Delete.make(root, &owner, &made.key.name).await.expect("deleted");
                Some("KEY_REVOKED")
            }
            Self::Delete => {
                Change::Delete.make(root, &owner, name).await.expect("deleted");
                None
            }
            Self::DeleteServiceUser => {
                let request = v1::DeleteServiceUserRequest { name: owner, force: true, expected_revision: 0 };
                root.service_users.delete_service_user(request).await.expect("deleted");
                None
            }
            Self::DeleteTenant => {
                let name = scene.tenant.clone();
                let request = v1::DeleteTenantRequest { name, force: true, expected_revision: 0 };
                root.tenants.delete_tenant(request).await.expect("deleted");
                None
            }
            Self::LostWrites => {
                let keys = vec![(KeyName::parse(name).expect("a name"), KeyEnd::Dead)];
                let ends = RememberedEnds { keys, ..Default::default() };
                assert_eq!(scene.app.running.authority().end_again(&ends).await.expect("ended"), 1);
                Some("KEY_REVOKED")
            }
        }
    }
}

async fn whatever_ends_a_key_erases_its_secret(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    for end in
        [End::Revoke, End::RotateWithoutGrace, End::Delete, End::LostWrites, End::DeleteServiceUser, End::DeleteTenant]
    {
        let (name, secret) = scene.make().await;
        assert_eq!(scene.reveal(&name).await.expect("revealed"), secret, "{end:?}");
        assert_eq!(scene.kept().await, [id_of(&name)], "{end:?}");
        let reason = end.make(&mut scene, &name).await;
        assert_eq!(scene.kept().await, Vec::<String>::new(), "{end:?}");
        let expected = reason.map_or((Code::NotFound, "RESOURCE_NOT_FOUND".to_owned()), precondition);
        assert_eq!(told(scene.reveal(&name).await), expected, "{end:?}");
        if let End::DeleteServiceUser = end {
            scene.owner = scene.root.create_service_user(&scene.tenant, "shipping").await;
        }
    }
}

async fn expiring(scene: &mut Scene, seconds: i64) -> String {
    let (parent, ttl) = (scene.owner.clone(), Some(Duration { seconds, nanos: 0 }));
    let request = v1::CreateKeyRequest { parent, key: Some(retrievable(&[])), ttl, ..Default::default() };
    let made = scene.root.keys.create_key(request).await.expect("made").into_inner();
    made.key.expect("a key").name
}

async fn an_expired_key_is_refused_at_once_and_erased_when_that_is_recorded(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (short, long) = (expiring(&mut scene, 60).await, expiring(&mut scene, 120).await);
    scene.app.advance(TimeDelta::microseconds(60_000_000 - 1));
    scene.reveal(&short).await.expect("not yet");
    scene.app.advance(TimeDelta::microseconds(1));
    assert_eq!(told(scene.reveal(&short).await), precondition("KEY_EXPIRED"));
    scene.app.running.authority().record_expiry().await.expect("recorded");
    assert_eq!(scene.kept().await, [id_of(&long)]);
    assert_eq!(told(scene.reveal(&short).await), precondition("KEY_EXPIRED"));
    // Whoever needs its slot records its end, too.
    scene.app.advance(TimeDelta::seconds(60));
    for _ in 0..10 {
        scene.root.create_key(&scene.owner, &[]).await;
    }
    assert_eq!(scene.kept().await, Vec::<String>::new());
    assert_eq!(told(scene.reveal(&long).await), precondition("KEY_EXPIRED"));
}

/// It knows neither the table nor the column.
async fn what_the_version_before_ends_is_erased_too(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    for end in [
        "state = 'REVOKED', revoke_time = update_time, revoke_reason = '', slot = NULL",
        "state = 'EXPIRED', slot = NULL",
        "delete_time = update_time, slot = NULL",
    ] {
        let (name, _) = scene.make().await;
        scene.execute(&format!("UPDATE api_key SET display_name = 'x' WHERE id = '{}'", id_of(&name))).await;
        assert_eq!(scene.kept().await, [id_of(&name)], "an edit erases nothing");
        scene.execute(&format!("UPDATE api_key SET {end} WHERE id = '{}'", id_of(&name))).await;
        assert_eq!(scene.kept().await, Vec::<String>::new(), "{end}");
    }
}
