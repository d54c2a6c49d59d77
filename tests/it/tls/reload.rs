//! New files without a restart: good ones are taken, others stay out, and running connections never notice.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claviger::domain::limits;
use claviger::proto::v1::{Verdict, VerifyRequest};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{LONGEST, NAME, Scene, certificate, run_tool};
use crate::harness::certificates::{Authority, Certified, Wanted};
use crate::harness::{Client, Process, engine::tool, process};
use crate::rig::eventually;

/// Calls a second, over [`CONNECTIONS`].
const RATE: u64 = 200;
const CONNECTIONS: u64 = 4;

/// Gives the files as a Secret of Kubernetes has them: links through a link to a folder, which is swapped as a whole.
fn mount(folder: &Path, version: &str, files: &Certified) {
    let data = folder.join(version);
    std::fs::create_dir(&data).expect("a folder");
    files.write(&data, "tls");
    symlink(version, folder.join("..new")).expect("a link");
    std::fs::rename(folder.join("..new"), folder.join("..data")).expect("swapped");
    for name in ["tls.crt", "tls.key"] {
        if !folder.join(name).is_symlink() {
            // Not there, or a file of the scene's own.
            let _ = std::fs::remove_file(folder.join(name));
            symlink(format!("..data/{name}"), folder.join(name)).expect("a link");
        }
    }
}

/// Verifies until told to stop, on connections that are never made anew; answers how many calls were good.
async fn call(scene: &Scene, service: &Process, stop: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<usize>> {
    let secret = process::root_secret(scene.folder());
    let mut calling = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut root = scene.root(service.address).await;
        let (secret, stop) = (secret.clone(), Arc::clone(stop));
        calling.push(tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(1_000 * CONNECTIONS / RATE));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut good = 0;
            while !stop.load(Ordering::Relaxed) {
                ticks.tick().await;
                let request = VerifyRequest { secret: secret.clone(), ..Default::default() };
                let answer = root.verification.verify(request).await.expect("0 failed calls").into_inner();
                assert_eq!(answer.verdict(), Verdict::Valid);
                good += 1;
            }
            good
        }));
    }
    calling
}

/// What Prometheus would see: how many looks were refused, and how many taken.
async fn looks(http: SocketAddr) -> [u64; 2] {
    let to = format!("{NAME}:{}:127.0.0.1", http.port());
    let url = format!("https://{NAME}:{}/metrics", http.port());
    let (_, text) = run_tool("curl", &["-sSk", "--resolve", &to, &url]).await.unwrap_or_default();
    ["refused", "loaded"].map(|result| {
        let series = format!("claviger_tls_reloads_total{{result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_certificate_is_taken_under_load_and_no_call_fails() {
    let scene = Scene::new();
    let sign = || scene.authority.sign(&Wanted::server(&[NAME]));
    let first = sign();
    mount(scene.folder(), "..1", &first);
    let service = scene.start_logging().await;
    let stop = Arc::new(AtomicBool::new(false));
    let calling = call(&scene, &service, &stop).await;
    assert_eq!(scene.presented(service.address).await, certificate(&first.certificate));
    for version in ["..2", "..3"] {
        let next = sign();
        mount(scene.folder(), version, &next);
        eventually(LONGEST, "new connections get the new certificate", async || {
            scene.presented(service.address).await == certificate(&next.certificate)
        })
        .await;
        sleep(Duration::from_secs(1)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut good = 0;
    for calls in calling {
        good += calls.await.expect("0 failed calls");
    }
    assert!(good > 200, "{good} calls");
    let log = scene.log();
    assert_eq!(log.matches("new TLS files are in use").count(), 2, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    assert_eq!(service.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_used_stays_out_with_an_alarm_until_it_is_put_right() {
    let scene = Scene::new();
    let service = scene.start_logging().await;
    let http = service.http_address;
    let in_use = scene.presented(service.address).await;
    let other = scene.authority.sign(&Wanted::server(&[NAME]));
    let expired = scene.authority.sign(&Wanted::server(&[NAME]).expired());
    let certificate_of = |new: &Certified| std::fs::write(scene.file("tls.crt"), &new.certificate).expect("written");
    let alarms = |why: &str| scene.log().lines().filter(|line| line.contains("ERROR") && line.contains(why)).count();

    // One of the two, as by somebody who forgot the other.
    certificate_of(&other);
    eventually(LONGEST, "an alarm", async || alarms("isn't the key of the first certificate") == 1).await;
    std::fs::remove_file(scene.file("tls.key")).expect("removed");
    eventually(LONGEST, "an alarm", async || alarms("tls.key: No such file") == 1).await;
    expired.write(scene.folder(), "tls");
    eventually(LONGEST, "an alarm", async || alarms("has expired at 2020-01-02") == 1).await;
    std::fs::write(scene.file("ca.crt"), "").expect("written");
    eventually(LONGEST, "an alarm", async || alarms("holds no certificate") == 1).await;
    assert_eq!(scene.presented(service.address).await, in_use, "the old one stays");
    // What goes on to be wrong is said once.
    sleep(limits::TLS_LOOK * 3).await;
    assert_eq!(scene.log().matches("ERROR").count(), 4, "{}", scene.log());
    let [refused, loaded] = looks(http).await;
    // Without curl, which is said loudly, neither is known.
    assert!((refused >= 4 || tool("curl").is_none()) && loaded == 0, "{refused} {loaded}");

    other.write(scene.folder(), "tls");
    std::fs::write(scene.file("ca.crt"), &scene.authority.pem).expect("written");
    eventually(LONGEST, "it is put right", async || {
        scene.presented(service.address).await == certificate(&other.certificate)
    })
    .await;
    assert!(looks(http).await[1] == 1 || tool("curl").is_none());
    assert_eq!(service.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_of_clients_are_taken_anew_too() {
    let scene = Scene::new();
    let service = scene.start_logging().await;
    let next = Authority::new("the next authority");
    let wanted = Wanted::client(&["spiffe://claviger.test/billing"], &[]);
    let (old, new) = (scene.authority.sign(&wanted), next.sign(&wanted));
    let secret = process::root_secret(scene.folder());
    let works = async |own: &Certified| {
        let Ok(channel) = scene.channel(service.address, Some(own)).await else { return false };
        let request = VerifyRequest { secret: secret.clone(), ..Default::default() };
        Client::over(channel, Some(&secret)).verification.verify(request).await.is_ok()
    };
    assert!(works(&old).await && !works(&new).await);
    let staying = scene.channel(service.address, Some(&old)).await.expect("connected");
    let mut staying = Client::over(staying, Some(&secret));
    assert_eq!(staying.verdict(&secret).await, Verdict::Valid);
    std::fs::write(scene.file("ca.crt"), &next.pem).expect("written");
    eventually(LONGEST, "clients of the next authority get in", async || works(&new).await).await;
    assert!(!works(&old).await, "and those of the one before don't");
    assert_eq!(staying.verdict(&secret).await, Verdict::Valid, "who was in stays in");
    assert_eq!(service.terminate().await, Some(0));
}
