//! So many verifies and writes a second, however long each takes, and what became of each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use claviger::proto::v1::{RevokeKeyRequest, Verdict, VerifyRequest};
use claviger::random;
use parking_lot::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_types::StatusExt;

use super::client::Balanced;
use crate::harness::Client;

/// Service users whose keys are verified over and over, and as many whose keys are made and revoked.
const OWNERS: usize = 30;

/// Calls a second, how many may be under way at once (one more waits), and what becomes of those that couldn't begin in time.
#[derive(Clone, Copy, Default)]
pub struct Rates {
    pub verifies: u32,
    pub writes: u32,
    pub at_once: usize,
    pub missed: MissedTickBehavior,
}

/// What was asked for, and what came of it.
#[derive(Default)]
pub struct Report {
    asked: Rates,
    took: Duration,
    /// Of each verify, from when it was due.
    latencies: Vec<Duration>,
    writes: usize,
    pub failed: Vec<String>,
    /// Answers of a server that had too much to do, or whose database had.
    pub overloaded: usize,
    pub elsewhere: usize,
}

pub struct Load {
    enough: CancellationToken,
    client: Arc<Balanced>,
    elsewhere_before: usize,
    begun: Instant,
    tasks: Vec<JoinHandle<()>>,
    report: Arc<Mutex<Report>>,
}

impl Load {
    pub async fn start(client: &Arc<Balanced>, rates: Rates) -> Self {
        let (owners, secrets) = furnish(client).await;
        let enough = CancellationToken::new();
        let report = Arc::new(Mutex::new(Report { asked: rates, ..Report::default() }));
        let verifying = paced(rates, rates.verifies, enough.clone(), {
            let (client, report) = (Arc::clone(client), Arc::clone(&report));
            move |number, due| {
                let (client, report) = (Arc::clone(&client), Arc::clone(&report));
                let secret = secrets[number % secrets.len()].clone();
                async move {
                    let answer = verify(&client, &secret, Verdict::Valid).await;
                    let mut report = report.lock();
                    report.latencies.push(due.elapsed());
                    report.note(answer);
                }
            }
        });
        let writing = paced(rates, rates.writes, enough.clone(), {
            let (client, report) = (Arc::clone(client), Arc::clone(&report));
            move |number, _| {
                let (client, report) = (Arc::clone(&client), Arc::clone(&report));
                let owner = owners[number % owners.len()].clone();
                async move {
                    let answer = write(&client, &owner).await;
                    let mut report = report.lock();
                    report.writes += 1;
                    report.note(answer);
                }
            }
        });
        let (client, elsewhere_before) = (Arc::clone(client), client.elsewhere());
        Self { enough, client, elsewhere_before, begun: Instant::now(), tasks: vec![verifying, writing], report }
    }

    /// Lets every call end that has begun.
    pub async fn end(self) -> Report {
        let took = self.begun.elapsed();
        self.enough.cancel();
        for task in self.tasks {
            task.await.expect("no panic");
        }
        let mut report = std::mem::take(&mut *self.report.lock());
        report.took = took;
        report.elsewhere = self.client.elsewhere() - self.elsewhere_before;
        report.latencies.sort_unstable();
        report
    }
}

/// Begins a call whenever one is due, whatever became of those before; answers when all have ended.
fn paced<F>(
    rates: Rates,
    a_second: u32,
    enough: CancellationToken,
    mut call: impl FnMut(usize, Instant) -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        let mut calls = JoinSet::new();
        let mut due = interval(Duration::from_secs(1) / a_second);
        due.set_missed_tick_behavior(rates.missed);
        let mut number = 0;
        while let Some(due) = enough.run_until_cancelled(due.tick()).await {
            calls.spawn(call(number, due));
            number += 1;
            while calls.try_join_next().is_some() {}
            if calls.len() >= rates.at_once {
                calls.join_next().await;
            }
        }
        while let Some(ended) = calls.join_next().await {
            ended.expect("no panic");
        }
    })
}

