//! What protects the connection, and who we are to the server; and that nothing of it is ever logged.

use std::path::Path;
use std::process::Stdio;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::TimeDelta;
use claviger::proto::v1::{self, DeliveryState as State};
use tokio::process::Command;

use crate::harness::sink::{Auth, Options, Tls};
use crate::harness::{Engine, Place, Process, SETTINGS, Sink, process};
use crate::mail_rig::{deliveries, instant, member, refused, run_warnings, settings, subscribe};

const USER: &str = "mailer@claviger.test";
const PASSWORD: &str = "correct-horse-battery-staple";
const ADDRESS: &str = "ada@acme.test";

/// What one RunWarnings of one subscriber came to.
struct Outcome {
    delivery: v1::Delivery,
    member: v1::UserGroupMember,
}

impl Outcome {
    fn expect_waiting_because(&self, why: &str) {
        assert_eq!(self.delivery.state(), State::Pending, "{:?}", self.delivery);
        let next = instant(self.delivery.next_attempt_time) - instant(self.delivery.update_time);
        assert!(next <= TimeDelta::minutes(1), "it is tried again soon: {next}");
        assert!(self.delivery.answer.to_lowercase().contains(why), "{:?}", self.delivery);
        assert_eq!((self.member.refusal.as_str(), self.member.refuse_time), ("", None), "nobody was refused");
    }
}

fn auth(password: Option<&str>) -> Option<Auth> {
    Some(Auth { user: USER.to_owned(), password: password.map(str::to_owned) })
}

/// The URL with the user, as a URL spells it.
fn url(sink: &Sink) -> String {
    sink.url().replacen(USER, &USER.replace('@', "%40"), 1)
}

/// The binary, with these settings alone, sends one mail, or doesn't. Whatever it logs is searched.
async fn send(url: &str, further: &[(&str, &str)]) -> Outcome {
    let place = Engine::Sqlite.place().await.expect("SQLite is always there");
    let password_file = place.folder.path().join("password");
    std::fs::write(&password_file, format!("{PASSWORD}\n")).expect("written");
    let log = place.folder.path().join("log");
    let mut command = logging(&place, &log);
    if url.contains('@') {
        command.env("CLAVIGER_SMTP_PASSWORD_FILE", password_file);
    }
    let mail = [("CLAVIGER_SMTP_URL", url), ("CLAVIGER_MAIL_FROM", "Claviger <keys@claviger.test>")];
    command.envs(mail).envs(further.iter().copied());
    let process = Process::start_command(command).await;
    let mut root = process.caller(Some(&process::root_secret(place.folder.path()))).await;
    let tenant = subscribe(&mut root, "acme", &[ADDRESS]).await;
    run_warnings(&mut root, &tenant).await.expect("a report");
    let listed = deliveries(&mut root, &tenant).await;
    let [delivery] = listed.as_slice() else { panic!("{listed:?}") };
    let member = member(&mut root, &format!("{tenant}/userGroups/people-0"), ADDRESS).await;
    assert_eq!(process.terminate().await, Some(0));
    let log = std::fs::read_to_string(log).expect("a log");
    expect_no_secret(&log, "the log");
    assert!(log.contains("the mirror is loaded"), "it is the log: {log}");
    expect_no_secret(&delivery.answer, "the answer");
    expect_no_secret(&member.refusal, "the refusal");
    Outcome { delivery: delivery.clone(), member }
}

/// The binary on this place, with everything that it logs in a file.
fn logging(place: &Place, log: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" 2>\"$1\"", env!("CARGO_BIN_EXE_claviger")]).arg(log).env_clear();
    command.envs(SETTINGS.iter().copied()).env("CLAVIGER_DATA", place.folder.path()).env("CLAVIGER_LOG", "trace");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

