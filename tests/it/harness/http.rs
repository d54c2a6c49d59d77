//! A client that speaks HTTP/1.1 by hand, so that a test sends and sees every byte.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, as it came.
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Reads an answer, whose body ends with the connection.
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self {
            status: status.parse().expect("a number"),
            headers: lines.filter_map(header).collect(),
            body: body.to_owned(),
        }
    }

    /// A header that comes once, or not at all.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(found, _)| found == name);
        let first = found.next()?;
        assert!(found.next().is_none(), "{name} twice");
        Some(&first.1)
    }
}

/// Everything that comes until the server hangs up. An error counts as the end: a server that hangs up on what it didn't
/// read resets the connection.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..read]);
        }
    };
    timeout(PATIENCE, reading).await.expect("the server hangs up");
    String::from_utf8(bytes).expect("UTF-8")
}

/// Sends these bytes on a connection of their own.
pub async fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // What the server has refused already can't always be written to the end.
    let _ = stream.write_all(request.as_bytes()).await;
    Answer::parse(&read_to_end(&mut stream).await)
}

/// Asks on a connection of its own.
pub async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    send(address, &(head + body)).await
}
