//! Which SQL a test runs, and what it logs. sqlx tells each statement as an event; those of PostgreSQL come from the thread
//! that asks, so a test with one thread hears its own and nobody else's.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, subscriber::DefaultGuard};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The statements and errors since it was made, until it is dropped.
pub struct Statements {
    heard: Arc<Mutex<Heard>>,
    _guard: DefaultGuard,
}

#[derive(Default)]
struct Heard {
    statements: Vec<String>,
    errors: Vec<String>,
}

struct Listener(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Texts {
    summary: String,
    statement: String,
    message: String,
}

impl Statements {
    pub fn listen() -> Self {
        let heard = Arc::new(Mutex::default());
        let subscriber = tracing_subscriber::registry().with(Listener(Arc::clone(&heard)));
        Self { heard, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Those since it was last asked, without what begins a connection or a transaction.
    pub fn take(&self) -> Vec<String> {
        let mut heard = std::mem::take(&mut self.heard.lock().statements);
        heard.retain(|sql| !["SET ", "BEGIN", "COMMIT", "ROLLBACK"].iter().any(|other| sql.starts_with(other)));
        heard
    }

    /// The errors that were logged since it was last asked.
    pub fn errors(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().errors)
    }
}

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut texts = Texts::default();
        if event.metadata().target() == "sqlx::query" {
            event.record(&mut texts);
            // A short statement is its own summary.
            let sql = if texts.statement.is_empty() { texts.summary } else { texts.statement };
            self.0.lock().statements.push(sql.trim().to_owned());
        } else if *event.metadata().level() == Level::ERROR {
            event.record(&mut texts);
            self.0.lock().errors.push(texts.message);
        }
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
