//! The service itself, run by this program: where it is compared with an empty handler, the two should differ by nothing else.
//! In two programs the same code is inlined and laid out differently, which alone was worth a tenth.

use std::future::pending;

use claviger::app;
use claviger::clock::Clock;
use claviger::config::{Flags, Settings};
use claviger::telemetry::{self, Telemetry};

use crate::Outcome;

/// Prints where it listens, and serves until it is killed.
pub async fn serve() -> Outcome<()> {
    let (settings, _telemetry) = begin()?;
    let running = app::start(&settings, Clock::system()).await?;
    println!("listening on {}", running.address());
    pending().await
}

/// As the service's own program begins: without somebody to log to, each span of the libraries below costs more.
pub fn begin() -> Outcome<(Settings, Telemetry)> {
    let settings = Settings::read(Flags::default()).map_err(|problems| problems.to_string())?;
    let telemetry = telemetry::start(&settings)?;
    Ok((settings, telemetry))
}
