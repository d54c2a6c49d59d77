//! What one mail says: the facts of each key in words, and the commands that help. Pure.
//!
//! Both parts of a mail are made from the same [`Content`], so they can't differ in a fact. Nothing here is escaped: that
//! is the templates' job.

use chrono::SubsecRound as _;
use serde::Serialize;

use crate::domain::{
    Span, Time,
    calendar::{Day, TimeZone},
    ids::TenantId,
    key::KeyState,
    limits,
    notification::days_left,
    text::DisplayName,
};
use crate::store::WarnedKey;

/// Every key of a tenant that a subscriber is warned about on one day.
#[derive(Debug, Clone)]
pub struct Digest {
    /// The tenant.
    pub tenant: TenantId,
    /// What people call it.
    pub tenant_display_name: DisplayName,
    /// The tenant's time zone, in which every time is written.
    pub zone: TimeZone,
    /// The tenant's local day, from which days are counted.
    pub day: Day,
    /// When the mail is written.
    pub now: Time,
    /// The keys that are listed, nearest expiry first: at least one, at most [`limits::DIGEST_KEYS`].
    pub keys: Vec<WarnedKey>,
    /// How many keys there are, those included that aren't listed.
    pub key_count: u64,
}

/// How grpcurl reaches this installation.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host and port.
    pub address: String,
    /// Whether it speaks without TLS.
    pub plaintext: bool,
}

/// What the templates may say.
#[derive(Debug, Serialize)]
pub(super) struct Content {
    subject: String,
    headline: String,
    tenant_display_name: String,
    tenant: String,
    zone: &'static str,
    grace_hours: i64,
    key_count: u64,
    entries: Vec<Entry>,
    rest: Option<Rest>,
    unsubscribe: String,
}

/// One key.
#[derive(Debug, Serialize)]
struct Entry {
    display_name: String,
    name: String,
    hint: String,
    service_user_display_name: String,
    service_user: String,
    description: Vec<String>,
    /// It can't be rotated before it is enabled by this command; `None` when it isn't disabled.
    enable: Option<String>,
    rotate: String,
    days_left: String,
    /// Whether it expires today or tomorrow.
    urgent: bool,
    expire_time: String,
    last_used: String,
}

/// The keys that are only counted.
#[derive(Debug, Serialize)]
struct Rest {
    count: u64,
    list: String,
}

impl Digest {
    /// The subject, ASCII: whose keys, how many, and how soon. `None` when there is no key to warn about.
    pub(super) fn subject(&self) -> Option<String> {
        Some(format!("{}: {}", self.tenant.as_str(), self.headline()?))
    }

    /// `unsubscribe` is the link that stops these mails.
    pub(super) fn content(&self, endpoint: &Endpoint, unsubscribe: String) -> Option<Content> {
        let listed = self.keys.iter().take(limits::DIGEST_KEYS);
        let entries: Vec<Entry> = listed.map(|warned| self.entry(warned, endpoint)).collect();
        let rest = self.key_count.saturating_sub(entries.len() as u64);
        Some(Content {
            subject: self.subject()?,
            headline: self.headline()?,
            tenant_display_name: self.tenant_display_name.as_str().to_owned(),
            tenant: self.tenant.name(),
            zone: self.zone.name(),
            grace_hours: limits::DEFAULT_GRACE_PERIOD.num_hours(),
            key_count: self.key_count,
            entries,
            rest: (rest > 0).then(|| Rest { count: rest, list: self.list_command(endpoint) }),
            unsubscribe,
        })
    }

    fn headline(&self) -> Option<String> {
        let soonest = self.days_left(self.keys.first()?);
        Some(match self.key_count {
            0 | 1 => format!("1 API key expires {}", in_words(soonest)),
            count => format!("{count} API keys expire soon, the first {}", in_words(soonest)),
        })
    }

    fn days_left(&self, warned: &WarnedKey) -> i64 {
        days_left(self.zone, self.day, warned.expire_time)
    }

