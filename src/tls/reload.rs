//! A new certificate without a restart: the files are looked at again and again. Their contents are compared, not their
//! times, because Kubernetes swaps a link to a whole folder, and copies may keep times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::sleep;

use crate::domain::limits;

use super::identity::{Contents, Identity};
use super::{Tls, TlsError};

/// What was seen of the files.
pub(super) struct Watched {
    /// What is in use.
    in_use: [u8; 32],
    /// At the look before.
    before: Result<[u8; 32], String>,
    /// What was last said about files that can't be used, so that it is said once.
    said: Option<String>,
    /// Whether it was said that the certificate in use has expired.
    said_expired: bool,
}

impl Watched {
    pub(super) fn new(in_use: [u8; 32]) -> Self {
        Self { in_use, before: Ok(in_use), said: None, said_expired: false }
    }
}

impl Tls {
    /// Looks at the files, for ever. New connections get what is new, the others stay as they are. What can't be used stays
    /// out, with an alarm.
    pub async fn watch(self: Arc<Self>) {
        loop {
            sleep(limits::TLS_LOOK).await;
            let tls = Arc::clone(&self);
            // Files may be slow; calls mustn't wait for them.
            if let Err(error) = tokio::task::spawn_blocking(move || tls.look()).await {
                tracing::error!(%error, "the TLS files could not be looked at");
            }
        }
    }

    fn look(&self) {
        self.tell_of_the_end();
        let contents = Contents::read(&self.files);
        let now = contents.as_ref().map(Contents::digest).map_err(ToString::to_string);
        let mut watched = self.watched.lock();
        // Two files are seldom written at once: only what was the same at two looks is taken for complete.
        let settled = watched.before == now;
        let known = now == Ok(watched.in_use);
        watched.before.clone_from(&now);
        if known {
            watched.said = None;
        }
        if known || !settled {
            return;
        }
        let identity = contents.and_then(|contents| Identity::new(&self.files, &contents, &self.clock));
        match (identity, now) {
            (Ok(identity), Ok(digest)) => {
                tracing::info!(expires = %identity.expire_time, "new TLS files are in use, for new connections");
                *self.identity.write() = Arc::new(identity);
                count(&self.loaded);
                *watched = Watched::new(digest);
            }
            (Err(error), _) => self.refuse(&mut watched, &error),
            (Ok(_), Err(_)) => {}
        }
    }

    fn refuse(&self, watched: &mut Watched, error: &TlsError) {
        count(&self.refused);
        let text = error.to_string();
        if watched.said.as_ref() != Some(&text) {
            tracing::error!("new TLS files can't be used, and the old certificate stays: {}", text.replace('\n', "; "));
            watched.said = Some(text);
        }
    }

    fn tell_of_the_end(&self) {
        let end = self.identity.read().expire_time;
        let mut watched = self.watched.lock();
        if self.clock.now() >= end && !watched.said_expired {
            tracing::error!(%end, "the TLS certificate has expired, and clients refuse it; replace its files");
            watched.said_expired = true;
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
