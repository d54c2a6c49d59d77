//! The HTTP port through a real socket: what it answers, what it refuses, and what it bears.

mod metrics;

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use claviger::domain::{ids::SubscriberId, limits, pepper::Peppers, unsubscribe::Links};
use sea_orm::{ConnectionTrait, Database};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::harness::{
    Engine, Place, Process, TestApp,
    http::{Answer, ask, read_to_end, send},
    process,
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn start() -> TestApp {
    TestApp::start(Engine::Sqlite).await.expect("SQLite is always there")
}

/// The path of the link for somebody that the service has sent mails to.
async fn link(place: &Place, seed: u8) -> String {
    let id = SubscriberId::from_random([seed; 16]);
    let database = format!("sqlite://{}", place.sqlite_file().display());
    let database = Database::connect(database).await.expect("the file");
    let row = format!(
        "INSERT INTO subscriber (id, tenant_id, folded, email, refusals, refusal, create_time)
         VALUES ('{}', 'system', 'a{seed}@example.com', 'a{seed}@example.com', 0, '', 0)",
        id.as_str()
    );
    database.execute_unprepared(&row).await.expect("a subscriber");
    database.close().await.expect("closed");
    links(place).path(&id)
}

fn links(place: &Place) -> Links {
    let pepper = std::fs::read_to_string(place.folder.path().join("pepper")).expect("a pepper");
    Links::new(&Peppers::parse(&pepper).expect("a pepper"))
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_and_readiness_follows_the_staleness_bound() {
    let app = start().await;
    let address = app.http_address();
    for path in ["/livez", "/readyz"] {
        let answer = ask(address, "GET", path, "").await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"), "{path}");
        let head = ask(address, "HEAD", path, "").await;
        assert_eq!((head.status, &*head.body, head.header("content-length")), (200, "", Some("2")), "{path}");
    }
    // Looks go on, but between two of them the mirror is as old as the clock says.
    app.advance(TimeDelta::hours(1));
    let stale = ask(address, "GET", "/readyz", "").await;
    assert_eq!(stale.status, 503, "{}", stale.body);
    assert_eq!(ask(address, "GET", "/livez", "").await.status, 200);
    let begun = Instant::now();
    while ask(address, "GET", "/readyz", "").await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "it gets ready again");
        sleep(Duration::from_millis(50)).await;
    }
    app.running.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_a_page_and_only_posting_acts() {
    let app = start().await;
    let (address, link) = (app.http_address(), link(&app.place, 1).await);
    let page = ask(address, "GET", &link, "").await;
    assert_eq!(page.status, 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let policy = page.header("content-security-policy").expect("a policy");
    for part in ["default-src 'none'", "style-src 'unsafe-inline'", "form-action 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(page.header("set-cookie").is_none());
    for part in ["<html lang=\"en\">", "name=\"viewport\"", "prefers-color-scheme: dark", "<form method=\"post\">"] {
        assert!(page.body.contains(part), "{part} in {}", page.body);
    }
    for hidden in ["<script", "http://", "https://", "src=", "example.com", "system\"", "{{"] {
        assert!(!page.body.contains(hidden), "{hidden} in {}", page.body);
    }
    let head = ask(address, "HEAD", &link, "").await;
    assert_eq!((head.status, &*head.body), (200, ""));
    let bodies = ["List-Unsubscribe=One-Click", "", "anything=%00", &"x".repeat(limits::HTTP_BODY_BYTES)];
    let mut done = Vec::new();
    for body in bodies {
        let answer = ask(address, "POST", &link, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.header("location").is_none() && answer.header("set-cookie").is_none());
        assert!(answer.body.contains("You are unsubscribed"), "{}", answer.body);
        done.push(answer.body);
    }
    done.dedup();
    assert_eq!(done.len(), 1, "the same answer, new or repeated");
    assert_eq!(ask(address, "GET", &link, "").await.body, page.body, "nothing tells whether somebody is unsubscribed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_isnt_ours_is_a_page_of_its_own_and_says_nothing() {
    let app = start().await;
    let (address, link) = (app.http_address(), link(&app.place, 2).await);
    let start = "/unsubscribe/".len();
    let mut wrong: Vec<String> = (start..link.len())
        .filter(|&index| link.as_bytes()[index] != b'/')
        .map(|index| {
            let other = if link.as_bytes()[index] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &link[..index], &link[index + 1..])
        })
        .collect();
    wrong.extend([format!("{link}A"), link[..link.len() - 1].to_owned(), format!("{link}%00"), format!("{link}%ff")]);
    wrong.extend(["/unsubscribe/a/b", "/unsubscribe/%2e%2e/%2e%2e", "/unsubscribe/%3Cscript%3E/x"].map(str::to_owned));
    let mut pages = Vec::new();
    for path in wrong {
        for method in ["GET", "POST"] {
            let answer = ask(address, method, &path, "").await;
            assert_eq!(answer.status, 404, "{method} {path}");
            pages.push(answer.body);
        }
    }
    pages.dedup();
    assert_eq!(pages.len(), 1, "one answer for all");
    assert!(pages[0].contains("ask whoever manages your API keys"), "{}", pages[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_who_is_gone_is_as_a_wrong_link() {
    let app = start().await;
    let address = app.http_address();
    let gone = links(&app.place).path(&SubscriberId::from_random([9; 16]));
    let wrong = ask(address, "POST", "/unsubscribe/a/b", "").await;
    let answer = ask(address, "POST", &gone, "").await;
    assert_eq!((answer.status, answer.body), (404, wrong.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_refused() {
    let app = start().await;
    let (address, link) = (app.http_address(), link(&app.place, 3).await);
    for path in ["/", "/unsubscribe", "/unsubscribe/", "/livez/", "/metrics/x", "//livez", "/unsubscribe/a/b/c", "*"] {
        assert_eq!(ask(address, "GET", path, "").await.status, 404, "{path}");
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FROB"] {
        for path in ["/livez", "/metrics", &link] {
            let answer = ask(address, method, path, "").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.header("allow").is_some_and(|allowed| allowed.contains("GET")), "{method} {path}");
        }
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask(address, "POST", path, "").await.status, 405, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_or_no_http_is_refused() {
    let app = start().await;
    let (address, link) = (app.http_address(), link(&app.place, 4).await);
    let long = "x".repeat(limits::HTTP_HEADER_BYTES);
    let many = "a: b\r\n".repeat(limits::HTTP_HEADER_COUNT);
    let get = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    for (request, status) in [
        (format!("{get}x: {}\r\n\r\n", &long[..limits::HTTP_HEADER_BYTES / 2]), 200),
        (format!("{get}x: {long}\r\n\r\n"), 431),
        (format!("{get}{many}\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), 431),
        (format!("POST {link} HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n{}", "x".repeat(9000)), 413),
        (format!("POST {link} HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n"), 413),
        (format!("POST {link} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2400\r\n{long}"), 413),
        ("HELLO\r\n\r\n".to_owned(), 400),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let _ = stream.write_all(request.as_bytes()).await;
        let text = read_to_end(&mut stream).await;
        let shown: String = request.chars().take(60).collect();
        // Whoever is refused while still sending may see the connection reset instead of the answer.
        assert!(text.is_empty() && status != 200 || Answer::parse(&text).status == status, "{shown:?}: {text}");
    }
    assert_eq!(ask(address, "GET", "/livez", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_slow_and_idle_connections_end_while_others_are_served() {
    let app = start().await;
    let address = app.http_address();
    let mut strangers = JoinSet::new();
    for number in 0..limits::HTTP_CONNECTIONS - 6 {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        strangers.spawn(async move {
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written"),
                _ => stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").await.expect("written"),
            }
            let (mut read, mut write) = stream.split();
            let dribble = async {
                while number % 3 == 2 && write.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                std::future::pending::<()>().await;
            };
            let mut buffer = Vec::new();
            tokio::select! {
                () = dribble => {}
                _ = read.read_to_end(&mut buffer) => {}
            }
        });
    }
    let begun = Instant::now();
    while !strangers.is_empty() {
        assert!(begun.elapsed() < limits::HTTP_HEADERS + Duration::from_secs(4), "{} are left", strangers.len());
        let answer = timeout(Duration::from_secs(1), ask(address, "GET", "/livez", "")).await;
        assert_eq!(answer.expect("a good caller is served").status, 200);
        while strangers.try_join_next().is_some() {}
        sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() > limits::HTTP_HEADERS - Duration::from_secs(1), "they had their time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_ends_at_the_deadline() {
    let app = start().await;
    let link = link(&app.place, 5).await;
    let begun = Instant::now();
    let request = format!("POST {link} HTTP/1.1\r\nhost: x\r\ncontent-length: 26\r\n\r\nList-");
    let answer = send(app.http_address(), &request).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")), "{}", answer.body);
    let bounds = limits::HTTP_DEADLINE - Duration::from_secs(1)..limits::HTTP_DEADLINE + Duration::from_secs(3);
    assert!(bounds.contains(&begun.elapsed()), "after {:?}", begun.elapsed());
}

/// More than there are places for: who comes too many waits, and is served.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_connections_at_once_are_all_answered() {
    let app = start().await;
    let (address, link) = (app.http_address(), link(&app.place, 6).await);
    let mut connected = Vec::new();
    for _ in 0..300 {
        connected.push(TcpStream::connect(address).await.expect("connected"));
    }
    let mut answers = JoinSet::new();
    for mut stream in connected {
        let request = format!("POST {link} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        answers.spawn(async move {
            stream.write_all(request.as_bytes()).await.expect("written");
            Answer::parse(&read_to_end(&mut stream).await).status
        });
    }
    assert_eq!(answers.join_all().await, vec![200; 300]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_when_all_places_are_taken_waits_for_one() {
    let app = start().await;
    let mut silent = Vec::new();
    for _ in 0..limits::HTTP_CONNECTIONS {
        silent.push(TcpStream::connect(app.http_address()).await.expect("connected"));
    }
    let begun = Instant::now();
    assert_eq!(ask(app.http_address(), "GET", "/livez", "").await.status, 200);
    assert!(begun.elapsed() > limits::HTTP_HEADERS / 2, "there was a place already after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_ends_well_when_the_service_leaves() {
    let app = start().await;
    let (address, link) = (app.http_address(), link(&app.place, 7).await);
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!("POST {link} HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab");
    stream.write_all(head.as_bytes()).await.expect("written");
    let idle = TcpStream::connect(address).await.expect("connected");
    sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let stopping = tokio::spawn(app.running.stop());
    sleep(Duration::from_millis(300)).await;
    stream.write_all(b"cd").await.expect("still connected");
    let answer = Answer::parse(&read_to_end(&mut stream).await);
    assert_eq!(answer.status, 200, "{}", answer.body);
    stopping.await.expect("it stops");
    assert!(begun.elapsed() < Duration::from_secs(5), "idle connections don't keep it: {:?}", begun.elapsed());
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_http_port_is_named_and_the_greeting_says_where_it_is() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = process::command(&place);
    command.env("CLAVIGER_HTTP_LISTEN", &address);
    let (code, _, said) = process::run(command).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("CLAVIGER_HTTP_LISTEN"), "{said}");
    let mut command = process::command(&place);
    command.env("CLAVIGER_HTTP_LISTEN", "0.0.0.0:0");
    let (code, _, said) = process::run(command).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("http_listen: 0.0.0.0:0") && said.contains("CLAVIGER_INSECURE=true"), "{said}");
    let mut command = process::command(&place);
    command.env("CLAVIGER_LOG", "trace");
    assert_eq!(Process::start_command(command).await.terminate().await, Some(0));
}
