//! What a replica learns in one look doesn't mix: a key is revoked while its service user is disabled, and the service user
//! is enabled again. At no moment was the key valid, so nobody may hear that it is.

use std::time::Duration;

use claviger::proto::v1::{DisableServiceUserRequest, EnableServiceUserRequest, Verdict};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::harness::Client;
use crate::outage::Outage;
use crate::rig::{Change, eventually};

use super::scene::{REPLICAS, Scene, Settings};
use super::{AGAIN, settings, times};

const LAST: usize = REPLICAS - 1;
const ASKING: usize = 8;

/// Asks without a pause until it is revoked; answers how often it was valid.
async fn valid_until_revoked(mut caller: Client, secret: &str) -> usize {
    let (mut valid, begun) = (0, Instant::now());
    loop {
        match caller.verdict(secret).await {
            Verdict::Revoked => return valid,
            verdict => valid += usize::from(verdict == Verdict::Valid),
        }
        assert!(begun.elapsed() < AGAIN, "it is revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_before_its_service_user_is_enabled_again_never_comes_alive() {
    let Some(mut scene) = Scene::set(Settings { cable: true, ..settings("together") }).await else { return };
    let mut valid = 0;
    for round in 0..times(5, 50) {
        let (mut root, mut last) = (scene.callers[0].clone(), scene.callers[LAST].clone());
        let name = root.create_service_user("tenants/acme", &format!("together-{round}")).await;
        let (key, secret) = root.create_key(&name, &[]).await;
        let request = DisableServiceUserRequest { name: name.clone(), expected_revision: 0 };
        root.service_users.disable_service_user(request).await.expect("disabled");
        let disabled = async || last.verdict(&secret).await == Verdict::OwnerDisabled;
        eventually(AGAIN, "the last one knows", disabled).await;

        scene.cable.as_mut().expect("a cable").cut(Outage::Refused).await;
        Change::Revoke.make(&mut root, "", &key.name).await.expect("revoked");
        let request = EnableServiceUserRequest { name, expected_revision: 0 };
        root.service_users.enable_service_user(request).await.expect("enabled");
        let callers = join_all((0..ASKING).map(|_| scene.processes[LAST].caller(Some(scene.secret())))).await;
        let asking = join_all(callers.into_iter().map(|caller| valid_until_revoked(caller, &secret)));
        let mending = async {
            sleep(Duration::from_millis(50)).await;
            scene.cable.as_mut().expect("a cable").mend().await;
        };
        valid += tokio::join!(asking, mending).0.into_iter().sum::<usize>();
    }
    assert_eq!(valid, 0, "answers VALID about keys that weren't valid at any moment since the cut");
}
