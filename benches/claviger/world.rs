//! What the measurements share, made when it is first needed: the cluster, the seeded installations, the built yardstick.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::comparisons::Size;
use crate::postgres::Postgres;
use crate::site::{Content, Site};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub rounds: usize,
    pub warm_up: Duration,
    pub duration: Duration,
    /// How long to wait for a quiet machine before a round.
    pub patience: Duration,
    /// What "many keys" are.
    pub many: u64,
}

/// What "few keys" are.
const FEW: u64 = 1_000;

/// The shared things. Sites are dropped before the cluster that holds their databases.
pub struct World {
    pub plan: Plan,
    few: Option<Site>,
    many: Option<Site>,
    default_tonic: Option<PathBuf>,
    postgres: Option<Postgres>,
}

impl World {
    /// Nothing made yet.
    pub fn new(plan: Plan) -> Self {
        Self { plan, few: None, many: None, default_tonic: None, postgres: None }
    }

    /// The cluster.
    pub fn postgres(&mut self) -> Outcome<&Postgres> {
        if self.postgres.is_none() {
            self.postgres = Some(Postgres::start()?);
        }
        self.postgres.as_ref().ok_or_else(|| "no PostgreSQL".into())
    }

    /// An installation with this many keys, on PostgreSQL, for any number of servers at once.
    pub async fn site(&mut self, size: Size) -> Outcome<&Site> {
        let is_missing = match size {
            Size::Few => self.few.is_none(),
            Size::Many => self.many.is_none(),
        };
        if is_missing {
            let (name, keys) = match size {
                Size::Few => ("few", FEW),
                Size::Many => ("many", self.plan.many),
            };
            eprintln!("seeding {keys} keys");
            let content = Content::of_keys(keys);
            let site = Site::on_postgres(self.postgres()?, name, content).await?;
            match size {
                Size::Few => self.few = Some(site),
                Size::Many => self.many = Some(site),
            }
        }
        let site = match size {
            Size::Few => &self.few,
            Size::Many => &self.many,
        };
        site.as_ref().ok_or_else(|| "no site".into())
    }

    /// The empty handler on tonic as it comes, built as cargo does by default; in a debug build of this program, so is it.
    pub fn default_tonic(&mut self) -> Outcome<PathBuf> {
        if let Some(built) = &self.default_tonic {
            return Ok(built.clone());
        }
        let profile = if cfg!(debug_assertions) { "dev" } else { "plain" };
        eprintln!("building the empty handler on default tonic with profile {profile}");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--bench", "default_tonic", "--profile", profile]);
        cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = cargo.stderr(Stdio::inherit()).output()?;
        let built = executable(&String::from_utf8(output.stdout)?).ok_or("default_tonic could not be built")?;
        self.default_tonic = Some(built.clone());
        Ok(built)
    }
}

/// The program among cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut built = parsed.filter(|message| message["target"]["name"] == "default_tonic");
    built.find_map(|message| Some(message["executable"].as_str()?.into()))
}
