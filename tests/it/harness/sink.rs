//! A real SMTP server, `tests/it/smtp_sink.py`, which writes down everything. How a recipient's address makes it misbehave
//! is told there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::engine::tool;

const START: Duration = Duration::from_secs(60);

/// How the server behaves to everybody.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Only `PLAIN` or `LOGIN` is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<Drops>,
    /// A behaviour for every recipient, such as `stall-dot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub everybody: Option<String>,
    /// Of accepted mails only the envelope is written down, for runs of thousands.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forget: bool,
}

/// How it encrypts; the certificate's authority is in [`Sink::ca_file`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    StartTls,
    Implicit,
}

/// AUTH is required, with this.
#[derive(Debug, Clone, Serialize)]
pub struct Auth {
    pub user: String,
    /// `None` = always refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Part of the conversations is cut at random, at the greeting or in the middle.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Drops {
    /// From 0 to 1.
    pub fraction: f64,
    pub seed: u64,
}

/// A running server; killed when dropped.
pub struct Sink {
    folder: TempDir,
    options: Options,
    port: u16,
    /// How far [`Self::count`] has read: bytes, and mails up to there.
    counted: Mutex<(u64, usize)>,
    _child: Child,
}

/// What one line of its record says.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Mail(Accepted),
    Refusal(Refusal),
}

#[derive(Deserialize)]
struct Accepted {
    time: f64,
    peer: String,
    mail_from: String,
    rcpt_tos: Vec<String>,
    tls: bool,
    user: Option<String>,
    data: String,
}

/// A conversation, or a step of it, that failed.
#[derive(Debug, Clone, Deserialize)]
pub struct Refusal {
    /// Of the machine's clock, in seconds since 1970.
    pub time: f64,
    pub peer: String,
    pub mail_from: Option<String>,
    #[serde(rename = "rcpt_tos")]
    pub recipients: Vec<String>,
    /// The last command that was let in, `dot` or `greeting`.
    pub at: String,
    /// 0 = no answer.
    pub code: u16,
    pub text: String,
}

/// A mail that was accepted.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Of the machine's clock, in seconds since 1970.
    pub time: f64,
    pub peer: String,
    pub mail_from: String,
    pub recipients: Vec<String>,
    pub tls: bool,
    /// Who authenticated.
    pub user: Option<String>,
    pub raw: String,
}

impl Sink {
    /// Starts it. `None`, with a loud line, when there is no Python with aiosmtpd.
    pub async fn start(options: Options) -> Option<Self> {
        let python = tool("python3")?;
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/smtp_sink.py"));
        command.arg(folder.path()).arg(serde_json::to_string(&options).expect("JSON"));
        // It ends with its standard input: also when the test is killed.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("Python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = timeout(START, lines.next_line()).await.expect("it starts in time").expect("UTF-8");
        let port = first.expect("the sink starts").parse().expect("a port");
        Some(Self { folder, options, port, counted: Mutex::default(), _child: child })
    }

