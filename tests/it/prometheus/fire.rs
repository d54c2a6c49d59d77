//! Each alert fired by a real Prometheus at real services that something really happens to.
//!
//! The rules are those of the chart, rewritten as [`impatient`] says and not otherwise. It takes two minutes and a half: runs
//! of warnings are due once a minute, and the last one must be old.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::proto::v1;
use sea_orm::ConnectionTrait;
use tokio::time::{Instant, sleep};

use super::{ALERTS, alerts, expiring_root_key, file, panels};
use crate::forks::{lose_writes, save};
use crate::harness::certificates::{Authority, Wanted};
use crate::harness::{Client, Engine, FakedTime, Place, Process, Prometheus, Sink, process, prometheus::Job, sink};
use crate::mail_rig;
use crate::outage::{Cable, Outage};
use crate::rig::{Replicas, database, eventually};

/// Everything happens at once, and then all is waited for; a busy machine takes its time.
const LONGEST: Duration = Duration::from_secs(180);
/// It fires when nobody is left.
const LAST: &str = "ClavigerAbsent";

/// The rules, for somebody who won't wait: an alert fires as soon as what it tells of is so, a mirror is stale after 2 s
/// instead of 30 s, and a run of warnings is missing after 75 s instead of 10 min.
fn impatient(rules: &str) -> String {
    const SOONER: [(&str, &str); 2] = [
        ("claviger_mirror_staleness_seconds > 30", "claviger_mirror_staleness_seconds > 2"),
        (
            "claviger_warning_run_last_success_timestamp_seconds) > 600",
            "claviger_warning_run_last_success_timestamp_seconds) > 75",
        ),
    ];
    let hurried = SOONER.into_iter().fold(rules.to_owned(), |rules, (from, to)| {
        assert!(rules.contains(from), "{from}");
        rules.replace(from, to)
    });
    hurried.lines().filter(|line| !line.trim_start().starts_with("for: ")).collect::<Vec<_>>().join("\n")
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
    let cable = Cable::before(&mut place).await;
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

/// A service whose certificate will expire soon, and then be replaced by one that can't be used.
struct Tls {
    service: Process,
    place: Place,
    authority: Authority,
}

async fn tls() -> Tls {
    let place = Engine::Sqlite.place().await.expect("SQLite is always there");
    let authority = Authority::new("the authority");
    authority.sign(&Wanted::server(&["localhost"])).write(place.folder.path(), "tls");
    let mut command = process::command(&place);
    for (setting, name) in [("CLAVIGER_TLS_CERTIFICATE_FILE", "tls.crt"), ("CLAVIGER_TLS_KEY_FILE", "tls.key")] {
        command.env(setting, place.folder.path().join(name));
    }
    command.env("CLAVIGER_LOG", "off");
    Tls { service: Process::start_command(command).await, place, authority }
}

impl Tls {
    async fn expire_soon(&self, prometheus: &Prometheus) {
        let in_six_days = (Clock::system().now() + TimeDelta::days(6)).timestamp();
        let until = u64::try_from(in_six_days).expect("after 1970");
        let soon = Wanted { until, ..Wanted::server(&["localhost"]) };
        self.authority.sign(&soon).write(self.place.folder.path(), "tls");
        let taken = "claviger_tls_certificate_expiry_timestamp_seconds - time() < 7 * 86400";
        eventually(LONGEST, "the certificate is in use", async || {
            !prometheus.query(taken).await.expect("a query").is_empty()
        })
        .await;
    }

    fn spoil(&self) {
        std::fs::write(self.place.folder.path().join("tls.key"), "no key").expect("written");
    }
}

async fn verify(root: &mut Client, secret: &str) {
    let request = v1::VerifyRequest { secret: secret.to_owned(), ..Default::default() };
    // What it answers is what the alert is about.
    let _ = root.verification.verify(request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_fires_when_it_happens_and_every_panel_shows_something() {
    let (store, replicas, ahead, mails, tls) = tokio::join!(store(), replicas(), ahead(), mails(), tls());
    let (Some(mut store), Some((_replicas, mut running)), Some((ahead, _place, _time)), Some(mut mails)) =
        (store, replicas, ahead, mails)
    else {
        return;
    };
    let both: Vec<&Process> = running.iter().collect();
    let jobs = [
        ("claviger-store", &[&store.service][..]),
        ("claviger-replicas", &both),
        ("claviger-ahead", &[&ahead]),
        ("claviger-mails", &[&mails.service]),
        ("claviger-tls", &[&tls.service]),
    ];
    let jobs = jobs.map(|(name, processes)| {
        let addresses = processes.iter().map(|process| process.http_address).collect();
        Job { name, addresses, tls: name == "claviger-tls" }
    });
    let Some(prometheus) = Prometheus::start(&jobs, &impatient(&file(ALERTS))).await else { return };
    // Counters must be seen before they rise, and everybody has had a run of warnings.
    for (seen, count) in [
        ("count_over_time(claviger_forks_total[1m]) > 2", 6),
        ("max by (job) (claviger_warning_run_last_success_timestamp_seconds) > 0", 5),
    ] {
        eventually(LONGEST, seen, async || prometheus.query(seen).await.expect("a query").len() == count).await;
    }
    let expected = expected();
    eventually(LONGEST, "nothing fires, because nothing happened yet", async || {
        fired(&prometheus).await.iter().all(|(_, alert)| alert == EARLY)
    })
    .await;

    verify(&mut store.root, &store.secret.clone()).await;
    store.cable.cut(Outage::Refused).await;
    running.remove(0).kill().await;
    mails.happen().await;
    tls.expire_soon(&prometheus).await;
    tls.spoil();
    let (mut seen, mut is_lost) = (BTreeSet::new(), false);
    let begun = Instant::now();
    while !expected.is_subset(&seen) {
        verify(&mut store.root, &store.secret.clone()).await;
        seen.extend(fired(&prometheus).await);
        // What is lost are the waiting mails too.
        if !is_lost && seen.iter().any(|(_, alert)| alert == "ClavigerMailsWaiting") {
            mails.lose_writes().await;
            is_lost = true;
        }
        let missing: Vec<_> = expected.difference(&seen).collect();
        assert!(begun.elapsed() < LONGEST, "after {LONGEST:?} these have not fired: {missing:?}");
        sleep(Duration::from_millis(100)).await;
    }
    println!("all alerts had fired after {:?}", begun.elapsed());
    every_panel_shows_something(&prometheus).await;

    for process in [store.service, ahead, mails.service, tls.service].into_iter().chain(running) {
        process.kill().await;
    }
    eventually(LONGEST, LAST, async || fired(&prometheus).await.iter().any(|(_, alert)| alert == LAST)).await;
}

/// Fires before anything happens: a clock that is ahead is so from the start.
const EARLY: &str = "ClavigerClockOffset";

async fn fired(prometheus: &Prometheus) -> BTreeSet<(String, String)> {
    prometheus.firing().await.into_iter().map(|(alert, job)| (job, alert)).collect()
}

/// Every alert of the file but the last, with the job of which it is told.
fn expected() -> BTreeSet<(String, String)> {
    let job = |alert: &str| match alert {
        "ClavigerVerifyErrors" | "ClavigerMirrorStale" | "ClavigerStoreUnavailable" | "ClavigerNoWarningRun" => "store",
        "ClavigerReplicaMissing" => "replicas",
        "ClavigerClockOffset" => "ahead",
        "ClavigerTlsCertificateExpiring" | "ClavigerTlsReloadRefused" => "tls",
        _ => "mails",
    };
    let here = alerts().into_iter().filter(|alert| alert != LAST);
    here.map(|alert| (format!("claviger-{}", job(&alert)), alert)).collect()
}

async fn every_panel_shows_something(prometheus: &Prometheus) {
    for (title, expressions) in panels() {
        for expression in expressions {
            let asked = [("$__rate_interval", "1m"), ("$__range", "1h"), ("$namespace", ".*"), ("$job", ".*")]
                .iter()
                .fold(expression.clone(), |text, (variable, value)| text.replace(variable, value));
            let shown = prometheus.query(&asked).await.unwrap_or_else(|why| panic!("{title}: {asked}: {why}"));
            assert!(!shown.is_empty(), "{title} is empty: {asked}");
        }
    }
}
