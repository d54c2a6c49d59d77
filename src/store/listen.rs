//! Listens to PostgreSQL's channel `claviger`, where a trigger names each revision when it is committed: so replicas look
//! at once. A lost message costs at most the follower's own interval, which stays the truth; so after every new connection
//! one look is enough.
//!
//! A connection may die without a word (a firewall that forgets it), and sqlx sets no keep-alive. So who listens sends itself
//! an echo, over another connection, and when that doesn't come back this one is given up. It is left to the driver to close
//! the socket, which may take as long as TCP retries; PostgreSQL's end is ended at once through the other connection, or by
//! its `tcp_user_timeout`.

use std::fmt;
use std::sync::Arc;

use sea_orm::sqlx::{
    AssertSqlSafe, Executor, Row,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::domain::{Revision, Time, limits, replica::ReplicaId};

use super::{Replicas, StoreError, error::within_time, signal::Signal};

const CHANNEL: &str = "claviger";
const APPLICATION_NAME: &str = "claviger listen";

/// What is said on the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// This revision was committed: said by the trigger.
    Revision(Revision),
    /// Every replica, look, and say how far you are.
    Call,
    /// One replica to itself.
    Echo {
        /// Which one.
        replica: String,
        /// Counted per connection.
        number: u64,
    },
}

impl Message {
    /// `None` for what somebody else may say on the channel.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.splitn(4, ' ').collect();
        match words[..] {
            ["call"] => Some(Self::Call),
            ["echo", replica, number] => Some(Self::Echo { replica: replica.to_owned(), number: number.parse().ok()? }),
            [revision] => revision.parse().ok().map(Self::Revision),
            _ => None,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(revision) => write!(f, "{revision}"),
            Self::Call => f.write_str("call"),
            Self::Echo { replica, number } => write!(f, "echo {replica} {number}"),
        }
    }
}

/// Listens, for as long as it is polled.
pub struct Listener {
    replicas: Replicas,
    signal: Arc<Signal>,
    own: ReplicaId,
}

/// A connection that listens, and how PostgreSQL calls its end of it.
struct Connection {
    listener: PgListener,
    pid: i32,
    begun: Time,
}

/// Why a connection listens no more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the connection was lost")]
    Closed,
    #[error("the connection was lost: {0}")]
    Failed(#[from] StoreError),
    #[error("the connection is deaf: an echo didn't come back")]
    Deaf,
}

impl Listener {
    pub(super) fn new(replicas: Replicas, signal: Arc<Signal>, own: ReplicaId) -> Self {
        Self { replicas, signal, own }
    }

    /// Never ends by itself; one connection at a time.
    pub async fn run(self) {
        let mut pause = limits::LISTEN_RETRY_FIRST;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    self.signal.poke();
                    let (lost, heard_itself) = self.stay(connection).await;
                    tracing::warn!(error = %lost, "not told of changes for a moment; looking once a second");
                    if heard_itself {
                        pause = limits::LISTEN_RETRY_FIRST;
                    }
                }
                Err(error) => tracing::warn!(%error, "can't be told of changes; looking once a second"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(limits::LISTEN_RETRY_LONGEST);
            self.replicas.count_reconnect();
        }
    }

    /// Listens on one connection until it is lost; answers whether an echo was ever heard on it.
    async fn stay(&self, connection: Connection) -> (Lost, bool) {
        let Connection { mut listener, pid, begun } = connection;
        let (heard, echoes) = watch::channel(0);
        let lost = tokio::select! {
            // First what has already arrived: this process may have been paused.
            biased;
            lost = self.hear(&mut listener, &heard) => lost,
            () = self.miss_echo(echoes) => Lost::Deaf,
        };
        drop(listener);
        // At worst it stays until PostgreSQL notices.
        let _ = self.replicas.hang_up(pid, begun).await;
        (lost, *heard.borrow() > 0)
    }

    async fn hear(&self, listener: &mut PgListener, heard: &watch::Sender<u64>) -> Lost {
        loop {
            let notification = match listener.try_recv().await {
                Ok(Some(notification)) => notification,
                Ok(None) => return Lost::Closed,
                Err(error) => return Lost::Failed(error.into()),
            };
            match Message::parse(notification.payload()) {
                Some(Message::Revision(revision)) if revision > self.signal.seen() => self.signal.poke(),
                Some(Message::Call) => self.replicas.hear_call(),
                Some(Message::Echo { replica, number }) if replica == self.own.as_str() => {
                    heard.send_replace(number);
                }
                Some(Message::Revision(_) | Message::Echo { .. }) | None => {}
            }
        }
    }

    /// Ends when an echo that was sent isn't heard.
    async fn miss_echo(&self, mut heard: watch::Receiver<u64>) {
        let mut number = 0;
        loop {
            sleep(limits::ECHO_INTERVAL).await;
            number += 1;
            let echo = Message::Echo { replica: self.own.to_string(), number };
            // If it can't be sent, that says nothing about who listens.
            if self.replicas.send(&echo).await.is_ok()
                && timeout(limits::ECHO_WAIT, heard.wait_for(|heard| *heard >= number)).await.is_err()
            {
                return;
            }
        }
    }

    async fn connect(&self) -> Result<Connection, StoreError> {
        let connecting = async {
            let options = self.replicas.options().clone().application_name(APPLICATION_NAME);
            // A pool for each connection, whose one place is never used again.
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(limits::LISTEN_CONNECT)
                .idle_timeout(None)
                .max_lifetime(None)
                .after_release(|_, _| Box::pin(async { Ok(false) }))
                .connect_lazy_with(options);
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.execute(AssertSqlSafe(session_settings())).await?;
            let session = listener.fetch_one(SESSION).await?;
            let (pid, begun) = (session.try_get(0)?, session.try_get(1)?);
            listener.listen(CHANNEL).await?;
            Ok::<_, StoreError>(Connection { listener, pid, begun })
        };
        within_time(limits::LISTEN_CONNECT, connecting).await
    }
}

const SESSION: &str = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/// A listener whose machine is gone would else be kept for hours, and PostgreSQL keeps every message until all have read it.
fn session_settings() -> String {
    let silence = limits::LISTENER_SILENCE;
    let (seconds, milliseconds) = (silence.as_secs(), silence.as_millis());
    format!(
        "SET tcp_keepalives_idle = {seconds}; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = {seconds}; \
         SET tcp_user_timeout = {milliseconds}; SET timezone = 'UTC'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_anything_else_is_nothing() {
        let echo = Message::Echo { replica: "node-1-00000000".to_owned(), number: 7 };
        for message in [Message::Revision(17), Message::Call, echo] {
            assert_eq!(Message::parse(&message.to_string()), Some(message));
        }
        for foreign in ["", " ", "hello", "echo", "echo a", "echo a b", "echo a 1 2", "call 1", "99999999999999999999"]
        {
            assert_eq!(Message::parse(foreign), None, "{foreign}");
        }
    }
}