fn expect_no_secret(text: &str, place: &str) {
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    let plain = encoded(&format!("\0{USER}\0{PASSWORD}"));
    for secret in [PASSWORD, &encoded(PASSWORD), &plain, &encoded(USER), USER, ADDRESS, "ada@"] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{place} tells {secret}: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_over_either_kind_of_tls_gets_the_mail_through() {
    let cases = [(Tls::StartTls, "PLAIN"), (Tls::StartTls, "LOGIN"), (Tls::Implicit, "PLAIN")];
    for (tls, mechanism) in cases {
        let (tls, mechanism) = (Some(tls), Some(mechanism));
        let options = Options { tls, auth: auth(Some(PASSWORD)), mechanism, ..Options::default() };
        let Some(sink) = Sink::start(options).await else { return };
        let ca = sink.ca_file();
        let outcome = send(&url(&sink), &[("SSL_CERT_FILE", ca.to_str().expect("UTF-8"))]).await;
        assert_eq!(outcome.delivery.state(), State::Sent, "{tls:?} {mechanism:?}: {:?}", outcome.delivery);
        let mails = sink.mails();
        let [mail] = mails.as_slice() else { panic!("{}", mails.len()) };
        assert_eq!((mail.tls, mail.user.as_deref()), (true, Some(USER)));
    }
}

/// Its authorities stand instead of the system's: who is trusted by those alone is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_by_its_file_and_alone() {
    for tls in [Tls::StartTls, Tls::Implicit] {
        let options = Options { tls: Some(tls), auth: auth(Some(PASSWORD)), ..Options::default() };
        let Some(sink) = Sink::start(options.clone()).await else { return };
        let Some(other) = Sink::start(options).await else { return };
        let [own, others] = [sink.ca_file(), other.ca_file()].map(|file| file.to_str().expect("UTF-8").to_owned());
        let outcome = send(&url(&sink), &[("CLAVIGER_SMTP_CA_FILE", &own)]).await;
        assert_eq!(outcome.delivery.state(), State::Sent, "{tls:?}: {:?}", outcome.delivery);
        let outcome = send(&url(&sink), &[("CLAVIGER_SMTP_CA_FILE", &others), ("SSL_CERT_FILE", &own)]).await;
        outcome.expect_waiting_because("certificate");
        assert_eq!(sink.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    for tls in [Tls::StartTls, Tls::Implicit] {
        let options = Options { tls: Some(tls), auth: auth(None), ..Options::default() };
        let Some(sink) = Sink::start(options).await else { return };
        // Another sink's authority: without any, the machine's own list would be looked at, and may be missing.
        let Some(other) = Sink::start(Options { tls: Some(tls), ..Options::default() }).await else { return };
        let ca = other.ca_file();
        let outcome = send(&url(&sink), &[("SSL_CERT_FILE", ca.to_str().expect("UTF-8"))]).await;
        outcome.expect_waiting_because("certificate");
        assert_eq!((sink.count(), sink.refusals().len()), (0, 0), "nothing was said");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_gets_neither_mail_nor_password() {
    let Some(sink) = Sink::start(Options { auth: auth(None), ..Options::default() }).await else { return };
    send(&url(&sink), &[]).await.expect_waiting_because("starttls");
    assert_eq!(sink.count(), 0);
    assert!(sink.refusals().is_empty(), "no login was tried: {:?}", sink.refusals());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_tried_again_and_refuses_no_recipient() {
    let options = Options { tls: Some(Tls::StartTls), auth: auth(None), ..Options::default() };
    let Some(sink) = Sink::start(options).await else { return };
    let ca = sink.ca_file();
    let outcome = send(&url(&sink), &[("SSL_CERT_FILE", ca.to_str().expect("UTF-8"))]).await;
    outcome.expect_waiting_because("535");
    assert_eq!((sink.count(), refused(&sink, ADDRESS)), (0, 0));
    assert!(sink.refusals().iter().any(|refusal| refusal.at == "AUTH"), "a login was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_only_if_asked_for() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    send(&sink.url(), &[]).await.expect_waiting_because("starttls");
    assert_eq!(sink.count(), 0);
    let url = sink.url();
    let further = settings(&url, &[]);
    assert_eq!(send(&url, &further).await.delivery.state(), State::Sent);
    assert_eq!(sink.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_logged_without_addresses() {
    for behaviour in ["code-550", "data-450", "cut-before-250"] {
        let options = Options { everybody: Some(behaviour.to_owned()), ..Options::default() };
        let Some(sink) = Sink::start(options).await else { return };
        let url = sink.url();
        let outcome = send(&url, &settings(&url, &[])).await;
        assert_ne!(outcome.delivery.state(), State::Sent, "{behaviour}: {:?}", outcome.delivery);
    }
}
