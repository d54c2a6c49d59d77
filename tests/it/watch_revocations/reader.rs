//! Readers of a watch: one that waits, one that is too slow, and too many.

use std::time::Duration;

use chrono::TimeDelta;
use claviger::domain::limits;
use claviger::proto::v1::{self, Verdict};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

use super::{PATIENCE, Watch, create, disable, enable, told, try_open};
use crate::harness::{Client, Engine, TestApp, app::start_of_time};
use crate::rig::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_says_how_far_and_how_fresh() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut root = app.root().await;
    let messages = &mut try_open(&mut root, 0).await.expect("a watch");
    let mut first = None;
    for number in 0..4 {
        let heartbeat = timeout(PATIENCE, messages.message()).await.expect("in time").expect("one").expect("one");
        assert_eq!(heartbeat.revocations, []);
        let first = *first.get_or_insert(heartbeat.revision);
        assert_eq!(heartbeat.revision, first, "heartbeat {number}: nothing happened");
        assert_eq!(heartbeat.send_time, heartbeat.as_of, "the test's clock stands");
    }
    let verdict = root.verify(v1::VerifyRequest::default()).await;
    assert_eq!(Some(verdict.revision), first);
    app.advance(TimeDelta::seconds(7));
    eventually(PATIENCE, "a heartbeat as of a look since then", async || {
        let heartbeat = messages.message().await.expect("one").expect("one");
        heartbeat.as_of.expect("a time").seconds == start_of_time().timestamp() + 7
    })
    .await;
}

/// The changes are more than the reader's window and the server's buffers hold; the last word comes after what was sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_is_told_where_to_resume() {
    const CHANGES: usize = 1_000;
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut root = app.root().await;
    let tenant = root.create_tenant(&"t".repeat(63)).await;
    let owner = root.create_service_user(&tenant, &"s".repeat(63)).await;
    let name = create(&mut root, &owner, None).await.name;
    let narrow = Endpoint::from_shared(format!("http://{}", app.address())).expect("an address");
    let narrow = narrow.initial_stream_window_size(65_535).connect().await.expect("connected");
    let mut messages = try_open(&mut Client::over(narrow, Some(&app.root_secret)), 0).await.expect("a watch");
    for _ in 0..CHANGES {
        disable(&mut root, &name).await;
        enable(&mut root, &name).await;
    }
    sleep(limits::WATCH_PATIENCE + Duration::from_secs(3)).await;
    let (mut last, mut heard) = (0, 0);
    let ended = loop {
        match timeout(PATIENCE, messages.message()).await.expect("in time") {
            Ok(message) => {
                let message = message.expect("no end");
                (last, heard) = (message.revision, heard + message.revocations.len());
            }
            Err(status) => break status,
        }
    };
    assert_eq!(told(&ended), (Code::Aborted, "WATCH_LAGGED".to_owned()));
    assert_eq!(ended.get_details_error_info().expect("ErrorInfo").metadata["revision"], last.to_string());
    let (_, rest) = Watch::resume(&mut root, last).await;
    assert!(heard < CHANGES, "it was cut off");
    assert_eq!(heard + rest.len(), CHANGES, "nothing is lost, nothing comes twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_bounded_and_a_reader_that_leaves_makes_room() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut watches = Vec::new();
    while watches.len() < limits::WATCHES {
        let mut caller = app.root().await;
        for _ in 0..100 {
            watches.push(try_open(&mut caller, 0).await.expect("a watch"));
        }
    }
    let mut root = app.root().await;
    let refused = try_open(&mut root, 0).await.expect_err("one too many");
    assert_eq!(told(&refused), (Code::Unavailable, "OVERLOADED".to_owned()));
    assert!(refused.get_details_retry_info().is_some());
    assert_eq!(root.verdict("x").await, Verdict::Malformed, "everything else goes on");
    watches.truncate(limits::WATCHES - 1);
    eventually(PATIENCE, "a place", async || try_open(&mut root, 0).await.is_ok()).await;
}
