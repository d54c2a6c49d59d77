//! A standby is promoted and one name leads to it: changes work again by themselves, and Verify never fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use claviger::proto::v1::{GetKeyRequest, RevokeKeyRequest, Verdict, VerifyRequest};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::harness::{
    Client, Cluster, Engine, Place, Process,
    errors::reason,
    process::{command, root_secret, run},
};
use crate::rig::eventually;

const RULES: &str = "host all all 127.0.0.1/32 trust";
/// Some seconds, on a busy machine.
const RECOVERED: Duration = Duration::from_secs(30);

/// The one name of the database: new connections go where it leads now, old ones stay where they are.
struct Name {
    address: SocketAddr,
    leads_to: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl Name {
    async fn of(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, leads_to) = (listener.local_addr().expect("an address"), Arc::new(AtomicU16::new(port)));
        let current = Arc::clone(&leads_to);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = current.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    copy_bidirectional(&mut client, &mut server).await.ok();
                });
            }
        });
        Self { address, leads_to, task }
    }

    fn lead_to(&self, port: u16) {
        self.leads_to.store(port, Ordering::SeqCst);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Verifies one key all the time; panics when it isn't valid.
struct Verifying {
    enough: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Verifying {
    fn start(mut client: Client, secret: String) -> Self {
        let (enough, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, counting) = (Arc::clone(&enough), Arc::clone(&count));
        let task = tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(client.verdict(&secret).await, Verdict::Valid);
                counting.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_millis(10)).await;
            }
        });
        Self { enough, count, task }
    }

    async fn end(self) {
        self.enough.store(true, Ordering::SeqCst);
        self.task.await.expect("every answer was VALID");
        assert!(self.count.load(Ordering::SeqCst) > 20);
    }
}

/// A primary, its standby, the name that leads to the primary, and two replicas that know the name alone. Only one of them
/// is asked for changes.
struct Scene {
    primary: Cluster,
    standby: Cluster,
    name: Name,
    root: Client,
    other: Client,
    owner: String,
    secret: String,
    _replicas: [Process; 2],
    _places: [Place; 2],
}

impl Scene {
    async fn set() -> Option<Self> {
        let primary = Cluster::start(RULES, &[], |_| {}).await?;
        let standby = primary.standby().await;
        let name = Name::of(primary.port).await;
        let mut places = [Engine::Sqlite.place().await?, Engine::Sqlite.place().await?];
        for place in &mut places {
            place.database_url = Some(format!("postgres://postgres@{}/postgres", name.address));
        }
        let first = Process::start(&places[0]).await;
        let pepper = places[0].folder.path().join("pepper");
        let second =
            Process::start_with(&places[1], &[("CLAVIGER_PEPPER_FILE", pepper.to_str().expect("UTF-8"))]).await;
        let secret = root_secret(places[0].folder.path());
        let (mut root, other) = (first.caller(Some(&secret)).await, second.caller(Some(&secret)).await);
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let (_, secret) = root.create_key(&owner, &[]).await;
        let asked = VerifyRequest { secret: secret.clone(), ..Default::default() };
        // On a busy machine its first look at a key may take too long, which is UNAVAILABLE.
        let mut asking = other.clone();
        eventually(RECOVERED, "the other replica knows the key", async || {
            asking.verification.verify(asked.clone()).await.is_ok()
        })
        .await;
        let (_replicas, _places) = ([first, second], places);
        Some(Self { primary, standby, name, root, other, owner, secret, _replicas, _places })
    }

    /// Until the standby has everything that the primary has.
    async fn caught_up(&self) {
        let position = self.primary.psql("postgres", "SELECT pg_current_wal_lsn()");
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        eventually(RECOVERED, "the standby follows", async || self.standby.psql("postgres", &reached) == "t").await;
    }

    /// Promotes the standby and lets the name lead to it.
    fn promote(&self) {
        self.standby.psql("postgres", "SELECT pg_promote(true, 60)");
        self.name.lead_to(self.standby.port);
    }

