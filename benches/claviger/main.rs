//! The benchmarks: a table of ratios from interleaved runs, and a plot. `cargo bench --bench claviger -- --help` tells how.
//!
//! | file | question |
//! |---|---|
//! | `comparisons` | Which servers are compared under which loads, and what must they reach? |
//! | `runner` | How are cells measured and ratios taken? |
//! | `starting`, `propagation`, `creates`, `flood`, `storm`, `outside` | The measurements that aren't one load on one server. |
//! | `generator`, `load`, `blast` | What sends the load, what it is asked, and who starts it? |
//! | `server`, `service`, `our_shape`, `collector`, `../default_tonic` | What is started? |
//! | `world`, `site`, `postgres`, `seeding`, `secrets` | On which data? |
//! | `machine`, `statistics`, `report`, `plot` | What is read, and how is it shown? |

#![allow(unreachable_pub, reason = "a program has no outside")]

mod answer;
mod blast;
mod clients;
mod collector;
mod comparisons;
mod creates;
mod decision;
mod flood;
mod generator;
mod load;
mod machine;
mod our_shape;
mod outside;
mod plot;
mod postgres;
mod propagation;
mod report;
mod runner;
mod secrets;
mod seeding;
mod server;
mod service;
mod site;
mod starting;
mod statistics;
mod storm;
mod world;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io};

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

use tokio::signal::unix::{SignalKind, signal};

use report::Report;
use world::{Plan, World};

/// What everything here answers: a benchmark that can't be taken ends the program with its reason.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// As in the service, so that the empty handler on its kind of server differs by nothing else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What can be measured, in this order.
const NAMES: [&str; 11] = [
    "default-tonic",
    "our-server",
    "check",
    "amortised",
    "tracing",
    "nginx",
    "start",
    "propagation",
    "creates",
    "flood",
    "storm",
];

/// Measures the service, and prints what it reached. A bar that is missed is no error.
#[derive(Debug, Parser)]
struct Arguments {
    /// Measure these only.
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    names: Vec<String>,
    /// Two short rounds with 100,000 keys instead of 1,000,000: to try it out.
    #[arg(long)]
    quick: bool,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The other processes of a measurement.
#[derive(Debug, Subcommand)]
enum Part {
    /// A generator: its load on standard input, what it found on standard output.
    #[command(hide = true)]
    Generate,
    /// The empty handler on the service's kind of server.
    #[command(hide = true)]
    OurShape,
    /// The service itself.
    #[command(hide = true)]
    Service,
    /// The collector of traces.
    #[command(hide = true)]
    Collector,
}

const FULL: Plan = Plan {
    rounds: 5,
    warm_up: Duration::from_millis(300),
    duration: Duration::from_millis(1_500),
    patience: Duration::from_secs(30),
    many: 1_000_000,
};
const QUICK: Plan = Plan {
    rounds: 2,
    warm_up: Duration::from_millis(200),
    duration: Duration::from_millis(500),
    patience: Duration::ZERO,
    many: 100_000,
};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Outcome<()> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match arguments.part {
        Some(Part::Generate) => generate(),
        Some(Part::OurShape) => tokio::runtime::Runtime::new()?.block_on(our_shape::serve()),
        Some(Part::Service) => tokio::runtime::Runtime::new()?.block_on(service::serve()),
        Some(Part::Collector) => runtime()?.block_on(collector::serve()),
        None => runtime()?.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            tokio::select! {
                measured = measure(&arguments) => measured,
                // Everything that was started ends when it is dropped.
                _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
                _ = terminated.recv() => Err("terminated".into()),
            }
        }),
    }
}

fn generate() -> Outcome<()> {
    let found = generator::run(&serde_json::from_reader(io::stdin())?)?;
    Ok(serde_json::to_writer(io::stdout(), &found)?)
}

async fn measure(arguments: &Arguments) -> Outcome<()> {
    let mut world = World::new(if arguments.quick { QUICK } else { FULL });
    let mut report = Report::default();
    let mut problems = Vec::new();
    for name in NAMES.into_iter().filter(|name| arguments.names.is_empty() || arguments.names.iter().any(|n| n == name))
    {
        if let Err(problem) = measure_one(name, &mut world, &mut report).await {
            problems.push(format!("{name} could not be measured: {problem}"));
        }
    }
    println!("\nMany keys are {}, few are 1,000.", world.plan.many);
    report.print();
    let is_whole = arguments.names.is_empty() && !arguments.quick && problems.is_empty();
    let plot = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plot = plot.join(if is_whole { "docs/images/benchmark.svg" } else { "target/benchmark.svg" });
    fs::write(&plot, plot::svg(&report))?;
    println!("The plot is {}.", plot.display());
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
}

async fn measure_one(name: &str, world: &mut World, report: &mut Report) -> Outcome<()> {
    match name {
        "nginx" => outside::measure(world, report).await,
        "start" => starting::measure(world, report).await,
        "propagation" => propagation::measure(world, report).await,
        "creates" => creates::measure(world, report).await,
        "flood" => flood::measure(world, report).await,
        "storm" => storm::measure(world, report).await,
        _ => {
            let comparison = comparisons::all().into_iter().find(|comparison| comparison.name == name);
            runner::run(world, &comparison.ok_or("no such measurement")?, report).await
        }
    }
}
