//! While PostgreSQL is away: known keys verify, nothing is guessed, nothing is changed, and it heals by itself.

use std::net::SocketAddr;
use std::time::Duration;

use claviger::domain::{ids::KeyId, secret::Secret};
use claviger::proto::envoy::service::auth::v3::{CheckResponse, check_response::HttpResponse};
use claviger::proto::v1::{self, Verdict};
use prost::Message;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::envoy::decisions::{asked, joined, said};
use crate::harness::{Client, Engine, Place, Process, errors::reason, process};
use crate::raw;
use crate::rig::{Change, eventually};

/// How the database goes away.
#[derive(Debug, Clone, Copy)]
pub enum Outage {
    /// Its port is closed, as after a crash.
    Refused,
    /// Packets vanish: connections stay open and nobody answers, as behind a cut cable.
    Silent,
}

macro_rules! in_both_outages {
    ($($name:ident),* $(,)?) => {
        mod refused {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Outage::Refused).await;
            })*
        }
        mod silent {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Outage::Silent).await;
            })*
        }
    };
}

in_both_outages!(
    known_keys_verify_without_the_store_and_say_as_of_when,
    an_unknown_secret_is_never_called_unknown_without_the_store,
    changes_are_refused_with_a_delay_and_work_again_by_themselves,
    health_tells_the_outage_only_where_the_store_is_needed,
    beyond_the_bound_nothing_is_answered_until_the_store_is_back,
);

/// A poll timer of a second, a connection attempt under way, and a slow machine.
const HEALED: Duration = Duration::from_secs(3);

/// A cable to a server, such as PostgreSQL, that can be cut.
pub struct Cable {
    pub address: SocketAddr,
    pub server: String,
    current: Option<Carrying>,
}

/// Who carries now.
struct Carrying {
    stop: CancellationToken,
    silence: CancellationToken,
    task: JoinHandle<()>,
}

impl Cable {
    pub async fn to(server: &str) -> Self {
        let mut cable = Self { address: ([127, 0, 0, 1], 0).into(), server: server.to_owned(), current: None };
        cable.mend().await;
        cable
    }

    /// The same, between a place and its PostgreSQL.
    pub async fn before(place: &mut Place) -> Self {
        let url = place.database_url.take().expect("PostgreSQL");
        let (before, rest) = url.split_once('@').expect("a user");
        let (server, name) = rest.split_once('/').expect("a database");
        let cable = Self::to(server).await;
        place.database_url = Some(format!("{before}@{}/{name}", cable.address));
        cable
    }

    pub async fn mend(&mut self) {
        self.end().await;
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("set");
        socket.bind(self.address).expect("the port is free again");
        let listener = socket.listen(64).expect("listening");
        self.address = listener.local_addr().expect("an address");
        let (stop, silence) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(carry(listener, self.server.clone(), stop.clone(), silence.clone()));
        self.current = Some(Carrying { stop, silence, task });
    }

    /// Every connection ends and new ones are refused; or they all stay open, new ones too, and nothing passes.
    pub async fn cut(&mut self, outage: Outage) {
        match outage {
            Outage::Refused => self.end().await,
            Outage::Silent => self.current.as_ref().expect("a whole cable").silence.cancel(),
        }
    }

    async fn end(&mut self) {
        if let Some(Carrying { stop, task, .. }) = self.current.take() {
            stop.cancel();
            task.await.expect("no panic");
        }
    }
}

/// Until stopped. From the silence on, what is open stays open and nothing is read.
async fn carry(listener: TcpListener, server: String, stop: CancellationToken, silence: CancellationToken) {
    let mut carried = tokio::task::JoinSet::new();
    while let Some(Ok((mut client, _))) = stop.run_until_cancelled(listener.accept()).await {
        let (server, silence) = (server.clone(), silence.clone());
        carried.spawn(async move {
            let mut stream = None;
            let passing = async {
                let stream = stream.insert(TcpStream::connect(server).await.expect("the server answers"));
                copy_bidirectional(&mut client, stream).await.ok();
            };
            if silence.run_until_cancelled(passing).await.is_none() {
                // With both ends in its hands.
                std::future::pending::<()>().await;
            }
            drop((client, stream));
        });
    }
    carried.shutdown().await;
}

/// A running service behind a cable, with one key.
pub struct Scene {
    pub cable: Cable,
    running: Process,
    pub root: Client,
    health: HealthClient<tonic::transport::Channel>,
    owner: String,
    key: v1::Key,
    pub secret: String,
    place: Place,
}

