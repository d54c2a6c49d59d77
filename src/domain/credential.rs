//! Where a gateway's clients present their keys: headers, in the order in which they are looked for. Never the query string,
//! which everybody on the way logs.

use super::limits;

/// How the names of the headers begin that say whose key it was. What a client sends under such a name is never believed.
pub const IDENTITY_PREFIX: &str = "x-claviger-";

/// Headers that may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialHeaders(Vec<CredentialHeader>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct CredentialHeader {
    /// In lower case.
    name: String,
    form: Form,
}

/// What of a header's value is the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// All of it.
    Whole,
    /// What follows this text, in any case: `rest_api_key=`, or a scheme with the one space behind it (RFC 9110, 11.1).
    After(String),
}

/// What a request holds under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held<'a> {
    /// No such header.
    Nothing,
    /// One.
    Once(&'a str),
    /// More than one, or one that isn't text.
    Unclear,
}

/// What a request presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented<'h> {
    /// None of the headers.
    Nothing,
    /// A header that is there twice: who is meant?
    Unclear,
    /// A text exactly as it is, perhaps no secret at all.
    Text(&'h str),
}

impl CredentialHeaders {
    /// What is looked for when nobody says otherwise.
    pub const DEFAULT: &str = "x-api-key, x-blancco-api-key, authorization: rest_api_key=, authorization: Bearer";

    /// Reads 1 to 8 headers, separated by commas. Each is a name, whose whole value is the secret; or a name, a colon and
    /// what stands before the secret, either a word and `=`, or a scheme.
    pub fn parse(text: &str) -> Result<Self, String> {
        let headers =
            text.split(',').map(|entry| CredentialHeader::parse(entry.trim())).collect::<Result<Vec<_>, _>>()?;
        if headers.len() > limits::CREDENTIAL_HEADERS {
            return Err(format!("has {} headers; at most {} are allowed", headers.len(), limits::CREDENTIAL_HEADERS));
        }
        Ok(Self(headers))
    }

    /// What a request presents: the first of the headers that is there decides, whatever it holds.
    pub fn find<'h>(&self, held: impl Fn(&str) -> Held<'h>) -> Presented<'h> {
        let mut presented = self.0.iter().map(|header| header.presented(held(&header.name)));
        presented.find(|presented| *presented != Presented::Nothing).unwrap_or(Presented::Nothing)
    }

    /// The names of all headers of a request that may hold a secret: whoever is behind the gateway must see none of them. A
    /// name may come twice.
    pub fn all_in<'a, 'h>(&'a self, held: impl Fn(&str) -> Held<'h>) -> impl Iterator<Item = &'a str> {
        let present = move |header: &&CredentialHeader| header.presented(held(&header.name)) != Presented::Nothing;
        self.0.iter().filter(present).map(|header| &*header.name)
    }
}

impl CredentialHeader {
    fn parse(entry: &str) -> Result<Self, String> {
        let (name, form) = match entry.split_once(':') {
            None => (entry, Form::Whole),
            Some((name, before)) => (name, Form::parse(before.trim())?),
        };
        let name = name.to_ascii_lowercase();
        if !is_word(&name) {
            return Err(format!("must be names of headers such as {}", Self::EXAMPLES));
        }
        if name.starts_with(IDENTITY_PREFIX) {
            return Err(format!("can't be {}… headers, which say whose key it was", IDENTITY_PREFIX));
        }
        Ok(Self { name, form })
    }

    const EXAMPLES: &str = "x-api-key, or with what stands before the key, as authorization: Bearer";

    fn presented<'h>(&self, held: Held<'h>) -> Presented<'h> {
        match held {
            Held::Nothing => Presented::Nothing,
            Held::Unclear => Presented::Unclear,
            Held::Once(value) => match self.form.secret_in(value) {
                None => Presented::Nothing,
                // Whoever joins several of one name does it by commas (RFC 9110, 5.3), which no secret has.
                Some(text) if text.contains(',') => Presented::Unclear,
                Some(text) => Presented::Text(text),
            },
        }
    }
}

