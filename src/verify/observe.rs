//! The mirror among the metrics: how fresh it is, and what is in it.

use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::{Revision, Span};
use crate::metrics::{Metrics, Shown};

use super::mirror::Mirror;
use super::refresh::Refresher;

/// From now on shows how far the mirror is and how old. `followed`: the furthest that any replica says to have come, as far
/// as this one knows.
pub fn freshness(
    metrics: &Metrics,
    refresher: &Refresher,
    clock: &Clock,
    followed: impl Fn() -> Revision + Send + Sync + 'static,
) {
    let description = "The revision up to which this replica knows every change; 0 = not loaded.";
    let revision = applied(refresher);
    let shown = Shown { name: "claviger_mirror_revision", unit: "", description };
    metrics.observe(shown, move || Some(exact(revision())));

    let description =
        "Changes that the database or another replica is known to have, and this replica has not taken in.";
    let (revision, newest) = (applied(refresher), refresher.clone());
    let shown = Shown { name: "claviger_feed_lag_revisions", unit: "", description };
    metrics.observe(shown, move || Some(exact((newest.newest().max(followed()) - revision()).max(0))));

    let description =
        "How long ago the last good look at the database began. Verify answers until it is over the bound.";
    let (looked, clock) = (refresher.clone(), clock.clone());
    let own = clock.clone();
    let shown = Shown { name: "claviger_mirror_staleness", unit: "s", description };
    metrics.observe(shown, move || Some(seconds(own.boot_time().since(looked.position()?.looked))));

    let description = "How far this machine's clock is behind the database's; negative = ahead. Always 0 with SQLite.";
    let shown = Shown { name: "claviger_clock_offset", unit: "s", description };
    metrics.observe(shown, move || Some(seconds(clock.offset())));

    let description = "1 = the last look at the database was a good one; 0 = it failed.";
    let looks = refresher.clone();
    let shown = Shown { name: "claviger_database_up", unit: "", description };
    metrics.observe(shown, move || Some(f64::from(u8::from(!looks.is_failing()))));
}

/// From now on shows what is in the mirror.
pub fn content(metrics: &Metrics, mirror: &Arc<Mirror>) {
    let description = "Keys in memory, by state and by the pepper that they are stored under.";
    let counted = Arc::clone(mirror);
    let shown = Shown { name: "claviger_keys", unit: "", description };
    metrics.observe_each(shown, ["pepper", "state"], move || {
        let count =
            |(pepper, state, keys): (String, &'static str, u64)| ([pepper, state.to_owned()], exact_count(keys));
        counted.census().map(count).collect::<Vec<_>>()
    });

    let description = "Memory of the keys, without their owners and without what the allocator adds.";
    let measured = Arc::clone(mirror);
    let shown = Shown { name: "claviger_mirror", unit: "By", description };
    metrics.observe(shown, move || Some(exact_count(measured.bytes())));

    let description =
        "When the first of the enabled root keys that none supersedes expires, in Unix time; absent when none does.";
    let watched = Arc::clone(mirror);
    let shown = Shown { name: "claviger_root_key_expiry_timestamp", unit: "s", description };
    metrics.observe(shown, move || Some(exact(watched.first_root_key_end()?.timestamp_micros()) / 1e6));
}

fn applied(refresher: &Refresher) -> impl Fn() -> Revision + Send + Sync + 'static {
    let refresher = refresher.clone();
    move || refresher.position().map_or(0, |position| position.revision)
}

fn seconds(span: Span) -> f64 {
    exact(span.num_microseconds().unwrap_or(i64::MAX)) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which no revision reaches")]
fn exact(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn exact_count(number: u64) -> f64 {
    number as f64
}