    fn entry(&self, warned: &WarnedKey, endpoint: &Endpoint) -> Entry {
        let key = &warned.key;
        let on_the_key = format!(r#"{{"name": "{}"}}"#, key.name);
        let is_disabled = matches!(key.state, KeyState::Disabled);
        let days_left = self.days_left(warned);
        let last_used = warned.key.last_used.map(|time| short_time(self.zone, time));
        Entry {
            display_name: key.display_name.as_str().to_owned(),
            name: key.name.to_string(),
            hint: key.name.id.hint(),
            service_user_display_name: warned.service_user_display_name.as_str().to_owned(),
            service_user: key.name.owner.to_string(),
            description: key.description.as_str().lines().map(str::to_owned).collect(),
            enable: is_disabled.then(|| endpoint.command("EnableKey", &on_the_key)),
            rotate: endpoint.command("RotateKey", &on_the_key),
            days_left: in_words(days_left),
            urgent: days_left <= 1,
            expire_time: full_time(self.zone, warned.expire_time),
            last_used: last_used.unwrap_or_else(|| "not seen".to_owned()),
        }
    }

    /// Lists the keys that verify and expire within the warning window. Counted from the next full second on, because the
    /// list leaves out its end and the window doesn't.
    fn list_command(&self, endpoint: &Endpoint) -> String {
        let end = self.now.trunc_subsecs(0) + Span::seconds(1) + limits::EXPIRING_SOON;
        let end = end.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let filter = format!(
            r#"{{"parent": "{}/serviceUsers/-", "state": "KEY_STATE_ENABLED", "expiring_before": "{end}", "page_size": 500}}"#,
            self.tenant.name()
        );
        endpoint.command("ListKeys", &filter)
    }
}

impl Endpoint {
    /// A line for a shell that has the caller's secret in `$CLAVIGER_KEY`. `message` must not contain a single quote;
    /// resource names never do.
    fn command(&self, method: &str, message: &str) -> String {
        let plaintext = if self.plaintext { "-plaintext " } else { "" };
        let address = &self.address;
        format!(
            r#"grpcurl {plaintext}-H "authorization: Bearer $CLAVIGER_KEY" -d '{message}' {address} claviger.v1.KeyService/{method}"#
        )
    }
}

fn in_words(days: i64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        _ => format!("in {days} days"),
    }
}

/// `Sat 2026-12-05 09:00 CET (UTC+01:00)`: the abbreviation alone isn't unique. Cut to the minute, so never too late.
fn full_time(zone: TimeZone, time: Time) -> String {
    let local = zone.local(time);
    match abbreviation(zone, time).as_deref() {
        Some("UTC") => local.format("%a %Y-%m-%d %H:%M UTC").to_string(),
        Some(abbreviation) => local.format(&format!("%a %Y-%m-%d %H:%M {abbreviation} (UTC%:z)")).to_string(),
        None => local.format("%a %Y-%m-%d %H:%M UTC%:z").to_string(),
    }
}

/// `2026-11-20 14:05 CET`
fn short_time(zone: TimeZone, time: Time) -> String {
    let local = zone.local(time);
    match abbreviation(zone, time) {
        Some(abbreviation) => local.format(&format!("%Y-%m-%d %H:%M {abbreviation}")).to_string(),
        None => local.format("%Y-%m-%d %H:%M UTC%:z").to_string(),
    }
}

/// Many zones have none; IANA writes their offset in its place.
fn abbreviation(zone: TimeZone, time: Time) -> Option<String> {
    let abbreviation = zone.local(time).format("%Z").to_string();
    abbreviation.bytes().all(|b| b.is_ascii_alphabetic()).then_some(abbreviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect("an instant")
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::parse(name).expect("a zone")
    }

    #[test]
    fn times_say_where_they_hold() {
        let winter = time("2026-12-05T08:00:59.9Z");
        let summer = time("2026-07-05T08:00:00Z");
        assert_eq!(full_time(zone("Europe/Berlin"), winter), "Sat 2026-12-05 09:00 CET (UTC+01:00)");
        assert_eq!(full_time(zone("Europe/Berlin"), summer), "Sun 2026-07-05 10:00 CEST (UTC+02:00)");
        assert_eq!(full_time(zone("UTC"), winter), "Sat 2026-12-05 08:00 UTC");
        assert_eq!(full_time(zone("Asia/Singapore"), winter), "Sat 2026-12-05 16:00 UTC+08:00");
        assert_eq!(full_time(zone("Asia/Kathmandu"), winter), "Sat 2026-12-05 13:45 UTC+05:45");
        assert_eq!(short_time(zone("Europe/London"), winter), "2026-12-05 08:00 GMT");
        assert_eq!(short_time(zone("America/Sao_Paulo"), winter), "2026-12-05 05:00 UTC-03:00");
    }

    #[test]
    fn commands_say_how_the_server_listens() {
        let mut endpoint = Endpoint { address: "keys.example.com:443".to_owned(), plaintext: false };
        let rest =
            r#"-H "authorization: Bearer $CLAVIGER_KEY" -d '{}' keys.example.com:443 claviger.v1.KeyService/GetKey"#;
        assert_eq!(endpoint.command("GetKey", "{}"), format!("grpcurl {rest}"));
        endpoint.plaintext = true;
        assert_eq!(endpoint.command("GetKey", "{}"), format!("grpcurl -plaintext {rest}"));
    }
}
