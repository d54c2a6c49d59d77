//! Proto ⇄ domain: total functions. What comes in is parsed once and every wrong field named; what goes out is complete.

pub mod audit;
pub mod check;
pub mod credential_file;
pub mod decision;
pub mod fields;
pub mod identities;
pub mod key_groups;
pub mod keys;
pub mod notifications;
pub mod owners;
pub mod policy;
pub mod time;
pub mod trace_context;
pub mod user_groups;
pub mod verification;
pub mod wire;

use crate::domain::{Refusal, Revision, limits, text::quote};

use fields::Fields;

/// Reads an `expected_revision`.
pub fn expected_revision(fields: &mut Fields, revision: i64) -> Option<Revision> {
    let wrong = || "must be the revision you saw, or 0".to_owned();
    fields.take("expected_revision", if revision < 0 { Err(wrong()) } else { Ok(revision) })
}

/// Reads a name and an `expected_revision`: all that many methods take.
pub fn named<T>(
    name: &str,
    expected: i64,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<(T, Revision), Refusal> {
    let mut fields = Fields::default();
    let name = fields.take("name", parse(name));
    let expected = expected_revision(&mut fields, expected);
    fields.finish(name.zip(expected))
}

/// Reads a name.
pub fn name<T>(field: &str, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Refusal> {
    let mut fields = Fields::default();
    let name = fields.take(field, parse(name));
    fields.finish(name)
}

/// The paths of an update mask that are among `known`; every other one is refused.
pub fn mask<'a>(
    fields: &mut Fields,
    mask: Option<&'a prost_types::FieldMask>,
    known: &[&str],
    immutable: &[&str],
) -> Vec<&'a str> {
    const FIELD: &str = "update_mask";
    let paths = mask.map_or(&[][..], |mask| &mask.paths[..]);
    let refusal = match paths.len() {
        0 => Err(format!("must name at least one of {}", known.join(", "))),
        1..=limits::MASK_PATHS => Ok(()),
        count => Err(format!("has {count} paths; at most {} are allowed", limits::MASK_PATHS)),
    };
    if fields.take(FIELD, refusal).is_none() {
        return Vec::new();
    }
    let check = |path: &'a str| match (known.contains(&path), immutable.contains(&path)) {
        (true, _) => Ok(path),
        (false, true) => Err(format!("{path} can't be changed; you can change {}", known.join(", "))),
        (false, false) => Err(format!("{} is no field; you can change {}", quote(path), known.join(", "))),
    };
    let paths = paths.iter().enumerate();
    paths.filter_map(|(index, path)| fields.take(&format!("{FIELD}.paths[{index}]"), check(path))).collect()
}