/// Owners for the writes, and keys to verify.
async fn furnish(client: &Balanced) -> (Vec<String>, Vec<String>) {
    let mut root = client.callers().next().expect("a replica");
    let [a, b]: [u8; 2] = random::bytes().expect("randomness");
    let tenant = root.create_tenant(&format!("load-{a}-{b}")).await;
    let (mut owners, mut secrets) = (Vec::new(), Vec::new());
    for number in 0..OWNERS {
        let owner = root.create_service_user(&tenant, &format!("verified-{number}")).await;
        secrets.push(root.create_key(&owner, &[]).await.1);
        owners.push(root.create_service_user(&tenant, &format!("changing-{number}")).await);
    }
    (owners, secrets)
}

/// Why a call wasn't answered as it should be.
enum Failure {
    /// The server says that it has too much to do. A replica that opened its port too early would say something else.
    Overloaded,
    Other(String),
}

impl Failure {
    fn of(call: &str, status: &Status) -> Self {
        let overloaded = ["DEADLINE_EXCEEDED", "OVERLOADED"];
        // What never came from a server has none.
        if status.get_details_error_info().is_some_and(|info| overloaded.contains(&&*info.reason)) {
            return Self::Overloaded;
        }
        Self::Other(format!("{call}: {status:?}"))
    }
}

async fn verify(client: &Balanced, secret: &str, expected: Verdict) -> Result<(), Failure> {
    let request = VerifyRequest { secret: secret.to_owned(), ..Default::default() };
    let ask = |mut caller: Client| {
        let request = request.clone();
        async move { caller.verification.verify(request).await }
    };
    match client.call(ask).await {
        Ok(answer) if answer.get_ref().verdict() == expected => Ok(()),
        Ok(answer) => Err(Failure::Other(format!("Verify: {:?} instead of {expected:?}", answer.get_ref().verdict()))),
        Err(status) => Err(Failure::of("Verify", &status)),
    }
}

/// Makes a key, finds it VALID on another replica, and revokes it.
async fn write(client: &Balanced, owner: &str) -> Result<(), Failure> {
    let make = |mut caller: Client| async move { caller.try_create_key(owner, &[]).await };
    let made = client.call(make).await;
    let (key, secret) = made.map_err(|status| Failure::of("CreateKey", &status))?;
    verify(client, &secret, Verdict::Valid).await?;
    let request = RevokeKeyRequest { name: key.name, ..Default::default() };
    let revoke = |mut caller: Client| {
        let request = request.clone();
        async move { caller.keys.revoke_key(request).await }
    };
    client.call(revoke).await.map(drop).map_err(|status| Failure::of("RevokeKey", &status))
}

impl Report {
    fn note(&mut self, answer: Result<(), Failure>) {
        match answer {
            Ok(()) => {}
            Err(Failure::Overloaded) => self.overloaded += 1,
            Err(Failure::Other(why)) => self.failed.push(why),
        }
    }

    pub fn p99(&self) -> Duration {
        self.latencies.get(self.latencies.len() * 99 / 100).copied().unwrap_or_default()
    }

    pub fn first_failures(&self) -> &[String] {
        &self.failed[..self.failed.len().min(5)]
    }

    /// Whether nine tenths of the calls were made that were to be made.
    pub fn is_as_fast_as_asked(&self) -> bool {
        let enough = |made: usize, rate: u32| made as f64 >= 0.9 * f64::from(rate) * self.took.as_secs_f64();
        enough(self.latencies.len(), self.asked.verifies) && enough(self.writes, self.asked.writes)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| {
            let place = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(place.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        write!(
            f,
            "{} verifies and {} writes in {:.1?}, {} failed, {} overloaded, {} went elsewhere; p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
            self.latencies.len(),
            self.writes,
            self.took,
            self.failed.len(),
            self.overloaded,
            self.elsewhere,
            at(0.5),
            self.p99(),
            at(1.0)
        )
    }
}