    /// Changes work again, and until then they are refused as what can be tried again. Both replicas see the new primary.
    async fn recovers(&mut self) {
        let owner = self.owner.clone();
        let mut made = None;
        let took = eventually(RECOVERED, "changes work again", async || {
            match self.root.try_create_key(&owner, &[]).await {
                Ok(key) => made = Some(key),
                Err(status) => {
                    assert_eq!(
                        (status.code(), &*reason(&status)),
                        (Code::Unavailable, "STORE_UNAVAILABLE"),
                        "{status:?}"
                    );
                }
            }
            made.is_some()
        });
        println!("changes work again after {:?}", took.await);
        let (key, secret) = made.expect("made");
        assert_eq!(self.standby.psql("postgres", "SELECT count(*) FROM api_key"), "3");
        let reading = async || self.root.keys.get_key(GetKeyRequest { name: key.name.clone() }).await.is_ok();
        eventually(RECOVERED, "it is read from the new primary", reading).await;
        // A key that it doesn't know yet may be UNAVAILABLE, but is never guessed about for long.
        let asked = VerifyRequest { secret: secret.clone(), ..Default::default() };
        let sees = async || {
            let answer = self.other.verification.verify(asked.clone()).await;
            answer.is_ok_and(|answer| answer.get_ref().verdict() == Verdict::Valid)
        };
        eventually(RECOVERED, "the other replica sees it", sees).await;
        let request = RevokeKeyRequest { name: key.name.clone(), ..Default::default() };
        eventually(RECOVERED, "revoked", async || self.root.keys.revoke_key(request.clone()).await.is_ok()).await;
        let revoked = async || self.other.verdict(&secret).await == Verdict::Revoked;
        eventually(RECOVERED, "the other replica follows the new primary", revoked).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_that_stays_as_a_read_only_one_is_left() {
    let Some(mut scene) = Scene::set().await else { return };
    let on_the_standby = format!("postgres://postgres@127.0.0.1:{}/postgres", scene.standby.port);
    let mut place = Engine::Sqlite.place().await.expect("a folder");
    place.database_url = Some(on_the_standby);
    let (code, _, err) = timeout(RECOVERED, run(command(&place))).await.expect("it ends");
    assert!(code == Some(1) && err.contains("leads to a standby"), "{code:?} {err}");

    let verifying = [&scene.root, &scene.other].map(|client| Verifying::start(client.clone(), scene.secret.clone()));
    scene.caught_up().await;
    scene.primary.psql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    scene.primary.psql("postgres", "SELECT pg_reload_conf()");
    let read_only = "SHOW default_transaction_read_only";
    eventually(RECOVERED, "read-only", async || scene.primary.psql("postgres", read_only) == "on").await;
    let refused = scene.root.try_create_key(&scene.owner, &[]).await.expect_err("it takes no changes");
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "STORE_UNAVAILABLE"), "{refused:?}");
    scene.promote();
    scene.recovers().await;
    for verifying in verifying {
        verifying.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_followed_by_its_standby() {
    let Some(mut scene) = Scene::set().await else { return };
    let verifying = [&scene.root, &scene.other].map(|client| Verifying::start(client.clone(), scene.secret.clone()));
    scene.caught_up().await;
    scene.primary.kill();
    // The name is quicker than the promotion: nobody may take the standby for the primary.
    scene.name.lead_to(scene.standby.port);
    for _ in 0..2 {
        let refused = scene.root.try_create_key(&scene.owner, &[]).await.expect_err("there is no primary");
        assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "STORE_UNAVAILABLE"), "{refused:?}");
        let unread =
            scene.root.keys.get_key(GetKeyRequest { name: format!("{}/keys/06vDwXM5kaRVYU7aM4OLa3", scene.owner) });
        assert_eq!(unread.await.expect_err("no primary").code(), Code::Unavailable);
    }
    scene.promote();
    scene.recovers().await;
    for verifying in verifying {
        verifying.end().await;
    }
}

/// `ALTER DATABASE … SET default_transaction_read_only` is about sessions to come. Those that began meanwhile stay read-only
/// for ever, and look healthy.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_stay_read_only_are_left_when_the_database_takes_changes_again() {
    let Some(cluster) = Cluster::start(RULES, &[], |_| {}).await else { return };
    let mut place = Engine::Sqlite.place().await.expect("a folder");
    place.database_url = Some(format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port));
    let service = Process::start(&place).await;
    let mut root = service.caller(Some(&root_secret(place.folder.path()))).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    cluster.psql("postgres", "ALTER DATABASE postgres SET default_transaction_read_only = on");
    let writers =
        "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity WHERE application_name = 'claviger'";
    assert_eq!(cluster.psql("postgres", writers), "t");
    // Enough of them at once to fill the pool with new sessions, after the first refusal too.
    let refused = async || {
        let tries = (0..8).map(|_| {
            let (mut root, owner) = (root.clone(), owner.clone());
            async move { root.try_create_key(&owner, &[]).await.expect_err("it takes no changes") }
        });
        for status in futures_util::future::join_all(tries).await {
            assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_UNAVAILABLE"), "{status:?}");
        }
    };
    refused().await;
    refused().await;
    cluster.psql("postgres", "SET default_transaction_read_only = off; ALTER DATABASE postgres RESET ALL");
    // Connections are thrown away together once a second at most.
    sleep(Duration::from_millis(1_100)).await;
    let made = (0..8).map(|_| {
        let (mut root, owner) = (root.clone(), owner.clone());
        async move { root.create_key(&owner, &[]).await }
    });
    futures_util::future::join_all(made).await;
}
