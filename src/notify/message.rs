//! How a digest becomes a mail (RFC 5322): one sender, one recipient, a text and an HTML part with the same facts.
//!
//! Headers contain nothing that people wrote but the two addresses: subject, ids and links are made from ids of resources,
//! which are ASCII letters, digits and hyphens. Names and descriptions stand in the parts alone, where the HTML template
//! escapes them and the text template marks every line of a description. A mail that is composed again for the same day is
//! the same mail, byte for byte, if nothing changed.
//!
//! | header | so that |
//! |---|---|
//! | `Message-ID` | a mail that is sent twice is seen once |
//! | `In-Reply-To`, `References` | all mails to a subscriber are one thread (RFC 5322, 3.6.4) |
//! | `Auto-Submitted` (RFC 3834), `X-Auto-Response-Suppress` | nobody's absence is answered to us |
//! | `List-Id` (RFC 2919) | a filter can sort by tenant |
//! | `List-Unsubscribe` (RFC 2369), `List-Unsubscribe-Post` (RFC 8058) | the mail program shows its own button |

use std::fmt::Write as _;

use lettre::{
    Message,
    address::{Address, Envelope},
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use minijinja::{Environment, HtmlEscape, UndefinedBehavior, Value, syntax::SyntaxConfig, value::Serde};

use super::digest::{Digest, Endpoint};
use crate::domain::{
    address::MailAddress,
    calendar::Day,
    ids::{SubscriberId, TenantId},
};

/// What is the same in all mails: who writes, and where the keys are.
#[derive(Debug, Clone)]
pub struct Letterhead {
    from: Mailbox,
    /// Where our ids live: the host name of the sender's address.
    domain: String,
    endpoint: Endpoint,
    templates: Environment<'static>,
}

/// Why there is no mail.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The sender's address.
    #[error("the sender's address {0}")]
    Sender(String),
    /// The digest lists no key.
    #[error("there is no key to warn about")]
    NoKeys,
    /// A template can't be read or filled in.
    #[error("a template of the mail: {0}")]
    Template(#[from] minijinja::Error),
    /// An address that the mail library doesn't take.
    #[error("an address: {0}")]
    Address(#[from] lettre::address::AddressError),
    /// The mail library refuses the message.
    #[error("the message: {0}")]
    Message(#[from] lettre::error::Error),
}

/// What a digest says, but for the link that stops these mails.
#[derive(Debug)]
pub struct Words {
    subject: String,
    text: String,
    html: String,
}

/// Stands for that link. No name or description can contain it, because it is a control character.
const LINK: &str = "\u{1}";

impl Letterhead {
    /// For mails from `from` about the keys of the server at `endpoint` (host and port), which speaks without TLS if
    /// `plaintext`. The sender's address must be as narrow as [`MailAddress`], because headers are made from it.
    pub fn new(from: Mailbox, endpoint: String, plaintext: bool) -> Result<Self, ComposeError> {
        let address = MailAddress::parse(from.email.as_ref()).map_err(ComposeError::Sender)?;
        let domain = address.domain().to_owned();
        Ok(Self { from, domain, endpoint: Endpoint { address: endpoint, plaintext }, templates: templates()? })
    }

    /// The Message-ID of a subscriber's mail of one day, in its angle brackets.
    #[must_use]
    pub fn message_id(&self, subscriber: &SubscriberId, day: Day) -> String {
        format!("<{day}.{}.warnings@{}>", subscriber.as_str(), self.domain)
    }

    /// What a digest says to everybody who gets it: the same for all but the link, so it is made once.
    pub fn words(&self, digest: &Digest) -> Result<Words, ComposeError> {
        let subject = digest.subject().ok_or(ComposeError::NoKeys)?;
        let content = digest.content(&self.endpoint, LINK.to_owned()).ok_or(ComposeError::NoKeys)?;
        let facts = Value::from(Serde(&content));
        let text = self.templates.get_template(TEXT)?.render(facts.clone())?;
        let html = self.templates.get_template(HTML)?.render(facts)?;
        Ok(Words { subject, text, html })
    }

    /// Writes the words of a digest to one subscriber. `one_click` is the https link that unsubscribes (GET asks, POST acts).
    pub fn address(
        &self,
        words: &Words,
        digest: &Digest,
        to: &MailAddress,
        subscriber: &SubscriberId,
        one_click: Option<&str>,
    ) -> Result<Message, ComposeError> {
        let mailto = self.unsubscribe_mail(subscriber);
        let link = one_click.unwrap_or(&mailto);
        let thread = format!("<{}.warnings@{}>", subscriber.as_str(), self.domain);
        let to: Address = to.as_str().parse()?;
        let mut message = Message::builder()
            .envelope(Envelope::new(Some(self.from.email.clone()), vec![to.clone()])?)
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(words.subject.clone())
            .date(digest.now.into())
            .message_id(Some(self.message_id(subscriber, digest.day)))
            .in_reply_to(thread.clone())
            .references(thread);
        for header in self.list_headers(&digest.tenant, &mailto, one_click) {
            message = message.raw_header(header);
        }
        Ok(message.multipart(parts(words, link, subscriber, digest.day))?)
    }

    fn list_headers(&self, tenant: &TenantId, mailto: &str, one_click: Option<&str>) -> Vec<HeaderValue> {
        let header = |name, value| HeaderValue::new(HeaderName::new_from_ascii_str(name), value);
        let mut headers = vec![
            header("Auto-Submitted", "auto-generated".to_owned()),
            header("X-Auto-Response-Suppress", "All".to_owned()),
            header("List-Id", format!("<{}.key-warnings.{}>", tenant.as_str(), self.domain)),
        ];
        match one_click {
            Some(link) => {
                headers.push(header("List-Unsubscribe", format!("<{link}>, <{mailto}>")));
                headers.push(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
            }
            None => headers.push(header("List-Unsubscribe", format!("<{mailto}>"))),
        }
        headers
    }

    /// A link (RFC 6068) to a mail that asks the sender to stop.
    fn unsubscribe_mail(&self, subscriber: &SubscriberId) -> String {
        let local_part = percent_encode(self.from.email.user());
        format!("mailto:{local_part}@{}?subject=unsubscribe%20{}", self.domain, subscriber.as_str())
    }
}

/// Text first: the last part that a mail program understands is the one it shows (RFC 2046, 5.1.4).
fn parts(words: &Words, link: &str, subscriber: &SubscriberId, day: Day) -> MultiPart {
    // Quoted-printable never contains "=_", so no content can contain the boundary (RFC 2045, 6.7).
    let boundary = format!("=_{day}.{}", subscriber.as_str());
    let part = |content_type, body| {
        let encoding = ContentTransferEncoding::QuotedPrintable;
        SinglePart::builder().content_type(content_type).header(encoding).body::<String>(body)
    };
    let text = words.text.replace(LINK, link);
    let html = words.html.replace(LINK, &HtmlEscape(link).to_string());
    let both = MultiPart::alternative().boundary(boundary);
    both.singlepart(part(ContentType::TEXT_PLAIN, text)).singlepart(part(ContentType::TEXT_HTML, html))
}

const TEXT: &str = "digest.txt";
const HTML: &str = "digest.html";

/// A template's name says whether it escapes: `.html` does.
fn templates() -> Result<Environment<'static>, minijinja::Error> {
    let mut templates = Environment::new();
    // A line that only holds a tag leaves no empty line behind.
    templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    // A misspelt fact is an error, not a hole.
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_template(TEXT, include_str!("templates/digest.txt"))?;
    templates.add_template(HTML, include_str!("templates/digest.html"))?;
    Ok(templates)
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a text doesn't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Time,
        attributes::Attributes,
        calendar::TimeZone,
        ids::{KeyId, ServiceUserId, ServiceUserName},
        key::{Key, NewKey},
        text::{Description, DisplayName},
    };
    use crate::store::WarnedKey;

    const ONE_CLICK: &str = "https://keys.example.com/unsubscribe?s=1&t=2";

    fn letterhead(from: &str) -> Result<Letterhead, ComposeError> {
        Letterhead::new(from.parse().expect("a mailbox"), "keys.example.com:443".to_owned(), false)
    }

    fn now() -> Time {
        "2026-11-21T08:00:00.25Z".parse().expect("an instant")
    }

    fn warned(hours: i64) -> WarnedKey {
        let tenant = TenantId::parse("acme").expect("an id");
        let owner = ServiceUserName { tenant, id: ServiceUserId::parse("billing").expect("an id") };
        let new = NewKey {
            display_name: DisplayName::parse("Payments").expect("a name"),
            description: Description::default(),
            scopes: Vec::new(),
            attributes: Attributes::default(),
            key_group: None,
            networks: Vec::new(),
            expire_time: Some(now() + chrono::TimeDelta::hours(hours)),
            disabled: false,
            retrievable: false,
        };
        let key = Key::create(owner.key(KeyId::from_random([7; 16])), new, None, now()).expect("a key");
        let service_user_display_name = DisplayName::parse("Billing").expect("a name");
        WarnedKey { key, expire_time: now() + chrono::TimeDelta::hours(hours), service_user_display_name }
    }

    fn digest(hours: &[i64], key_count: u64) -> Digest {
        Digest {
            tenant: TenantId::parse("acme").expect("an id"),
            tenant_display_name: DisplayName::parse("Acme GmbH").expect("a name"),
            zone: TimeZone::parse("Europe/Berlin").expect("a zone"),
            day: Day::parse("2026-11-21").expect("a day"),
            now: now(),
            keys: hours.iter().map(|&hours| warned(hours)).collect(),
            key_count,
        }
    }

    fn subscriber() -> SubscriberId {
        SubscriberId::from_random([9; 16])
    }

    fn compose(digest: &Digest, one_click: Option<&str>) -> Result<Message, ComposeError> {
        let to = MailAddress::parse("ops@example.org").expect("an address");
        let letterhead = letterhead("Claviger <o'keys+a@Example.com>")?;
        letterhead.address(&letterhead.words(digest)?, digest, &to, &subscriber(), one_click)
    }

    fn header<'m>(message: &'m Message, name: &str) -> &'m str {
        message.headers().get_raw(name).unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn the_subject_says_how_many_and_how_soon() {
        let subject = |hours: &[i64], count| digest(hours, count).subject();
        assert_eq!(subject(&[12], 1).as_deref(), Some("acme: 1 API key expires today"));
        assert_eq!(subject(&[20], 1).as_deref(), Some("acme: 1 API key expires tomorrow"));
        assert_eq!(subject(&[20, 100], 2).as_deref(), Some("acme: 2 API keys expire soon, the first tomorrow"));
        assert_eq!(subject(&[5 * 24], 112).as_deref(), Some("acme: 112 API keys expire soon, the first in 5 days"));
        assert_eq!(subject(&[], 3), None);
        assert!(matches!(compose(&digest(&[], 3), None), Err(ComposeError::NoKeys)));
    }

    #[test]
    fn headers_are_made_from_ids() {
        let message = compose(&digest(&[20], 1), Some(ONE_CLICK)).expect("a mail");
        let id = subscriber();
        let id = id.as_str();
        let thread = format!("<{id}.warnings@example.com>");
        let stop = format!("<{ONE_CLICK}>, <mailto:o%27keys+a@example.com?subject=unsubscribe%20{id}>");
        for (name, value) in [
            ("From", "Claviger <o'keys+a@Example.com>"),
            ("To", "ops@example.org"),
            ("Subject", "acme: 1 API key expires tomorrow"),
            ("Date", "Sat, 21 Nov 2026 08:00:00 +0000"),
            ("Message-ID", &format!("<2026-11-21.{id}.warnings@example.com>")),
            ("In-Reply-To", &thread),
            ("References", &thread),
            ("Auto-Submitted", "auto-generated"),
            ("X-Auto-Response-Suppress", "All"),
            ("List-Id", "<acme.key-warnings.example.com>"),
            ("List-Unsubscribe", &stop),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("MIME-Version", "1.0"),
        ] {
            assert_eq!(header(&message, name), value, "{name}");
        }
        let recipients = message.envelope().to().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(recipients, ["ops@example.org"]);
        assert_eq!(message.envelope().from().map(ToString::to_string).as_deref(), Some("o'keys+a@Example.com"));
    }

    #[test]
    fn without_a_public_url_only_a_mail_unsubscribes() {
        let message = compose(&digest(&[20], 1), None).expect("a mail");
        let stop = format!("<mailto:o%27keys+a@example.com?subject=unsubscribe%20{}>", subscriber().as_str());
        assert_eq!(header(&message, "List-Unsubscribe"), stop);
        assert_eq!(message.headers().get_raw("List-Unsubscribe-Post"), None);
    }

    #[test]
    fn the_same_facts_make_the_same_mail() {
        let bytes = |digest: &Digest| compose(digest, Some(ONE_CLICK)).expect("a mail").formatted();
        assert_eq!(bytes(&digest(&[20, 30], 2)), bytes(&digest(&[20, 30], 2)));
        let longest = bytes(&digest(&[20; 100], 100)).split(|&b| b == b'\n').map(<[u8]>::len).max();
        assert!(longest.is_some_and(|length| length <= 998), "{longest:?}");
    }

    #[test]
    fn a_sender_that_headers_cannot_carry_is_refused() {
        for domain in ["[127.0.0.1]", "ä.de"] {
            let from = Mailbox::new(None, Address::new("keys", domain).expect("an address"));
            let refused = Letterhead::new(from, "keys.example.com:443".to_owned(), false);
            assert!(matches!(refused, Err(ComposeError::Sender(_))), "{domain}");
        }
    }

    #[test]
    fn every_address_that_we_keep_can_get_a_mail() {
        for to in ["root@localhost", "o'neill@EXAMPLE.com", "a!#$%&'*+-/=?^_`{|}~@x.y", "a@xn--mnchen-3ya.de", "1@2.c"]
        {
            let to = MailAddress::parse(to).expect("an address");
            let (letterhead, digest) = (letterhead("keys@example.com").expect("one"), digest(&[20], 1));
            let words = letterhead.words(&digest).expect("words");
            let mail = letterhead.address(&words, &digest, &to, &subscriber(), None);
            assert_eq!(header(&mail.expect("a mail"), "To"), to.as_str());
        }
    }
}
