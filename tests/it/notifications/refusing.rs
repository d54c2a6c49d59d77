//! A mail server's own words are kept, cut and without anything invisible.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Refuses every recipient with many lines of text.
async fn refuse(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 mail.example.com\r\n").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.split([' ', ':']).next().unwrap_or_default().trim() {
            "RCPT" => {
                let more = format!("550-{}\t\u{1b}[31m\u{7f}\r\n", "Grüße von weit her ".repeat(10)).repeat(20);
                format!("{more}550 that was all\r\n")
            }
            _ => "250 good\r\n".to_owned(),
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_cut_and_printable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("smtp://127.0.0.1:{}", listener.local_addr().expect("an address").port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(refuse(stream));
        }
    });
    let Some(app) = TestApp::start_with(Engine::Sqlite, &mail_settings(&url)).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    key(&mut root, &owner, "a key", DAY).await;
    root.create_user_group(&tenant, "ops", &["a@example.com"]).await;
    assert_eq!(run(&mut root, &tenant).await.refused, 1);
    let [refused] = &deliveries(&mut root, mails_of(&tenant)).await[..] else { panic!("one mail") };
    assert_eq!(refused.state(), v1::DeliveryState::Refused);
    let characters = refused.answer.chars().count();
    assert!(characters <= 500 && refused.answer.contains("Grüße von weit her"), "{characters}: {}", refused.answer);
    assert!(!refused.answer.chars().any(char::is_control), "{:?}", refused.answer);
}
