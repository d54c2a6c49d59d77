//! What 10,000 secrets a second that are nobody's cost: the store's reads, and the answers about good keys beside them.

use std::thread::sleep;
use std::time::Duration;

use sea_orm::DatabaseConnection;

use crate::Outcome;
use crate::blast::{self, Blast, load};
use crate::load::{Load, Measurement, Method, Secrets, Shape};
use crate::postgres;
use crate::report::{Bar, Done, Report, Row};
use crate::runner::wait_until_quiet;
use crate::seeding::number;
use crate::server::{Cores, Server};
use crate::site::{Content, Site};
use crate::statistics::{Spread, shuffled};
use crate::world::World;

const DATABASE: &str = "flood";
const GOOD: Shape = paced(Secrets::Random, 1_000);
/// What floods beside the good ones: nothing, unknown secrets, malformed ones.
const VARIANTS: [(&str, Option<Shape>); 3] = [
    ("alone", None),
    ("beside 10,000 unknown/s", Some(paced(Secrets::Unknown, 10_000))),
    ("beside 10,000 malformed/s", Some(paced(Secrets::Malformed, 10_000))),
];
/// Places in that.
const ALONE: usize = 0;
const UNKNOWN: usize = 1;
const MALFORMED: usize = 2;
/// When PostgreSQL's processes have told what they did: one that has nothing to do does it after 10 s (PGSTAT_IDLE_INTERVAL).
const STATISTICS_DELAY: Duration = Duration::from_secs(11);

const fn paced(secrets: Secrets, rate: u32) -> Shape {
    Shape { method: Method::Verify, connections: 4, in_flight: 50, secrets, rate: Some(rate) }
}

/// One run of one variant.
struct Run {
    good: Measurement,
    /// Transactions in the database.
    reads: f64,
}

/// Measures, the server on one core and the generator on the other.
pub async fn measure(world: &mut World, report: &mut Report) -> Outcome<()> {
    let content = Content::of_keys(1_000);
    let site = Site::on_postgres(world.postgres()?, DATABASE, content).await?;
    let server = Server::claviger(&site, Cores::One, &[])?;
    let statistics = postgres::connect(&world.postgres()?.url("postgres")).await?;
    // As long as asked for in a full run.
    let duration = world.plan.duration * 20 / 3;
    let mut rounds: Vec<Vec<Run>> = Vec::new();
    run(&server, &site, &statistics, VARIANTS[UNKNOWN].1, world.plan.duration).await?;
    for round in 0..world.plan.rounds {
        wait_until_quiet(world.plan.patience).await?;
        let mut runs: Vec<Option<Run>> = VARIANTS.iter().map(|_| None).collect();
        for index in shuffled(VARIANTS.len(), round) {
            runs[index] = Some(run(&server, &site, &statistics, VARIANTS[index].1, duration).await?);
        }
        rounds.push(runs.into_iter().flatten().collect());
        eprintln!("flood: round {} of {}", round + 1, world.plan.rounds);
    }
    report.rows.extend(rows(&rounds));
    report.done.extend(VARIANTS.iter().enumerate().map(|(index, (name, _))| Done {
        label: format!("Verify of good keys, 1,000/s, {name}, one core"),
        rounds: rounds.iter().map(|runs| runs[index].good.clone()).collect(),
    }));
    Ok(())
}

fn rows(rounds: &[Vec<Run>]) -> Vec<Row> {
    let row = |what: &str, unit, value: &dyn Fn(&[Run]) -> f64, bar| {
        Some(Row {
            what: what.to_owned(),
            unit,
            spread: Spread::of(rounds.iter().map(|runs| value(runs)))?,
            rounds: rounds.len(),
            bar: Some(bar),
            other_load: None,
            errors: rounds.iter().flatten().map(|run| run.good.errors).sum(),
            by: blast::NAME,
        })
    };
    let p99 = |of: usize| move |runs: &[Run]| runs[of].good.p99 / runs[ALONE].good.p99;
    // The service looks at the store once a second anyway; counted to whole reads, as that second is no exact one.
    let more = |runs: &[Run]| (runs[MALFORMED].reads - runs[ALONE].reads).round().max(0.0);
    let found = [
        row("store reads, 10,000 unknown secrets/s", "/s", &|runs| runs[UNKNOWN].reads, Bar::AtMost(200.0)),
        row("p99 of good keys beside 10,000 unknown/s / alone", "×", &p99(UNKNOWN), Bar::AtMost(2.0)),
        row("more store reads for 10,000 malformed/s", "/s", &more, Bar::AtMost(0.0)),
        row("p99 of good keys beside 10,000 malformed/s / alone", "×", &p99(MALFORMED), Bar::AtMost(2.0)),
    ];
    found.into_iter().flatten().collect()
}

async fn run(
    server: &Server,
    site: &Site,
    statistics: &DatabaseConnection,
    flood: Option<Shape>,
    duration: Duration,
) -> Outcome<Run> {
    // Whoever ran before has waited until all was told.
    let before = transactions(statistics).await?;
    let load = Load { beside: flood, ..load(server, site, GOOD, Duration::ZERO, duration) };
    let good = Blast::start(&load, Cores::One)?.finish()?;
    sleep(STATISTICS_DELAY);
    let reads = (transactions(statistics).await? - before) as f64 / good.seconds;
    if let Some(error) = &good.first_error {
        eprintln!("flood: {error}");
    }
    Ok(Run { good, reads })
}

/// Transactions of the service in its database so far. This is asked in another database.
async fn transactions(statistics: &DatabaseConnection) -> Outcome<i64> {
    let sql = format!("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{DATABASE}'");
    number(statistics, &sql).await
}
