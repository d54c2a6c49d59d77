//! VerifyStream: every answer in its place, one bad question spoils no other, and what ends a stream.

use std::time::Duration;

use claviger::domain::limits;
use claviger::proto::v1::{
    self, Verdict, VerifyRequest, VerifyStreamRequest, VerifyStreamResponse, verify_stream_response::Result as Item,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::harness::{
    Client, Engine, TestApp,
    errors::{reason, status_in},
};
use crate::rpcs::{Place, VERIFY};
use crate::wire;

on_both_engines!(
    answers_come_in_the_order_of_the_questions,
    a_question_that_waits_for_the_store_holds_back_those_behind_it_only_in_order,
    a_stream_ends_with_its_callers_key,
    a_stream_ends_when_the_server_leaves,
);

const PATIENCE: Duration = Duration::from_secs(30);
const PATH: &str = "/claviger.v1.VerificationService/VerifyStream";

fn about(secret: &str) -> VerifyStreamRequest {
    VerifyStreamRequest { request: Some(VerifyRequest { secret: secret.to_owned(), ..Default::default() }) }
}

/// Opens a stream; its questions go into the sender.
async fn open(caller: &mut Client) -> (mpsc::Sender<VerifyStreamRequest>, Streaming<VerifyStreamResponse>) {
    let (sender, receiver) = mpsc::channel(1);
    let opened = caller.verification.verify_stream(ReceiverStream::new(receiver)).await.expect("a stream");
    (sender, opened.into_inner())
}

async fn next(answers: &mut Streaming<VerifyStreamResponse>) -> Result<Item, Status> {
    let answer = timeout(PATIENCE, answers.message()).await.expect("in time")?.expect("an answer");
    Ok(answer.result.expect("a result"))
}

/// The answers to these questions, and that nothing comes after them.
async fn all(caller: &mut Client, questions: Vec<VerifyStreamRequest>) -> Vec<Item> {
    let stream = tokio_stream::iter(questions);
    let mut answers = caller.verification.verify_stream(stream).await.expect("a stream").into_inner();
    let mut all = Vec::new();
    while let Some(answer) = timeout(PATIENCE, answers.message()).await.expect("in time").expect("an answer") {
        all.push(answer.result.expect("a result"));
    }
    all
}

/// How a stream ends.
async fn end(answers: &mut Streaming<VerifyStreamResponse>) -> Status {
    let ending = async {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended well"),
                Err(status) => return status,
            }
        }
    };
    timeout(PATIENCE, ending).await.expect("in time")
}

fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

/// What an item is, in one word: a verdict, or the reason of an error.
fn word(item: &Item) -> String {
    match item {
        Item::Response(response) => response.verdict().as_str_name().trim_start_matches("VERDICT_").to_owned(),
        Item::Error(error) => reason(&status_in(error)),
    }
}

/// A well-formed secret that opens nothing.
fn unknown() -> String {
    claviger::app::generate_root_key().expect("a secret").reveal().to_owned()
}

async fn answers_come_in_the_order_of_the_questions(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let good = |tenant: &str| {
        let request = VerifyRequest { secret: place.secret.clone(), tenant: tenant.to_owned(), ..Default::default() };
        VerifyStreamRequest { request: Some(request) }
    };
    let mut questions = Vec::new();
    let mut expected = Vec::new();
    for number in 0..1_000 {
        let (question, answer) = match number % 10 {
            0 => (about("x"), "MALFORMED"),
            1 => (VerifyStreamRequest { request: None }, "FIELD_INVALID"),
            2 => (good("no tenant"), "FIELD_INVALID"),
            3 => (about(&"x".repeat(limits::SMALL_MESSAGE_BYTES)), "FIELD_INVALID"),
            4 => (about(&unknown()), "UNKNOWN"),
            5 => (good("tenants/other"), "UNKNOWN"),
            _ => (good("tenants/acme"), "VALID"),
        };
        questions.push(question);
        expected.push(answer);
    }
    let answers: Vec<String> = all(&mut root, questions).await.iter().map(word).collect();
    assert_eq!(answers, expected);
    assert!(all(&mut root, Vec::new()).await.is_empty(), "no question, no answer");
}

async fn a_question_that_waits_for_the_store_holds_back_those_behind_it_only_in_order(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let (sender, mut answers) = open(&mut root).await;
    let (asked, expected) = (10 * limits::STREAM_IN_FLIGHT, ["UNKNOWN", "VALID", "MALFORMED"]);
    let asking = tokio::spawn(async move {
        for number in 0..asked {
            let question = match number % 3 {
                0 => about(&unknown()),
                1 => about(&place.secret),
                _ => about(""),
            };
            sender.send(question).await.expect("taken");
        }
        sender
    });
    for number in 0..asked {
        assert_eq!(word(&next(&mut answers).await.expect("an answer")), expected[number % 3], "answer {number}");
    }
    let sender = asking.await.expect("asked");
    sender.send(about("x")).await.expect("taken");
    assert_eq!(word(&next(&mut answers).await.expect("an answer")), "MALFORMED", "the stream still lives");
}

