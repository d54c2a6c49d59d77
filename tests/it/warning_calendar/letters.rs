//! Mails, read as a person reads them: which keys they list, and how soon each of them expires.

use std::path::Path;

use claviger::domain::Time;

use super::oracle::Warned;
use crate::harness::Mail;

/// What one mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub to: String,
    /// `tenants/{tenant}`
    pub tenant: String,
    /// The local day in its Message-ID.
    pub day: String,
    /// When it was written, in whole seconds.
    pub date: Time,
    pub keys: Warned,
}

impl Letter {
    pub fn read(mail: &Mail) -> Self {
        let text = mail.part("text/plain");
        let (mut tenant, mut days, mut keys) = (None, None, Warned::new());
        for line in text.lines() {
            if let Some(soon) = line.strip_prefix("Expires ") {
                days = Some(days_of(soon.split(':').next().expect("words")));
            } else if let Some(name) = line.strip_prefix("  ").filter(|name| name.starts_with("tenants/")) {
                if name.contains("/keys/") {
                    let twice = keys.insert(name.to_owned(), days.take().expect("days come first"));
                    assert!(twice.is_none(), "{name} twice: {text}");
                } else if name.matches('/').count() == 1 {
                    tenant = Some(name.to_owned());
                }
            }
        }
        let date = mail.message().date().expect("a date").to_timestamp();
        Self {
            to: mail.header("To").expect("a recipient"),
            tenant: tenant.expect("a tenant"),
            day: mail.message_id().split('.').next().expect("a day").to_owned(),
            date: Time::from_timestamp(date, 0).expect("an instant"),
            keys,
        }
    }
}

fn days_of(words: &str) -> i64 {
    match words {
        "today" => 0,
        "tomorrow" => 1,
        _ => words.trim_start_matches("in ").trim_end_matches(" days").parse().expect("days"),
    }
}

/// Reads and takes away the mails that the `file:` transport wrote into a folder.
pub fn take_from(folder: &Path) -> Vec<Letter> {
    let mut letters = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let raw = std::fs::read_to_string(&path).expect("a mail");
        std::fs::remove_file(&path).expect("removed");
        let (peer, mail_from, recipients, user) = (String::new(), String::new(), Vec::new(), None);
        letters.push(Letter::read(&Mail { time: 0.0, peer, mail_from, recipients, tls: false, user, raw }));
    }
    letters
}
