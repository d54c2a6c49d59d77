//! Arguments → settings → telemetry → app.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::net::lookup_host;
use tokio::signal::unix::{SignalKind, signal};

use claviger::app::{self, AppError, Running};
use claviger::clock::Clock;
use claviger::config::{Arguments, Command, Flags, Settings};
use claviger::telemetry;

/// A tenth more calls than with the system's (reference/performance.md 3b).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Settings are wrong: as clap's own exit code for wrong arguments.
const BAD_SETTINGS: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) if refused.use_stderr() => return named_with_all_others(&refused),
        Err(help) => help.exit(),
    };
    let settings = match Settings::read(arguments.flags) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    match run(arguments.command.unwrap_or(Command::Serve), &settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("claviger: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A wrong argument doesn't hide which variables and settings of the file are wrong.
fn named_with_all_others(refused: &clap::Error) -> ExitCode {
    // Nobody is told when standard error is closed.
    let _ = refused.print();
    if let Err(problems) = Settings::read(Flags::default()) {
        eprintln!("\n{problems}");
    }
    ExitCode::from(BAD_SETTINGS)
}

async fn run(command: Command, settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Serve => serve(settings).await?,
        Command::Migrate => match app::migrate(settings).await? {
            0 => println!("The schema is up to date; nothing was changed."),
            applied => println!("The schema is up to date: {applied} migration(s) applied."),
        },
        Command::RootKey { offline: true, kept: _ } => println!("{}", app::generate_root_key()?.reveal()),
        Command::RootKey { offline: false, kept: true } => println!("{}", app::kept_root_key(settings)?.reveal()),
        Command::RootKey { offline: false, kept: false } => {
            println!("{}", app::add_root_key(settings, &Clock::system()).await?.secret.reveal());
        }
        Command::Copy => copy(settings).await?,
        Command::Rewrap => rewrap(settings).await?,
        Command::Healthcheck { target } => healthcheck(target, settings).await?,
        Command::Config => print!("{}", settings.effective),
        Command::Descriptors => std::io::stdout().write_all(app::DESCRIPTORS)?,
    }
    Ok(())
}

/// It serves when one of its addresses does: a name may have some that nobody listens on.
async fn healthcheck(target: Option<String>, settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let addresses = match target {
        Some(target) => lookup_host(&target).await.map_err(|error| format!("{target}: {error}"))?.collect(),
        None => vec![settings.listen],
    };
    let mut said = Vec::new();
    for address in addresses {
        match app::healthcheck(address, settings.tls.as_ref()).await {
            Ok(warning) => {
                warning.iter().for_each(|warning| eprintln!("claviger: {warning}"));
                return Ok(());
            }
            Err(why) => said.push(why),
        }
    }
    Err(said.join("; ").into())
}

async fn copy(settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let moved = app::copy(settings, |progress| eprintln!("{progress}")).await?;
    print!("{moved}");
    if moved.is_whole() { Ok(()) } else { Err("the copy differs; nothing was changed in PostgreSQL".into()) }
}

async fn rewrap(settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let rewrapped = app::rewrap(settings, |done, all| eprintln!("{done} of {all} data keys are wrapped anew")).await?;
    rewrapped.damaged.iter().for_each(|what| eprintln!("{what}"));
    let current = settings.keks.as_ref().map_or("", |keks| keks.current().as_str());
    println!("{} data key(s) were wrapped anew, under the KEK {current}.", rewrapped.done);
    if rewrapped.left.is_empty() {
        println!(
            "None is under another. Did every replica have it in its first line before this began? Then the lines below"
        );
        println!("it may be removed. If not, run this again when they have.");
        return Ok(());
    }
    let left = rewrapped.left.iter().map(|(kek, count)| format!("{count} under {}", kek.as_str()));
    let left = left.collect::<Vec<_>>().join(", ");
    Err(format!("data keys are left: {left}; keep those KEKs, add the ones that the file lacks, and run it again")
        .into())
}

async fn serve(settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let _telemetry = telemetry::start(settings)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let starting = app::start(settings, Clock::system());
    let running = tokio::select! {
        started = starting => started?,
        // Nothing was promised to anybody yet: a start that is interrupted just ends.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    greet(settings, &running)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("leaving: running calls may end");
    running.stop().await;
    tracing::info!("left");
    Ok(())
}

/// What somebody who just started it wants to know next.
fn greet(settings: &Settings, running: &Running) -> Result<(), AppError> {
    let (address, folder) = (running.address(), running.folder());
    println!("Claviger serves gRPC on {address}.");
    let scheme = if running.tls().is_some() { "https" } else { "http" };
    println!("Health and metrics are on {scheme}://{}.", running.http_address());
    match &settings.database {
        Some(_) => println!("Keys are in PostgreSQL; this replica's folder is {}.", folder.path().display()),
        None => println!("Keys are in {}.", folder.sqlite_file().display()),
    }
    match &settings.pepper_file {
        Some(file) => println!("The pepper is {}: a backup without it is worthless.", file.display()),
        None => println!("The pepper is {}: a backup without it is worthless.", folder.pepper_file().display()),
    }
    let Some(root_key) = running.root_key_file() else {
        println!("No root key is kept here; `claviger root-key` makes another.");
        return Ok(());
    };
    if running.new_root_key().is_none() {
        println!("The root key is in {}.", root_key.display());
        return Ok(());
    }
    println!("The root key, made just now, is in {}.", root_key.display());
    println!("Next, make a tenant:\n");
    println!("  grpcurl {} -H \"authorization: Bearer $(cat {})\" \\", security(running), root_key.display());
    println!("    -d '{{\"tenant_id\": \"acme\", \"tenant\": {{\"display_name\": \"Acme\"}}}}' \\");
    println!("    {address} claviger.v1.TenantService/CreateTenant\n");
    Ok(())
}

/// How grpcurl speaks to us: it takes a certificate that it is given for good, but wants a name or an address of it.
fn security(running: &Running) -> String {
    let Some(tls) = running.tls() else { return "-plaintext".to_owned() };
    let name = tls.name().map_or_else(String::new, |name| format!(" -authority {name}"));
    format!("-cacert {}{name}", tls.files().certificate.display())
}
