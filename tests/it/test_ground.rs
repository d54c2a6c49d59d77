//! The ground that tests of mail stand on: the SMTP server says what happened, and the faked clock moves every process.

use std::time::Duration;

use claviger::domain::{Span, Time};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::MultiPart,
    transport::smtp::{
        PoolConfig,
        client::{Certificate, Tls as ClientTls, TlsParameters},
    },
};
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
use tokio::time::{sleep, timeout};

use crate::harness::{
    Engine, FakedTime, Mail, Place, Sink, faked_postgres, process,
    sink::{Auth, Options, Tls},
};

/// A server that doesn't answer in this time won't.
const PATIENCE: Duration = Duration::from_secs(3);

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Two minutes of a slow machine.
const SOON: Duration = Duration::from_secs(120);

fn message(recipient: &str) -> Message {
    let parts = MultiPart::alternative_plain_html("Grüße\n.dot\n".to_owned(), "<p>Grüße</p>".to_owned());
    let message = Message::builder().from("Claviger <claviger@acme.test>".parse().expect("an address"));
    let message = message.to(recipient.parse().expect("an address")).subject("Zwölf Schlüssel");
    message.message_id(Some("<one@acme.test>".to_owned())).multipart(parts).expect("a mail")
}

/// The code of the answer, or why there was none. lettre's own time-out is only that of connecting.
async fn send(transport: &Transport, recipient: &str) -> Result<u16, String> {
    let Ok(answer) = timeout(PATIENCE, transport.send(message(recipient))).await else {
        return Err("no answer".to_owned());
    };
    match answer {
        Ok(answer) => Ok(answer.code().into()),
        Err(error) => error.status().map(u16::from).ok_or_else(|| error.to_string()),
    }
}

