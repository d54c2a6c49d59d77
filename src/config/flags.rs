//! The command line: what to do, and the settings that are flags.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

use super::CONFIG;
use super::catalogue::{Preset, SETTINGS, Setting, Takes};
use super::public::parse_endpoint;

/// Issues API keys over gRPC and answers "is this key good?" from memory.
#[derive(Debug, Parser)]
#[command(
    name = "claviger",
    version,
    about,
    after_help = "Each option is also a variable (CLAVIGER_LISTEN) and a key of the \
configuration file (listen). Without a command, claviger serves. The URLs of the database and of the mail server \
(CLAVIGER_DATABASE_URL, CLAVIGER_SMTP_URL) are variables or keys of the file, never options, because every process could \
read their passwords there."
)]
pub struct Arguments {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings given as flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the service.
    Serve,
    /// Bring the database's schema to this version.
    Migrate,
    /// Make another root key and print it; at 10 the oldest is revoked.
    RootKey {
        /// Only print a new secret, for CLAVIGER_ROOT_KEY_FILE of a first start.
        #[arg(long, conflicts_with = "kept")]
        offline: bool,
        /// Only print the one that the first start keeps in the data folder; the service may run.
        #[arg(long)]
        kept: bool,
    },
    /// Copy the SQLite file in CLAVIGER_DATA into the empty PostgreSQL of CLAVIGER_DATABASE_URL, and prove that it is the
    /// same.
    Copy,
    /// Wrap the data keys of retrievable keys under the KEK in the first line of CLAVIGER_KEK_FILE.
    Rewrap,
    /// Ask a running service whether it serves; exit 0 if it does.
    Healthcheck {
        /// Where it is reached [default: the address of the gRPC port].
        #[arg(value_name = "HOST:PORT", value_parser = parse_endpoint)]
        target: Option<String>,
    },
    /// Print every setting as it holds, and where it comes from; passwords are not shown.
    Config,
    /// Print the descriptors of the contract, as a google.protobuf.FileDescriptorSet for a transcoder.
    Descriptors,
}

/// Settings given as flags, by name; and the configuration file.
#[derive(Debug, Default)]
pub struct Flags {
    config: Option<String>,
    given: BTreeMap<String, String>,
}

impl Flags {
    /// The configuration file, and the settings by name.
    pub(super) fn named(self) -> (Option<String>, BTreeMap<String, String>) {
        (self.config, self.given)
    }
}

impl Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let config = Arg::new(CONFIG).long(CONFIG).global(true).value_name("FILE");
        let command = command.arg(config.help("TOML file with the settings below"));
        SETTINGS.iter().filter_map(flag).fold(command, clap::Command::arg)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Setting| {
            let value = match setting.takes {
                Takes::Value(_) => matches.get_one::<String>(setting.name).cloned(),
                Takes::Switch => matches.get_flag(setting.name).then(|| "true".to_owned()),
                Takes::Secret => None,
            };
            Some((setting.name.to_owned(), value?))
        };
        let config = matches.get_one::<String>(CONFIG).cloned();
        Ok(Self { config, given: SETTINGS.iter().filter_map(given).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &Setting) -> Option<Arg> {
    let flag = Arg::new(setting.name).long(setting.name.replace('_', "-")).global(true);
    let flag = match setting.takes {
        Takes::Value(kind) => flag.value_name(kind),
        Takes::Switch => flag.action(ArgAction::SetTrue),
        Takes::Secret => return None,
    };
    let default = match setting.default {
        Preset::Value(text) | Preset::Words(text) => plain(text),
    };
    Some(flag.help(format!("{} [default: {default}]", plain(setting.meaning))))
}

/// Markdown without its marks: back quotes, and where links lead.
fn plain(text: &str) -> String {
    let mut plain = text.replace('`', "");
    while let Some((start, end)) = plain.find("](").and_then(|start| Some((start, start + plain[start..].find(')')?))) {
        plain.replace_range(start..=end, "");
        if let Some(open) = plain[..start].rfind('[') {
            plain.remove(open);
        }
    }
    plain
}
