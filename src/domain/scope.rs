//! Scopes: what a key grants and what a call requires.
//!
//! A scope is 1–8 segments of `[a-z0-9._-]{1,32}` joined by `:`. A granted one may also be `*` or end in `:*`, which
//! covers whole segments below it (`mcp:*` covers `mcp:read` and `mcp:read:all`, not `mcp`). Scopes whose first segment is
//! `claviger` are rights over Claviger itself: only the listed names exist and no wildcard reaches them.

use std::fmt;

use super::{limits, rights::Right, text::quote};

const RESERVED_SEGMENT: &str = "claviger";

/// A scope that a key grants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope(String);

/// A scope that a call requires: no wildcard. Borrows the text of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredScope<'a>(&'a str);

impl Scope {
    /// Reads a scope to be granted.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let stem = text.strip_suffix(":*");
        check_segments(stem.unwrap_or(text), usize::from(stem.is_some()))
            .map_err(|why| format!("{} {why}", quote(text)))?;
        if is_reserved(text) && Right::parse(text).is_none() {
            return Err(format!("{} is not a right; the rights are {}", quote(text), Right::names()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The right over Claviger that this scope is, if it is one.
    #[must_use]
    pub fn right(&self) -> Option<Right> {
        Right::parse(&self.0)
    }

    /// Takes a scope as it was packed, without another check.
    #[must_use]
    pub fn from_packed(text: &[u8]) -> Self {
        Self(String::from_utf8_lossy(text).into_owned())
    }

    /// Whether this scope grants everything that `other` grants.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.right(), other.right()) {
            (Some(own), Some(others)) => own.implies(others),
            _ => covers_text(self.0.as_bytes(), &other.0),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> RequiredScope<'a> {
    /// Reads a scope that a call requires.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        check_segments(text, 0).map_err(|why| format!("{} {why}", quote(text)))?;
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Whether the text of a [`Scope`] that a key has grants this.
    #[must_use]
    pub fn is_granted_by(self, granted: &[u8]) -> bool {
        covers_text(granted, self.0)
    }
}

/// Works on a wildcard too, because the text of `a:*` starts with `a:` as everything below `a` does.
fn covers_text(granted: &[u8], text: &str) -> bool {
    if granted == text.as_bytes() {
        return true;
    }
    granted.strip_suffix(b"*").is_some_and(|stem| text.as_bytes().starts_with(stem)) && !is_reserved(text)
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_reserved(text: &str) -> bool {
    text.split(':').next() == Some(RESERVED_SEGMENT)
}

fn check_segments(text: &str, wildcards: usize) -> Result<(), &'static str> {
    const FORM: &str = "is not a scope: write 1 to 8 segments of a-z, 0-9, '.', '_' or '-', joined by ':'";
    // In one pass: every Verify comes here with the scopes it requires.
    let (mut segments, mut length, mut is_good) = (1 + wildcards, 0, true);
    for byte in text.bytes() {
        match byte {
            b':' => {
                is_good &= length > 0;
                segments += 1;
                length = 0;
            }
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                length += 1;
                is_good &= length <= limits::SCOPE_SEGMENT_CHARACTERS;
            }
            _ => is_good = false,
        }
    }
    if segments > limits::SCOPE_SEGMENTS {
        return Err("has more than 8 segments");
    }
    if is_good && length > 0 { Ok(()) } else { Err(FORM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(granted: &str, required: &str) -> bool {
        let granted = Scope::parse(granted).expect("a scope");
        RequiredScope::parse(required).expect("a scope").is_granted_by(granted.as_str().as_bytes())
    }

    #[test]
    fn wildcards_cover_whole_segments_below() {
        assert!(grants("mcp:*", "mcp:read"));
        assert!(grants("mcp:*", "mcp:read:all"));
        assert!(!grants("mcp:*", "mcp"));
        assert!(!grants("mcp:*", "mcpx:read"));
        assert!(grants("*", "anything"));
        assert!(!grants("mcp:read", "mcp:read:all"));
    }

    #[test]
    fn no_wildcard_reaches_a_right() {
        assert!(!grants("*", "claviger:admin"));
        assert!(grants("claviger:verify", "claviger:verify"));
        for bad in ["claviger:*", "claviger", "claviger:root", "claviger:admin:x"] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
        let covers = |a: &str, b: &str| Scope::parse(a).expect("a").covers(&Scope::parse(b).expect("b"));
        assert!(!covers("*", "claviger:verify"));
        assert!(covers("claviger:keys.write", "claviger:keys.read"));
        assert!(covers("mcp:*", "mcp:tools:*"));
        assert!(!covers("mcp:read", "mcp:*"));
        assert!(covers("*", "*"));
        assert!(!covers("mcp:*", "*"));
    }

    #[test]
    fn the_grammar_is_exact() {
        for good in ["a", "a.b_c-1:x", &["s"; 8].join(":"), &"a".repeat(32), "*", &format!("{}:*", ["s"; 7].join(":"))]
        {
            assert!(Scope::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":",
            "a:",
            "A",
            "a b",
            "a:*:b",
            "a*",
            "**",
            &["s"; 9].join(":"),
            &"a".repeat(33),
            &format!("{}:*", ["s"; 8].join(":")),
        ] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
        assert!(RequiredScope::parse("a:*").is_err());
        assert!(RequiredScope::parse("*").is_err());
    }
}
