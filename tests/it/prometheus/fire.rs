//! Each alert fired by a real Prometheus at real services that something really happens to.
//!
//! The rules are those of the chart, rewritten as [`impatient`] says and not otherwise. Which have no scene here say
//! [`NOT_HERE`] and [`AFTER_A_MINUTE`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::proto::v1;
use sea_orm::ConnectionTrait;
use tokio::time::{Instant, sleep};

use super::{ALERTS, WITH_TLS, alerts, expiring_root_key, file, panels};
use crate::forks::{lose_writes, save};
use crate::harness::{Client, Engine, FakedTime, Place, Process, Prometheus, Sink, engine::long, process, sink};
use crate::mail_rig;
use crate::outage::{Cable, Outage};
use crate::rig::{Replicas, database, eventually};

/// Everything happens at once, and then all is waited for; a busy machine takes its time.
const LONGEST: Duration = Duration::from_secs(90);
/// What they tell of takes TLS; promtool plays it to the rules.
const NOT_HERE: [&str; 2] = ["ClavigerTlsCertificateExpiring", "ClavigerTlsReloadRefused"];
/// Told by the run that is due each minute: too long to wait for, unless somebody asks for the longer proofs.
const AFTER_A_MINUTE: &str = "ClavigerMailsWaiting";

/// The rules, for somebody who won't wait: an alert fires as soon as what it tells of is so, and a mirror is stale after 2 s
/// instead of 30 s.
fn impatient(rules: &str) -> String {
    let (from, to) = ("claviger_mirror_staleness_seconds > 30", "claviger_mirror_staleness_seconds > 2");
    assert!(rules.contains(from));
    let line = |line: &str| if line.trim_start().starts_with("for: ") { String::new() } else { line.to_owned() };
    rules.replace(from, to).lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A service on PostgreSQL behind a cable that will be cut.
struct Store {
    cable: Cable,
    service: Process,
    _place: Place,
    root: Client,
    secret: String,
}

async fn store() -> Option<Store> {
    let mut place = Engine::Postgres.place().await?;
    let url = place.database_url.take().expect("PostgreSQL");
    let (before, rest) = url.split_once('@').expect("a user");
    let (server, name) = rest.split_once('/').expect("a database");
    let cable = Cable::to(server).await;
    place.database_url = Some(format!("{before}@{}/{name}", cable.address));
    let service = Process::start_with(&place, &[("CLAVIGER_STALENESS_BOUND", "3s"), ("CLAVIGER_LOG", "off")]).await;
    let secret = process::root_secret(place.folder.path());
    let root = service.caller(Some(&secret)).await;
    Some(Store { cable, service, _place: place, root, secret })
}

/// Two replicas, of which one will be gone.
async fn replicas() -> Option<(Replicas, Vec<Process>)> {
    let replicas = Replicas::new(2).await?;
    let running = replicas.start().await;
    Some((replicas, running))
}

/// A service whose machine's clock is 10 s ahead of the database's.
async fn ahead() -> Option<(Process, Place, FakedTime)> {
    let place = Engine::Postgres.place().await?;
    let time = FakedTime::new(Clock::system().now() + TimeDelta::seconds(10))?;
    let service = time.start(&place, &[("CLAVIGER_LOG", "off")]).await;
    Some((service, place, time))
}

/// A service with a mail server, and a collector that isn't there.
struct Mails {
    service: Process,
    place: Place,
    root: Client,
    _sink: Sink,
}

async fn mails() -> Option<Mails> {
    let sink = Sink::start(sink::Options::default()).await?;
    let place = Engine::Sqlite.place().await.expect("SQLite is always there");
    let mut command = process::command(&place);
    command.envs(mail_rig::settings(&sink.url(), &[("CLAVIGER_LOG", "off")]));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let service = Process::start_command(command).await;
    let root = service.caller(Some(&process::root_secret(place.folder.path()))).await;
    Some(Mails { service, place, root, _sink: sink })
}

impl Mails {
    /// People whose mails are refused, or not taken now; a tenant with nobody; a root key that expires.
    async fn happen(&mut self) {
        for (tenant, people) in
            [("refused", &["code-550.a@acme.test"][..]), ("later", &["code-450.a@acme.test"]), ("nobody", &[])]
        {
            let tenant = mail_rig::subscribe(&mut self.root, tenant, people).await;
            mail_rig::run_warnings(&mut self.root, &tenant).await.expect("a run");
        }
        expiring_root_key(&mut self.root).await;
    }

    /// The database is put back to what it was, behind the service's back and with a key that nobody can read.
    async fn lose_writes(&mut self) {
        let database = database(&self.place).await;
        let owner = self.root.create_service_user("tenants/nobody", "spoilt").await;
        self.root.create_key(&owner, &[]).await;
        let saved = save(&database).await;
        let spoil = "UPDATE saved_api_key SET scopes = '[\"NO SCOPE\"]' WHERE service_user_id = 'spoilt'";
        database.execute_unprepared(spoil).await.expect("spoilt");
        let lost = self.root.create_tenant("lost").await;
        // The service has seen it when it verifies.
        let owner = self.root.create_service_user(&lost, "billing").await;
        let (_, secret) = self.root.create_key(&owner, &[]).await;
        self.root.verdict(&secret).await;
        lose_writes(&database, saved, 0).await;
    }
}

async fn verify(root: &mut Client, secret: &str) {
    let request = v1::VerifyRequest { secret: secret.to_owned(), ..Default::default() };
    // What it answers is what the alert is about.
    let _ = root.verification.verify(request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_fires_when_it_happens_and_every_panel_shows_something() {
    let (store, replicas, ahead, mails) = tokio::join!(store(), replicas(), ahead(), mails());
    let (Some(mut store), Some((_replicas, mut running)), Some((ahead, _place, _time)), Some(mut mails)) =
        (store, replicas, ahead, mails)
    else {
        return;
    };
    let addresses = |processes: &[&Process]| processes.iter().map(|process| process.http_address).collect();
    let jobs: [(&str, Vec<SocketAddr>); 4] = [
        ("claviger-store", addresses(&[&store.service])),
        ("claviger-replicas", addresses(&running.iter().collect::<Vec<_>>())),
        ("claviger-ahead", addresses(&[&ahead])),
        ("claviger-mails", addresses(&[&mails.service])),
    ];
    let Some(prometheus) = Prometheus::start(&jobs, &impatient(&file(ALERTS))).await else { return };
    // Counters must be seen before they rise.
    eventually(LONGEST, "everything is scraped", async || {
        prometheus.query("count_over_time(claviger_forks_total[1m]) > 2").await.expect("a query").len() == 5
    })
    .await;
    let expected = expected();
    let early: Vec<_> =
        fired(&prometheus).await.into_iter().filter(|fired| !EARLY.contains(&fired.1.as_str())).collect();
    assert!(early.is_empty(), "nothing happened yet: {early:?}");

    verify(&mut store.root, &store.secret.clone()).await;
    store.cable.cut(Outage::Refused).await;
    running.remove(0).kill().await;
    mails.happen().await;
    mails.lose_writes().await;
    let mut seen = BTreeSet::new();
    let begun = Instant::now();
    while !expected.is_subset(&seen) {
        verify(&mut store.root, &store.secret.clone()).await;
        seen.extend(fired(&prometheus).await);
        let missing: Vec<_> = expected.difference(&seen).collect();
        assert!(begun.elapsed() < LONGEST, "after {LONGEST:?} these have not fired: {missing:?}");
        sleep(Duration::from_millis(100)).await;
    }
    println!("all alerts had fired after {:?}", begun.elapsed());
    every_panel_shows_something(&prometheus).await;
}

/// Alerts that fire before anything happens, in this haste: nobody has had his first run of warnings yet, and a clock that is
/// ahead is so from the start.
const EARLY: [&str; 2] = ["ClavigerNoWarningRun", "ClavigerClockOffset"];

async fn fired(prometheus: &Prometheus) -> BTreeSet<(String, String)> {
    prometheus.firing().await.into_iter().map(|(alert, job)| (job, alert)).collect()
}

/// Every alert of the file, with the job of which it is told.
fn expected() -> BTreeSet<(String, String)> {
    let job = |alert: &str| match alert {
        "ClavigerVerifyErrors" | "ClavigerMirrorStale" | "ClavigerStoreUnavailable" | "ClavigerNoWarningRun" => "store",
        "ClavigerReplicaMissing" => "replicas",
        "ClavigerClockOffset" => "ahead",
        _ => "mails",
    };
    let here = alerts().into_iter().filter(|alert| !NOT_HERE.contains(&alert.as_str()));
    let here = here.filter(|alert| long() || alert != AFTER_A_MINUTE);
    here.map(|alert| (format!("claviger-{}", job(&alert)), alert)).collect()
}

async fn every_panel_shows_something(prometheus: &Prometheus) {
    for (title, expressions) in panels() {
        for expression in expressions {
            let asked = [("$__rate_interval", "1m"), ("$__range", "1h"), ("$namespace", ".*"), ("$job", ".*")]
                .iter()
                .fold(expression.clone(), |text, (variable, value)| text.replace(variable, value));
            let shown = prometheus.query(&asked).await.unwrap_or_else(|why| panic!("{title}: {asked}: {why}"));
            let needs_tls = WITH_TLS.iter().any(|metric| expression.contains(metric));
            assert!(needs_tls || !shown.is_empty(), "{title} is empty: {asked}");
        }
    }
}
