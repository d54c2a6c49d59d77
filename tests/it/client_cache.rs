//! The Rust client remembers what is VALID, and never longer than it is told that nothing changed.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use claviger::client::{Identity, Options, Verdict, Verifier, VerifyError};
use claviger::clock::Clock;
use claviger::proto::v1;
use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;

use crate::harness::{Client, Engine, TestApp};
use crate::outage::{Cable, Outage};
use crate::rig::{Change, eventually};

on_both_engines!(
    what_is_valid_is_asked_for_once_and_a_refusal_every_time,
    each_change_that_can_make_it_wrong_makes_it_forget,
    no_answer_survives_the_revoke_that_it_raced_with,
);

/// Far more than the watch needs, on a machine that does much else.
const TOLD: Duration = Duration::from_secs(30);
/// So long that no test is cut off by being slow.
const PATIENT: Duration = Duration::from_secs(120);
const ANYTHING: [&str; 0] = [];

type Found = Result<Arc<Identity>, VerifyError>;

/// A service, with the service user `billing`, and somebody who asks about its keys.
struct Scene {
    app: TestApp,
    root: Client,
    owner: String,
    own_secret: String,
}

impl Scene {
    async fn set(engine: Engine, clock: Option<Clock>) -> Option<Self> {
        let app = match clock {
            Some(clock) => TestApp::start_at(engine.place().await?, clock).await,
            None => TestApp::start(engine).await?,
        };
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let gateway = root.create_service_user("tenants/system", "gateway").await;
        let (_, own_secret) = root.create_key(&gateway, &["claviger:verify"]).await;
        Some(Self { app, root, owner, own_secret })
    }

    /// A verifier that watches.
    async fn verifier(&self, address: SocketAddr, staleness_bound: Duration) -> Verifier {
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
        let options = Options { staleness_bound, ..Options::default() };
        let verifier = Verifier::new(channel, &self.own_secret, &options).expect("good options");
        eventually(TOLD, "it watches", async || verifier.is_watching()).await;
        verifier
    }

    async fn key(&mut self) -> (v1::Key, String) {
        self.root.create_key(&self.owner, &["pay", "read"]).await
    }
}

fn verdict(found: &Found) -> Verdict {
    match found {
        Ok(_) => Verdict::Valid,
        Err(VerifyError::Refused { verdict, .. }) => *verdict,
        Err(error) => panic!("{error}"),
    }
}

async fn ask(verifier: &Verifier, secret: &str) -> Verdict {
    verdict(&verifier.verify(secret, None, &["pay"]).await)
}

/// Asks until the answer comes from memory.
async fn remember(verifier: &Verifier, secret: &str) {
    eventually(TOLD, "it remembers", async || {
        let hits = verifier.hits();
        assert_eq!(ask(verifier, secret).await, Verdict::Valid);
        verifier.hits() > hits
    })
    .await;
}

