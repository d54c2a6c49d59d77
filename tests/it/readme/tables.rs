//! The README's tables are complete.

use std::collections::BTreeSet;

use claviger::config::catalogue::{Preset, SETTINGS, Setting};
use claviger::domain::rights::Right;

use super::section;

/// The table is written by the catalogue; this prints it when it isn't.
#[test]
fn the_settings_table_is_the_catalogues() {
    let row = |setting: &Setting| {
        let default = match setting.default {
            Preset::Value(text) => format!("`{text}`"),
            Preset::Words(words) => words.to_owned(),
        };
        format!("| `CLAVIGER_{}` | {default} | {} |", setting.name.to_ascii_uppercase(), setting.meaning)
    };
    let file = "| `CLAVIGER_CONFIG` | none | TOML file with the settings below |".to_owned();
    let expected: Vec<String> = std::iter::once(file).chain(SETTINGS.iter().map(row)).collect();
    let section = section("Settings");
    let listed: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(listed, expected, "the table should be\n{}\n", expected.join("\n"));
}

#[test]
fn the_rights_table_lists_exactly_the_rights_and_what_they_imply() {
    let short = |right: Right| right.scope().trim_start_matches("claviger:").to_owned();
    let rows = rows("Rights");
    assert_eq!(rows.len(), Right::ALL.len());
    for (row, right) in rows.iter().zip(Right::ALL) {
        assert_eq!(row[0], right.scope());
        let implied = Right::ALL.into_iter().filter(|&other| other != right && right.implies(other));
        let implied: BTreeSet<String> = implied.map(short).collect();
        let listed: BTreeSet<String> = row[1].split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match row[1].as_str() {
            "all" => assert_eq!(implied.len(), Right::ALL.len() - 1, "{}", row[0]),
            _ => assert_eq!(listed, implied, "{}", row[0]),
        }
    }
}

/// The rows of a section's only table, without head; cells without back quotes.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let section = section(heading);
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
    lines.map(cells).collect()
}
