//! The real service in this process, with a manual clock.

use std::net::SocketAddr;

use chrono::TimeDelta;
use claviger::app::{self, Running};
use claviger::clock::Clock;
use claviger::config::{Flags, Settings};
use claviger::domain::Time;

use super::{Client, Engine, NO_KEK, Place, SETTINGS};

/// A running service with everything a test needs of it.
pub struct TestApp {
    pub running: Running,
    pub clock: Clock,
    pub place: Place,
    /// The root key's secret.
    pub root_secret: String,
    further: Vec<(String, String)>,
}

/// The instant at which every test's clock stands at first. Real enough for PostgreSQL's and our microseconds.
pub fn start_of_time() -> Time {
    Time::from_timestamp_micros(1_800_000_000_123_456).expect("an instant")
}

impl TestApp {
    /// Starts on an empty place. `None` when the engine isn't there.
    pub async fn start(engine: Engine) -> Option<Self> {
        Self::start_with(engine, &[]).await
    }

    /// The same with further settings, as variables. A restart keeps them.
    pub async fn start_with(engine: Engine, further: &[(&str, &str)]) -> Option<Self> {
        Some(Self::start_at_with(engine.place().await?, Clock::manual(start_of_time()), further).await)
    }

    /// Starts on a place that may have data.
    pub async fn start_at(place: Place, clock: Clock) -> Self {
        Self::start_at_with(place, clock, &[]).await
    }

    /// The same with further settings, as variables.
    pub async fn start_at_with(place: Place, clock: Clock, further: &[(&str, &str)]) -> Self {
        let running = app::start(&settings(&place, further), clock.clone()).await.expect("it starts");
        let file = running.folder().root_key_file();
        let root_secret = std::fs::read_to_string(file).expect("a root key").trim_end().to_owned();
        let further = further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { running, clock, place, root_secret, further }
    }

    /// Stops and starts again on the same data, at the same time of day.
    pub async fn restart(self) -> Self {
        self.running.stop().await;
        let further: Vec<_> = self.further.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self::start_at_with(self.place, self.clock, &further).await
    }

    /// Moves the clock.
    pub fn advance(&self, span: TimeDelta) {
        self.clock.advance(span);
    }

    /// The address of the gRPC port.
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// The address of the HTTP port.
    pub fn http_address(&self) -> SocketAddr {
        self.running.http_address()
    }

    /// A caller with the root key.
    pub async fn root(&self) -> Client {
        self.caller(Some(&self.root_secret)).await
    }

    /// A caller with this credential, on a connection of its own.
    pub async fn caller(&self, secret: Option<&str>) -> Client {
        Client::connect(self.address(), secret).await
    }
}

/// Settings for a service on this place and free ports, with the place's KEK file unless another one is said.
pub fn settings(place: &Place, further: &[(&str, &str)]) -> Settings {
    let folder = place.folder.path().to_str().expect("UTF-8");
    let keks = place.kek_file();
    let mut environment = vec![("CLAVIGER_DATA", folder)];
    if !further.iter().any(|(name, _)| *name == NO_KEK.0) {
        environment.push((NO_KEK.0, keks.to_str().expect("UTF-8")));
    }
    environment.extend(place.database_url.as_deref().map(|url| ("CLAVIGER_DATABASE_URL", url)));
    environment.extend(SETTINGS.iter().chain(further.iter().filter(|further| **further != NO_KEK)));
    let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Settings::from_parts(Flags::default(), environment).expect("good settings")
}
