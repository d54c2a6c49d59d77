//! How mails are sent: the server, how many connections, and from whom.

use std::fmt;
use std::path::PathBuf;

use http::Uri;

use crate::domain::{
    address::MailAddress,
    limits,
    text::{DisplayName, percent_decoded},
};

use crate::tls::pem::Authorities;

use super::{
    SMTP_URL, parse_flag,
    public::parse_host,
    sources::{Values, secret_file},
};

const PASSWORD_FILE: &str = "smtp_password_file";
const INSECURE: &str = "smtp_insecure";
const CA_FILE: &str = "smtp_ca_file";
const SHAPE: &str = "must be as smtp://user@mail.example.com:587, smtps://mail.example.com or file:a-folder; what is special \
                     in user and password is written as %40 for @";

/// How mails are sent.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// Where they go.
    pub server: MailServer,
    /// Most connections to it at once, 1 to 64.
    pub connections: usize,
    /// Who they are from.
    pub from: Sender,
}

/// Where mails go.
#[derive(Debug, Clone)]
pub enum MailServer {
    /// Each as a file in this folder: for a first look without a server.
    File {
        /// The folder.
        folder: PathBuf,
    },
    /// A server that speaks SMTP.
    Smtp {
        /// Its name, or its address without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// How the connection is protected.
        security: Encryption,
        /// Who must have signed its certificate; without, the system's authorities decide.
        authorities: Option<Authorities>,
        /// Who we are to it; without, it asks nobody.
        credentials: Option<Credentials>,
    },
}

/// How a connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// It begins in the clear and must change to TLS before anything is said (RFC 3207).
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// Not at all, because that was asked for.
    None,
}

