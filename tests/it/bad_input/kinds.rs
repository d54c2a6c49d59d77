//! What each kind of field takes: values just beyond its rules, with the path they are blamed on, and values at its limits.

use tonic::Code;

use super::certificates::{identities, most_identities};
use super::dynamic::Input::{self, *};
use super::names::{KEY, bad_key_ids, bad_labels, bad_request_ids, bad_uuids, key_id, names, names_in};
use super::people::{bad_addresses, longest_members, member, members, zones};
use super::permissions::{hundred, networks, scopes, widest};
use crate::harness::app::start_of_time;

/// A kind of field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    TenantName,
    UserName,
    GroupName,
    KeyGroupName,
    /// The group of a key; empty for none.
    KeyGroup,
    KeyName,
    KeyParent,
    NewId,
    DisplayName,
    Description,
    Reason,
    /// What the tenant's policy must list besides.
    Role,
    IntegrationType,
    OnBehalfOf,
    Labels,
    FileFormat,
    Revision,
    PageSize,
    PageToken,
    State,
    ExpireTime,
    Before,
    Ttl,
    Grace,
    ReplicaWait,
    Staleness,
    Mask,
    Scopes,
    Networks,
    RequestId,
    Target,
    RequiredScopes,
    ClientIp,
    VerifyTenant,
    Questions,
    WatchedFrom,
    /// The IANA name of a time zone.
    Zone,
    /// The same; empty for the default.
    ZoneOrDefault,
    /// An hour of the day.
    Hour,
    /// The same; absent for the default.
    HourOrDefault,
    Members,
    /// Names in client certificates.
    Identities,
    NotificationName,
    ToldAbout,
    DeliveryState,
    /// A mail address; empty for anybody's.
    Recipient,
    PreviewFrom,
    /// `from` is absent: now.
    PreviewTo,
}

