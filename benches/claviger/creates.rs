//! Creations a second, each one committed to the disk, by 64 callers at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use claviger::proto::v1::{CreateKeyRequest, Key, key_service_client::KeyServiceClient};

use crate::Outcome;
use crate::clients::{Connection, connect};
use crate::report::{Bar, Report, Row};
use crate::runner::wait_until_quiet;
use crate::seeding::name_of;
use crate::server::{Cores, Server};
use crate::site::{Content, Site};
use crate::statistics::{Spread, shuffled};
use crate::world::World;

const CALLERS: usize = 64;
const CONNECTIONS: usize = 8;
/// Room for ten times as many keys.
const SERVICE_USERS: u64 = 20_000;

/// Measures both engines, in turn.
pub async fn measure(world: &mut World, report: &mut Report) -> Outcome<()> {
    let plan = world.plan;
    let content = Content { idle_service_users: SERVICE_USERS, ..Content::of_keys(0) };
    let postgres = Site::on_postgres(world.postgres()?, "creates", content).await?;
    let sqlite = Site::on_sqlite(content).await?;
    let mut engines = [Engine::start("PostgreSQL", postgres).await?, Engine::start("SQLite", sqlite).await?];
    for round in 0..plan.rounds {
        wait_until_quiet(plan.patience).await?;
        for index in shuffled(engines.len(), round) {
            engines[index].create_for(plan.duration * 2).await?;
        }
        eprintln!("creates: round {} of {}", round + 1, plan.rounds);
    }
    report.rows.extend(engines.iter().filter_map(Engine::row));
    Ok(())
}

struct Engine {
    name: &'static str,
    callers: Vec<KeyServiceClient<Connection>>,
    next: AtomicU64,
    rates: Vec<f64>,
    _server: Server,
    _site: Site,
}

impl Engine {
    async fn start(name: &'static str, site: Site) -> Outcome<Self> {
        let server = Server::claviger(&site, Cores::Both, &[])?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(KeyServiceClient::new(connect(server.address, &site.caller).await?));
        }
        let callers = (0..CALLERS).map(|caller| connections[caller % CONNECTIONS].clone()).collect();
        Ok(Self { name, callers, next: AtomicU64::new(0), rates: Vec::new(), _server: server, _site: site })
    }

    async fn create_for(&mut self, duration: Duration) -> Outcome<()> {
        let start = Instant::now();
        let creating = self.callers.iter().map(|caller| create_until(caller.clone(), start + duration, &self.next));
        let made: u64 = join_all(creating).await.into_iter().sum::<Outcome<u64>>()?;
        self.rates.push(made as f64 / start.elapsed().as_secs_f64());
        Ok(())
    }

    fn row(&self) -> Option<Row> {
        Some(Row {
            what: format!("creates, durable, {CALLERS} callers, {}", self.name),
            unit: "/s",
            spread: Spread::of(self.rates.iter().copied())?,
            rounds: self.rates.len(),
            bar: Some(Bar::AtLeast(1_000.0)),
            other_load: None,
            errors: 0,
            by: "tonic client",
        })
    }
}

/// Creates key after key, for one service user after the other; answers how many.
async fn create_until(mut caller: KeyServiceClient<Connection>, end: Instant, next: &AtomicU64) -> Outcome<u64> {
    let mut made = 0;
    while Instant::now() < end {
        let number = next.fetch_add(1, Ordering::Relaxed) % SERVICE_USERS;
        let scopes = vec!["invoices:read".to_owned()];
        let key = Key { display_name: "a key".to_owned(), scopes, ..Key::default() };
        let request = CreateKeyRequest { parent: name_of(number), key: Some(key), ..CreateKeyRequest::default() };
        caller.create_key(request).await?;
        made += 1;
    }
    Ok(made)
}
