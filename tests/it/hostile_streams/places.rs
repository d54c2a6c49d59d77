//! Clients that vanish, and more streams than there may be.

use super::*;
use claviger::domain::limits;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::wire::{HEADERS, REFUSED_STREAM, RST_STREAM, Wire};

/// A connection that ends with a TCP reset as soon as nobody holds it.
async fn vanishing(scene: &Scene) -> Client {
    let address = scene.process.address;
    let connect = tower::service_fn(move |_| async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_zero_linger()?;
        Ok::<_, std::io::Error>(TokioIo::new(stream))
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    Client::over(endpoint.connect_with_connector(connect).await.expect("connected"), Some(&scene.root_secret))
}

/// Far more than there are places; each is cut off in the middle, without a word.
#[tokio::test(flavor = "multi_thread")]
async fn who_vanishes_leaves_no_watch_and_no_stream_behind() {
    let rounds = if engine::long() { 22 } else { 4 };
    let mut scene = Scene::set().await;
    let mut resident = Vec::new();
    let good = GoodCaller::start(&scene).await;
    for round in 0..rounds {
        let mut caller = vanishing(&scene).await;
        let mut held = Vec::new();
        for number in 0..50 {
            let request = v1::WatchRevocationsRequest { min_revision: 0 };
            let watch = timeout(PATIENCE, caller.verification.watch_revocations(request)).await.expect("in time");
            held.push(watch.unwrap_or_else(|status| panic!("round {round}, {number}: {status:?}")));
        }
        let mut streams = Vec::new();
        for _ in 0..50 {
            let (sender, mut answers) = open(&mut caller).await;
            for _ in 0..10 {
                sender.send(about(&scene.secret)).await.expect("taken");
            }
            let first = timeout(PATIENCE, answers.message()).await.expect("in time").expect("no end").expect("one");
            assert_eq!(word(first), "VERDICT_VALID");
            streams.push((sender, answers));
        }
        drop((caller, held, streams));
        resident.push(scene.resident() / MIB);
    }
    good.end().await;
    // Every place is free: as many as there may be at once, and not one more.
    let mut watches = Vec::new();
    for _ in 0..limits::WATCHES / 100 {
        let mut caller = scene.narrow().await;
        for _ in 0..100 {
            eventually(PATIENCE, "a place", async || {
                let request = v1::WatchRevocationsRequest { min_revision: 0 };
                caller.verification.watch_revocations(request).await.is_ok_and(|watch| {
                    watches.push(watch);
                    true
                })
            })
            .await;
        }
    }
    let one_more = scene.root.verification.watch_revocations(v1::WatchRevocationsRequest { min_revision: 0 }).await;
    assert_eq!(reason(&one_more.expect_err("one too many")), "OVERLOADED");
    println!("MiB after each round of 50 watches and 50 streams that vanished: {resident:?}");
    assert!(resident[rounds - 1] < resident[1] + 32, "{resident:?}");
}

/// A client that doesn't care what the server announced.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_streams_at_once_on_a_raw_connection_are_refused_but_for_the_first() {
    const STREAMS: u32 = 2_000;
    let scene = Scene::set().await;
    let before = scene.resident();
    let good = GoodCaller::start(&scene).await;
    let mut wire = Wire::open(scene.process.address).await;
    let headers = [("authorization", format!("Bearer {}", scene.root_secret))];
    for number in 0..STREAMS {
        wire.headers(number * 2 + 1, "/claviger.v1.VerificationService/VerifyStream", &headers, false).await;
    }
    let (mut opened, mut refused, mut closed) = (0, 0, false);
    while opened + refused < STREAMS {
        match wire.next_of(|frame| frame.stream > 0, PATIENCE).await {
            Some(frame) if frame.kind == HEADERS => opened += 1,
            Some(frame) if frame.kind == RST_STREAM => {
                assert_eq!(frame.payload, REFUSED_STREAM.to_be_bytes());
                refused += 1;
            }
            Some(_) => {}
            None => {
                closed = true;
                break;
            }
        }
    }
    println!("{opened} streams were opened, {refused} refused; the connection was closed: {closed}");
    assert!(opened <= limits::STREAMS_PER_CONNECTION, "{opened}");
    assert!(closed || opened == limits::STREAMS_PER_CONNECTION, "{opened}");
    let growth = good.end().await.saturating_sub(before);
    assert!(growth < 32 * MIB, "{growth} bytes");
}
