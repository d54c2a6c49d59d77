//! Every setting as it holds: what `claviger config` prints, itself a file of settings but for passwords. What isn't given
//! is a comment: some defaults may be given only together with others.

use std::fmt;

use super::catalogue::{Preset, SETTINGS, Setting, Takes};
use super::sources::{Given, Values};

const MASK: &str = "********";

/// Every setting as it holds, one a line, with where it comes from.
#[derive(Debug)]
pub struct Effective(Vec<String>);

impl Effective {
    /// What holds when this was given.
    pub(super) fn of(values: &Values) -> Self {
        let line = |setting: &Setting| {
            let in_file = format!("{}_file", setting.name);
            match (values.given(setting.name), values.given(&in_file)) {
                (None, Some(_)) => format!("# {}: as {in_file} says", setting.name),
                (given, _) => line(setting, given),
            }
        };
        Self(SETTINGS.iter().map(line).collect())
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn line(setting: &Setting, given: Option<&Given>) -> String {
    let name = setting.name;
    match (given, setting.default) {
        (Some(Given { text, origin }), _) => {
            let text = if setting.takes == Takes::Secret { masked(text) } else { text.clone() };
            format!("{name} = {} # {origin}", quoted(&text))
        }
        (None, Preset::Value(text)) => format!("# {name} = {} (default)", quoted(text)),
        (None, Preset::Words(words)) => format!("# {name}: {words}"),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A URL without who calls and what else it says: either may hold a password.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    let (place, parameters) = rest.split_once('?').map_or((rest, ""), |(place, _)| (place, "?********"));
    let (caller, place) = place.rsplit_once('@').map_or(("", place), |(_, place)| ("********@", place));
    format!("{scheme}://{caller}{place}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_who_calls_and_what_else_it_says() {
        for (url, shown) in [
            ("postgres://host/keys", "postgres://host/keys"),
            ("postgres://user:p@ss@host:5432/keys", "postgres://********@host:5432/keys"),
            ("postgres://user@host/keys?sslmode=require&password=x", "postgres://********@host/keys?********"),
            ("smtps://a:b@mail.example.com", "smtps://********@mail.example.com"),
            ("hunter2", MASK),
        ] {
            assert_eq!(masked(url), shown);
        }
    }
}