impl Scene {
    pub async fn set(staleness_bound: &str) -> Option<Self> {
        Self::set_with(staleness_bound, Vec::new()).await
    }

    /// The same with further variables.
    pub async fn set_with(staleness_bound: &str, further: Vec<(&str, String)>) -> Option<Self> {
        let mut place = Engine::Postgres.place().await?;
        let cable = Cable::before(&mut place).await;
        let mut command = process::command(&place);
        command.env("CLAVIGER_STALENESS_BOUND", staleness_bound).env("CLAVIGER_LOG", "error").envs(further);
        let running = Process::start_command(command).await;
        let mut root = running.caller(Some(&process::root_secret(place.folder.path()))).await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let (key, secret) = root.create_key(&owner, &["pay"]).await;
        let health = HealthClient::new(root.channel.clone());
        Some(Self { cable, running, root, health, owner, key, secret, place })
    }

    async fn health(&mut self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest { service: service.to_owned() };
        self.health.check(request).await.expect("known").into_inner().status()
    }

    async fn verify(&mut self, secret: &str) -> Result<v1::VerifyResponse, Status> {
        let request = v1::VerifyRequest { secret: secret.to_owned(), ..Default::default() };
        Ok(self.root.verification.verify(request).await?.into_inner())
    }

    /// What Envoy is told to answer to whoever presents this secret, and why.
    async fn denial(&self, secret: &str) -> (i32, String) {
        let request = asked(joined(&[("x-api-key", secret)]), &[]).encode_to_vec();
        let own = process::root_secret(self.place.folder.path());
        let rpc = "envoy.service.auth.v3.Authorization/Check";
        let answer = raw::call_as(&self.root.channel, &own, rpc, request).await.expect("a decision");
        let decision = CheckResponse::decode(&answer[..]).expect("a decision");
        let Some(HttpResponse::DeniedResponse(denied)) = decision.http_response else { panic!("not denied") };
        let verdict = said(&decision.dynamic_metadata.expect("metadata")).remove("verdict").expect("a verdict");
        (denied.status.expect("a status").code, verdict)
    }

    /// Verifies the known key; answers `as_of`.
    async fn expect_valid(&mut self) -> prost_types::Timestamp {
        let secret = self.secret.clone();
        let begun = Instant::now();
        let answer = self.verify(&secret).await.expect("a verdict about a known key");
        assert_eq!(answer.verdict(), Verdict::Valid);
        assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
        answer.as_of.expect("as_of")
    }
}

/// A well-formed secret that nobody made.
pub fn unknown_secret() -> String {
    let id = KeyId::from_random(claviger::random::bytes().expect("randomness"));
    let secret = Secret::generate(id, claviger::random::fill).expect("randomness");
    secret.reveal().to_owned()
}

fn expect_unavailable(status: &Status, reasons: &[&str]) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(reasons.contains(&reason(status).as_str()), "{status:?}");
    let retry = status.get_details_retry_info().expect("RetryInfo");
    assert!(retry.retry_delay.is_some_and(|delay| delay > Duration::ZERO));
}

fn microseconds(time: prost_types::Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
}

async fn known_keys_verify_without_the_store_and_say_as_of_when(outage: Outage) {
    let Some(mut scene) = Scene::set("5m").await else { return };
    let before = microseconds(scene.expect_valid().await);
    scene.cable.cut(outage).await;
    let after = microseconds(scene.expect_valid().await);
    let begun = Instant::now();
    let mut latest = after;
    while begun.elapsed() < Duration::from_secs(8) {
        latest = microseconds(scene.expect_valid().await);
        sleep(Duration::from_millis(100)).await;
    }
    assert!(latest >= before && latest - before < 2_000_000, "{outage:?}: as_of stands still");
    scene.cable.mend().await;
    eventually(HEALED * 3, &format!("{outage:?}: as_of moves on"), async || {
        microseconds(scene.expect_valid().await) - latest > 5_000_000
    })
    .await;
}

async fn an_unknown_secret_is_never_called_unknown_without_the_store(outage: Outage) {
    let Some(mut scene) = Scene::set("5m").await else { return };
    assert_eq!(scene.verify(&unknown_secret()).await.expect("a verdict").verdict(), Verdict::Unknown);
    scene.cable.cut(outage).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let refused = scene.verify(&unknown_secret()).await.expect_err("nobody can know");
        expect_unavailable(&refused, &["STORE_UNAVAILABLE"]);
        assert_eq!(scene.denial(&unknown_secret()).await, (503, "STORE_UNAVAILABLE".to_owned()), "{outage:?}");
        assert_eq!(scene.verify("x").await.expect("a verdict").verdict(), Verdict::Malformed, "{outage:?}");
        scene.expect_valid().await;
    }
    scene.cable.mend().await;
    eventually(HEALED, &format!("{outage:?}: unknown again"), async || {
        let answer = scene.verify(&unknown_secret()).await;
        answer.is_ok_and(|answer| answer.verdict() == Verdict::Unknown)
    })
    .await;
}