async fn what_is_valid_is_asked_for_once_and_a_refusal_every_time(engine: Engine) {
    let Some(mut scene) = Scene::set(engine, None).await else { return };
    let verifier = scene.verifier(scene.app.address(), PATIENT).await;
    let (key, secret) = scene.key().await;
    remember(&verifier, &secret).await;
    let (hits, misses) = (verifier.hits(), verifier.misses());
    for _ in 0..10 {
        let identity = verifier.verify(&secret, None, &["pay"]).await.expect("VALID");
        assert_eq!((&identity.key, &identity.service_user), (&key.name, &scene.owner));
        assert_eq!((&*identity.tenant, &identity.scopes), ("tenants/acme", &key.scopes));
        assert_eq!((identity.expire_time, &identity.superseded_by), (None, &None));
    }
    assert_eq!((verifier.hits(), verifier.misses()), (hits + 10, misses));

    // Any other question is another one.
    let address = Some("192.0.2.1".parse().expect("an address"));
    let mapped = Some("::ffff:192.0.2.1".parse().expect("an address"));
    assert!(verifier.verify(&secret, address, &["pay"]).await.is_ok());
    assert!(verifier.verify(&secret, None, &["pay", "read"]).await.is_ok());
    assert!(verifier.verify(&secret, None, &ANYTHING).await.is_ok());
    assert_eq!(verifier.misses(), misses + 3);
    assert!(verifier.verify(&secret, mapped, &["pay"]).await.is_ok());
    assert_eq!(verifier.misses(), misses + 3, "the same address, written otherwise");

    let changed = format!("{}{}", &secret[..secret.len() - 1], if secret.ends_with('0') { '1' } else { '0' });
    for _ in 0..3 {
        assert_eq!(verdict(&verifier.verify(&secret, None, &["fly"]).await), Verdict::ScopeMissing);
        assert_eq!(verdict(&verifier.verify(&changed, None, &["pay"]).await), Verdict::Malformed);
    }
    assert_eq!(verifier.misses(), misses + 9);
    assert!(!format!("{verifier:?}").contains(&scene.own_secret));
}

async fn disable_owner(root: &mut Client, name: &str) {
    let request = v1::DisableServiceUserRequest { name: name.to_owned(), ..Default::default() };
    root.service_users.disable_service_user(request).await.expect("disabled");
}

async fn each_change_that_can_make_it_wrong_makes_it_forget(engine: Engine) {
    let Some(mut scene) = Scene::set(engine, None).await else { return };
    let verifier = scene.verifier(scene.app.address(), PATIENT).await;
    let other_owner = scene.root.create_service_user("tenants/acme", "other").await;
    let (_, other) = scene.root.create_key(&other_owner, &["pay"]).await;
    remember(&verifier, &other).await;
    let owner = scene.owner.clone();

    let expected = [
        (Change::Revoke, Verdict::Revoked),
        (Change::Disable, Verdict::Disabled),
        (Change::Delete, Verdict::Unknown),
        (Change::Rotate(0), Verdict::Revoked),
    ];
    for (change, expected) in expected {
        let (key, secret) = scene.key().await;
        remember(&verifier, &secret).await;
        change.make(&mut scene.root, &owner, &key.name).await.expect("changed");
        eventually(TOLD, "forgotten", async || ask(&verifier, &secret).await == expected).await;
    }

    let (key, secret) = scene.key().await;
    remember(&verifier, &secret).await;
    Change::Rotate(3600).make(&mut scene.root, &owner, &key.name).await.expect("rotated");
    eventually(TOLD, "it tells the successor", async || {
        verifier.verify(&secret, None, &["pay"]).await.expect("in its grace period").superseded_by.is_some()
    })
    .await;

    let (key, secret) = scene.key().await;
    remember(&verifier, &secret).await;
    scene.root.set_scopes(&key.name, &["read"]).await.expect("narrowed");
    eventually(TOLD, "narrowed", async || ask(&verifier, &secret).await == Verdict::ScopeMissing).await;

    let secrets = [scene.key().await.1, scene.key().await.1];
    for secret in &secrets {
        remember(&verifier, secret).await;
    }
    disable_owner(&mut scene.root, &owner).await;
    for secret in &secrets {
        eventually(TOLD, "its owner", async || ask(&verifier, secret).await == Verdict::OwnerDisabled).await;
    }

    let misses = verifier.misses();
    assert_eq!(ask(&verifier, &other).await, Verdict::Valid);
    assert_eq!(verifier.misses(), misses, "nothing of it was changed");
}

