//! Digests to look at, and the mails they become.

use chrono::TimeDelta;
use claviger::domain::{
    Time,
    address::MailAddress,
    attributes::Attributes,
    calendar::TimeZone,
    ids::{KeyId, ServiceUserId, ServiceUserName, SubscriberId, TenantId},
    key::{Key, KeyState, NewKey},
    text::{Description, DisplayName},
};
use claviger::notify::{digest::Digest, message::Letterhead};
use claviger::store::WarnedKey;
use lettre::Message;
use mail_parser::MessageParser;

/// What is said of one key.
pub struct Facts<'a> {
    pub name: &'a str,
    pub service_user: (&'a str, &'a str),
    pub description: &'a str,
    pub expires_in: TimeDelta,
    pub last_used: Option<TimeDelta>,
    pub disabled: bool,
}

pub fn name(text: &str) -> DisplayName {
    DisplayName::parse(text).expect("a name")
}

pub fn now() -> Time {
    "2026-11-21T08:00:00Z".parse().expect("an instant")
}

pub fn warned(tenant: &str, number: u8, facts: &Facts<'_>) -> WarnedKey {
    let (id, display_name) = facts.service_user;
    let tenant = TenantId::parse(tenant).expect("an id");
    let owner = ServiceUserName { tenant, id: ServiceUserId::parse(id).expect("an id") };
    let expire_time = now() + facts.expires_in;
    let new = NewKey {
        display_name: name(facts.name),
        description: Description::parse(facts.description).expect("a description"),
        scopes: Vec::new(),
        attributes: Attributes::default(),
        key_group: None,
        networks: Vec::new(),
        expire_time: Some(expire_time),
        disabled: false,
        retrievable: false,
    };
    let random = |at: usize| number.wrapping_mul(37).wrapping_add((at as u8).wrapping_mul(91));
    let key_id = KeyId::from_random(std::array::from_fn(random));
    let mut key = Key::create(owner.key(key_id), new, None, now()).expect("a key");
    key.last_used = facts.last_used.map(|ago| now() - ago);
    if facts.disabled {
        key.state = KeyState::Disabled;
    }
    WarnedKey { key, expire_time, service_user_display_name: name(display_name) }
}

pub fn digest(tenant: &str, display_name: &str, keys: Vec<WarnedKey>) -> Digest {
    let zone = TimeZone::parse("Europe/Berlin").expect("a zone");
    Digest {
        tenant: TenantId::parse(tenant).expect("an id"),
        tenant_display_name: name(display_name),
        zone,
        day: zone.day(now()),
        now: now(),
        key_count: keys.len() as u64,
        keys,
    }
}

/// A usual morning.
pub fn typical() -> Digest {
    let ago = |hours| Some(TimeDelta::hours(hours));
    let at = |days, hours| TimeDelta::days(days) + TimeDelta::hours(hours);
    let billing = ("billing", "Billing");
    let facts = [
        Facts {
            name: "Payments production",
            service_user: billing,
            description: "Charges cards at the checkout.",
            expires_in: at(0, 9),
            last_used: ago(0),
            disabled: false,
        },
        Facts {
            name: "Invoice export",
            service_user: billing,
            description: "Nightly job on batch-3.\n\nThe secret is in the vault under billing/export; restart the job \
                          after changing it. Ask #team-billing if it isn't picked up within ten minutes.",
            expires_in: at(1, 0),
            last_used: ago(7),
            disabled: false,
        },
        Facts {
            name: "Old partner integration",
            service_user: ("partner-gateway", "Partner gateway"),
            description: "",
            expires_in: at(3, 2),
            last_used: ago(24 * 41),
            disabled: true,
        },
        Facts {
            name: "Staging of the customer data synchronisation service, region EU-West, second generation, read only",
            service_user: ("customer-sync", "Customer synchronisation"),
            description: "Copies customers to staging.",
            expires_in: at(9, 4),
            last_used: ago(1),
            disabled: false,
        },
        Facts {
            name: "Load test",
            service_user: ("load-test", "Load test"),
            description: "Only for the tests before the winter sale.",
            expires_in: at(14, 0),
            last_used: None,
            disabled: false,
        },
    ];
    let keys = facts.iter().zip(1..).map(|(facts, number)| warned("acme", number, facts)).collect();
    digest("acme", "Acme GmbH", keys)
}

/// Everything as long as it can be, and more keys than a mail lists.
pub fn extreme() -> Digest {
    let tenant = "t".repeat(63);
    let user = "u".repeat(63);
    let names = ["W".repeat(100), "م".repeat(100), "😀".repeat(100), "a b ".repeat(25).trim_end().to_owned()];
    let descriptions = ["W".repeat(1_000), format!("x{}x", "\n".repeat(998)), "漢".repeat(1_000), String::new()];
    let key = |number: u8| {
        let at = usize::from(number) % 4;
        let facts = Facts {
            name: &names[at],
            service_user: (&user, &names[3 - at]),
            description: &descriptions[at],
            expires_in: TimeDelta::hours(i64::from(number) * 3),
            last_used: None,
            disabled: at == 0,
        };
        warned(&tenant, number, &facts)
    };
    Digest { key_count: 123_456, ..digest(&tenant, &"W".repeat(100), (1..=100).map(key).collect()) }
}

/// With the server's own address as short as a mail is likely to show it.
pub fn mail(digest: &Digest) -> Message {
    let from = "Claviger <keys@acme.example>".parse().expect("a mailbox");
    let letterhead = Letterhead::new(from, "keys.acme.example:443".to_owned(), false).expect("templates");
    let to = MailAddress::parse("ops@acme.example").expect("an address");
    let subscriber = SubscriberId::from_random([5; 16]);
    let stop = "https://keys.acme.example/unsubscribe/opaque";
    let words = letterhead.words(digest).expect("words");
    letterhead.address(&words, digest, &to, &subscriber, Some(stop)).expect("a mail")
}

/// As an independent parser reads it.
pub fn html_part(mail: &Message) -> String {
    part(mail, "html")
}

/// As an independent parser reads it.
pub fn text_part(mail: &Message) -> String {
    part(mail, "plain")
}

fn part(mail: &Message, subtype: &str) -> String {
    use mail_parser::MimeHeaders as _;
    let bytes = mail.formatted();
    let parsed = MessageParser::default().parse(&bytes).expect("a mail");
    let is = |part: &&mail_parser::MessagePart<'_>| part.is_content_type("text", subtype);
    let found = parsed.parts.iter().find(is).expect("the part");
    found.text_contents().expect("a text").replace("\r\n", "\n")
}