async fn changes_are_refused_with_a_delay_and_work_again_by_themselves(outage: Outage) {
    let Some(mut scene) = Scene::set("5m").await else { return };
    let (owner, name) = (scene.owner.clone(), scene.key.name.clone());
    scene.cable.cut(outage).await;
    let reasons = ["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"];
    for change in [Change::Create, Change::Revoke, Change::Rotate(0)] {
        let begun = Instant::now();
        let refused = timeout(Duration::from_secs(12), change.make(&mut scene.root, &owner, &name)).await;
        let status = refused.expect("in time").expect_err("the store is away");
        println!("{outage:?}: {change:?} was refused after {:?}", begun.elapsed());
        expect_unavailable(&status, &reasons);
    }
    let reading = scene.root.keys.get_key(v1::GetKeyRequest { name: name.clone() }).await;
    expect_unavailable(&reading.expect_err("the store is away"), &reasons);
    scene.expect_valid().await;
    scene.cable.mend().await;
    let healed = eventually(HEALED, &format!("{outage:?}: changes work again"), async || {
        Change::Create.make(&mut scene.root, &owner, "").await.is_ok()
    })
    .await;
    println!("{outage:?}: healed after {healed:?}");
}

async fn health_tells_the_outage_only_where_the_store_is_needed(outage: Outage) {
    let Some(mut scene) = Scene::set("5m").await else { return };
    let storing = ["KeyService", "TenantService", "ServiceUserService", "AuditService"];
    scene.cable.cut(outage).await;
    for (cut, expected) in [(true, ServingStatus::NotServing), (false, ServingStatus::Serving)] {
        if !cut {
            scene.cable.mend().await;
        }
        let bound = if cut { Duration::from_secs(8) } else { HEALED };
        let took = eventually(bound, &format!("{outage:?}: KeyService is {expected:?}"), async || {
            for verifying in ["", "claviger.v1.VerificationService"] {
                assert_eq!(scene.health(verifying).await, ServingStatus::Serving, "{outage:?}: {verifying}");
            }
            let mut all = true;
            for service in storing {
                all &= scene.health(&format!("claviger.v1.{service}")).await == expected;
            }
            all
        })
        .await;
        println!("{outage:?}: KeyService was {expected:?} after {took:?}");
    }
}

async fn beyond_the_bound_nothing_is_answered_until_the_store_is_back(outage: Outage) {
    let Some(mut scene) = Scene::set("3s").await else { return };
    scene.cable.cut(outage).await;
    let secret = scene.secret.clone();
    let cut = Instant::now();
    let mut stale = None;
    eventually(Duration::from_secs(6), &format!("{outage:?}: stale"), async || match scene.verify(&secret).await {
        Ok(answer) => {
            assert_eq!(answer.verdict(), Verdict::Valid);
            false
        }
        Err(status) => {
            expect_unavailable(&status, &["STALE"]);
            stale = Some(cut.elapsed());
            true
        }
    })
    .await;
    let stale = stale.expect("a moment");
    assert!(stale > Duration::from_millis(1_900), "{outage:?}: it still had its bound: {stale:?}");
    for service in ["", "claviger.v1.VerificationService", "claviger.v1.KeyService"] {
        eventually(Duration::from_secs(6), &format!("{outage:?}: {service:?} says so"), async || {
            scene.health(service).await == ServingStatus::NotServing
        })
        .await;
    }
    scene.cable.mend().await;
    eventually(HEALED, &format!("{outage:?}: valid again"), async || {
        scene.verify(&secret).await.is_ok_and(|answer| answer.verdict() == Verdict::Valid)
    })
    .await;
    for service in ["", "claviger.v1.VerificationService", "claviger.v1.KeyService"] {
        eventually(HEALED, &format!("{outage:?}: {service:?} serves again"), async || {
            scene.health(service).await == ServingStatus::Serving
        })
        .await;
    }
    assert!(scene.running.child.try_wait().expect("a process").is_none(), "it never died");
}
