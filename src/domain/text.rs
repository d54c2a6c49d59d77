//! Text that people write and people read: names, descriptions, reasons; and how an error quotes it.

use unicode_general_category::{GeneralCategory, get_general_category};

use super::{base62, limits, secret_text};

/// A display name: 1 to 100 characters, no control or format characters, no space at either end, no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

/// A description: at most 1,000 characters; as a display name, but line feeds are allowed, and it may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description(String);

/// Why a key was revoked: at most 200 characters; as a display name, but it may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevokeReason(String);

/// Whom the bearer of a key acts for: at most 200 characters; as a display name, but it may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnBehalfOf(String);

impl DisplayName {
    /// Checks the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty: say what people should call it".to_owned());
        }
        check(text, limits::DISPLAY_NAME_CHARACTERS, false)?;
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Description {
    /// Checks the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        check(text, limits::DESCRIPTION_CHARACTERS, true)?;
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OnBehalfOf {
    /// Checks the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        check(text, limits::ON_BEHALF_OF_CHARACTERS, false)?;
        Ok(Self(text.to_owned()))
    }

    /// Takes a text as it was packed, without another check.
    #[must_use]
    pub fn from_packed(text: &[u8]) -> Self {
        Self(String::from_utf8_lossy(text).into_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RevokeReason {
    /// Checks the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        check(text, limits::REVOKE_REASON_CHARACTERS, false)?;
        Ok(Self(text.to_owned()))
    }

    /// The reason of a predecessor after a rotation without grace.
    #[must_use]
    pub fn rotated() -> Self {
        Self("rotated".to_owned())
    }

    /// The reason of the oldest root key when an eleventh is made.
    #[must_use]
    pub fn replaced_by_new_root_key() -> Self {
        Self("replaced by a new root key".to_owned())
    }

    /// The reason of a key that a replica remembered as dead and the database had alive again.
    #[must_use]
    pub fn lost_by_the_database() -> Self {
        Self("revoked again: the database had lost the key's end".to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str, longest: usize, line_feeds: bool) -> Result<(), String> {
    let characters = text.chars().count();
    if characters > longest {
        return Err(format!("has {characters} characters; at most {longest} are allowed"));
    }
    if let Some(bad) = text.chars().find(|&c| !(is_printable(c) || (line_feeds && c == '\n'))) {
        return Err(format!("contains the invisible or unassigned character U+{:04X}; remove it", u32::from(bad)));
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err("starts or ends with a space; remove it".to_owned());
    }
    if secret_text::occurs_in(text) {
        return Err("contains a secret; never write a secret into a text, and revoke this one".to_owned());
    }
    Ok(())
}

/// Decided by general category, so that every control, bidi, zero-width and private character is covered, also those
/// of later Unicode versions that the table knows as unassigned.
fn is_printable(c: char) -> bool {
    use GeneralCategory as Category;
    !matches!(
        get_general_category(c),
        Category::Control
            | Category::Format
            | Category::LineSeparator
            | Category::ParagraphSeparator
            | Category::PrivateUse
            | Category::Surrogate
            | Category::Unassigned
    )
}

/// Somebody's text as an error may show it: in quotes, escaped, at most 64 characters, and never anything that could be
/// a secret or a part of one.
#[must_use]
pub fn quote(text: &str) -> String {
    if may_be_secret(text) {
        return "(hidden: it may contain a secret)".to_owned();
    }
    let escaped: Vec<char> = text.chars().flat_map(escape).take(limits::QUOTED_CHARACTERS + 1).collect();
    let shown: String = escaped.iter().take(limits::QUOTED_CHARACTERS).collect();
    let more = if escaped.len() > limits::QUOTED_CHARACTERS { "…" } else { "" };
    format!("\"{shown}{more}\"")
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let plain = is_printable(c) && c != '"' && c != '\\';
    let escaped = (!plain).then(|| c.escape_default());
    plain.then_some(c).into_iter().chain(escaped.into_iter().flatten())
}

fn may_be_secret(text: &str) -> bool {
    const SUSPICIOUS_RUN: usize = 32;
    text.contains(secret_text::PREFIX) || text.as_bytes().windows(SUSPICIOUS_RUN).any(base62::is_text)
}

/// Decodes `%40` and the like in a part of a URL; `None` when a `%` stands for nothing or the text isn't one line of UTF-8.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(digits[0])? << 4 | digit(digits[1])?);
        rest = after;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_refused_by_category() {
        for bad in ["a\u{0}b", "a\u{202E}b", "a\u{200B}b", "a\u{FEFF}b", "a\u{2028}b", "a\u{E000}b", "a\nb", "\u{7f}"] {
            assert!(DisplayName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Description::parse("two\nlines").is_ok());
        assert!(Description::parse("a\rb").is_err());
    }

    #[test]
    fn length_counts_characters_and_ends_must_not_be_spaces() {
        assert!(DisplayName::parse(&"é".repeat(100)).is_ok());
        assert!(DisplayName::parse(&"é".repeat(101)).is_err());
        assert!(DisplayName::parse("").is_err());
        assert!(DisplayName::parse(" a").is_err());
        assert!(DisplayName::parse("a\u{3000}").is_err());
    }

    #[test]
    fn quoting_escapes_cuts_and_hides() {
        assert_eq!(quote("a\"\n\u{202E}"), "\"a\\\"\\n\\u{202e}\"");
        assert_eq!(quote(&"!".repeat(65)), format!("\"{}…\"", "!".repeat(64)));
        assert!(quote("x cvg_0000").contains("hidden"));
        assert!(quote(&"a".repeat(43)).contains("hidden"));
    }
}
