//! Where settings come from: the environment and a file, as text by name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::catalogue::{Preset, SETTINGS, Setting};
use super::{CONFIG, PREFIX};
use crate::domain::limits;
use crate::files;

/// The variables of this process.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub(super) fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// The settings among the variables, by name.
pub(super) fn variables(
    environment: Vec<(OsString, OsString)>,
    problems: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (key, value) in environment {
        let Some(name) = key.to_str().and_then(|key| key.strip_prefix(PREFIX)) else { continue };
        let name = name.to_ascii_lowercase();
        match value.into_string() {
            Ok(value) if find(&name).is_some() || name == CONFIG => {
                if values.insert(name.clone(), value).is_some() {
                    problems.push(format!("{PREFIX}{} is given twice, in two spellings", name.to_ascii_uppercase()));
                }
            }
            Ok(_) => problems.push(unknown(&format!("{PREFIX}{}", name.to_ascii_uppercase()))),
            Err(_) => problems.push(format!("{PREFIX}{} is not UTF-8", name.to_ascii_uppercase())),
        }
    }
    values
}

/// The settings of a file, by name.
pub(super) fn file_values(file: &str, problems: &mut Vec<String>) -> BTreeMap<String, String> {
    let text = match files::read_text(Path::new(file), limits::SETTINGS_FILE_BYTES) {
        Ok(text) => text,
        Err(why) => {
            problems.push(format!("config: {why}"));
            return BTreeMap::new();
        }
    };
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            // The parser's own text quotes the line, which may hold a password.
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            problems.push(format!(
                "config: {file}: line {line} is not TOML: {}; nothing else in it was looked at",
                error.message()
            ));
            return BTreeMap::new();
        }
    };
    let mut values = BTreeMap::new();
    for (name, value) in table {
        match value {
            _ if find(&name).is_none() => problems.push(unknown(&format!("{name} in {file}"))),
            toml::Value::String(text) => drop(values.insert(name, text)),
            toml::Value::Boolean(flag) => drop(values.insert(name, flag.to_string())),
            toml::Value::Integer(number) => drop(values.insert(name, number.to_string())),
            toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
                problems.push(format!("{name} in {file}: must be a text in quotes, a whole number, or true or false"))
            }
        }
    }
    values
}

fn unknown(name: &str) -> String {
    format!(
        "{name} is no setting; the settings are {}",
        SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ")
    )
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// What was given, by name.
#[derive(Debug)]
pub(super) struct Values(BTreeMap<String, Given>);

/// A setting that was given.
#[derive(Debug)]
pub(super) struct Given {
    /// What was given.
    pub(super) text: String,
    /// How.
    pub(super) origin: String,
}

#[cfg(test)]
impl FromIterator<(String, String)> for Values {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(given: I) -> Self {
        let (mut values, mut problems) = (Self::new(), Vec::new());
        values.take(given.into_iter().collect(), |_| "a test".to_owned(), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        values
    }
}

impl Values {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes what was given in one way, which wins over the ways before. `origin` says how, for a name.
    pub(super) fn take(
        &mut self,
        given: BTreeMap<String, String>,
        origin: impl Fn(&str) -> String,
        problems: &mut Vec<String>,
    ) {
        for (name, text) in given {
            let origin = origin(&name);
            if text.trim().is_empty() {
                problems.push(format!("{name}: is empty in {origin}; leave it out, or give it a value"));
            } else {
                self.0.insert(name, Given { text, origin });
            }
        }
    }

    /// Reads a setting that may be given as a file instead, `…_file`. `Some(None)`: it is left out.
    pub(super) fn in_place_or_file(&self, name: &str, problems: &mut Vec<String>) -> Option<Option<String>> {
        let in_file = format!("{name}_file");
        match (self.text(name), self.text(&in_file)) {
            (None, None) => Some(None),
            (Some(text), None) => Some(Some(text.to_owned())),
            (None, Some(file)) => match secret_file(&in_file, file) {
                Ok(text) => Some(Some(text.trim_end().to_owned())),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            },
            (Some(_), Some(_)) => {
                problems.push(format!("{name} and {in_file} are both given; choose one"));
                None
            }
        }
    }

    /// Reads a setting that has a value as its default.
    pub(super) fn get<T>(
        &self,
        name: &str,
        problems: &mut Vec<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let default = match find(name)?.default {
            Preset::Value(text) => text,
            Preset::Words(_) => "",
        };
        parse(self.text(name).unwrap_or(default)).map_err(|why| problems.push(format!("{name}: {why}"))).ok()
    }

    /// What was given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given(name).map(|given| given.text.as_str())
    }

    /// What was given, and how.
    pub(super) fn given(&self, name: &str) -> Option<&Given> {
        self.0.get(name)
    }

    /// A setting that is a path.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// Reads a setting that may be left out. `Some(None)`: it is.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        problems: &mut Vec<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some(text) = self.text(name) else { return Some(None) };
        parse(text).map(Some).map_err(|why| problems.push(format!("{name}: {why}"))).ok()
    }
}

/// The text of a file that holds a secret, without its end of line.
pub(super) fn secret_file(name: &str, file: &str) -> Result<String, String> {
    let text =
        files::read_text(Path::new(file), limits::SETTINGS_FILE_BYTES).map_err(|why| format!("{name}: {why}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
