//! The way out: SMTP, or files for a first look without a server. And what a mail server's answer means.

use lettre::transport::smtp::{Error as SmtpError, response::Response};
use lettre::{AsyncFileTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::time::timeout;

use crate::config::MailServer;
use crate::domain::limits;

use super::smtp::{Failure, SmtpServer, parameters};

/// "Service not available, closing" (RFC 5321, 3.8): about the server, whenever it comes.
const CLOSING: u16 = 421;

/// A way to send mails.
pub(super) enum Mailer {
    Smtp(Box<SmtpServer>),
    File(AsyncFileTransport<Tokio1Executor>),
}

/// The mail server can't be spoken to as it was told: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("smtp_url: {0}")]
pub struct MailerError(String);

/// What came of an attempt, with the server's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sending {
    /// It took the mail.
    Taken(String),
    /// It will never take this mail.
    Refused(String),
    /// Not now, for this recipient.
    NotNow(String),
    /// It can't be reached, or takes no mail of ours at all for now.
    Trouble(String),
}

impl Mailer {
    /// Prepares; nothing is connected yet. At most `connections` wait for the next mail.
    pub(super) fn new(server: &MailServer, connections: usize) -> Result<Self, MailerError> {
        match server {
            MailServer::File { folder } => {
                let made = std::fs::create_dir_all(folder);
                made.map_err(|error| MailerError(format!("{}: {error}", folder.display())))?;
                Ok(Self::File(AsyncFileTransport::new(folder)))
            }
            MailServer::Smtp { host, port, security, authorities, credentials } => {
                let tls = parameters(host, authorities.as_ref()).map_err(|error| MailerError(in_full(&error)))?;
                let server = SmtpServer::new(host, *port, *security, tls, credentials.as_ref(), connections);
                Ok(Self::Smtp(Box::new(server)))
            }
        }
    }

    /// Ends the connections that wait for the next mail.
    pub(super) fn hang_up(&self) {
        match self {
            Self::Smtp(server) => server.hang_up(),
            Self::File(_) => {}
        }
    }

    /// Sends one mail; within [`limits::SEND_TIMEOUT`] it is over, one way or another.
    pub(super) async fn send(&self, mail: Message) -> Sending {
        let sending = async {
            match self {
                Self::Smtp(server) => match server.send(&mail).await {
                    Ok(response) => Sending::Taken(words(&response)),
                    Err(Failure::Beforehand(error)) => Sending::Trouble(in_full(&error)),
                    Err(Failure::OfThisMail(error)) => meaning(&error),
                },
                Self::File(transport) => match transport.send(mail).await {
                    Ok(id) => Sending::Taken(format!("written to {id}.eml")),
                    Err(error) => Sending::Trouble(printable(&error.to_string())),
                },
            }
        };
        let late = || Sending::Trouble(format!("no answer within {} s", limits::SEND_TIMEOUT.as_secs()));
        timeout(limits::SEND_TIMEOUT, sending).await.unwrap_or_else(|_| late())
    }
}

fn meaning(error: &SmtpError) -> Sending {
    let answer = in_full(error);
    match error.status().map(u16::from) {
        None | Some(CLOSING) => Sending::Trouble(answer),
        Some(code) if error.is_permanent() && !is_about_us(code, &answer) => Sending::Refused(answer),
        Some(_) => Sending::NotNow(answer),
    }
}

/// Whether a refusal for good is about who sends, and not about who gets the mail: a login that is missing, a relay that
/// isn't open to us, a policy (RFC 3463: 5.3 the mail system, 5.5 the protocol, 5.7 security and policy). Somebody has to put
/// that right, and until then no address is to blame.
fn is_about_us(code: u16, answer: &str) -> bool {
    const LOGIN: [u16; 4] = [530, 534, 535, 538];
    let enhanced = answer.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| word.matches('.').count() == 2);
    let policy = enhanced.is_some_and(|word| ["5.3.", "5.5.", "5.7."].iter().any(|class| word.starts_with(class)));
    LOGIN.contains(&code) || policy
}

fn in_full(error: &SmtpError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        let words = deeper.to_string();
        // The library says most causes already.
        text = if text.contains(&words) { text } else { format!("{text}: {words}") };
        cause = deeper.source();
    }
    printable(&text)
}

fn words(response: &Response) -> String {
    let text: Vec<&str> = response.message().collect();
    printable(&format!("{} {}", response.code(), text.join(" ")))
}

/// Somebody else's words: cut, and without anything invisible.
fn printable(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(limits::ANSWER_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_about_us_and_an_unknown_user_is_not() {
        for answer in
            ["permanent error (554): 5.7.1 <a@b.example>: Relay access denied", "530 5.7.0 Log in first", "5.5.4 x"]
        {
            assert!(is_about_us(554, answer), "{answer}");
        }
        for answer in
            ["permanent error (550): 5.1.1 no such user", "550 no such user", "554 from 10.0.5.7.1", "552 5.2.2 full"]
        {
            assert!(!is_about_us(550, answer), "{answer}");
        }
        assert!(is_about_us(535, "no"));
    }
}
