//! Whether warnings are alive. The bell may stop in silence (ecosystem.md 1.4), so this watches from outside of it.

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::domain::limits;

/// The last sign of life.
pub(super) struct Pulse {
    last: Mutex<Instant>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()) }
    }

    /// A run succeeded, or a long one got on.
    pub(super) fn beat(&self) {
        *self.last.lock() = Instant::now();
    }

    /// Reports, for ever, each time that no run succeeded for two periods.
    pub(super) async fn watch(&self) {
        loop {
            sleep(limits::WARNING_PERIOD / 2).await;
            let silence = self.last.lock().elapsed();
            if silence > limits::WARNING_PERIOD * 2 {
                let seconds = silence.as_secs();
                tracing::error!(
                    seconds,
                    "no run of the warnings has succeeded lately: nobody is told about expiring keys"
                );
            }
        }
    }
}