/// A bad value, and what is blamed below the field's own path, as `[1]`.
pub type Bad = (Input, &'static str);

/// Characters that nobody sees: controls, bidi, zero width, soft hyphen, separators, private use, unassigned.
pub const INVISIBLE: [char; 12] = [
    '\0',
    '\u{1b}',
    '\u{7f}',
    '\u{85}',
    '\u{ad}',
    '\u{200b}',
    '\u{202e}',
    '\u{2028}',
    '\u{2066}',
    '\u{feff}',
    '\u{e000}',
    '\u{e0001}',
];

const DAY: i64 = 86_400;
const CENTURY: i64 = 36_500 * DAY;
const YEAR_9001: i64 = 221_876_928_000;
const LAST_SECOND: i64 = 253_402_300_799;

/// A good text with an invisible character inside, or a space at an end.
fn spoilt(good: &str) -> Vec<String> {
    let (start, end) = good.split_at(good.len() / 2);
    let inside = INVISIBLE.iter().map(|bad| format!("{start}{bad}{end}"));
    let around =
        [format!(" {good}"), format!("{good} "), format!("\t{good}"), format!("{good}\n"), format!("{good}\u{3000}")];
    inside.chain(around).collect()
}

pub fn with(good: &str, more: &[&str]) -> Vec<String> {
    spoilt(good).into_iter().chain(more.iter().map(ToString::to_string)).chain([long()]).collect()
}

/// Far too long for anything, and of characters that nothing hides.
fn long() -> String {
    "x!".repeat(5_000)
}

pub fn id(characters: usize) -> String {
    "a".repeat(characters)
}

fn blamed(texts: Vec<String>) -> Vec<Bad> {
    texts.into_iter().map(|text| (Text(text), "")).collect()
}

/// Each text as the second entry of a list, after a good one; and a list that is too long.
fn listed(good: &str, most: usize, bad: Vec<String>) -> Vec<Bad> {
    let second = bad.into_iter().map(|text| (Texts(vec![good.to_owned(), text]), "[1]"));
    second.chain([(Texts(vec![good.to_owned(); most + 1]), "")]).collect()
}

fn spans(spans: &[(i64, i32)]) -> Vec<Bad> {
    spans.iter().map(|&(seconds, nanos)| (Span(seconds, nanos), "")).collect()
}

fn numbers(numbers: &[i64]) -> Vec<Bad> {
    numbers.iter().map(|&number| (Number(number), "")).collect()
}

/// Seconds and nanos that no Timestamp and no Duration has.
const IMPOSSIBLE: [(i64, i32); 6] = [
    (1_900_000_000, -1),
    (1_900_000_000, 1_000_000_000),
    (1_900_000_000, i32::MIN),
    (1_900_000_000, i32::MAX),
    (i64::MIN, 0),
    (i64::MAX, 0),
];

/// Values that a field of this kind must refuse.
pub fn bad(kind: Kind) -> Vec<Bad> {
    match kind {
        Kind::TenantName => blamed(names("tenants/acme")),
        Kind::VerifyTenant => blamed(names("tenants/acme").into_iter().filter(|name| !name.is_empty()).collect()),
        Kind::UserName => blamed(names_in("serviceUsers")),
        Kind::GroupName => blamed(names_in("userGroups")),
        Kind::KeyGroupName => blamed(names_in("keyGroups")),
        Kind::KeyGroup => blamed(names_in("keyGroups").into_iter().filter(|name| !name.is_empty()).collect()),
        Kind::KeyParent => blamed(names("tenants/acme/serviceUsers/-"))
            .into_iter()
            .chain(blamed(vec!["tenants/-/serviceUsers/-".into(), "tenants/acme/serviceUsers/--".into()]))
            .collect(),
        Kind::KeyName => {
            blamed(names(&format!("{KEY}{}", key_id()))).into_iter().chain(blamed(bad_key_ids())).collect()
        }
        Kind::NewId => blamed(with(
            "acme",
            &["", "Acme", "aCme", "1acme", "-acme", "acme_1", "ac.me", "ac/me", "äcme", "ａcme", "system", &id(64)],
        )),
        Kind::DisplayName => blamed(with("a name", &["", " ", "a\nb", "a\rb", &"é".repeat(101)])),
        Kind::Description => blamed(with("what it is for", &["\n", "a\rb", "a\tb", &"é".repeat(1_001)])),
        Kind::Reason => blamed(with("no longer used", &[" ", "a\nb", &"é".repeat(201)])),
        Kind::Role | Kind::IntegrationType => {
            blamed(bad_labels().into_iter().filter(|label| !label.is_empty()).collect())
        }
        Kind::OnBehalfOf => blamed(with("Ada", &[" ", "a\nb", &"é".repeat(201)])),
        Kind::Labels => listed("member", 100, bad_labels()),
        Kind::Revision | Kind::WatchedFrom => numbers(&[-1, i64::MIN]),
        Kind::PageSize => numbers(&[-1, 501, i64::from(i32::MIN), i64::from(i32::MAX)]),
        Kind::State | Kind::ToldAbout => numbers(&[-1, 5, i64::from(i32::MIN), i64::from(i32::MAX)]),
        Kind::FileFormat => numbers(&[-1, 3, i64::from(i32::MIN), i64::from(i32::MAX)]),
        Kind::PageToken => blamed(with("AAAA", &["A", "=", "AAAA====", &id(22), &id(513)])),
        Kind::ExpireTime => spans(&[&IMPOSSIBLE[..], &late()].concat()),
        Kind::Before => spans(&[&IMPOSSIBLE[..], &[(-62_135_596_801, 0), (253_402_300_800, 0)]].concat()),
        Kind::Ttl => spans(
            &[&IMPOSSIBLE[..], &[(0, 0), (0, 999_999_999), (-1, 0), (1, -1), (CENTURY, 1_000), (CENTURY + 1, 0)]]
                .concat(),
        ),
        Kind::Grace => spans(&[&IMPOSSIBLE[..], &[(-1, 0), (0, -1), (30 * DAY, 1_000), (30 * DAY + 1, 0)]].concat()),
        Kind::ReplicaWait => spans(&[&IMPOSSIBLE[..], &[(-1, 0), (0, -1), (5, 1_000), (6, 0)]].concat()),
        Kind::Staleness => spans(&[&IMPOSSIBLE[..], &[(-1, 0), (0, -1)]].concat()),
        Kind::Mask => masks(),
        Kind::Scopes => listed(
            "pay",
            100,
            scopes(&[
                "claviger",
                "claviger:*",
                "claviger:root",
                "claviger:keys",
                "*:a",
                "a:*:b",
                "a*",
                "**",
                "*:*",
                ":*",
            ]),
        ),
        Kind::RequiredScopes => listed("pay", 100, scopes(&["*", "a:*"])),
        Kind::Networks => listed("192.0.2.0/24", 64, networks()),
        Kind::RequestId => blamed(bad_request_ids()),
        Kind::Target => blamed(with("tenants/acme", &[&id(253)])),
        Kind::ClientIp => blamed(with(
            "192.0.2.1",
            &[
                "a",
                "192.0.2",
                "192.0.2.256",
                "192.0.2.01",
                "192.0.2.1:80",
                "192.0.2.0/24",
                "[::1]",
                "fe80::1%eth0",
                ":::",
                "localhost",
                "0x7f.1",
            ],
        )),
        Kind::Questions => vec![(Absent, ""), (Messages(1_001), "")],
        Kind::ZoneOrDefault => blamed(zones()),
        Kind::Zone => blamed(zones()).into_iter().chain([(Text(String::new()), ""), (Absent, "")]).collect(),
        Kind::HourOrDefault => numbers(&[-1, 24, i64::from(i32::MIN), i64::from(i32::MAX)]),
        Kind::Hour => bad(Kind::HourOrDefault).into_iter().chain([(Absent, "")]).collect(),
        Kind::Members => members(),
        Kind::Identities => identities(),
        Kind::NotificationName => blamed(names(&format!("tenants/acme/notifications/{UUID}")))
            .into_iter()
            .chain(blamed(bad_uuids()))
            .collect(),
        Kind::DeliveryState => numbers(&[-1, 7, i64::from(i32::MIN), i64::from(i32::MAX)]),
        Kind::Recipient => blamed(bad_addresses().into_iter().filter(|address| !address.is_empty()).collect()),
        Kind::PreviewFrom => spans(&[&IMPOSSIBLE[..], &[(-1, 999_999_999), (YEAR_9001, 0), (LAST_SECOND, 0)]].concat()),
        Kind::PreviewTo => {
            let (seconds, nanos) = now();
            let far = [(seconds, nanos), (seconds + 31 * DAY, nanos + 1_000), (0, 0), (LAST_SECOND, 0)];
            spans(&[&IMPOSSIBLE[..], &far].concat())
        }
    }
}

pub const UUID: &str = "8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d21";
/// What a test may replace to get another UUID.
pub const LAST_OF_UUID: &str = "9d21";

fn masks() -> Vec<Bad> {
    let second = [
        "",
        "*",
        "nothing",
        "displayName",
        "Display_name",
        "display_name ",
        "display_name.x",
        "key.display_name",
        "name",
        "state",
        "revision",
        "retrievable",
        "create_time",
    ];
    let wrong = second.iter().map(|path| (Paths(vec!["display_name".to_owned(), path.to_string()]), ".paths[1]"));
    let spoilt = spoilt("display_name").into_iter().chain([long()]).map(|path| (Paths(vec![path]), ".paths[0]"));
    let whole = [(Absent, ""), (Paths(Vec::new()), ""), (Paths(vec!["display_name".to_owned(); 17]), "")];
    wrong.chain(spoilt).chain(whole).collect()
}

fn now() -> (i64, i32) {
    let now = start_of_time();
    (now.timestamp(), i32::try_from(now.timestamp_subsec_nanos()).expect("nanos"))
}

/// Real instants at which a key can't expire: long ago, now, less than a microsecond from now, in more than 100 years.
fn late() -> [(i64, i32); 6] {
    let (seconds, nanos) = now();
    [
        (0, 0),
        (seconds - 1, nanos),
        (seconds, nanos),
        (seconds, nanos + 999),
        (seconds + CENTURY, nanos + 1_000),
        (LAST_SECOND, 0),
    ]
}

fn accepted(inputs: impl IntoIterator<Item = Input>) -> Vec<(Input, Code)> {
    inputs.into_iter().map(|input| (input, Code::Ok)).collect()
}

fn texts(texts: &[&str]) -> Vec<(Input, Code)> {
    accepted(texts.iter().map(|text| Text(text.to_string())))
}

fn missing(names: &[String]) -> Vec<(Input, Code)> {
    names.iter().map(|name| (Text(name.clone()), Code::NotFound)).collect()
}

/// Values at the limits, and what becomes of a request with them.
pub fn good(kind: Kind) -> Vec<(Input, Code)> {
    let (seconds, nanos) = now();
    let longest = "b".repeat(63);
    match kind {
        Kind::TenantName => missing(&[format!("tenants/{longest}"), "tenants/b".into(), "tenants/b-0-".into()]),
        Kind::UserName | Kind::KeyParent => missing(&[format!("tenants/{longest}/serviceUsers/{longest}")]),
        Kind::GroupName => missing(&[format!("tenants/{longest}/userGroups/{longest}")]),
        Kind::KeyGroupName => missing(&[format!("tenants/{longest}/keyGroups/{longest}")]),
        Kind::KeyGroup => texts(&[""]),
        Kind::KeyName => missing(&[format!("tenants/{longest}/serviceUsers/{longest}/keys/{}", key_id())]),
        Kind::VerifyTenant => texts(&["", "tenants/acme", &format!("tenants/{longest}")]),
        Kind::NewId => texts(&[&id(63), "a", "a-0-"]),
        Kind::DisplayName => texts(&[&"é".repeat(100), "x", "two  words", "שלום", "👩", "<script>"]),
        Kind::Description => texts(&[&"é".repeat(1_000), "", "two\nlines"]),
        Kind::Reason => texts(&[&"é".repeat(200), "", "x"]),
        Kind::Role => vec![
            (Text(String::new()), Code::Ok),
            (Text("member".to_owned()), Code::Ok),
            (Text(id(64)), Code::FailedPrecondition),
        ],
        Kind::IntegrationType => vec![(Text(String::new()), Code::Ok), (Text(id(64)), Code::FailedPrecondition)],
        Kind::OnBehalfOf => texts(&["", &"é".repeat(200), "שלום"]),
        Kind::Labels => {
            accepted([Texts((0..100).map(|number| format!("A.b_c-{number}")).collect()), Texts(Vec::new())])
        }
        Kind::Revision => vec![(Number(0), Code::Ok), (Number(i64::MAX), Code::Aborted)],
        Kind::PageSize => accepted([Number(0), Number(1), Number(500)]),
        Kind::State | Kind::ToldAbout => accepted((0..=4).map(Number)),
        Kind::FileFormat => accepted((0..=2).map(Number)),
        Kind::PageToken => texts(&[""]),
        Kind::ExpireTime => accepted([Span(seconds, nanos + 1_000), Span(seconds + CENTURY, nanos), Absent]),
        Kind::Before => accepted([Span(-62_135_596_800, 0), Span(253_402_300_799, 999_999_999), Absent]),
        Kind::Ttl => accepted([Span(1, 0), Span(CENTURY, 0), Span(CENTURY, 999), Absent]),
        Kind::Grace => accepted([Span(0, 0), Span(0, 999), Span(30 * DAY, 999), Absent]),
        Kind::ReplicaWait => accepted([Span(0, 0), Span(0, 999), Span(5, 999), Absent]),
        Kind::Staleness => accepted([Span(0, 0), Span(0, 999), Span(315_576_000_000, 0), Absent]),
        Kind::Mask => accepted([Paths(vec!["display_name".to_owned(); 16])]),
        Kind::Scopes => {
            accepted([Texts(hundred()), Texts(widest()), Texts(vec!["*".into(), "a:*".into()]), Texts(Vec::new())])
        }
        Kind::RequiredScopes => accepted([Texts(hundred()), Texts(widest()), Texts(Vec::new())]),
        Kind::Networks => accepted([
            Texts((0..64).map(|number| format!("10.{number}.0.0/16")).collect()),
            Texts(
                ["192.0.2.1", "::1", "2001:DB8::/32", "::ffff:192.0.2.0/120", "128.0.0.0/1"].map(String::from).to_vec(),
            ),
        ]),
        Kind::RequestId => texts(&["", UUID]),
        Kind::Target => texts(&[
            "",
            "tenants/acme",
            "tenants/acme/userGroups/ops",
            "tenants/acme/keyGroups/ops",
            &format!("{KEY}{}", key_id()),
        ]),
        Kind::ClientIp => texts(&["", "192.0.2.1", "::1", "::ffff:192.0.2.1", "2001:DB8::1"]),
        Kind::Questions => accepted([Messages(1)]),
        Kind::WatchedFrom => vec![(Number(0), Code::Ok), (Number(i64::MAX), Code::Unavailable)],
        Kind::Zone => texts(&["UTC", "America/Argentina/ComodRivadavia", "Etc/GMT-14", "Asia/Kolkata"]),
        Kind::ZoneOrDefault => texts(&["", "UTC", "Pacific/Apia"]),
        Kind::Hour => accepted([Number(0), Number(23)]),
        Kind::HourOrDefault => accepted([Number(0), Number(23), Absent]),
        Kind::Members => accepted([
            longest_members(),
            Entries(vec![member("o'neill+keys=1@x-y.EXAMPLE", ""), member("O'neill+keys=1@x-y.EXAMPLE", "שלום")]),
            Absent,
        ]),
        Kind::Identities => accepted([most_identities(), Absent]),
        Kind::NotificationName => missing(&[format!("tenants/{longest}/notifications/{UUID}")]),
        Kind::DeliveryState => accepted((0..=6).map(Number)),
        Kind::Recipient => texts(&["", "o'neill+keys=1@x-y.EXAMPLE"]),
        Kind::PreviewFrom => accepted([Span(0, 0), Span(YEAR_9001 - 1, 999_999_999), Absent]),
        Kind::PreviewTo => accepted([Span(seconds, nanos + 1_000), Span(seconds + 31 * DAY, nanos), Absent]),
    }
}