/// Answers that are on their way while their key is revoked must not be remembered when they come.
async fn no_answer_survives_the_revoke_that_it_raced_with(engine: Engine) {
    let Some(mut scene) = Scene::set(engine, None).await else { return };
    let verifier = scene.verifier(scene.app.address(), PATIENT).await;
    let owner = scene.owner.clone();
    for _ in 0..40 {
        let (key, secret) = scene.key().await;
        let asking = async {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(20) {
                ask(&verifier, &secret).await;
            }
        };
        let revoking = Change::Revoke.make(&mut scene.root, &owner, &key.name);
        let (revoked, ()) = tokio::join!(revoking, asking);
        revoked.expect("revoked");
        eventually(TOLD, "refused", async || ask(&verifier, &secret).await == Verdict::Revoked).await;
        for _ in 0..5 {
            assert_eq!(ask(&verifier, &secret).await, Verdict::Revoked);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_at_the_instant_without_being_asked_for() {
    let Some(mut scene) = Scene::set(Engine::Sqlite, Some(Clock::system())).await else { return };
    let verifier = scene.verifier(scene.app.address(), PATIENT).await;
    let key = v1::Key { display_name: "a key".to_owned(), scopes: vec!["pay".to_owned()], ..Default::default() };
    let ttl = Some(prost_types::Duration { seconds: 3, nanos: 0 });
    let request = v1::CreateKeyRequest { parent: scene.owner.clone(), key: Some(key), ttl, ..Default::default() };
    let made = scene.root.keys.create_key(request).await.expect("a key").into_inner();
    let expire_time = SystemTime::try_from(made.key.expect("a key").expire_time.expect("3 s")).expect("a time");
    loop {
        let asked = now();
        match ask(&verifier, &made.secret).await {
            Verdict::Valid => assert!(asked < expire_time, "VALID for a question after the end"),
            verdict => {
                assert_eq!(verdict, Verdict::Expired);
                assert!(now() >= expire_time);
                break;
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert!(verifier.hits() > 10, "most answers came from memory");
}

/// The server's clock goes by itself here, and the client hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_clock_jumps_is_followed() {
    let Some(mut scene) = Scene::set(Engine::Sqlite, None).await else { return };
    let verifier = scene.verifier(scene.app.address(), PATIENT).await;
    let (key, secret) = scene.key().await;
    let (_, forever) = scene.key().await;
    remember(&verifier, &secret).await;
    remember(&verifier, &forever).await;
    Change::Rotate(60).make(&mut scene.root, &scene.owner, &key.name).await.expect("rotated");
    eventually(TOLD, "it knows the end", async || {
        verifier.verify(&secret, None, &["pay"]).await.expect("VALID").expire_time.is_some()
    })
    .await;
    remember(&verifier, &secret).await;
    scene.app.advance(TimeDelta::seconds(60));
    eventually(TOLD, "expired", async || ask(&verifier, &secret).await == Verdict::Expired).await;
}

#[expect(clippy::disallowed_methods, reason = "what the machine's clock shows to the key's holder")]
fn now() -> SystemTime {
    SystemTime::now()
}

async fn beyond_its_bound_it_gives_nothing_from_memory(outage: Outage) {
    const BOUND: Duration = Duration::from_secs(3);
    let Some(mut scene) = Scene::set(Engine::Sqlite, Some(Clock::system())).await else { return };
    let mut cable = Cable::to(&scene.app.address().to_string()).await;
    let verifier = scene.verifier(cable.address, BOUND).await;
    let (key, secret) = scene.key().await;
    let (_, other) = scene.key().await;
    remember(&verifier, &secret).await;
    remember(&verifier, &other).await;

    cable.cut(outage).await;
    Change::Revoke.make(&mut scene.root, &scene.owner, &key.name).await.expect("revoked");
    let revoked = Instant::now();
    loop {
        let asked = Instant::now();
        match verifier.verify(&secret, None, &["pay"]).await {
            Ok(_) => assert!(asked - revoked <= BOUND, "VALID {:?} after the revoke", asked - revoked),
            Err(VerifyError::NoVerdict(_)) if !verifier.is_watching() => break,
            // A slow machine was cut off before the cut already, and had forgotten.
            Err(VerifyError::NoVerdict(_)) => {}
            Err(error) => panic!("{error}, which nobody can know"),
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(verifier.verify(&other, None, &["pay"]).await, Err(VerifyError::NoVerdict(_))));

    cable.mend().await;
    eventually(TOLD, "it watches again", async || verifier.is_watching()).await;
    assert_eq!(ask(&verifier, &secret).await, Verdict::Revoked);
    remember(&verifier, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_by_a_closed_port() {
    beyond_its_bound_it_gives_nothing_from_memory(Outage::Refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_by_silence() {
    beyond_its_bound_it_gives_nothing_from_memory(Outage::Silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_goes_on_where_it_was() {
    let Some(mut scene) = Scene::set(Engine::Sqlite, Some(Clock::system())).await else { return };
    let mut cable = Cable::to(&scene.app.address().to_string()).await;
    let verifier = scene.verifier(cable.address, PATIENT).await;
    let (key, secret) = scene.key().await;
    let (_, other) = scene.key().await;
    remember(&verifier, &secret).await;
    remember(&verifier, &other).await;
    cable.cut(Outage::Refused).await;
    Change::Revoke.make(&mut scene.root, &scene.owner, &key.name).await.expect("revoked");
    assert_eq!(ask(&verifier, &secret).await, Verdict::Valid, "it can't know");
    cable.mend().await;
    eventually(TOLD, "told afterwards", async || {
        !matches!(verifier.verify(&secret, None, &["pay"]).await, Ok(_) | Err(VerifyError::NoVerdict(_)))
    })
    .await;
    let misses = verifier.misses();
    assert_eq!(ask(&verifier, &other).await, Verdict::Valid);
    assert_eq!(verifier.misses(), misses, "nothing else was forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_tell_what_happened_makes_it_begin_anew() {
    let Some(mut scene) = Scene::set(Engine::Sqlite, Some(Clock::system())).await else { return };
    let mut cable = Cable::to(&scene.app.address().to_string()).await;
    let verifier = scene.verifier(cable.address, PATIENT).await;
    let (key, secret) = scene.key().await;
    let (_, other) = scene.key().await;
    remember(&verifier, &secret).await;
    remember(&verifier, &other).await;
    cable.cut(Outage::Refused).await;
    Change::Revoke.make(&mut scene.root, &scene.owner, &key.name).await.expect("revoked");
    // It knows only what happens after its start.
    let app = scene.app.restart().await;
    cable.server = app.address().to_string();
    cable.mend().await;
    eventually(TOLD, "begun anew", async || {
        !matches!(verifier.verify(&secret, None, &["pay"]).await, Ok(_) | Err(VerifyError::NoVerdict(_)))
    })
    .await;
    eventually(TOLD, "it watches", async || verifier.is_watching()).await;
    remember(&verifier, &other).await;
}

#[tokio::test]
async fn options_out_of_range_and_what_is_no_secret_are_refused() {
    let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let start = |secret: &str, staleness_bound: Duration, capacity: usize| {
        let made = Verifier::new(channel.clone(), secret, &Options { staleness_bound, capacity });
        made.err().map(|error| error.to_string())
    };
    let seconds = Duration::from_secs;
    let answers = [
        start("cvg_x\n", seconds(5), 100),
        start("", seconds(5), 100),
        start("cvg_x", seconds(2), 100),
        start("cvg_x", seconds(301), 100),
        start("cvg_x", seconds(5), 1),
        start("cvg_x", seconds(5), 10_000_001),
    ];
    assert_eq!(answers.iter().flatten().count(), answers.len());
    assert_eq!(answers.iter().flatten().collect::<HashSet<_>>().len(), 3);
    assert_eq!(start("cvg_x", seconds(3), 2), None);
    let outside = std::thread::spawn(move || Verifier::new(channel, "cvg_x", &Options::default()).map(drop));
    assert_eq!(outside.join().expect("no panic"), Err(claviger::client::StartError::NoRuntime));
}