async fn a_stream_ends_with_its_callers_key(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let (key, secret) = root.create_key(&place.owner, &[VERIFY]).await;
    let (other, other_secret) = root.create_key(&place.owner, &[VERIFY]).await;
    let (mut caller, mut narrowed) = (root.with(Some(&secret)), root.with(Some(&other_secret)));
    let (idle, mut idle_answers) = open(&mut caller).await;
    let (busy, mut busy_answers) = open(&mut caller).await;
    let (_open, mut narrowed_answers) = open(&mut narrowed).await;
    // Secrets as long as real ones: h2 ends a connection on which thousands of tiny frames lie unread.
    let question = about(&place.secret);
    let asking = tokio::spawn(async move { while busy.send(question.clone()).await.is_ok() {} });
    idle.send(about(&place.secret)).await.expect("taken");
    assert_eq!(word(&next(&mut idle_answers).await.expect("an answer")), "VALID");
    assert_eq!(word(&next(&mut busy_answers).await.expect("an answer")), "VALID");

    root.keys.revoke_key(v1::RevokeKeyRequest { name: key.name, ..Default::default() }).await.expect("revoked");
    for answers in [&mut idle_answers, &mut busy_answers] {
        assert_eq!(told(&end(answers).await), (Code::Unauthenticated, "CALLER_INVALID".to_owned()));
    }
    asking.await.expect("it stopped asking");

    root.set_scopes(&other.name, &[]).await.expect("narrowed");
    assert_eq!(told(&end(&mut narrowed_answers).await), (Code::PermissionDenied, "RIGHT_MISSING".to_owned()));
}

async fn a_stream_ends_when_the_server_leaves(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (sender, mut answers) = open(&mut root).await;
    sender.send(about("x")).await.expect("taken");
    assert_eq!(word(&next(&mut answers).await.expect("an answer")), "MALFORMED");
    let begun = Instant::now();
    let (status, ()) = tokio::join!(end(&mut answers), app.running.stop());
    assert_eq!(told(&status), (Code::Unavailable, "LEAVING".to_owned()));
    assert!(begun.elapsed() < limits::DRAIN, "nobody waited for the stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_own_deadline_ends_a_stream_and_the_servers_does_not() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut root = app.root().await;
    let (sender, mut answers) = open(&mut root).await;
    sleep(4 * limits::VERIFY_DEADLINE).await;
    sender.send(about("x")).await.expect("taken");
    assert_eq!(word(&next(&mut answers).await.expect("an answer")), "MALFORMED");

    let mut caller = wire::Http2::connect(app.address()).await;
    let begun = Instant::now();
    let response = caller.send(wire::never_ending(PATH, &app.root_secret, Some("700m"))).await;
    assert!(!response.headers().contains_key("grpc-status"), "the stream began");
    assert_eq!(wire::grpc_status(response).await, Some(Code::DeadlineExceeded));
    assert!(begun.elapsed() >= Duration::from_millis(700));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_ends_the_stream_after_the_answers_before_it() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut root = app.root().await;
    let (sender, mut answers) = open(&mut root).await;
    sender.send(about(&unknown())).await.expect("taken");
    sender.send(about(&"x".repeat(limits::LARGE_MESSAGE_BYTES))).await.expect("taken");
    assert_eq!(word(&next(&mut answers).await.expect("an answer")), "UNKNOWN");
    let status = next(&mut answers).await.expect_err("above 1 MiB");
    assert_eq!(told(&status), (Code::InvalidArgument, "MESSAGE_INVALID".to_owned()));
}

/// Questions are taken until the answers have filled what the client lets come; then no more, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_takes_a_bounded_number_of_questions() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let (sender, mut answers) = open(&mut root).await;
    let asked = async {
        let mut asked = 0_usize;
        while timeout(Duration::from_secs(3), sender.send(about(&place.secret))).await.is_ok() {
            asked += 1;
        }
        asked
    };
    let asked = timeout(4 * PATIENCE, asked).await.expect("it stalls");
    assert_eq!(root.verdict(&place.secret).await, Verdict::Valid, "other calls of the connection go on");
    for number in 0..asked {
        assert_eq!(word(&next(&mut answers).await.expect("an answer")), "VALID", "answer {number} of {asked}");
    }
}

/// A connection carries 200; the others wait at the client until one ends, and other connections never notice.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_streams_on_one_connection_wait_for_their_turn() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let root = app.root().await;
    let streams: Vec<_> = (0..2_000)
        .map(|_| {
            let mut caller = root.clone();
            tokio::spawn(async move {
                let (sender, mut answers) = open(&mut caller).await;
                sender.send(about("x")).await.expect("taken");
                let answer = word(&next(&mut answers).await.expect("an answer"));
                sleep(Duration::from_millis(100)).await;
                answer
            })
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(app.root().await.verdict("x").await, Verdict::Malformed, "another connection");
    for stream in streams {
        assert_eq!(timeout(2 * PATIENCE, stream).await.expect("in time").expect("no panic"), "MALFORMED");
    }
    assert!(begun.elapsed() > Duration::from_millis(900), "at most 200 at once, 100 ms each");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_stream_is_asked_for_before_any_question() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut nobody = app.caller(None).await;
    let refused = nobody.verification.verify_stream(Request::new(tokio_stream::pending())).await;
    assert_eq!(told(&refused.expect_err("nobody")), (Code::Unauthenticated, "CALLER_MISSING".to_owned()));
}