impl Form {
    fn parse(before: &str) -> Result<Self, String> {
        if !is_word(before.strip_suffix('=').unwrap_or(before)) {
            return Err("must have a word such as `Bearer` or `rest_api_key=` behind the colon".to_owned());
        }
        let space = if before.ends_with('=') { "" } else { " " };
        Ok(Self::After(format!("{before}{space}")))
    }

    fn secret_in<'h>(&self, value: &'h str) -> Option<&'h str> {
        match self {
            Self::Whole => Some(value),
            Self::After(before) => {
                let (start, secret) = value.split_at_checked(before.len())?;
                start.eq_ignore_ascii_case(before).then_some(secret)
            }
        }
    }
}

/// 1 to 64 of what names of headers and schemes consist of.
fn is_word(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=limits::LABEL_CHARACTERS).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'h>(headers: &str, request: &'h [(&'h str, &'h str)]) -> Option<&'h str> {
        let headers = CredentialHeaders::parse(headers).expect("headers");
        let held = |name: &str| {
            let mut values = request.iter().filter(|(header, _)| *header == name).map(|(_, value)| *value);
            match (values.next(), values.next()) {
                (None, _) => Held::Nothing,
                (Some(value), None) => Held::Once(value),
                (Some(_), Some(_)) => Held::Unclear,
            }
        };
        match headers.find(held) {
            Presented::Nothing => None,
            Presented::Unclear => Some("unclear"),
            Presented::Text(text) => Some(text),
        }
    }

    #[test]
    fn the_first_header_that_is_there_decides_whatever_it_holds() {
        let all = CredentialHeaders::DEFAULT;
        for (expected, request) in [
            (None, &[][..]),
            (Some("a"), &[("x-api-key", "a"), ("authorization", "Bearer b")]),
            (Some(""), &[("x-api-key", ""), ("authorization", "Bearer b")]),
            (Some("a"), &[("x-blancco-api-key", "a")]),
            (Some("a"), &[("authorization", "rest_api_key=a")]),
            (Some("a"), &[("authorization", "REST_API_KEY=a")]),
            (Some("a"), &[("authorization", "bearer a")]),
            (Some(" a "), &[("authorization", "Bearer  a ")]),
            (Some(""), &[("authorization", "Bearer ")]),
            (None, &[("authorization", "Bearer")]),
            (None, &[("authorization", "Basic a")]),
            (None, &[("authorization", "ä")]),
            (None, &[("cookie", "x-api-key=a")]),
            (Some("unclear"), &[("x-api-key", "a"), ("x-api-key", "a")]),
            (Some("unclear"), &[("x-api-key", "a,a")]),
            (Some("a"), &[("authorization", "Digest b, c"), ("x-api-key", "a")]),
            (None, &[("authorization", "Digest b, c")]),
            (Some("b"), &[("x-api-key", "b"), ("authorization", "Bearer a"), ("authorization", "Bearer a")]),
        ] {
            assert_eq!(found(all, request), expected, "{request:?}");
        }
        assert_eq!(found("Authorization: Token, X-Own.Key", &[("x-own.key", "a")]), Some("a"));
        assert_eq!(found("authorization:Token", &[("authorization", "token a")]), Some("a"));
    }

    #[test]
    fn settings_that_no_header_could_have_are_refused() {
        let many = ["a"; limits::CREDENTIAL_HEADERS + 1].join(",");
        let long = "a".repeat(65);
        for bad in [
            "",
            ",",
            "a,",
            "a b",
            "ä",
            ":path",
            "a:",
            "a: ",
            "a: b c",
            "a: =",
            "a: b==",
            "x-claviger-key",
            &many,
            &long,
        ] {
            assert!(CredentialHeaders::parse(bad).is_err(), "{bad:?}");
        }
        assert!(CredentialHeaders::parse(&["a"; limits::CREDENTIAL_HEADERS].join(", ")).is_ok());
    }
}
