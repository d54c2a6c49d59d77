//! A wire to PostgreSQL on which connections can go silent, as behind a firewall that forgot them: open, and nothing passes.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::Place;

/// How a listener calls itself when it connects.
const LISTENER: &[u8] = b"claviger listen";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    /// How often the listeners' connections were silenced; later ones work.
    listeners: u64,
    /// Nothing passes on any connection.
    all: bool,
}

/// The wire. Ends when dropped, without a word to anybody.
pub struct PostgresWire {
    silence: watch::Sender<Silence>,
    task: JoinHandle<()>,
}

impl Drop for PostgresWire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PostgresWire {
    /// Leads this place's connections over a wire.
    pub async fn before(place: &mut Place) -> Self {
        let url = place.database_url.take().expect("PostgreSQL");
        let (user, rest) = url.split_once('@').expect("a user");
        let (server, database) = rest.split_once('/').expect("a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        place.database_url = Some(format!("{user}@{address}/{database}"));
        let silence = watch::Sender::new(Silence { listeners: 0, all: false });
        let task = tokio::spawn(accept(listener, server.to_owned(), silence.clone()));
        Self { silence, task }
    }

    /// Silences the connections that listen now.
    pub fn silence_listeners(&self) {
        self.silence.send_modify(|silence| silence.listeners += 1);
    }

    /// Silences every connection, and each new one.
    pub fn silence_all(&self) {
        self.silence.send_modify(|silence| silence.all = true);
    }
}

async fn accept(listener: TcpListener, server: String, silence: watch::Sender<Silence>) {
    let mut carried = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(&server).await.expect("PostgreSQL answers");
        let listens_since = Arc::new(watch::Sender::new(None));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let silence = silence.subscribe();
        carried.spawn(carry(from_client, to_server, silence.clone(), Arc::clone(&listens_since)));
        carried.spawn(carry(from_server, to_client, silence, listens_since));
    }
}

/// Passes on what comes; who is silenced stays open for ever.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut silence: watch::Receiver<Silence>,
    listens_since: Arc<watch::Sender<Option<u64>>>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = silence.changed() => Ok(usize::MAX),
        };
        let now = *silence.borrow();
        if now.all || listens_since.borrow().is_some_and(|since| now.listeners > since) {
            return std::future::pending().await;
        }
        match read {
            Ok(usize::MAX) => {}
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if buffer[..read].windows(LISTENER.len()).any(|words| words == LISTENER) {
                    listens_since.send_if_modified(|since| since.replace(now.listeners).is_none());
                }
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
