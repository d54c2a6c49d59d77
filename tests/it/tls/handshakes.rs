//! What strangers do instead of a handshake: it is bounded, and a good caller never notices.

use std::net::SocketAddr;
use std::time::Duration;

use claviger::domain::limits;
use claviger::proto::v1::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Scene;
use crate::harness::{http, process};

/// For a slow machine.
const SLACK: Duration = Duration::from_secs(5);

/// A handshake record that announces a ClientHello of 512 bytes and holds its first ten.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcd";

/// Says this, and waits for the end; answers how long it took, and what came.
async fn until_closed(address: SocketAddr, says: Vec<u8>) -> (Duration, Vec<u8>) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(&says).await.expect("written");
    let mut came = Vec::new();
    let reading = stream.read_to_end(&mut came);
    // A reset is an end too.
    let _ = timeout(limits::HANDSHAKE * 2 + SLACK, reading).await.expect("it is closed");
    (begun.elapsed(), came)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_half_a_hello_is_dropped_and_nobody_else_is() {
    let scene = Scene::new();
    let service = scene.start().await;
    let mut root = scene.root(service.address).await;
    let secret = process::root_secret(scene.folder());
    let mut strangers = JoinSet::new();
    for number in 0..200_u32 {
        let says = match number % 4 {
            0 => Vec::new(),
            1 => HALF_A_HELLO[..1].to_vec(),
            2 => HALF_A_HELLO.to_vec(),
            _ => b"PRI * HTTP".to_vec(),
        };
        strangers.spawn(until_closed(service.address, says));
    }
    // Meanwhile, over an old connection and over new ones.
    for _ in 0..10 {
        assert_eq!(root.verdict(&secret).await, Verdict::Valid);
        let mut another = scene.root(service.address).await;
        assert_eq!(another.verdict(&secret).await, Verdict::Valid);
        sleep(Duration::from_millis(100)).await;
    }
    while let Some(ended) = strangers.join_next().await {
        let (lasted, came) = ended.expect("no panic");
        assert!(lasted + Duration::from_millis(100) > limits::HANDSHAKE, "it has its time: {lasted:?}");
        assert!(lasted < limits::HANDSHAKE + SLACK, "{lasted:?}");
        assert!(came.is_empty(), "{came:?}");
    }
    assert_eq!(service.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_no_handshake_is_closed_at_once_and_told_why_where_that_can_be() {
    let scene = Scene::new();
    let service = scene.start().await;
    let alert = |came: &[u8]| came.len() == 7 && came[0] == 21 && came[5] == 2;
    let (_, came) = until_closed(service.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()).await;
    assert!(came.ends_with(b"this port speaks TLS"), "{came:?}");
    let answer = http::send(service.address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "This port speaks TLS"));
    // TLS by its first byte, and nothing else of it; and a whole record that is no hello.
    for nonsense in [&b"\x16GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"] {
        let (lasted, came) = until_closed(service.address, nonsense.to_vec()).await;
        assert!(alert(&came) && lasted < SLACK, "{lasted:?} {came:?}");
    }
    for number in 0..200_u8 {
        let nonsense = (0..200_u8).map(|byte| byte.wrapping_mul(number).wrapping_add(number)).collect();
        // Some of it begins as TLS does, and is waited for.
        drop(timeout(Duration::from_millis(20), until_closed(service.address, nonsense)).await);
    }
    let mut root = scene.root(service.address).await;
    assert_eq!(root.verdict(&process::root_secret(scene.folder())).await, Verdict::Valid);
    assert_eq!(service.terminate().await, Some(0));
}

/// A client without ALPN may speak HTTP/2, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn behind_the_handshake_only_http_2_is_spoken() {
    let scene = Scene::new();
    let service = scene.start().await;
    let refused = scene.shake_hands(service.address, "http/1.1", None).await.expect_err("no such protocol");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    let mut stream = scene.shake_hands(service.address, "h2", None).await.expect("a handshake");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let mut came = String::new();
    stream.read_to_string(&mut came).await.expect("closed as TLS wants it");
    assert!(came.starts_with("HTTP/1.1 426 "), "{came}");
    // Silence after the handshake has the rest of the same five seconds.
    let mut silent = scene.shake_hands(service.address, "h2", None).await.expect("a handshake");
    let begun = Instant::now();
    let mut nothing = Vec::new();
    let reading = silent.read_to_end(&mut nothing);
    let _ = timeout(limits::HANDSHAKE + SLACK, reading).await.expect("it is closed");
    assert!(nothing.is_empty() && begun.elapsed() < limits::HANDSHAKE + SLACK);
    assert_eq!(service.terminate().await, Some(0));
}
