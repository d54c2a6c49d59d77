//! Mail addresses, as narrow as what is written in practice: one address, ASCII, a dot-atom before the `@` and a host name
//! behind it (RFC 5321, 4.1.2, without quoted local parts, comments, routes and address literals). Nothing that passes
//! here can start a header, a second recipient or a comment.

use std::fmt;

use super::limits;

/// One mail address. Its debug form hides it: addresses are people's and don't belong into logs.
#[derive(Clone)]
pub struct MailAddress {
    text: String,
    folded: String,
}

impl MailAddress {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty; write one mail address, as ops@example.com".to_owned());
        }
        if text.len() > limits::ADDRESS_CHARACTERS {
            return Err(format!("is longer than {} characters", limits::ADDRESS_CHARACTERS));
        }
        let (local, domain) = text.rsplit_once('@').unwrap_or((text, ""));
        if !is_dot_atom(local) || !is_host_name(domain) {
            // The text isn't quoted back: it may be somebody's address all the same.
            return Err(
                "is not one mail address, as ops@example.com: ASCII letters, digits and . ! # $ % & ' * + - / = ? ^ _ \
                        ` { | } ~ before the @, a host name behind it"
                    .to_owned(),
            );
        }
        Ok(Self { text: text.to_owned(), folded: format!("{local}@{}", domain.to_ascii_lowercase()) })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// With its domain in lower case: equal for equal addresses. The local part is the receiving host's to interpret
    /// (RFC 5321, 2.4).
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// The host name behind the `@`, in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.folded.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl PartialEq for MailAddress {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for MailAddress {}

impl fmt::Debug for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailAddress")
    }
}

fn is_dot_atom(local: &str) -> bool {
    let is_atom = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    local.len() <= limits::ADDRESS_LOCAL_CHARACTERS && local.split('.').all(is_atom)
}

/// Labels of letters, digits and inner hyphens (RFC 1123, 2.1), the last one not all digits.
pub(super) fn is_host_name(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_a_name = domain.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
    domain.split('.').all(is_label) && last_is_a_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plain_address_and_nothing_else() {
        for good in
            ["ops@example.com", "a.b+c@x-y.example", "o'neill@EXAMPLE.com", "root@localhost", "a@xn--mnchen-3ya.de"]
        {
            assert!(MailAddress::parse(good).is_ok(), "{good}");
        }
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long = format!("a@{}.com", ["a".repeat(60).as_str(); 5].join("."));
        for bad in [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a@b@c.d",
            "a b@c.d",
            "a@b c",
            "a@b.c,d@e.f",
            "a@b.c;d@e.f",
            "\"a\"@b.c",
            "\"a b\"@c.d",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@b.c\r\nBcc: d@e.f",
            "a@b.c\n",
            "a\r@b.c",
            "<a@b.c>",
            "A <a@b.c>",
            "a@b.c (x)",
            "a(x)@b.c",
            ".a@b.c",
            "a.@b.c",
            "a..b@c.d",
            "a@.b",
            "a@b.",
            "a@-b.c",
            "a@b-.c",
            "ä@b.c",
            "a@ä.de",
            "a@b_c.de",
            "a\0@b.c",
            "a@b.c\0",
            "a%40b.c",
            "a\\@b.c",
            &long_local,
            &long,
        ] {
            assert!(MailAddress::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_the_domain_is_compared_without_case() {
        let parse = |text| MailAddress::parse(text).expect("an address");
        assert_eq!(parse("Ops@Example.COM"), parse("Ops@example.com"));
        assert_ne!(parse("Ops@example.com"), parse("ops@example.com"));
        assert_eq!(parse("Ops@Example.COM").as_str(), "Ops@Example.COM");
    }
}
