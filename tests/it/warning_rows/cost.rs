//! A run with nothing to do costs two queries, however much there is.

use std::sync::Arc;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::config::{MailServer, MailSettings, Sender};
use claviger::domain::address::MailAddress;
use claviger::metrics::Metrics;
use claviger::notify::{PostOffice, Report, Warnings};
use claviger::store::{Store, Target};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::bulk::{Bulk, Keys, addresses};
use super::statements::Statements;
use crate::harness::{Engine, Place, TestApp, app::start_of_time};

/// The warnings alone on a place, with nothing in the background. Mails go into a folder.
async fn warnings(place: &Place, clock: &Clock) -> (Warnings, Store) {
    let target = match &place.database_url {
        Some(url) => Target::postgres(url),
        None => Target::Sqlite { file: place.sqlite_file() },
    };
    let store = Store::connect(&target, "warning_rows").await.expect("a store");
    let settings = MailSettings {
        server: MailServer::File { folder: place.folder.path().join("mails") },
        connections: 8,
        from: Sender { address: MailAddress::parse("keys@example.com").expect("an address"), name: None },
    };
    let post = PostOffice::new(&settings, "localhost:50051".to_owned(), false, None).expect("a post office");
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    (Warnings::new(store.clone(), clock.clone(), metrics, Some(post), tasks, stop), store)
}

#[tokio::test]
async fn a_run_with_nothing_to_do_asks_two_questions() {
    let Some(app) = TestApp::start(Engine::Postgres).await else { return };
    let TestApp { running, clock, place, .. } = app;
    running.stop().await;
    let bulk = Bulk::into(&place, start_of_time()).await;
    let tenants: Vec<String> = (0..20).map(|number| format!("tenant-{number}")).collect();
    bulk.tenants(&tenants).await;
    for tenant in &tenants {
        bulk.service_users(tenant, 10).await;
        let expire_time = start_of_time() + TimeDelta::days(5);
        bulk.keys(&Keys { tenant, service_users: 0..10, slots: 0..10, expire_time }).await;
        bulk.user_group(tenant, "everybody", &addresses("somebody", 5)).await;
        let subscribers = bulk.subscribers(tenant, &addresses("former", 50)).await;
        bulk.deliveries(tenant, &subscribers, "2027-01-10", "SENT", start_of_time()).await;
    }
    let (warnings, store) = warnings(&place, &clock).await;
    let statements = Statements::listen();
    let done = warnings.ring().await.expect("a run").expect("done");
    assert_eq!((done.planned, done.sent), (20 * 100, 20 * 5), "{done:?}");
    assert!(statements.take().len() > 500, "statements are heard");
    for minutes in [0, 1, 30] {
        clock.advance(TimeDelta::minutes(minutes));
        assert_eq!(warnings.ring().await.expect("a run").expect("done"), Report::default());
        let asked = statements.take();
        assert_eq!(asked.len(), 2, "{asked:#?}");
        assert!(asked.iter().all(|sql| sql.starts_with("SELECT")), "{asked:#?}");
    }
    store.close().await;
}
