//! Readers that are slow, or don't read.

use super::*;
use claviger::domain::{ids::KeyId, limits};
use sea_orm::ConnectionTrait;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_questions_that_are_read_slowly_cost_no_memory() {
    const QUESTIONS: usize = 100_000;
    let scene = Scene::set().await;
    let mut caller = scene.narrow().await;
    let before = scene.resident();
    let good = GoodCaller::start(&scene).await;
    let (sender, mut answers) = open(&mut caller).await;
    let question = about(&scene.secret);
    let asking = tokio::spawn(async move {
        for _ in 0..QUESTIONS {
            sender.send(question.clone()).await.expect("taken");
        }
    });
    let begun = Instant::now();
    // Long enough for all of them, if they were taken in.
    sleep(Duration::from_secs(3)).await;
    for number in 0..QUESTIONS {
        let answer = timeout(PATIENCE, answers.message()).await.expect("in time").expect("no end").expect("an answer");
        assert_eq!(word(answer), "VERDICT_VALID", "answer {number}");
        if number % 1_000 == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    asking.await.expect("asked");
    let growth = good.end().await.saturating_sub(before);
    println!("{QUESTIONS} answers in {:?}; at most {} KiB more memory", begun.elapsed(), growth / 1_024);
    assert!(growth < 24 * MIB, "{growth} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_never_read_hold_what_their_windows_let_in() {
    const CONNECTIONS: u64 = 5;
    let scene = Scene::set().await;
    let before = scene.resident();
    let good = GoodCaller::start(&scene).await;
    let (mut open_streams, mut asking) = (Vec::new(), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let mut caller = scene.narrow().await;
        for _ in 0..limits::STREAMS_PER_CONNECTION {
            let (sender, answers) = open(&mut caller).await;
            open_streams.push(answers);
            let question = about(&scene.secret);
            asking.spawn(async move {
                let mut asked = 0_usize;
                while timeout(Duration::from_secs(3), sender.send(question.clone()))
                    .await
                    .is_ok_and(|sent| sent.is_ok())
                {
                    asked += 1;
                }
                (asked, sender)
            });
        }
    }
    let asked = timeout(3 * PATIENCE, asking.join_all()).await.expect("each of them stalls");
    let most = good.end().await.saturating_sub(before);
    let streams = CONNECTIONS * u64::from(limits::STREAMS_PER_CONNECTION);
    let questions: usize = asked.iter().map(|(asked, _)| asked).sum();
    println!("{streams} streams took {questions} questions; at most {} MiB more memory", most / MIB);
    let bound = streams * 2 * u64::from(limits::STREAM_WINDOW_BYTES) + 32 * MIB;
    assert!(most < bound, "{most} bytes, more than {bound}");
    drop((open_streams, asked));
    let mut other = scene.process.caller(Some(&scene.root_secret)).await;
    assert_eq!(other.verdict(&scene.secret).await, Verdict::Valid);
}

/// So many keys that were revoked before anybody here saw them, in the tables behind the service's back.
pub async fn revoked_keys(scene: &Scene, count: usize) {
    let database = database(&scene.place).await;
    for _ in 0..count / 1_000 {
        let row = |_| {
            let id = KeyId::from_random(claviger::random::bytes().expect("randomness"));
            let digest: [u8; 32] = claviger::random::bytes().expect("randomness");
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("('{id}', x'{digest}')")
        };
        let rows: Vec<String> = (0..1_000).map(row).collect();
        let script = format!(
            "BEGIN IMMEDIATE; UPDATE revision SET value = value + 1;
             INSERT INTO api_key (id, tenant_id, service_user_id, display_name, description, state, revoke_time,
                 revoke_reason, scopes, networks, create_time, update_time, secret_digest, pepper_id, revision)
             SELECT made.column1, tenant_id, service_user_id, display_name, description, 'REVOKED', create_time, 'a test',
                 scopes, networks, create_time, update_time, made.column2, pepper_id, (SELECT value FROM revision)
             FROM api_key, (VALUES {}) AS made WHERE api_key.id = '{}'; COMMIT",
            rows.join(", "),
            &scene.secret[4..26]
        );
        database.execute_unprepared(&script).await.expect("written");
    }
}

/// Each of them is told much, takes nothing, and ends ABORTED; then its place goes to the next one. What it leaves behind
/// until its client goes is what a stream's window holds, as of any stream that isn't read.
#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_never_read_hold_no_more_than_other_streams() {
    const KEYS: usize = 10_000;
    if !engine::long() {
        // One round can't tell what is held from what the allocator hasn't given back yet: it was red once, on a busy machine.
        return;
    }
    let (rounds, connections) = (3, 5);
    let mut scene = Scene::set().await;
    let begin = scene.root.verify(VerifyRequest::default()).await.revision;
    revoked_keys(&scene, KEYS).await;
    let last = begin + i64::try_from(KEYS / 1_000).expect("few");
    eventually(PATIENCE, "all are seen", async || scene.root.verify(VerifyRequest::default()).await.revision >= last)
        .await;
    let before = scene.resident();
    let good = GoodCaller::start(&scene).await;
    let mut held = Vec::new();
    for round in 0..rounds {
        for _ in 0..connections {
            let mut caller = scene.narrow().await;
            for number in 0..limits::STREAMS_PER_CONNECTION {
                let request = v1::WatchRevocationsRequest { min_revision: begin };
                let opened = timeout(PATIENCE, caller.verification.watch_revocations(request)).await.expect("in time");
                held.push(opened.unwrap_or_else(|status| panic!("round {round}, {number}: {status:?}")));
            }
        }
        sleep(limits::WATCH_PATIENCE + Duration::from_secs(4)).await;
        let (growth, watches) = (scene.resident().saturating_sub(before), held.len() as u64);
        println!("{watches} watches were opened and never read: {} MiB more memory", growth / MIB);
        let bound = watches * 2 * u64::from(limits::STREAM_WINDOW_BYTES) + 32 * MIB;
        assert!(growth < bound, "{growth} bytes for {watches} watches, more than {bound}");
    }
    good.end().await;
}
