//! Runs comparisons: starts the servers, measures every cell once a round beside those that it is compared with,
//! takes ratios inside a round.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::Outcome;
use crate::blast::{self, Blast, load};
use crate::comparisons::{Cell, Comparison, Kind, Ratio, Size, Tracing};
use crate::load::{Measurement, Secrets};
use crate::machine;
use crate::report::{Done, Report, Row};
use crate::server::{Cores, Server};
use crate::site::Site;
use crate::statistics::{Spread, shuffled};
use crate::world::World;

/// Cores in use on a quiet machine.
const QUIET: f64 = 0.08;
/// A comparison's rounds are so many times shorter and more: a host that others use is faster or slower from one moment to
/// the next, and what is compared should be neighbours.
const SHORTER: u32 = 6;
/// Load that a fresh server gets before anything is measured: allocators, caches and last uses settle.
const FIRST_LOAD: Duration = Duration::from_secs(2);

/// Runs one comparison.
pub async fn run(world: &mut World, comparison: &Comparison, report: &mut Report) -> Outcome<()> {
    let servers = Servers::start(world, comparison).await?;
    for cell in &comparison.cells {
        servers.measure(world, cell, FIRST_LOAD.min(world.plan.duration)).await?;
    }
    let mut rounds: Vec<Vec<Measurement>> = Vec::new();
    let (count, duration) = (world.plan.rounds * SHORTER as usize, world.plan.duration / SHORTER);
    let groups = neighbours(comparison);
    for round in 0..count {
        wait_until_quiet(world.plan.patience / SHORTER).await?;
        let mut found = HashMap::new();
        for index in order(&groups, round) {
            found.insert(index, servers.measure(world, &comparison.cells[index], duration).await?);
        }
        let measured = (0..comparison.cells.len()).map(|index| found.remove(&index).ok_or("a cell is in no ratio"));
        rounds.push(measured.collect::<Result<_, _>>()?);
        eprintln!("{}: round {} of {}", comparison.name, round + 1, count);
    }
    report.rows.extend(comparison.ratios.iter().filter_map(|ratio| row(ratio, &rounds)));
    report.done.extend(comparison.cells.iter().enumerate().map(|(index, cell)| Done {
        label: cell.label.clone(),
        rounds: rounds.iter().map(|round| round[index].clone()).collect(),
    }));
    Ok(())
}

/// The cells that are compared with one another, group by group.
fn neighbours(comparison: &Comparison) -> Vec<Vec<usize>> {
    let mut groups = BTreeMap::<usize, BTreeSet<usize>>::new();
    for ratio in &comparison.ratios {
        groups.entry(ratio.of).or_default().extend([ratio.of, ratio.cell]);
    }
    groups.into_values().map(|group| group.into_iter().collect()).collect()
}

/// The groups, and the cells of each, in an order that depends on `round` alone.
fn order(groups: &[Vec<usize>], round: usize) -> Vec<usize> {
    let in_group =
        |group: usize| shuffled(groups[group].len(), round).into_iter().map(move |place| groups[group][place]);
    shuffled(groups.len(), round).into_iter().flat_map(in_group).collect()
}

fn row(ratio: &Ratio, rounds: &[Vec<Measurement>]) -> Option<Row> {
    let both = || rounds.iter().map(|round| (&round[ratio.cell], &round[ratio.of]));
    let spread = Spread::of(both().map(|(cell, of)| (ratio.figure)(cell) / (ratio.figure)(of)))?;
    let other = Spread::of(both().map(|(cell, of)| cell.other_load().max(of.other_load())))?;
    let errors = both().map(|(cell, of)| cell.errors + of.errors).sum();
    Some(Row {
        what: ratio.what.clone(),
        unit: "×",
        spread,
        rounds: rounds.len(),
        bar: ratio.bar,
        other_load: Some(other.median),
        errors,
        by: blast::NAME,
    })
}

/// Waits until nobody works; gives up after a while, as each result says how busy the machine was. Connections stay alive
/// meanwhile: whoever doesn't answer the server's pings loses them.
pub async fn wait_until_quiet(patience: Duration) -> Outcome<()> {
    let start = Instant::now();
    while start.elapsed() < patience {
        let before = machine::cpu_of_all()?;
        sleep(Duration::from_secs(1)).await;
        if machine::cpu_of_all()? - before < QUIET {
            return Ok(());
        }
    }
    Ok(())
}

/// What has a process of its own. Keys at random leave work behind, their last uses, which is not the hot key's.
type Started = (Kind, Cores, Secrets);

fn started(cell: &Cell) -> Started {
    (cell.server, cell.cores, cell.shape.secrets)
}

/// The servers of a comparison, all up, idle but for the one that is measured.
struct Servers {
    running: HashMap<Started, Server>,
    _collector: Server,
}

impl Servers {
    async fn start(world: &mut World, comparison: &Comparison) -> Outcome<Self> {
        let collector = Server::collector()?;
        let mut running = HashMap::new();
        for cell in &comparison.cells {
            if let Entry::Vacant(place) = running.entry(started(cell)) {
                place.insert(start(world, cell, &collector).await?);
            }
        }
        Ok(Self { running, _collector: collector })
    }

    async fn measure(&self, world: &mut World, cell: &Cell, duration: Duration) -> Outcome<Measurement> {
        let server = self.running.get(&started(cell)).ok_or("no server")?;
        let warm_up = world.plan.warm_up;
        let site = site_of(world, cell.server).await?;
        let load = load(server, site, cell.shape, warm_up, duration);
        let found = Blast::start(&load, cell.cores)?.finish();
        found.map_err(|error| format!("{}: {error}", cell.label).into())
    }
}

async fn start(world: &mut World, cell: &Cell, collector: &Server) -> Outcome<Server> {
    if cell.server == Kind::DefaultTonic {
        return Server::default_tonic(&world.default_tonic()?, cell.cores);
    }
    let site = site_of(world, cell.server).await?;
    match cell.server {
        Kind::OurShape => Server::our_shape(site, cell.cores),
        Kind::ClavigerHere(_) => Server::claviger_here(site, cell.cores),
        Kind::Claviger(_) => Server::claviger(site, cell.cores, &Tracing::Off.settings("")),
        Kind::Traced(tracing) => {
            Server::claviger(site, cell.cores, &tracing.settings(&format!("http://{}", collector.address)))
        }
        Kind::DefaultTonic => Err("is started above".into()),
    }
}

/// The keys that a cell asks about. Empty handlers are asked about few, and recognise the caller of those.
async fn site_of(world: &mut World, server: Kind) -> Outcome<&Site> {
    match server {
        Kind::Claviger(size) | Kind::ClavigerHere(size) => world.site(size).await,
        Kind::Traced(_) | Kind::OurShape | Kind::DefaultTonic => world.site(Size::Few).await,
    }
}