    /// The URL for `CLAVIGER_SMTP_URL`, with the user and without the password.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls == Some(Tls::Implicit) { "smtps" } else { "smtp" };
        let user = self.options.auth.as_ref().map(|auth| format!("{}@", auth.user)).unwrap_or_default();
        format!("{scheme}://{user}127.0.0.1:{}", self.port)
    }

    /// With TLS, the authority that a client must trust; `SSL_CERT_FILE` tells the binary.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// From now on everybody is answered 421.
    pub fn go_away(&self) {
        std::fs::write(self.away_file(), "").expect("written");
    }

    /// From now on it serves again.
    pub fn come_back(&self) {
        std::fs::remove_file(self.away_file()).expect("it was away");
    }

    /// Everything accepted, in order.
    pub fn mails(&self) -> Vec<Mail> {
        let mail = |line| match line {
            Line::Mail(accepted) => Some(Mail::from(accepted)),
            Line::Refusal(_) => None,
        };
        self.lines().filter_map(mail).collect()
    }

    /// Everything refused or cut, in order.
    pub fn refusals(&self) -> Vec<Refusal> {
        let refusal = |line| match line {
            Line::Refusal(refusal) => Some(refusal),
            Line::Mail(_) => None,
        };
        self.lines().filter_map(refusal).collect()
    }

    /// How many were accepted; cheap, because only what is new is read.
    pub fn count(&self) -> usize {
        let mut counted = self.counted.lock();
        let mut file = File::open(self.folder.path().join("record.jsonl")).expect("a record");
        file.seek(SeekFrom::Start(counted.0)).expect("it only grows");
        let mut new = Vec::new();
        file.read_to_end(&mut new).expect("read");
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = String::from_utf8_lossy(&new[..whole]);
        counted.0 += whole as u64;
        counted.1 += text.lines().filter(|line| line.contains(r#""kind": "mail""#)).count();
        counted.1
    }

    /// Waits until `number` mails were accepted; answers all. Fails after `longest`.
    pub async fn wait_for(&self, number: usize, longest: Duration) -> Vec<Mail> {
        let begun = Instant::now();
        while self.count() < number {
            let count = self.count();
            assert!(begun.elapsed() < longest, "{count} of {number} mails after {longest:?}: {:?}", self.refusals());
            sleep(Duration::from_millis(50)).await;
        }
        self.mails()
    }

    /// The most connections that there were at once.
    pub fn most_connections(&self) -> usize {
        let text = std::fs::read_to_string(self.folder.path().join("connections")).unwrap_or_default();
        text.parse().unwrap_or(0)
    }

    fn away_file(&self) -> PathBuf {
        self.folder.path().join("away")
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        let lines: Vec<_> = self.record().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        lines.into_iter()
    }

    /// The record up to its last whole line: the server may be in the middle of the next.
    fn record(&self) -> String {
        let path: &Path = self.folder.path();
        let mut text = std::fs::read_to_string(path.join("record.jsonl")).expect("a record");
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        text
    }
}

impl From<Accepted> for Mail {
    fn from(accepted: Accepted) -> Self {
        let Accepted { time, peer, mail_from, rcpt_tos, tls, user, data } = accepted;
        let raw = String::from_utf8(BASE64_STANDARD.decode(data).expect("base64")).expect("UTF-8");
        Self { time, peer, mail_from, recipients: rcpt_tos, tls, user, raw }
    }
}

impl Mail {
    /// The parsed mail.
    pub fn message(&self) -> Message<'_> {
        MessageParser::default().parse(&self.raw).expect("a mail")
    }

    /// The names and values of all headers in order, unfolded and otherwise as they were sent.
    pub fn headers(&self) -> Vec<(String, String)> {
        let unfolded = |value: &str| value.replace("\r\n", "").trim().to_owned();
        self.message().headers_raw().map(|(name, value)| (name.to_owned(), unfolded(value))).collect()
    }

    /// The value of a header that may be there once, as [`Self::headers`] has it.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut found = self.headers().into_iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "more than one {name}: {}", self.raw);
        first
    }

    /// The Message-ID, without brackets.
    pub fn message_id(&self) -> String {
        self.message().message_id().expect("a Message-ID").to_owned()
    }

    /// The decoded subject.
    pub fn subject(&self) -> String {
        self.message().subject().expect("a subject").to_owned()
    }

    /// The decoded text of the one part of this type, such as `text/html`.
    pub fn part(&self, content_type: &str) -> String {
        let message = self.message();
        let mut found = message.parts.iter().filter(|part| type_of(part) == content_type);
        let text = found.next().and_then(|part| part.text_contents()).unwrap_or_else(|| panic!("no {content_type}"));
        assert!(found.next().is_none(), "more than one {content_type}: {}", self.raw);
        text.to_owned()
    }

    /// The types of its parts as a tree, such as `multipart/alternative(text/plain, text/html)`.
    pub fn tree(&self) -> String {
        tree(&self.message(), 0)
    }
}

fn type_of(part: &mail_parser::MessagePart<'_>) -> String {
    let Some(content_type) = part.content_type() else { return "text/plain".to_owned() };
    format!("{}/{}", content_type.ctype(), content_type.subtype().unwrap_or_default()).to_lowercase()
}

fn tree(message: &Message<'_>, id: u32) -> String {
    let part = message.part(id).expect("a part");
    match &part.body {
        PartType::Multipart(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| tree(message, *part)).collect();
            format!("{}({})", type_of(part), parts.join(", "))
        }
        _ => type_of(part),
    }
}
