//! Replicas are restarted one after the other while callers go on: no call fails.
//!
//! What counts as a failed call: every one that isn't answered as it should be, after what any gRPC client does by itself.
//! It sends a call elsewhere, at once, that it never sent, or that the server refused to process by its GOAWAY (gRFC A6,
//! "transparent retries"); and it leaves a server alone for a moment that it can't connect to. It repeats nothing else: a
//! call that may have been heard, and isn't answered, has failed.

mod client;
mod load;
mod ports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use claviger::client::{Options, Verifier};
use claviger::proto::v1::WatchRevocationsRequest;
use claviger::random;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, sleep};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

use crate::harness::{Client, Engine, Process, TestApp, engine::long};
use crate::rig::Replicas;
use client::Balanced;
use load::{Load, Rates, Report};

const REPLICAS: usize = 3;
/// In which a replica has nothing to do between two restarts.
const PAUSE: Duration = Duration::from_millis(500);

/// Replicas with addresses that they keep.
struct Scene {
    replicas: Replicas,
    addresses: Vec<String>,
    processes: Vec<Option<Process>>,
    secret: String,
}

impl Scene {
    async fn set() -> Option<Self> {
        let replicas = Replicas::new(REPLICAS).await?;
        // Of this machine, and no other test's: nobody takes a port while its replica is restarted.
        let [one, two]: [u8; 2] = random::bytes().expect("randomness");
        let addresses = (0..REPLICAS).map(|number| format!("127.{}.{one}.{two}:50051", 70 + number)).collect();
        let processes = (0..REPLICAS).map(|_| None).collect();
        let mut scene = Self { replicas, addresses, processes, secret: String::new() };
        for number in 0..REPLICAS {
            scene.start(number).await;
        }
        scene.secret = scene.replicas.root_secret();
        Some(scene)
    }

    /// Answers when it serves.
    async fn start(&mut self, number: usize) {
        let mut command = self.replicas.command(number);
        command.env("CLAVIGER_LISTEN", &self.addresses[number]);
        self.processes[number] = Some(Process::start_command(command).await);
    }

    /// As an orchestrator does: SIGTERM, wait for its end, start, wait until it serves.
    async fn restart(&mut self, number: usize) {
        let process = self.processes[number].take().expect("it runs");
        assert_eq!(process.terminate().await, Some(0), "replica {number} ends well");
        self.start(number).await;
        sleep(PAUSE).await;
    }

    fn client(&self) -> Arc<Balanced> {
        Arc::new(Balanced::of(&self.addresses, &self.secret))
    }
}

/// Watches one replica for ever, and notes how each of its watches ends.
async fn watch(mut caller: Client, enough: CancellationToken) -> Vec<(Code, String)> {
    let mut ends = Vec::new();
    let watching = async {
        loop {
            let request = WatchRevocationsRequest { min_revision: 0 };
            // Nobody is there for a moment: that is no watch.
            if let Ok(messages) = caller.verification.watch_revocations(request).await {
                let mut messages = messages.into_inner();
                let end = loop {
                    match messages.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => break (Code::Ok, "no status".to_owned()),
                        Err(status) => {
                            let told = status.get_details_error_info().map(|info| info.reason);
                            break (status.code(), told.unwrap_or_else(|| status.message().to_owned()));
                        }
                    }
                };
                ends.push(end);
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = enough.run_until_cancelled(watching).await;
    ends
}

fn watch_each(client: &Balanced, enough: &CancellationToken) -> Vec<JoinHandle<Vec<(Code, String)>>> {
    client.callers().map(|caller| tokio::spawn(watch(caller, enough.clone()))).collect()
}

/// Loads the replicas while all of them are restarted `rounds` times, one after the other.
async fn restart_all(scene: &mut Scene, client: &Arc<Balanced>, rates: Rates, rounds: usize) -> Report {
    let enough = CancellationToken::new();
    let watches = watch_each(client, &enough);
    let load = Load::start(client, rates).await;
    sleep(PAUSE).await;
    for _ in 0..rounds {
        for number in 0..REPLICAS {
            scene.restart(number).await;
        }
    }
    let report = load.end().await;
    enough.cancel();
    for watch in watches {
        let ends = watch.await.expect("no panic");
        let leaving = ends.iter().filter(|end| **end == (Code::Unavailable, "LEAVING".to_owned())).count();
        assert!(leaving >= 1 && leaving == ends.len(), "a watch ends LEAVING, and is opened again: {ends:?}");
    }
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_replicas_are_restarted() {
    let Some(mut scene) = Scene::set().await else { return };
    let (rates, rounds) = if long() {
        (Rates { verifies: 2_000, writes: 20, at_once: 10_000, missed: MissedTickBehavior::Burst }, 10)
    } else {
        (Rates { verifies: 200, writes: 5, at_once: 8, missed: MissedTickBehavior::Skip }, 1)
    };
    let client = scene.client();
    let calm = Load::start(&client, rates).await;
    sleep(Duration::from_secs(if long() { 60 } else { 3 })).await;
    let calm = calm.end().await;
    println!("without restarts: {calm} {:?}", calm.first_failures());
    let restarted = restart_all(&mut scene, &client, rates, rounds).await;
    println!("{rounds} restarts of {REPLICAS}: {restarted} {:?}", restarted.first_failures());
    for report in [&calm, &restarted] {
        assert!(report.failed.is_empty(), "{} calls failed: {:?}", report.failed.len(), report.first_failures());
        // Beside a whole test suite the machine may have too much to do; that is no restart's fault.
        assert!(!long() || report.is_as_fast_as_asked(), "the load was not what it should be: {report}");
        assert!(!long() || report.overloaded == 0, "{report}");
    }
    assert!(restarted.elsewhere > 0, "somebody must have noticed a restart");
    if long() {
        let (before, after) = (calm.p99(), restarted.p99());
        assert!(after <= before * 3, "p99 {after:?} with restarts, {before:?} without");
    }
}

/// A server that hangs up on its first caller as soon as it was asked, and afterwards leads to the real one.
async fn hangs_up_once(real: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.expect("a caller");
        let mut heard = Vec::new();
        while heard.len() < 400 {
            first.read_buf(&mut heard).await.expect("a question");
        }
        drop(first);
        while let Ok((mut caller, _)) = listener.accept().await {
            let mut server = TcpStream::connect(real).await.expect("the service answers");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut caller, &mut server).await });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_asks_again_when_its_connection_ends() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (_, secret) = root.create_key(&owner, &[]).await;
    let address = hangs_up_once(app.address()).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
    let verifier = Verifier::new(channel, &app.root_secret, &Options::default()).expect("good options");
    let none: [&str; 0] = [];
    let identity = verifier.verify(&secret, None, &none).await.expect("VALID");
    assert_eq!(identity.service_user, owner);
}