/// A connection a mail: lettre's pool hands out again one on which we gave up in the middle of a conversation.
fn plain(sink: &Sink) -> Transport {
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&sink.url()).expect("a URL");
    transport.pool_config(PoolConfig::new().max_size(0)).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_hands_back_what_was_sent() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    assert_eq!(send(&plain(&sink), "ada@acme.test").await, Ok(250));
    let mails = sink.wait_for(1, SOON).await;
    let [mail]: &[Mail; 1] = mails.as_slice().try_into().expect("one mail");
    assert_eq!(
        (mail.mail_from.as_str(), mail.recipients.as_slice()),
        ("claviger@acme.test", &["ada@acme.test".into()][..])
    );
    assert_eq!((mail.message_id().as_str(), mail.subject().as_str()), ("one@acme.test", "Zwölf Schlüssel"));
    assert_eq!(mail.header("to").as_deref(), Some("ada@acme.test"));
    assert_eq!(mail.header("bcc"), None);
    assert_eq!(mail.tree(), "multipart/alternative(text/plain, text/html)");
    assert_eq!(mail.part("text/plain").trim_end(), "Grüße\n.dot".replace('\n', "\r\n"));
    assert_eq!(mail.part("text/html").trim_end(), "<p>Grüße</p>");
    assert!(sink.refusals().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_misbehaves_as_the_address_says() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let transport = plain(&sink);
    let table = [
        ("code-450", &[Ok(450)][..]),
        ("code-554.x", &[Ok(554)]),
        ("data-450", &[Ok(450)]),
        ("greylist", &[Ok(451), Ok(250)]),
        ("then-ok-2", &[Ok(450), Ok(450), Ok(250)]),
        ("stall-data", &[Err(())]),
        ("stall-dot", &[Err(())]),
        ("cut-before-250", &[Err(())]),
        ("cut-after-250", &[Ok(250)]),
    ];
    for (local, answers) in table {
        for expected in answers {
            let answer = send(&transport, &format!("{local}@acme.test")).await;
            assert_eq!(answer.as_ref().map_err(|_| ()).copied(), *expected, "{local}: {answer:?}");
        }
    }
    sink.go_away();
    assert_eq!(send(&transport, "ada@acme.test").await.ok(), Some(421));
    sink.come_back();
    assert_eq!(send(&transport, "ada@acme.test").await.ok(), Some(250));
    assert_eq!((sink.mails().len(), sink.count()), (5, 5));
    let refusals = sink.refusals();
    let told = refusals.iter().map(|refusal| (refusal.at.as_str(), refusal.code)).collect::<Vec<_>>();
    assert!(told.starts_with(&[("RCPT", 450), ("RCPT", 554), ("DATA", 450), ("RCPT", 451)]), "{told:?}");
    assert_eq!(refusals[2].recipients, ["data-450@acme.test"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_speaks_tls_and_asks_who_it_is() {
    for tls in [Tls::StartTls, Tls::Implicit] {
        let auth = Auth { user: "claviger".to_owned(), password: Some("secret".to_owned()) };
        let options = Options { tls: Some(tls), auth: Some(auth), ..Options::default() };
        let Some(sink) = Sink::start(options).await else { return };
        let ca = Certificate::from_pem(&std::fs::read(sink.ca_file()).expect("a file")).expect("a certificate");
        let parameters = TlsParameters::builder("127.0.0.1".to_owned()).add_root_certificate(ca).build().expect("TLS");
        let client_tls = match tls {
            Tls::StartTls => ClientTls::Required(parameters),
            Tls::Implicit => ClientTls::Wrapper(parameters),
        };
        for (password, expected) in [("secret", Ok(250)), ("wrong", Ok(535))] {
            let url = sink.url().replace("claviger@", &format!("claviger:{password}@"));
            let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&url).expect("a URL");
            let answer = send(&transport.tls(client_tls.clone()).build(), "ada@acme.test").await;
            assert_eq!(answer, expected, "{tls:?}");
        }
        let mails = sink.mails();
        assert_eq!((mails.len(), mails[0].tls, mails[0].user.as_deref()), (1, true, Some("claviger")));
    }
}

/// Creates a key; answers when the service thinks it did.
async fn now_of(root: &mut crate::harness::Client, owner: &str) -> Time {
    let (key, _) = root.create_key(owner, &[]).await;
    let time = key.create_time.expect("a time");
    Time::from_timestamp(time.seconds, 0).expect("an instant")
}

/// Jumps a day at a time, back too; every process follows.
async fn follow(time: &FakedTime, place: Place, start: Time) {
    let service = time.start(&place, &[]).await;
    let mut root = service.caller(Some(&process::root_secret(place.folder.path()))).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    for days in [0, 1, 100, 99] {
        let now = start + Span::days(days);
        time.set(now);
        if let Some(url) = &place.database_url {
            let database = Database::connect(url).await.expect("PostgreSQL answers");
            let sql = "SELECT extract(epoch FROM clock_timestamp())::bigint AS now";
            let row = database.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.expect("a row");
            let shown: i64 = row.expect("a row").try_get("", "now").expect("a number");
            assert!((0..60).contains(&(shown - now.timestamp())), "PostgreSQL's clock at day {days}: {shown}");
            // The service learns its offset to it at its next poll.
            sleep(Duration::from_secs(2)).await;
        }
        let shown = now_of(&mut root, &owner).await;
        assert!((-1..60).contains(&(shown - now).num_seconds()), "the service's clock at day {days}: {shown}");
    }
    assert_eq!(service.terminate().await, Some(0));
}

fn start() -> Time {
    Time::from_timestamp(1_700_000_000, 0).expect("an instant")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_follows_a_faked_clock() {
    let Some(time) = FakedTime::new(start()) else { return };
    follow(&time, Engine::Sqlite.place().await.expect("SQLite is always there"), start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_and_its_postgres_follow_a_faked_clock() {
    let Some(time) = FakedTime::new(start()) else { return };
    let Some(postgres) = faked_postgres(&time).await else { return };
    let place = postgres.place().await;
    follow(&time, place, start()).await;
}
