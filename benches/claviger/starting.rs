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
use crate::statistics::Spread;
use crate::world::World;

/// How often SERVING is asked for.
const LOOK: Duration = Duration::from_millis(10);
/// Load before the memory is read: what calls allocate belongs to it.
const LOAD: Duration = Duration::from_secs(3);
const SHAPE: Shape =
    Shape { method: Method::Verify, connections: 4, in_flight: 25, secrets: Secrets::Random, rate: None };

/// Measures both, once a round.
pub async fn measure(world: &mut World, report: &mut Report) -> Outcome<()> {
    let plan = world.plan;
    let site = world.site(Size::Many).await?;
    let (mut seconds, mut bytes, mut errors) = (Vec::new(), Vec::new(), 0);
    for round in 0..plan.rounds {
        let start = Instant::now();
        let server = Server::claviger(site, Cores::Both, &[])?;
        while healthcheck(server.address, None).await.is_err() {
            sleep(LOOK).await;
        }
        seconds.push(start.elapsed().as_secs_f64());
        let load = load(&server, site, SHAPE, plan.warm_up, LOAD.min(plan.duration * 2));
        errors += Blast::start(&load, Cores::Both)?.finish()?.errors;
        bytes.push(machine::resident_bytes(server.process())? / site.keys as f64);
        eprintln!("start: round {} of {}", round + 1, plan.rounds);
    }
    let row = |what: &str, unit, values: Vec<f64>, bar, by| {
        let rounds = values.len();
        let spread = Spread::of(values)?;
        Some(Row { what: what.to_owned(), unit, spread, rounds, bar: Some(bar), other_load: None, errors, by })
    };
    let keys = site.keys;
    report.rows.extend(row(
        &format!("start with {keys} keys on PostgreSQL, to SERVING"),
        "s",
        seconds,
        Bar::AtMost(10.0),
        "–",
    ));
    let what = format!("memory of the process / key, {keys} keys, after load");
    report.rows.extend(row(&what, "bytes", bytes, Bar::AtMost(320.0), blast::NAME));
    Ok(())
}