/// Who we are to the mail server; the debug form hides it.
#[derive(Clone)]
pub struct Credentials {
    /// The user, often a mail address.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Who mails are from.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The address.
    pub address: MailAddress,
    /// What people see instead of it.
    pub name: Option<DisplayName>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Reads the settings of mails. `Some(None)`: none are sent.
pub(super) fn read(values: &Values, problems: &mut Vec<String>) -> Option<Option<MailSettings>> {
    let insecure = values.get(INSECURE, problems, parse_flag);
    let connections = values.get("smtp_connections", problems, parse_connections);
    let from = values.optional("mail_from", problems, parse_sender);
    let Some(url) = values.in_place_or_file(SMTP_URL, problems)? else {
        let is_given = |name| (name, values.text(name).is_some());
        for (name, given) in [(INSECURE, insecure == Some(true)), is_given(PASSWORD_FILE), is_given(CA_FILE)] {
            if given {
                problems.push(format!(
                    "{name}: says how to reach a mail server, and smtp_url, which says where, is missing"
                ));
            }
        }
        return Some(None);
    };
    let server = server(&url, insecure, values, problems);
    if matches!(from, Some(None)) {
        problems.push("mail_from: is needed together with smtp_url, as Claviger <keys@example.com>".to_owned());
    }
    Some(Some(MailSettings { server: server?, connections: connections?, from: from?? }))
}

fn server(url: &str, insecure: Option<bool>, values: &Values, problems: &mut Vec<String>) -> Option<MailServer> {
    if let Some(folder) = url.strip_prefix("file:") {
        return in_folder(folder, insecure, values, problems);
    }
    let credentials = credentials(url, values).map_err(|problem| problems.push(problem)).ok();
    let address = address(url);
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let security = match (scheme, insecure) {
        (Some("smtp"), Some(false)) => Some(Encryption::StartTls),
        (Some("smtp"), Some(true)) => Some(Encryption::None),
        (Some("smtps"), Some(insecure)) => {
            problems.extend(insecure.then(only_smtp));
            Some(Encryption::Implicit)
        }
        _ => None,
    };
    if address.is_none() || !matches!(scheme, Some("smtp" | "smtps")) {
        problems.push(not_a_server());
    }
    let authorities = values.optional(CA_FILE, problems, Authorities::read);
    if security == Some(Encryption::None) && values.text(CA_FILE).is_some() {
        problems.push(format!("{CA_FILE}: is for TLS, and {INSECURE} speaks without; leave one out"));
    }
    let ((host, port), security) = (address?, security?);
    let port = port.unwrap_or(match security {
        Encryption::StartTls => 587,
        Encryption::Implicit => 465,
        Encryption::None => 25,
    });
    Some(MailServer::Smtp { host, port, security, authorities: authorities?, credentials: credentials? })
}

fn in_folder(folder: &str, insecure: Option<bool>, values: &Values, problems: &mut Vec<String>) -> Option<MailServer> {
    problems.extend((insecure == Some(true)).then(only_smtp));
    if values.text(PASSWORD_FILE).is_some() {
        problems.push(format!("{PASSWORD_FILE}: a folder asks for no password; leave it out, or change smtp_url"));
    }
    if values.text(CA_FILE).is_some() {
        problems.push(format!("{CA_FILE}: a folder has no certificate; leave it out, or change smtp_url"));
    }
    if folder.is_empty() {
        problems.push(not_a_server());
        return None;
    }
    Some(MailServer::File { folder: folder.into() })
}

fn only_smtp() -> String {
    format!("{INSECURE}: goes with smtp:// alone; leave it out, or change smtp_url")
}

/// Never quotes the URL: it may hold a password.
fn not_a_server() -> String {
    format!("{SMTP_URL}: {SHAPE}")
}

/// Host and port of a URL that has nothing behind them.
fn address(url: &str) -> Option<(String, Option<u16>)> {
    let uri: Uri = url.parse().ok()?;
    if !["", "/"].contains(&uri.path()) || url.contains(['?', '#']) {
        return None;
    }
    let authority = uri.authority()?.as_str();
    parse_host(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// `None`: the server asks nobody.
fn credentials(url: &str, values: &Values) -> Result<Option<Credentials>, String> {
    let file = values.text(PASSWORD_FILE);
    let Some((user, password)) = user_of(url)? else {
        return match file {
            None => Ok(None),
            Some(_) => Err(format!("{PASSWORD_FILE}: smtp_url has no user, as smtp://user@mail.example.com")),
        };
    };
    let password = match (password, file) {
        (Some(password), None) => password,
        (None, Some(file)) => secret_file(PASSWORD_FILE, file)?,
        (Some(_), Some(_)) => {
            return Err(format!("{PASSWORD_FILE}: is given, and smtp_url has a password too; choose one"));
        }
        (None, None) => {
            return Err(format!("{SMTP_URL}: has a user without a password; give it there or as {PASSWORD_FILE}"));
        }
    };
    if password.is_empty() {
        return Err(format!("{PASSWORD_FILE}: is empty"));
    }
    Ok(Some(Credentials { user, password }))
}

/// The user that a URL names, and the password, if it has one.
fn user_of(url: &str) -> Result<Option<(String, Option<String>)>, String> {
    let said = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(said, _)| said);
    let Some(said) = said else { return Ok(None) };
    let read = |text| percent_decoded(text).filter(|text| !text.is_empty()).ok_or_else(not_a_server);
    let (user, password) = said.split_once(':').map_or((said, None), |(user, password)| (user, Some(password)));
    Ok(Some((read(user)?, password.map(read).transpose()?)))
}

fn parse_connections(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=limits::MAIL_CONNECTIONS).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {}", limits::MAIL_CONNECTIONS))
}

/// Reads `address` or `Name <address>`.
fn parse_sender(text: &str) -> Result<Sender, String> {
    match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        None => Ok(Sender { address: MailAddress::parse(text)?, name: None }),
        Some((name, address)) => {
            let name =
                DisplayName::parse(name.trim_end()).map_err(|why| format!("the name before the address {why}"))?;
            Ok(Sender { address: MailAddress::parse(address)?, name: Some(name) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(given: &[(&str, &str)]) -> (Option<MailSettings>, Vec<String>) {
        let values = given.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let mut problems = Vec::new();
        let settings = read(&Values::from_iter(values), &mut problems).flatten();
        (settings, problems)
    }

    fn server_of(url: &str, insecure: &str) -> String {
        let given = [("smtp_url", url), ("smtp_insecure", insecure), ("mail_from", "keys@example.com")];
        let (settings, problems) = read_from(&given);
        assert!(problems.is_empty(), "{url}: {problems:?}");
        match settings.expect("settings").server {
            MailServer::File { folder } => folder.display().to_string(),
            MailServer::Smtp { host, port, security, authorities: _, credentials } => {
                let credentials = credentials.map(|found| format!("{} {}", found.user, found.password));
                format!("{host} {port} {security:?} {credentials:?}")
            }
        }
    }

    #[test]
    fn a_server_has_its_port_its_protection_and_decoded_credentials() {
        for (url, insecure, read) in [
            ("smtp://mail.example.com", "false", "mail.example.com 587 StartTls None"),
            ("smtp://mail.example.com:2525/", "false", "mail.example.com 2525 StartTls None"),
            ("smtp://localhost", "true", "localhost 25 None None"),
            ("smtps://u:p@[::1]", "false", "::1 465 Implicit Some(\"u p\")"),
            ("smtps://a%40b.c:p%3A%2F%25%C3%A4@h:1", "false", "h 1 Implicit Some(\"a@b.c p:/%ä\")"),
            ("file:mails", "false", "mails"),
            ("file:/var/mails", "false", "/var/mails"),
        ] {
            assert_eq!(server_of(url, insecure), read, "{url}");
        }
    }

    #[test]
    fn what_cant_be_is_named_and_never_shown() {
        for (given, named) in [
            (vec![("smtp_url", "http://geheim")], "smtp_url"),
            (vec![("smtp_url", "geheim")], "smtp_url"),
            (vec![("smtp_url", "SMTP://geheim")], "smtp_url"),
            (vec![("smtp_url", "file:")], "smtp_url"),
            (vec![("smtp_url", "smtp://")], "smtp_url"),
            (vec![("smtp_url", "smtp://geheim/x")], "smtp_url"),
            (vec![("smtp_url", "smtp://geheim?x")], "smtp_url"),
            (vec![("smtp_url", "smtp://geheim:0")], "smtp_url"),
            (vec![("smtp_url", "smtp://geheim:99999")], "smtp_url"),
            (vec![("smtp_url", "smtp://u:geheim/x@h")], "smtp_url"),
            (vec![("smtp_url", "smtp://u:geheim%zz@h")], "smtp_url"),
            (vec![("smtp_url", "smtp://u:geheim%0a@h")], "smtp_url"),
            (vec![("smtp_url", "smtp://u:geheim%ff@h")], "smtp_url"),
            (vec![("smtp_url", "smtp://u:geheim%@h")], "smtp_url"),
            (vec![("smtp_url", "smtp://:geheim@h")], "smtp_url"),
            (vec![("smtp_url", "smtp://geheim:@h")], "smtp_url"),
            (vec![("smtp_url", "smtp://geheim@h")], "smtp_url: has a user without a password"),
            (vec![("smtp_url", "smtp://u:geheim@h"), (PASSWORD_FILE, "x")], "choose one"),
            (vec![("smtp_url", "smtp://h"), (PASSWORD_FILE, "x")], "has no user"),
            (vec![("smtp_url", "smtp://u@h"), (PASSWORD_FILE, "/no/such")], "/no/such"),
            (vec![("smtp_url", "file:x"), (PASSWORD_FILE, "x")], "a folder asks for no password"),
            (vec![("smtp_url", "file:x"), (CA_FILE, "x")], "smtp_ca_file: a folder"),
            (vec![("smtp_url", "smtps://h"), (CA_FILE, "/no/such")], "smtp_ca_file: /no/such"),
            (vec![("smtp_url", "smtps://h"), (CA_FILE, "Cargo.toml")], "smtp_ca_file: Cargo.toml holds no certificate"),
            (vec![("smtp_url", "smtps://h"), (INSECURE, "true")], "smtp_insecure: goes with smtp:// alone"),
            (vec![("smtp_url", "file:x"), (INSECURE, "true")], "smtp_insecure: goes with smtp:// alone"),
        ] {
            let (_, problems) = read_from(&[&given[..], &[("mail_from", "a@b.c")]].concat());
            assert_eq!(problems.len(), 1, "{given:?}: {problems:?}");
            assert!(problems[0].contains(named) && !problems[0].contains("geheim"), "{given:?}: {problems:?}");
        }
    }

    #[test]
    fn without_a_server_nothing_is_sent_and_what_needs_one_is_named() {
        let (settings, problems) = read_from(&[("mail_from", "a@b.c"), ("smtp_connections", "3")]);
        assert!(settings.is_none() && problems.is_empty(), "{problems:?}");
        let (_, problems) = read_from(&[(INSECURE, "true"), (PASSWORD_FILE, "x"), (CA_FILE, "x")]);
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn every_bad_setting_of_mails_is_named_at_once() {
        let given = [("smtp_url", "x"), (INSECURE, "x"), ("smtp_connections", "65"), ("mail_from", "x")];
        let (_, problems) = read_from(&given);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert_eq!(read_from(&[("smtp_url", "file:x")]).1.len(), 1, "mail_from is missing");
        for bad in ["0", "65", "-1", "8.0", " 8"] {
            assert_eq!(read_from(&[("smtp_connections", bad)]).1.len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn a_sender_is_one_address_and_maybe_a_name() {
        for (good, address, name) in [
            ("keys@example.com", "keys@example.com", None),
            ("Claviger <keys@example.com>", "keys@example.com", Some("Claviger")),
            ("Schlüssel, GmbH <keys@example.com>", "keys@example.com", Some("Schlüssel, GmbH")),
            ("a <b> <keys@example.com>", "keys@example.com", Some("a <b>")),
        ] {
            let sender = parse_sender(good).expect(good);
            assert_eq!((sender.address.as_str(), sender.name.as_ref().map(DisplayName::as_str)), (address, name));
        }
        for bad in
            ["", "x", "<a@b.c>", " <a@b.c>", "a@b.c, d@e.f", "x a@b.c", "x <a@b.c", "x <a@b.c> y", "x\r\nBcc: <a@b.c>"]
        {
            assert!(parse_sender(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_prints_the_password() {
        let (settings, _) = read_from(&[("smtp_url", "smtp://u:geheim@h"), ("mail_from", "a@b.c")]);
        let printed = format!("{settings:?}");
        assert!(
            printed.contains("Credentials") && !printed.contains("geheim") && !printed.contains("a@b.c"),
            "{printed}"
        );
    }
}
