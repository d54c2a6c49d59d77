//! How long a revoke on one replica takes to be refused by the two others, which share a PostgreSQL with it; and the same
//! while their listeners are cut off again and again.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::time::{sleep, timeout};

use claviger::proto::v1::{
    RevokeKeyRequest, Verdict, VerifyRequest, key_service_client::KeyServiceClient,
    verification_service_client::VerificationServiceClient,
};

use crate::Outcome;
use crate::clients::{Connection, connect};
use crate::postgres;
use crate::report::{Bar, Report, Row};
use crate::secrets::{Family, secret};
use crate::seeding::owner_of;
use crate::server::{Cores, Server};
use crate::site::{Content, Site};
use crate::statistics::{Spread, quantile};
use crate::world::World;

const REPLICAS: usize = 3;
/// Revokes of a full and of a quick run; each round has a part of them.
const REVOKES: usize = 500;
const FEW_REVOKES: usize = 40;
/// Of those that happen while listeners are cut off.
const CUT_SHARE: usize = 5;
/// How often the other replicas are asked.
const ASK: Duration = Duration::from_millis(1);
/// More than this is an error.
const GIVE_UP: Duration = Duration::from_secs(20);
/// Ends every connection that listens.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE application_name = 'claviger listen' AND datname = current_database() AND pid <> pg_backend_pid()";

/// Measures both.
pub async fn measure(world: &mut World, report: &mut Report) -> Outcome<()> {
    let revokes = if world.plan.rounds < 5 { FEW_REVOKES } else { REVOKES };
    let content = Content::of_keys(revokes as u64 * 2);
    let site = Site::on_postgres(world.postgres()?, "propagation", content).await?;
    let replicas = Replicas::start(&site).await?;
    // The first ones open connections.
    for number in 0..10 {
        replicas.revoke(number).await?;
    }
    let mut delays = Vec::new();
    for number in 10..revokes as u64 {
        // Spread over the time between two looks, not in step with them.
        sleep(Duration::from_millis(number * 37 % 101)).await;
        delays.push(milliseconds(replicas.revoke(number).await?));
    }
    let mut cut_delays = Vec::new();
    for number in 0..revokes / CUT_SHARE {
        replicas.database.execute_unprepared(CUT).await?;
        cut_delays.push(milliseconds(replicas.revoke((revokes + number) as u64).await?));
    }
    let row = |what: &str, value: f64, of: &[f64], bar| {
        let all = Spread::of(of.iter().copied()).unwrap_or(Spread { median: value, least: value, most: value });
        let spread = Spread { median: value, least: all.least, most: all.most };
        let (what, rounds) = (what.to_owned(), of.len());
        Row { what, unit: "ms", spread, rounds, bar, other_load: None, errors: 0, by: "tonic client" }
    };
    report.rows.extend([
        row("revoke → refused by both other replicas, p50", quantile(&delays, 0.50), &delays, None),
        row("revoke → refused by both other replicas, p99", quantile(&delays, 0.99), &delays, Some(Bar::AtMost(100.0))),
        row(
            "revoke → refused by both other replicas, longest",
            quantile(&delays, 1.0),
            &delays,
            Some(Bar::AtMost(500.0)),
        ),
        row(
            "the same, listeners cut before each revoke, longest",
            quantile(&cut_delays, 1.0),
            &cut_delays,
            Some(Bar::AtMost(2_000.0)),
        ),
    ]);
    Ok(())
}

struct Replicas {
    keys: KeyServiceClient<Connection>,
    others: Vec<VerificationServiceClient<Connection>>,
    database: DatabaseConnection,
    _servers: Vec<Server>,
}

impl Replicas {
    async fn start(site: &Site) -> Outcome<Self> {
        let servers: Vec<Server> =
            (0..REPLICAS).map(|_| Server::claviger(site, Cores::Both, &[])).collect::<Outcome<_>>()?;
        let mut others = Vec::new();
        for server in &servers[1..] {
            others.push(VerificationServiceClient::new(connect(server.address, &site.caller).await?));
        }
        let keys = KeyServiceClient::new(connect(servers[0].address, &site.caller).await?);
        Ok(Self { keys, others, database: postgres::connect(&site.url()).await?, _servers: servers })
    }

    /// Revokes a key on the first replica; answers how long after the call began the last of the others refused it. That
    /// includes the change itself, so it is more than the propagation alone.
    async fn revoke(&self, number: u64) -> Outcome<Duration> {
        let secret = secret(Family::Seeded, number)?;
        let name = format!("{}/keys/{}", owner_of(number), secret.key_id());
        let request = RevokeKeyRequest { name, reason: "benchmark".to_owned(), ..RevokeKeyRequest::default() };
        let start = Instant::now();
        let (mut keys, text) = (self.keys.clone(), secret.reveal());
        let refused = self.others.iter().map(|other| refused(other.clone(), text, start));
        let (revoked, refused) = tokio::join!(keys.revoke_key(request), futures_util::future::join_all(refused));
        revoked?;
        let delays = refused.into_iter().collect::<Outcome<Vec<_>>>()?;
        delays.into_iter().max().ok_or_else(|| "no other replica".into())
    }
}

/// When this replica first refused the secret.
async fn refused(mut replica: VerificationServiceClient<Connection>, text: &str, start: Instant) -> Outcome<Duration> {
    let asking = async {
        loop {
            let request = VerifyRequest { secret: text.to_owned(), ..VerifyRequest::default() };
            let verdict = replica.verify(request).await?.get_ref().verdict();
            if verdict == Verdict::Revoked {
                return Ok(start.elapsed());
            }
            if verdict != Verdict::Valid {
                return Err(format!("a seeded key is {}", verdict.as_str_name()).into());
            }
            sleep(ASK).await;
        }
    };
    timeout(GIVE_UP, asking).await?
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
