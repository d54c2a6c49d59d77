//! How long a start takes with many keys on PostgreSQL, and how much memory a key takes then.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use claviger::app::healthcheck;

use crate::Outcome;
use crate::blast::{self, Blast, load};
use crate::comparisons::Size;
use crate::load::{Method, Secrets, Shape};
use crate::machine;
use crate::report::{Bar, Report, Row};
use crate::server::{Cores, Server};
use crate::site::{Content, Scopes, Site};
use crate::statistics::Spread;
use crate::world::{Plan, World};

/// How often SERVING is asked for.
const LOOK: Duration = Duration::from_millis(10);
/// Load before the memory is read: what calls allocate belongs to it.
const LOAD: Duration = Duration::from_secs(3);
const SHAPE: Shape =
    Shape { method: Method::Verify, connections: 4, in_flight: 25, secrets: Secrets::Random, rate: None };

/// How often with keys that share no scopes.
const ROUNDS_UNSHARED: usize = 3;

/// Measures both, once a round; and the memory again with keys that share nothing.
pub async fn measure(world: &mut World, report: &mut Report) -> Outcome<()> {
    let plan = world.plan;
    let site = world.site(Size::Many).await?;
    let (mut found, mut unshared) = (Found::default(), Found::default());
    for round in 0..plan.rounds {
        found.start_once(site, plan).await?;
        eprintln!("start: round {} of {}", round + 1, plan.rounds);
    }
    let keys = plan.many;
    report.rows.extend(row(
        format!("start with {keys} keys on PostgreSQL, to SERVING"),
        "s",
        found.seconds,
        Some(Bar::AtMost(10.0)),
        0,
        "–",
    ));
    let what = format!("memory of the process / key, {keys} keys, after load");
    report.rows.extend(row(what.clone(), "bytes", found.bytes, Some(Bar::AtMost(320.0)), found.errors, blast::NAME));
    eprintln!("seeding {keys} keys with scopes of their own");
    let content = Content { scopes: Scopes::OfKey, ..Content::of_keys(keys) };
    let site = Site::on_postgres(world.postgres()?, "unshared", content).await?;
    for _ in 0..ROUNDS_UNSHARED.min(plan.rounds) {
        unshared.start_once(&site, plan).await?;
    }
    let what = format!("{what}, each with scopes of its own");
    report.rows.extend(row(what, "bytes", unshared.bytes, None, unshared.errors, blast::NAME));
    Ok(())
}

#[derive(Default)]
struct Found {
    seconds: Vec<f64>,
    bytes: Vec<f64>,
    errors: u64,
}

impl Found {
    async fn start_once(&mut self, site: &Site, plan: Plan) -> Outcome<()> {
        let start = Instant::now();
        let server = Server::claviger(site, Cores::Both, &[])?;
        while healthcheck(server.address, None).await.is_err() {
            sleep(LOOK).await;
        }
        self.seconds.push(start.elapsed().as_secs_f64());
        let load = load(&server, site, SHAPE, plan.warm_up, LOAD.min(plan.duration * 2));
        self.errors += Blast::start(&load, Cores::Both)?.finish()?.errors;
        self.bytes.push(machine::resident_bytes(server.process())? / site.keys as f64);
        Ok(())
    }
}

fn row(
    what: String,
    unit: &'static str,
    values: Vec<f64>,
    bar: Option<Bar>,
    errors: u64,
    by: &'static str,
) -> Option<Row> {
    let rounds = values.len();
    Some(Row { what, unit, spread: Spread::of(values)?, rounds, bar, other_load: None, errors, by })
}
