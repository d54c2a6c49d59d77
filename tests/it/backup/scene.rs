//! Somebody who makes and revokes keys all the time, and remembers what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::Client;
use crate::rig::{Change, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
/// Below the limit, though none of them were ever revoked.
const KEYS_OF_AN_OWNER: usize = 8;
/// Each third key revokes the one so many before it.
const BACK: usize = 10;

/// What was acknowledged.
#[derive(Clone, Default)]
pub struct Known {
    pub keys: Vec<KnownKey>,
    /// A service user with room for a key.
    pub owner: String,
}

#[derive(Clone)]
pub struct KnownKey {
    name: String,
    pub secret: String,
    pub is_revoked: bool,
}

impl Known {
    /// Whether its revocation was perhaps committed, and not yet acknowledged.
    pub fn may_be_being_revoked(&self, number: usize) -> bool {
        number + BACK + 1 == self.keys.len()
    }
}

pub struct Writer {
    known: Arc<Mutex<Known>>,
    enough: CancellationToken,
    task: JoinHandle<()>,
}

impl Writer {
    pub async fn start(mut root: Client) -> Self {
        let (known, enough) = (Arc::<Mutex<Known>>::default(), CancellationToken::new());
        let tenant = root.create_tenant("acme").await;
        known.lock().owner = root.create_service_user(&tenant, "roomy").await;
        let (noted, stop) = (Arc::clone(&known), enough.clone());
        let task = tokio::spawn(async move {
            let mut owner = String::new();
            while !stop.is_cancelled() {
                let number = noted.lock().keys.len();
                if number % KEYS_OF_AN_OWNER == 0 {
                    owner = root.create_service_user(&tenant, &format!("user-{number}")).await;
                }
                let (key, secret) = root.create_key(&owner, &[]).await;
                noted.lock().keys.push(KnownKey { name: key.name, secret, is_revoked: false });
                if number % 3 == 0 && number >= BACK {
                    let name = noted.lock().keys[number - BACK].name.clone();
                    Change::Revoke.make(&mut root, &owner, &name).await.expect("revoked");
                    noted.lock().keys[number - BACK].is_revoked = true;
                }
            }
        });
        Self { known, enough, task }
    }

    pub fn known(&self) -> Known {
        self.known.lock().clone()
    }

    pub async fn has_made(&self, count: usize) {
        eventually(PATIENCE, "keys are made", async || self.known.lock().keys.len() >= count).await;
    }

    pub async fn end(self) -> Known {
        self.enough.cancel();
        self.task.await.expect("no panic");
        self.known.lock().clone()
    }
}
